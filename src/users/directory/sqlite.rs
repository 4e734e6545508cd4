//! A directory in a file.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::ToSql;

use super::sql::{self, Dialect, Found, Statements};
use super::{DirectoryError, Inserted, Rows};
use crate::database;
use crate::database::sqlite::{self, Opening};
use crate::users::StartError;
use crate::users::caller::Who;
use crate::users::settings::Table;

/// A table in a database.
#[derive(Debug)]
pub(in crate::users) struct Sqlite {
    database: database::Sqlite,
    statements: Arc<Statements>,
    table: String,
    /// Whether the table is usher's own.
    own_table: bool,
}

impl Sqlite {
    pub(super) async fn open(
        path: PathBuf,
        table: &Table,
        own_table: bool,
        opening: Opening,
    ) -> Result<Self, StartError> {
        let statements = Arc::new(Statements::new(table, Dialect::Sqlite));
        let made = statements.clone();
        let makes = own_table && opening == Opening::Make;
        let prepare = move |connection: &mut Connection| match makes {
            true => connection
                .execute_batch(&made.create)
                .map_err(|error| error.to_string()),
            false => Ok(()),
        };
        let database = database::Sqlite::open(path, opening, "usher-sqlite", prepare).await;
        Ok(Self {
            database: database.map_err(|why| StartError(format!("the directory {why}")))?,
            statements,
            table: table.name.clone(),
            own_table,
        })
    }

    pub(super) async fn find(&self, who: &Arc<Who>) -> Result<Rows, DirectoryError> {
        let (statements, who) = (self.statements.clone(), who.clone());
        self.ask(move |connection| find(connection, &statements, &who))
            .await
    }

    pub(super) async fn insert(&self, who: &Arc<Who>) -> Result<Inserted, DirectoryError> {
        let (statements, who) = (self.statements.clone(), who.clone());
        self.ask(move |connection| insert(connection, &statements, &who))
            .await
    }

    /// The table's columns; `None` where there is no table yet, and usher will make it.
    pub(super) async fn columns(&self) -> Result<Option<Vec<String>>, DirectoryError> {
        let table = self.table.clone();
        let asked = self.ask(move |connection| columns(connection, &table));
        let columns = asked.await?;
        Ok(Some(columns).filter(|columns| !self.own_table || !columns.is_empty()))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let answer = self.database.ask(work).await?;
        answer.map_err(|error| sqlite::explain(&error))
    }
}

fn find(connection: &Connection, statements: &Statements, who: &Who) -> rusqlite::Result<Rows> {
    let mut values: Vec<&dyn ToSql> = vec![&who.id];
    if statements.email {
        values.push(&who.email);
    }
    if statements.issuer {
        values.push(&who.issuer);
    }
    let mut statement = connection.prepare_cached(&statements.find)?;
    let found = statement.query_map(values.as_slice(), |row| {
        let columns: rusqlite::Result<_> = (3..3 + statements.extra)
            .map(|place| row.get(place))
            .collect();
        Ok(Found {
            id: row.get(0)?,
            email: row.get(1)?,
            has_id: row.get::<_, Option<bool>>(2)?.unwrap_or_default(),
            columns: columns?,
        })
    })?;
    Ok(sql::sort(found.collect::<rusqlite::Result<Vec<_>>>()?))
}

fn insert(
    connection: &mut Connection,
    statements: &Statements,
    who: &Who,
) -> rusqlite::Result<Inserted> {
    let mut values: Vec<&dyn ToSql> = vec![&who.id, &who.email];
    if statements.name {
        values.push(&who.name);
    }
    if statements.issuer {
        values.push(&who.issuer);
    }
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let changed = transaction
        .prepare_cached(&statements.insert)?
        .execute(values.as_slice())?;
    let rows = find(&transaction, statements, who)?;
    transaction.commit()?;
    Ok(Inserted {
        created: changed == 1,
        rows,
    })
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect()
}
