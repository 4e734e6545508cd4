//! Refresh tokens: kept as hashes, replaced when they are used, and never used twice.

use super::account::{self, Account};
use super::transaction::{Answer, Cell, Fault, Row, Transaction};

/// Somebody wants a new access token.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The project that the token was made for.
    pub project: String,
    /// The user that it was made for.
    pub user: String,
    /// The hash of its `jti`.
    pub hash: String,
    /// What it is replaced by, where tokens are.
    pub rotation: Option<Successor>,
    /// For how long, in milliseconds, a token that was just replaced leads to its successor.
    pub grace: i64,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// The token after the one that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The hash of its `jti`.
    pub hash: String,
    /// When it was made, in milliseconds since 1970.
    pub issued_at: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: i64,
}

/// What a refresh token is good for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is moved once")]
pub enum Renewed {
    /// The user is gone.
    NoUser,
    /// Nobody has such a token: it was signed out, swept, or never kept.
    Unknown,
    /// It was replaced a while ago, so somebody has a copy: all of its family are gone.
    Reused,
    /// It is good; and it was replaced, where that is wanted.
    Good(Account, Option<Successor>),
}

const FIND: &str = "SELECT family, successor, expires_at, replaced_at FROM usher_refresh_tokens \
    WHERE hash = $1 AND user_id = $2";

const REPLACE: &str = "UPDATE usher_refresh_tokens SET replaced_at = $2, successor = $3 \
    WHERE hash = $1 AND replaced_at IS NULL";

const SUCCEED: &str = "INSERT INTO usher_refresh_tokens \
    (hash, family, user_id, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)";

const NEXT: &str = "SELECT issued_at, expires_at FROM usher_refresh_tokens \
    WHERE hash = $1 AND replaced_at IS NULL";

const END_FAMILY: &str = "DELETE FROM usher_refresh_tokens WHERE family = $1";

const FAMILY: &str = "SELECT family FROM usher_refresh_tokens WHERE hash = $1";

const SWEEP: &str = "DELETE FROM usher_refresh_tokens WHERE hash IN \
    (SELECT hash FROM usher_refresh_tokens WHERE expires_at <= $1 LIMIT $2)";

/// A token, as it is kept.
struct Kept {
    family: String,
    successor: Option<String>,
    expires_at: i64,
    replaced_at: Option<i64>,
}

/// Looks at a token, and replaces it where that is wanted.
pub(super) async fn renew(tx: &mut dyn Transaction, renewal: &Renewal) -> Result<Renewed, Fault> {
    let Renewal {
        project, user, now, ..
    } = renewal;
    let Some(account) = account::find(tx, project, user, *now).await? else {
        return Ok(Renewed::NoUser);
    };
    let values = vec![renewal.hash.as_str().into(), user.as_str().into()];
    let rows = tx.rows(FIND, values).await?;
    let kept = rows.into_iter().next().and_then(kept);
    let Some(kept) = kept.filter(|kept| kept.expires_at > *now) else {
        return Ok(Renewed::Unknown);
    };
    match (kept.replaced_at, &renewal.rotation) {
        (None, None) => Ok(Renewed::Good(account, None)),
        (None, Some(successor)) => {
            replace(tx, renewal, &kept, successor).await?;
            Ok(Renewed::Good(account, Some(successor.clone())))
        }
        (Some(replaced_at), _) => match again(tx, renewal, &kept, replaced_at).await? {
            Some(successor) => Ok(Renewed::Good(account, Some(successor))),
            None => {
                end_family(tx, &kept.family).await?;
                Ok(Renewed::Reused)
            }
        },
    }
}

async fn replace(
    tx: &mut dyn Transaction,
    renewal: &Renewal,
    kept: &Kept,
    successor: &Successor,
) -> Result<(), Fault> {
    let hash: Cell = renewal.hash.as_str().into();
    let values = vec![hash, renewal.now.into(), successor.hash.as_str().into()];
    if tx.change(REPLACE, values).await? != 1 {
        // Another request has just replaced it.
        return Err(Fault::Conflict);
    }
    let values = vec![
        successor.hash.as_str().into(),
        kept.family.as_str().into(),
        renewal.user.as_str().into(),
        successor.issued_at.into(),
        successor.expires_at.into(),
    ];
    tx.change(SUCCEED, values).await.map(|_| ())
}

/// A client may ask twice, or lose an answer: for a moment the same token leads to the same
/// successor, unless that one was used already.
async fn again(
    tx: &mut dyn Transaction,
    renewal: &Renewal,
    kept: &Kept,
    replaced_at: i64,
) -> Result<Option<Successor>, Fault> {
    let age = renewal.now.saturating_sub(replaced_at);
    let (true, Some(hash)) = (age < renewal.grace, &kept.successor) else {
        return Ok(None);
    };
    let rows = tx.rows(NEXT, vec![hash.as_str().into()]).await?;
    Ok(rows.first().and_then(|row| {
        Some(Successor {
            hash: hash.clone(),
            issued_at: row.integer(0)?,
            expires_at: row.integer(1)?,
        })
    }))
}

/// Forgets a token and its family; one that is not known is forgotten already.
pub(super) async fn sign_out(tx: &mut dyn Transaction, hash: &str) -> Result<(), Fault> {
    let rows = tx.rows(FAMILY, vec![hash.into()]).await?;
    match rows.into_iter().next().and_then(|mut row| row.text(0)) {
        Some(family) => end_family(tx, &family).await,
        None => Ok(()),
    }
}

/// Deletes a family until nothing of it is left: a renewal that ends while this waits for its row
/// has added a token which the statement that waited does not see (PostgreSQL, read committed).
async fn end_family(tx: &mut dyn Transaction, family: &str) -> Result<(), Fault> {
    while tx.change(END_FAMILY, vec![family.into()]).await? > 0 {}
    Ok(())
}

/// Deletes a batch of expired tokens.
pub(super) fn sweep(tx: &mut dyn Transaction, now: i64, batch: i64) -> Answer<'_, u64> {
    tx.change(SWEEP, vec![now.into(), batch.into()])
}

fn kept(mut row: Row) -> Option<Kept> {
    Some(Kept {
        family: row.text(0)?,
        successor: row.text(1),
        expires_at: row.integer(2)?,
        replaced_at: row.integer(3),
    })
}
