//! The tables, in the versions that they have had: forward only, the same in both databases.

use super::transaction::{Answer, Cell, Fault, Transaction};
use crate::database::Failure;

/// What each version adds to the one before. Never change one that was released: add another.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE usher_users (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    foreign_id TEXT,
    role TEXT NOT NULL,
    email TEXT,
    name TEXT,
    username TEXT,
    avatar TEXT,
    bio TEXT,
    location TEXT,
    birthdate TEXT,
    metadata TEXT NOT NULL,
    secure_metadata TEXT NOT NULL,
    reputation BIGINT NOT NULL,
    is_verified BIGINT NOT NULL,
    is_active BIGINT NOT NULL,
    last_active BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (project, foreign_id),
    UNIQUE (project, email),
    UNIQUE (project, username)
);
CREATE TABLE usher_refresh_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES usher_users (id) ON DELETE CASCADE,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    replaced_at BIGINT,
    successor TEXT
);
CREATE INDEX usher_refresh_tokens_family ON usher_refresh_tokens (family);
CREATE INDEX usher_refresh_tokens_user ON usher_refresh_tokens (user_id);
CREATE INDEX usher_refresh_tokens_expiry ON usher_refresh_tokens (expires_at);
CREATE TABLE usher_suspensions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES usher_users (id) ON DELETE CASCADE,
    reason TEXT,
    start_at BIGINT NOT NULL,
    end_at BIGINT
);
CREATE INDEX usher_suspensions_user ON usher_suspensions (user_id);
"];

/// Where it stands which versions there have been.
const TABLE: &str = "usher_account_versions";
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS usher_account_versions \
    (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";

/// Why the tables cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// They are not of the version that this usher needs; what to do.
    Version(String),
    /// They could not be looked at, or changed.
    Failed(Failure),
}

/// Brings the tables up to date, and says which version they have then.
pub(super) fn migrate<'a>(tx: &'a mut dyn Transaction, now: i64) -> Answer<'a, i64> {
    Box::pin(async move {
        // Several processes may start at once.
        tx.lock().await?;
        tx.batch(VERSIONS).await?;
        let found = version(tx).await?;
        for (version, sql) in (1..).zip(MIGRATIONS) {
            if version > found {
                tx.batch(sql).await?;
                note(tx, version, now).await?;
            }
        }
        Ok(found.max(newest()))
    })
}

/// Which version the tables have; 0 where there are none.
pub(super) fn look(tx: &mut dyn Transaction) -> Answer<'_, i64> {
    Box::pin(async move {
        match tx.has_table(TABLE).await? {
            true => version(tx).await,
            false => Ok(0),
        }
    })
}

async fn version(tx: &mut dyn Transaction) -> Result<i64, Fault> {
    let sql = "SELECT max(version) FROM usher_account_versions";
    let found = tx.rows(sql, Vec::new()).await?;
    Ok(found.first().and_then(|row| row.integer(0)).unwrap_or(0))
}

async fn note(tx: &mut dyn Transaction, version: i64, now: i64) -> Result<(), Fault> {
    let sql = "INSERT INTO usher_account_versions (version, applied_at) VALUES ($1, $2)";
    tx.change(sql, vec![Cell::from(version), now.into()])
        .await?;
    tracing::info!(version, "the accounts' tables were brought up to date");
    Ok(())
}

/// The version that this usher makes.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Refuses tables of another time: an old usher would write rows that a new one cannot read.
pub(super) fn check(version: i64) -> Result<(), Unfit> {
    let newest = newest();
    let told = |why| Err(Unfit::Version(why));
    match version {
        0 => told("it has no tables yet: `usher serve` makes them when it starts".to_owned()),
        _ if version < newest => told(format!(
            "its tables are of version {version}, and this usher needs {newest}: `usher serve` brings \
             them up to date when it starts"
        )),
        _ if version > newest => told(format!(
            "its tables are of version {version}, and this usher knows {newest}: run a newer usher, \
             or restore a backup of before"
        )),
        _ => Ok(()),
    }
}
