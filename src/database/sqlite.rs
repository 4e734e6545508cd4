//! SQLite, behind one thread of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::Failure;

/// Questions that may wait for the thread; beyond it the database is busy.
const QUEUE: usize = 256;

/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);

/// How long an answer may take, queue included.
const PATIENCE: Duration = Duration::from_secs(3);

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// rusqlite blocks and is not `Sync`, so one thread owns the connection.
#[derive(Debug)]
pub struct Sqlite {
    questions: mpsc::Sender<Question>,
}

impl Sqlite {
    /// Opens the file, made when it is missing, and lets `prepare` look at it first.
    ///
    /// # Errors
    /// Says what is wrong, after the file's name.
    pub async fn open(
        path: PathBuf,
        thread: &str,
        prepare: impl FnOnce(&mut Connection) -> Result<(), String> + Send + 'static,
    ) -> Result<Self, String> {
        let (questions, inbox) = mpsc::channel::<Question>(QUEUE);
        let (opened, outcome) = oneshot::channel();
        let work = move || {
            let made = connect(&path).map_err(|error| error.to_string());
            let made = made.and_then(|mut connection| {
                prepare(&mut connection)?;
                Ok(connection)
            });
            match made {
                Ok(connection) => {
                    let _ = opened.send(Ok(()));
                    serve(connection, inbox);
                }
                Err(why) => {
                    let _ = opened.send(Err(format!("{}: {why}", path.display())));
                }
            }
        };
        std::thread::Builder::new()
            .name(thread.to_owned())
            .spawn(work)
            .map_err(|error| format!("no thread for it: {error}"))?;
        outcome
            .await
            .unwrap_or_else(|_| Err("its thread ended".to_owned()))?;
        Ok(Self { questions })
    }

    /// Has the thread do some work, and waits for what comes of it.
    ///
    /// # Errors
    /// `Unavailable` when too many wait, or the answer does not come in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            // Whoever asked may have left; a dropped receiver is no reason to work.
            if !reply.is_closed() {
                let _ = reply.send(work(connection));
            }
        });
        self.questions
            .try_send(question)
            .map_err(|_| Failure::unavailable("too many questions wait"))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Failure::unavailable("its thread ended")),
            Err(_) => Err(Failure::unavailable("no answer in time")),
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Otherwise a quoted name that is no column would quietly be a text, and match nobody.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    Ok(connection)
}

/// Answers until nobody can ask any more.
fn serve(mut connection: Connection, mut inbox: mpsc::Receiver<Question>) {
    while let Some(question) = inbox.blocking_recv() {
        question(&mut connection);
    }
}

/// Only what is wrong with these values is theirs; everything else means that the database
/// cannot be asked.
pub fn explain(error: &rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            Failure::Refused(error.to_string())
        }
        _ => Failure::Unavailable(error.to_string()),
    }
}
