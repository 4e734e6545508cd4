//! A transaction, as both databases have it.

use std::pin::Pin;

use crate::database::Failure;

/// What asking comes to, some time.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Statements in one transaction. They are written for PostgreSQL, with `$1`, and in the words
/// that SQLite has too.
pub(super) trait Transaction: Send {
    /// Runs a statement; the rows that it gives.
    fn rows<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, Vec<Row>>;

    /// Runs a statement; how many rows it changed.
    fn change<'a>(&'a mut self, sql: &'static str, values: Vec<Cell>) -> Answer<'a, u64>;

    /// Runs statements without values, one after the other.
    fn batch<'a>(&'a mut self, sql: &'static str) -> Answer<'a, ()>;

    /// Whether there is a table of this name.
    fn has_table<'a>(&'a mut self, name: &'static str) -> Answer<'a, bool>;

    /// Keeps others from doing the same at the same time, until the transaction ends.
    fn lock(&mut self) -> Answer<'_, ()>;
}

/// Why a transaction cannot go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another one was faster: run again, it sees what that one did.
    Conflict,
    /// The database cannot.
    Failed(Failure),
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Integer(i64),
}

/// A row.
#[derive(Debug)]
pub(super) struct Row(pub(super) Vec<Cell>);

impl Row {
    /// The text in a column, if there is any.
    pub(super) fn text(&mut self, column: usize) -> Option<String> {
        match std::mem::replace(self.0.get_mut(column)?, Cell::Null) {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number in a column, if there is one.
    pub(super) fn integer(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Cell::Integer(number)) => Some(*number),
            _ => None,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
