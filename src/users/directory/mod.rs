//! Where users are looked up.

mod postgres;
mod sql;
mod sqlite;

use std::sync::Arc;

use super::StartError;
use super::caller::Who;
use super::settings::{DirectorySettings, Table};
pub(super) use crate::database::Failure as DirectoryError;
use crate::database::sqlite::Opening;
use crate::user::User;
use postgres::Postgres;
use sqlite::Sqlite;

/// The store of users.
#[derive(Debug)]
pub(super) enum Directory {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// What the directory has about a caller.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The row with the caller's id.
    pub(super) by_id: Option<Arc<User>>,
    /// A row with the caller's e-mail and another id; only where the table's rule asks for it.
    pub(super) by_email: Option<Arc<User>>,
}

/// What inserting a caller came to.
#[derive(Debug)]
pub(super) struct Inserted {
    /// Whether the row is new.
    pub(super) created: bool,
    /// What is there now.
    pub(super) rows: Rows,
}

impl Directory {
    /// Gets ready. A SQLite file is opened, a PostgreSQL server is not asked for yet.
    pub(super) async fn open(
        settings: &DirectorySettings,
        table: &Table,
        opening: Opening,
    ) -> Result<Self, StartError> {
        match settings {
            DirectorySettings::Sqlite { path, own_table } => {
                let sqlite = Sqlite::open(path.clone(), table, *own_table, opening).await?;
                Ok(Self::Sqlite(sqlite))
            }
            DirectorySettings::Postgres(settings) => {
                Ok(Self::Postgres(Postgres::new(settings, table)?))
            }
        }
    }

    /// The caller's rows.
    pub(super) async fn find(&self, who: &Arc<Who>) -> Result<Rows, DirectoryError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.find(who).await,
            Self::Postgres(postgres) => postgres.find(who).await,
        }
    }

    /// Inserts the caller unless a row with their id or e-mail exists; no row is ever changed.
    pub(super) async fn insert(&self, who: &Arc<Who>) -> Result<Inserted, DirectoryError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.insert(who).await,
            Self::Postgres(postgres) => postgres.insert(who).await,
        }
    }

    /// What is wrong with the directory, by name; empty where all is well.
    pub(super) async fn check(&self, table: &Table) -> Vec<String> {
        let columns = match self {
            Self::Sqlite(sqlite) => sqlite.columns().await,
            Self::Postgres(postgres) => postgres.columns().await.map(Some),
        };
        match columns {
            Ok(columns) => columns.map_or(Vec::new(), |columns| sql::missing(table, &columns)),
            Err(DirectoryError::Unavailable(why) | DirectoryError::Refused(why)) => {
                vec![format!("the directory cannot be asked: {why}")]
            }
        }
    }
}
