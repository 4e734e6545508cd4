//! SQLite, behind one thread of its own.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::Failure;

/// What stands for no file at all.
pub const IN_MEMORY: &str = ":memory:";

/// Questions that may wait for the thread; beyond it the database is busy.
const QUEUE: usize = 256;

/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);

/// How long an answer may take, queue included.
const PATIENCE: Duration = Duration::from_secs(3);

/// What opening may do to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Makes the file where it is missing, for its owner alone.
    Make,
    /// Leaves everything as it is: the file has to be there.
    Existing,
}

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// rusqlite blocks and is not `Sync`, so one thread owns the connection.
#[derive(Debug)]
pub struct Sqlite {
    questions: mpsc::Sender<Question>,
}

impl Sqlite {
    /// Opens the file, and lets `prepare` look at it first.
    ///
    /// # Errors
    /// Says what is wrong, after the file's name.
    pub async fn open(
        path: PathBuf,
        opening: Opening,
        thread: &str,
        prepare: impl FnOnce(&mut Connection) -> Result<(), String> + Send + 'static,
    ) -> Result<Self, String> {
        let (questions, inbox) = mpsc::channel::<Question>(QUEUE);
        let (opened, outcome) = oneshot::channel();
        let work = move || {
            let made = connect(&path, opening).and_then(|mut connection| {
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
            .map_err(|error| match error {
                TrySendError::Full(_) => Failure::unavailable("too many questions wait"),
                TrySendError::Closed(_) => Failure::unavailable("its thread ended"),
            })?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Failure::unavailable("it has not answered")),
            Err(_) => Err(Failure::unavailable("no answer in time")),
        }
    }
}

fn connect(path: &Path, opening: Opening) -> Result<Connection, String> {
    if opening == Opening::Make && path != Path::new(IN_MEMORY) {
        make(path).map_err(|error| error.to_string())?;
    }
    connected(path, opening).map_err(|error| error.to_string())
}

/// Makes the file where it is missing; what SQLite puts beside it gets the same mode.
fn make(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn connected(path: &Path, opening: Opening) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    if opening == Opening::Make {
        connection.pragma_update(None, "journal_mode", "WAL")?;
    }
    // Otherwise a quoted name that is no column would quietly be a text, and match nobody.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    Ok(connection)
}

/// Answers until nobody can ask any more. A panic costs its own question an answer, and rolls back what
/// it had begun.
fn serve(mut connection: Connection, mut inbox: mpsc::Receiver<Question>) {
    while let Some(question) = inbox.blocking_recv() {
        let _ = catch_unwind(AssertUnwindSafe(|| question(&mut connection)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_its_own_question_alone() {
        let opened = Sqlite::open(IN_MEMORY.into(), Opening::Make, "a test", |_| Ok(()));
        let sqlite = opened.await.unwrap();
        let count = |connection: &mut Connection| {
            let count = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
            count.unwrap_or(-1)
        };
        let make = |connection: &mut Connection| connection.execute("CREATE TABLE t (x)", []);
        sqlite.ask(make).await.unwrap().unwrap();
        for _ in 0..2 {
            let halfway = |connection: &mut Connection| {
                let transaction = connection.transaction().unwrap();
                transaction.execute("INSERT INTO t VALUES (1)", []).unwrap();
                panic!("ouch");
            };
            let Err(Failure::Unavailable(why)) = sqlite.ask::<()>(halfway).await else {
                panic!("an answer");
            };
            assert_eq!(why, "it has not answered");
            assert_eq!(sqlite.ask(count).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_made_unless_it_is_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let open = |opening| Sqlite::open(path.clone(), opening, "a test", |_| Ok(()));
        let why = open(Opening::Existing).await.unwrap_err();
        assert!(why.contains("unable to open database file"), "{why}");
        assert!(!path.exists());
        drop(open(Opening::Make).await.unwrap());
        open(Opening::Existing).await.unwrap();
    }
}
