//! Accounts in a file.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::transaction::{Answer, Cell, Fault, Row, Transaction};
use crate::database::{Failure, sqlite};

/// Before the file is used: deleting a user takes what hangs on it along. A transaction that is
/// committed survives the end of the process, and the last ones perhaps not a power cut.
pub(super) const SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL;";

/// Statements that are kept compiled: all that there are.
pub(super) const STATEMENTS: usize = 64;

/// A connection that is within a transaction.
struct Within<'a>(&'a mut Connection);

/// Reads, and takes no lock: the file may be one that cannot be written.
pub(super) fn look<T>(
    connection: &mut Connection,
    work: impl for<'a> FnOnce(&'a mut dyn Transaction) -> Answer<'a, T>,
) -> Result<T, Failure> {
    at_once(work(&mut Within(connection))).map_err(failure)
}

/// Runs a transaction. It takes the file's lock at once, so that no two of them meet.
pub(super) fn transact<T>(
    connection: &mut Connection,
    work: impl for<'a> Fn(&'a mut dyn Transaction) -> Answer<'a, T>,
) -> Result<T, Failure> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let outcome = at_once(work(&mut Within(connection)));
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = execute(connection, end);
    if ended.is_err() && !connection.is_autocommit() {
        // Whoever comes next must not find half of it; if even this fails, so does their BEGIN.
        let _ = execute(connection, "ROLLBACK");
    }
    match outcome {
        Ok(answer) => ended.map(|()| answer),
        Err(fault) => Err(failure(fault)),
    }
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Conflict => Failure::Unavailable("a row changed under a lock".to_owned()),
        Fault::Failed(failure) => failure,
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Failure> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(|_| ())
        .map_err(|error| sqlite::explain(&error))
}

/// SQLite answers within the call, so nothing is ever waited for.
fn at_once<T>(work: Answer<'_, T>) -> Result<T, Fault> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(Fault::Failed(Failure::Unavailable("it waits".to_owned()))),
    }
}

impl Within<'_> {
    fn read(&self, sql: &str, values: &[Cell]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(&dialect(sql))?;
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter(values), |row| {
            let cells: rusqlite::Result<_> = (0..columns)
                .map(|column| Ok(Cell::from(row.get_ref(column)?)))
                .collect();
            cells.map(Row)
        })?;
        rows.collect()
    }

    fn write(&self, sql: &str, values: &[Cell]) -> rusqlite::Result<u64> {
        let mut statement = self.0.prepare_cached(&dialect(sql))?;
        statement
            .execute(params_from_iter(values))
            .map(|count| count as u64)
    }
}

impl Transaction for Within<'_> {
    fn rows<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, Vec<Row>> {
        ready(self.read(sql, &values))
    }

    fn change<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, u64> {
        ready(self.write(sql, &values))
    }

    fn batch<'a>(&'a mut self, sql: &'static str) -> Answer<'a, ()> {
        ready(self.0.execute_batch(sql))
    }

    fn has_table<'a>(&'a mut self, name: &'static str) -> Answer<'a, bool> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1";
        ready(self.read(sql, &[name.into()]).map(|rows| !rows.is_empty()))
    }

    fn lock(&mut self) -> Answer<'_, ()> {
        // The transaction has the whole file since it began.
        ready(Ok(()))
    }
}

fn ready<'a, T: Send + 'a>(outcome: rusqlite::Result<T>) -> Answer<'a, T> {
    let outcome = outcome.map_err(|error| Fault::Failed(sqlite::explain(&error)));
    Box::pin(std::future::ready(outcome))
}

/// SQLite numbers its values with question marks.
fn dialect(sql: &str) -> String {
    sql.replace('$', "?")
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
        })
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Self::Null,
        }
    }
}
