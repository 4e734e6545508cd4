//! Ways to databases: a pool of connections to PostgreSQL, SQLite behind one thread, and Redis.
//!
//! Whoever asks brings the statements; here is what is the same for all of them: bounds on how
//! many and how long, connections that are never given back half-used, and errors told without
//! secrets.

pub mod postgres;
pub mod redis;
pub mod sqlite;
pub mod streams;

pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// Why a database gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// It cannot be asked now; the text is for the log and holds no secret.
    Unavailable(String),
    /// These values have no place in it: a number in the column's type, say.
    Refused(String),
}

impl Failure {
    fn unavailable(why: &str) -> Self {
        Self::Unavailable(why.to_owned())
    }
}
