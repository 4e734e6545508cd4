//! A directory in a file, behind one thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ToSql;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::sql::{self, Dialect, Found, Statements};
use super::{DirectoryError, Inserted, Rows};
use crate::users::StartError;
use crate::users::caller::Who;
use crate::users::settings::Table;

/// Questions that may wait for the thread; beyond it the directory is busy.
const QUEUE: usize = 256;

/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);

/// How long an answer may take, queue included.
const PATIENCE: Duration = Duration::from_secs(3);

type Reply<T> = oneshot::Sender<Result<T, DirectoryError>>;

/// rusqlite blocks and is not `Sync`, so one thread owns the connection.
#[derive(Debug)]
pub(in crate::users) struct Sqlite {
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
enum Question {
    Find(Arc<Who>, Reply<Rows>),
    Insert(Arc<Who>, Reply<Inserted>),
    Columns(Reply<Vec<String>>),
}

impl Sqlite {
    pub(super) async fn open(
        path: PathBuf,
        table: &Table,
        own_table: bool,
    ) -> Result<Self, StartError> {
        let statements = Statements::new(table, Dialect::Sqlite);
        let name = table.name.clone();
        let (questions, inbox) = mpsc::channel(QUEUE);
        let (opened, outcome) = oneshot::channel();
        let work = move || match connect(&path, &statements, own_table) {
            Ok(connection) => {
                let _ = opened.send(Ok(()));
                serve(connection, &statements, &name, inbox);
            }
            Err(error) => {
                let why = format!("the directory {}: {error}", path.display());
                let _ = opened.send(Err(StartError(why)));
            }
        };
        std::thread::Builder::new()
            .name("usher-sqlite".to_owned())
            .spawn(work)
            .map_err(|error| StartError(format!("no thread for the directory: {error}")))?;
        outcome
            .await
            .unwrap_or_else(|_| Err(StartError("the directory's thread ended".to_owned())))?;
        Ok(Self { questions })
    }

    pub(super) async fn find(&self, who: &Arc<Who>) -> Result<Rows, DirectoryError> {
        self.ask(|reply| Question::Find(who.clone(), reply)).await
    }

    pub(super) async fn insert(&self, who: &Arc<Who>) -> Result<Inserted, DirectoryError> {
        self.ask(|reply| Question::Insert(who.clone(), reply)).await
    }

    pub(super) async fn columns(&self) -> Result<Vec<String>, DirectoryError> {
        self.ask(Question::Columns).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(Reply<T>) -> Question,
    ) -> Result<T, DirectoryError> {
        let (reply, answer) = oneshot::channel();
        self.questions
            .try_send(question(reply))
            .map_err(|_| unavailable("too many questions wait"))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("its thread ended")),
            Err(_) => Err(unavailable("no answer in time")),
        }
    }
}

fn connect(
    path: &std::path::Path,
    statements: &Statements,
    own_table: bool,
) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Otherwise a quoted name that is no column would quietly be a text, and match nobody.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    if own_table {
        connection.execute_batch(&statements.create)?;
    }
    Ok(connection)
}

/// Answers until nobody can ask any more.
fn serve(
    mut connection: Connection,
    statements: &Statements,
    table: &str,
    mut inbox: mpsc::Receiver<Question>,
) {
    while let Some(question) = inbox.blocking_recv() {
        // Whoever asked may have left; a dropped receiver is no reason to work.
        match question {
            Question::Find(who, reply) if !reply.is_closed() => {
                let _ = reply.send(find(&connection, statements, &who).map_err(explain));
            }
            Question::Insert(who, reply) if !reply.is_closed() => {
                let _ = reply.send(insert(&mut connection, statements, &who).map_err(explain));
            }
            Question::Columns(reply) => {
                let _ = reply.send(columns(&connection, table).map_err(explain));
            }
            Question::Find(..) | Question::Insert(..) => {}
        }
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

fn explain(error: rusqlite::Error) -> DirectoryError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            DirectoryError::Refused(error.to_string())
        }
        _ => DirectoryError::Unavailable(error.to_string()),
    }
}

fn unavailable(why: &str) -> DirectoryError {
    DirectoryError::Unavailable(why.to_owned())
}
