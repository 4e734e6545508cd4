//! Whose account is it? Found by the customer's id, else perhaps by e-mail, else made; all in
//! one transaction, so that two first logins of one user end with one row and two successes.

use super::account::{self, Account};
use super::profile::Profile;
use super::transaction::{Cell, Fault, Row, Transaction};

/// Somebody logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The project whose server vouches for them.
    pub project: String,
    /// Their id there.
    pub foreign_id: String,
    /// What their server says about them.
    pub profile: Profile,
    /// Whether a row without an id of the customer's is found by e-mail.
    pub link_by_email: bool,
    /// Whether one with another id is, too.
    pub relink: bool,
    /// The id that a new row gets: unique in all the world.
    pub new_id: String,
    /// What is kept of their refresh token.
    pub token: NewToken,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What is kept of a refresh token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The hash of its `jti`.
    pub hash: String,
    /// Milliseconds since 1970.
    pub expires_at: i64,
}

/// How a login ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Entrance {
    /// In, with an account that was there.
    Known(Account),
    /// In, with an account that was found by e-mail.
    Linked(Account),
    /// In, with a new account.
    Created(Account),
    /// Somebody else of the project has this value of this field.
    Taken(&'static str),
    /// The account was written, and was not there when it was read.
    Vanished,
}

const BY_FOREIGN_ID: &str = "SELECT id FROM usher_users WHERE project = $1 AND foreign_id = $2";
const BY_EMAIL: &str = "SELECT id, foreign_id FROM usher_users WHERE project = $1 AND email = $2";
const BY_USERNAME: &str =
    "SELECT id, foreign_id FROM usher_users WHERE project = $1 AND username = $2";

/// Binds: id, project, the customer's id, now, then the profile's values.
const INSERT: &str = "INSERT INTO usher_users (id, project, foreign_id, role, reputation, \
    is_verified, is_active, last_active, created_at, updated_at, \
    email, name, username, avatar, bio, location, birthdate, metadata, secure_metadata) \
    VALUES ($1, $2, $3, 'visitor', 0, 0, 1, $4, $4, $4, \
    $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";

/// Binds: id, the customer's id, the one that was there, now, whether anything was said, then
/// for each field whether it was said, and its value. A row that another one has claimed since
/// it was read is left alone.
const UPDATE: &str = "UPDATE usher_users SET foreign_id = $2, last_active = $4, \
    updated_at = CASE WHEN $5 = 1 THEN $4 ELSE updated_at END, \
    email = CASE WHEN $6 = 1 THEN $7 ELSE email END, \
    name = CASE WHEN $8 = 1 THEN $9 ELSE name END, \
    username = CASE WHEN $10 = 1 THEN $11 ELSE username END, \
    avatar = CASE WHEN $12 = 1 THEN $13 ELSE avatar END, \
    bio = CASE WHEN $14 = 1 THEN $15 ELSE bio END, \
    location = CASE WHEN $16 = 1 THEN $17 ELSE location END, \
    birthdate = CASE WHEN $18 = 1 THEN $19 ELSE birthdate END, \
    metadata = CASE WHEN $20 = 1 THEN $21 ELSE metadata END, \
    secure_metadata = CASE WHEN $22 = 1 THEN $23 ELSE secure_metadata END \
    WHERE id = $1 AND COALESCE(foreign_id, '') = $3";

const INSERT_TOKEN: &str = "INSERT INTO usher_refresh_tokens \
    (hash, family, user_id, issued_at, expires_at) VALUES ($1, $1, $2, $3, $4)";

/// A row that belongs to whoever logs in.
struct Found {
    id: String,
    /// The customer's id that it has; empty: none.
    claimed_by: String,
}

/// Runs the whole login.
pub(super) async fn login(tx: &mut dyn Transaction, login: &Login) -> Result<Entrance, Fault> {
    let found = find(tx, login).await?;
    if let Some(field) = taken(tx, login, found.as_ref()).await? {
        return Ok(Entrance::Taken(field));
    }
    let id = match &found {
        Some(found) => update(tx, login, found).await?,
        None => insert(tx, login).await?,
    };
    let Some(account) = account::find(tx, &login.project, id, login.now).await? else {
        return Ok(Entrance::Vanished);
    };
    let token = &login.token;
    let values = vec![
        token.hash.as_str().into(),
        id.into(),
        login.now.into(),
        token.expires_at.into(),
    ];
    tx.change(INSERT_TOKEN, values).await?;
    Ok(match found {
        None => Entrance::Created(account),
        Some(found) if found.claimed_by != login.foreign_id => Entrance::Linked(account),
        Some(_) => Entrance::Known(account),
    })
}

async fn find(tx: &mut dyn Transaction, login: &Login) -> Result<Option<Found>, Fault> {
    let Login {
        project,
        foreign_id,
        ..
    } = login;
    let values = vec![project.as_str().into(), foreign_id.as_str().into()];
    if let Some(id) = first(tx.rows(BY_FOREIGN_ID, values).await?) {
        let claimed_by = foreign_id.clone();
        return Ok(Some(Found { id, claimed_by }));
    }
    let (true, Some(email)) = (login.link_by_email, login.profile.email()) else {
        return Ok(None);
    };
    let values = vec![project.as_str().into(), email.into()];
    let found = holder(tx.rows(BY_EMAIL, values).await?);
    Ok(found.filter(|found| is_linkable(login, found)))
}

/// Whether whoever logs in may have this account, which was found by e-mail.
fn is_linkable(login: &Login, found: &Found) -> bool {
    login.link_by_email && (login.relink || found.claimed_by.is_empty())
}

/// The field whose value somebody else has. Each statement sees what others have committed by
/// then (PostgreSQL, read committed): an account that is ours, or could be, and was not there a
/// moment ago, is no stranger's.
async fn taken(
    tx: &mut dyn Transaction,
    login: &Login,
    found: Option<&Found>,
) -> Result<Option<&'static str>, Fault> {
    for (field, value, sql) in [
        ("email", login.profile.email(), BY_EMAIL),
        ("username", login.profile.username(), BY_USERNAME),
    ] {
        let Some(value) = value else {
            continue;
        };
        let values = vec![login.project.as_str().into(), value.into()];
        let Some(holder) = holder(tx.rows(sql, values).await?) else {
            continue;
        };
        match found {
            Some(found) if found.id == holder.id => {}
            None if holder.claimed_by == login.foreign_id
                || field == "email" && is_linkable(login, &holder) =>
            {
                return Err(Fault::Conflict);
            }
            _ => return Ok(Some(field)),
        }
    }
    Ok(None)
}

async fn insert<'l>(tx: &mut dyn Transaction, login: &'l Login) -> Result<&'l str, Fault> {
    let mut values: Vec<Cell> = vec![
        login.new_id.as_str().into(),
        login.project.as_str().into(),
        login.foreign_id.as_str().into(),
        login.now.into(),
    ];
    let empty = || Cell::from("{}");
    for (place, field) in login.profile.fields.iter().enumerate() {
        // The last two are JSON, and are never without a value.
        let usual = if place < 7 { Cell::Null } else { empty() };
        values.push(field.clone().unwrap_or(usual));
    }
    match tx.change(INSERT, values).await? {
        1 => Ok(&login.new_id),
        // Somebody has just made a row with this id, e-mail or username.
        _ => Err(Fault::Conflict),
    }
}

async fn update<'f>(
    tx: &mut dyn Transaction,
    login: &Login,
    found: &'f Found,
) -> Result<&'f str, Fault> {
    let mut values: Vec<Cell> = vec![
        found.id.as_str().into(),
        login.foreign_id.as_str().into(),
        found.claimed_by.as_str().into(),
        login.now.into(),
        i64::from(!login.profile.is_empty()).into(),
    ];
    for field in &login.profile.fields {
        values.push(i64::from(field.is_some()).into());
        values.push(field.clone().unwrap_or(Cell::Null));
    }
    match tx.change(UPDATE, values).await? {
        1 => Ok(&found.id),
        _ => Err(Fault::Conflict),
    }
}

fn holder(rows: Vec<Row>) -> Option<Found> {
    let mut row = rows.into_iter().next()?;
    let claimed_by = row.text(1).unwrap_or_default();
    let id = row.text(0)?;
    Some(Found { id, claimed_by })
}

fn first(rows: Vec<Row>) -> Option<String> {
    rows.into_iter().next().and_then(|mut row| row.text(0))
}
