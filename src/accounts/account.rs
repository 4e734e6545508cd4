//! An account as the world sees it: what the contract's answers hold, in its order.

use serde::Serialize;
use serde_json::Value;

use super::date;
use super::transaction::{Fault, Row, Transaction};

/// A user of a project. `secureMetadata` is not among it: it is stored, and never returned.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Account {
    pub id: String,
    pub foreign_id: Option<String>,
    pub role: String,
    pub email: Option<String>,
    pub name: Option<String>,
    pub username: Option<String>,
    pub avatar: Option<String>,
    pub bio: Option<String>,
    pub location: Option<Value>,
    pub birthdate: Option<String>,
    pub metadata: Value,
    pub suspensions: Vec<Suspension>,
    pub reputation: i64,
    pub is_verified: bool,
    pub is_active: bool,
    #[serde(serialize_with = "moment")]
    pub last_active: i64,
    #[serde(serialize_with = "moment")]
    pub created_at: i64,
    #[serde(serialize_with = "moment")]
    pub updated_at: i64,
}

/// A time for which a user is suspended; without an end until somebody lifts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Suspension {
    pub reason: Option<String>,
    #[serde(serialize_with = "moment")]
    pub start_date: i64,
    #[serde(serialize_with = "perhaps")]
    pub end_date: Option<i64>,
}

const FIND: &str = "SELECT id, foreign_id, role, email, name, username, avatar, bio, location, \
    birthdate, metadata, reputation, is_verified, is_active, last_active, created_at, updated_at \
    FROM usher_users WHERE id = $1 AND project = $2";

const SUSPENSIONS: &str = "SELECT reason, start_at, end_at FROM usher_suspensions \
    WHERE user_id = $1 AND start_at <= $2 AND (end_at IS NULL OR end_at > $3) \
    ORDER BY start_at, id";

/// The account with this id, with the suspensions that hold now.
pub(super) async fn find(
    tx: &mut dyn Transaction,
    project: &str,
    id: &str,
    now: i64,
) -> Result<Option<Account>, Fault> {
    let rows = tx.rows(FIND, vec![id.into(), project.into()]).await?;
    let Some(mut account) = rows.into_iter().next().map(read) else {
        return Ok(None);
    };
    let rows = tx
        .rows(SUSPENSIONS, vec![id.into(), now.into(), now.into()])
        .await?;
    account.suspensions = rows.into_iter().map(suspension).collect();
    Ok(Some(account))
}

fn read(mut row: Row) -> Account {
    let number = |row: &Row, column| row.integer(column).unwrap_or_default();
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    Account {
        id: row.text(0).unwrap_or_default(),
        foreign_id: row.text(1),
        role: row.text(2).unwrap_or_default(),
        email: row.text(3),
        name: row.text(4),
        username: row.text(5),
        avatar: row.text(6),
        bio: row.text(7),
        location: json(row.text(8)),
        birthdate: row.text(9),
        metadata: json(row.text(10)).unwrap_or_default(),
        suspensions: Vec::new(),
        reputation: number(&row, 11),
        is_verified: number(&row, 12) != 0,
        is_active: number(&row, 13) != 0,
        last_active: number(&row, 14),
        created_at: number(&row, 15),
        updated_at: number(&row, 16),
    }
}

pub(super) fn suspension(mut row: Row) -> Suspension {
    Suspension {
        reason: row.text(0),
        start_date: row.integer(1).unwrap_or_default(),
        end_date: row.integer(2),
    }
}

fn moment<S: serde::Serializer>(millis: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date::render(*millis))
}

fn perhaps<S: serde::Serializer>(millis: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match millis {
        Some(millis) => moment(millis, serializer),
        None => serializer.serialize_none(),
    }
}
