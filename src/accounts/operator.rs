//! What somebody at a terminal does to accounts.

use serde::Serialize;
use serde_json::{Map, Value};

use super::account::{self, Account, Suspension};
use super::transaction::{Cell, Fault, Row, Transaction};
use super::{Accounts, Unavailable};

/// Everything that is stored of a user, but for hashes of tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The project.
    pub project: String,
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// What the customer's server said for nobody else to see.
    pub secure_metadata: Value,
    /// All suspensions, also those that are over or lifted.
    pub all_suspensions: Vec<Suspension>,
}

/// By the id here, the customer's, or the e-mail, in this order.
const FIND: [&str; 3] = [
    "SELECT id FROM usher_users WHERE project = $1 AND id = $2",
    "SELECT id FROM usher_users WHERE project = $1 AND foreign_id = $2",
    "SELECT id FROM usher_users WHERE project = $1 AND email = $2",
];
const LIST: &str = "SELECT id FROM usher_users WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3";
const SECURE: &str = "SELECT secure_metadata FROM usher_users WHERE id = $1";
const HISTORY: &str = "SELECT reason, start_at, end_at FROM usher_suspensions \
    WHERE user_id = $1 ORDER BY start_at, id";
const SUSPEND: &str = "INSERT INTO usher_suspensions (id, user_id, reason, start_at, end_at) \
    VALUES ($1, $2, $3, $4, $5)";
const LIFT: &str = "UPDATE usher_suspensions SET end_at = $2 \
    WHERE user_id = $1 AND (end_at IS NULL OR end_at > $3)";
const DELETE: &str = "DELETE FROM usher_users WHERE id = $1";

/// A command; `None` comes of it where there is no such user.
#[derive(Clone, Debug)]
enum Command {
    Export,
    Suspend {
        id: String,
        reason: Option<String>,
        end: Option<i64>,
    },
    Unsuspend,
    Delete,
}

impl Accounts {
    /// The accounts of a project after `after`, ordered by id; at most `most`.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn list(
        &self,
        project: &str,
        after: &str,
        most: i64,
    ) -> Result<Vec<Account>, Unavailable> {
        let (project, after) = (project.to_owned(), after.to_owned());
        let now = self.clock.now_millis();
        let run = self.store.run(move |tx| {
            let (project, after) = (project.clone(), after.clone());
            Box::pin(async move { list(tx, &project, &after, most, now).await })
        });
        self.judge(run.await)
    }

    /// Everything that is stored of a user, who is named by id, the customer's id, or e-mail.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn export(&self, project: &str, user: &str) -> Result<Option<Exported>, Unavailable> {
        self.command(project, user, Command::Export).await
    }

    /// Suspends a user from now on, until `end` (milliseconds since 1970) or for ever.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn suspend(
        &self,
        project: &str,
        user: &str,
        reason: Option<String>,
        end: Option<i64>,
    ) -> Result<Option<Exported>, Unavailable> {
        let id = uuid::Uuid::new_v4().to_string();
        let command = Command::Suspend { id, reason, end };
        self.command(project, user, command).await
    }

    /// Ends every suspension of a user, also those that are still to come.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn unsuspend(
        &self,
        project: &str,
        user: &str,
    ) -> Result<Option<Exported>, Unavailable> {
        self.command(project, user, Command::Unsuspend).await
    }

    /// Deletes a user with everything that hangs on it; what was there until now.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn delete(&self, project: &str, user: &str) -> Result<Option<Exported>, Unavailable> {
        self.command(project, user, Command::Delete).await
    }

    async fn command(
        &self,
        project: &str,
        user: &str,
        command: Command,
    ) -> Result<Option<Exported>, Unavailable> {
        let (project, user) = (project.to_owned(), user.to_owned());
        let now = self.clock.now_millis();
        let run = self.store.run(move |tx| {
            let (project, user, command) = (project.clone(), user.clone(), command.clone());
            Box::pin(async move { obey(tx, &project, &user, &command, now).await })
        });
        self.judge(run.await)
    }
}

async fn obey(
    tx: &mut dyn Transaction,
    project: &str,
    user: &str,
    command: &Command,
    now: i64,
) -> Result<Option<Exported>, Fault> {
    let Some(id) = find(tx, project, user).await? else {
        return Ok(None);
    };
    match command {
        Command::Suspend {
            id: suspension,
            reason,
            end,
        } => {
            let values = vec![
                suspension.as_str().into(),
                id.as_str().into(),
                reason.as_deref().into(),
                now.into(),
                (*end).into(),
            ];
            tx.change(SUSPEND, values).await?;
        }
        Command::Unsuspend => {
            let values = vec![id.as_str().into(), now.into(), now.into()];
            tx.change(LIFT, values).await?;
        }
        Command::Export | Command::Delete => {}
    }
    let exported = export(tx, project, &id, now).await?;
    if matches!(command, Command::Delete) {
        tx.change(DELETE, vec![id.as_str().into()]).await?;
    }
    Ok(exported)
}

async fn find(
    tx: &mut dyn Transaction,
    project: &str,
    user: &str,
) -> Result<Option<String>, Fault> {
    for sql in FIND {
        let rows = tx.rows(sql, vec![project.into(), user.into()]).await?;
        if let Some(id) = rows.into_iter().next().and_then(|mut row: Row| row.text(0)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

async fn list(
    tx: &mut dyn Transaction,
    project: &str,
    after: &str,
    most: i64,
    now: i64,
) -> Result<Vec<Account>, Fault> {
    let values: Vec<Cell> = vec![project.into(), after.into(), most.into()];
    let mut accounts = Vec::new();
    for mut row in tx.rows(LIST, values).await? {
        let id = row.text(0).unwrap_or_default();
        accounts.extend(account::find(tx, project, &id, now).await?);
    }
    Ok(accounts)
}

async fn export(
    tx: &mut dyn Transaction,
    project: &str,
    id: &str,
    now: i64,
) -> Result<Option<Exported>, Fault> {
    let Some(account) = account::find(tx, project, id, now).await? else {
        return Ok(None);
    };
    let secure = tx.rows(SECURE, vec![id.into()]).await?;
    let secure = secure.into_iter().next().and_then(|mut row| row.text(0));
    let secure = secure.and_then(|text| serde_json::from_str(&text).ok());
    let history = tx.rows(HISTORY, vec![id.into()]).await?;
    Ok(Some(Exported {
        project: project.to_owned(),
        account,
        secure_metadata: secure.unwrap_or(Value::Object(Map::new())),
        all_suspensions: history.into_iter().map(account::suspension).collect(),
    }))
}
