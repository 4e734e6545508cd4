//! One of the two databases, brought up to date before its first use.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::sync::OnceCell;

use super::schema::{self, Unfit};
use super::transaction::{Answer, Transaction};
use super::{postgres, sqlite};
use crate::clock::Clock;
use crate::config::accounts::Store as Settings;
use crate::database::sqlite::Opening;
use crate::database::{self, Failure};

/// Where accounts are kept.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    opening: Opening,
    clock: Clock,
    /// Set once the tables are as they should be.
    prepared: OnceCell<()>,
}

#[derive(Debug)]
enum Database {
    Sqlite(database::Sqlite),
    Postgres(database::Postgres),
}

impl Store {
    /// Opens a file, or gets ready to ask a server.
    pub(super) async fn open(
        settings: &Settings,
        opening: Opening,
        clock: &Clock,
    ) -> Result<Self, String> {
        let database = match settings {
            Settings::Sqlite(path) => open_file(path, opening).await.map(Database::Sqlite),
            Settings::Postgres(settings) => {
                database::Postgres::new(settings).map(Database::Postgres)
            }
        };
        Ok(Self {
            database: database?,
            opening,
            clock: clock.clone(),
            prepared: OnceCell::new(),
        })
    }

    /// Makes sure that the tables are as they should be.
    pub(super) async fn prepare(&self) -> Result<(), Unfit> {
        let prepared = self.prepared.get_or_try_init(|| async {
            let version = match self.opening {
                Opening::Make => {
                    let now = self.clock.now_millis();
                    self.transact(move |tx| schema::migrate(tx, now)).await
                }
                Opening::Existing => self.version().await,
            };
            schema::check(version.map_err(Unfit::Failed)?)
        });
        prepared.await.copied()
    }

    /// Which version the tables have; 0 where there are none. Nothing is changed.
    pub(super) async fn version(&self) -> Result<i64, Failure> {
        match &self.database {
            Database::Sqlite(database) => {
                let asked = database.ask(|connection| sqlite::look(connection, schema::look));
                asked.await?
            }
            Database::Postgres(database) => postgres::transact(database, schema::look).await,
        }
    }

    /// Runs a transaction; what it does may be done several times until one time counts.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> Fn(&'a mut dyn Transaction) -> Answer<'a, T> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        match self.prepare().await {
            Ok(()) => self.transact(work).await,
            Err(Unfit::Version(why)) => Err(Failure::Unavailable(why)),
            Err(Unfit::Failed(failure)) => Err(failure),
        }
    }

    async fn transact<T: Send + 'static>(
        &self,
        work: impl for<'a> Fn(&'a mut dyn Transaction) -> Answer<'a, T> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        match &self.database {
            Database::Sqlite(database) => {
                let asked = database.ask(move |connection| sqlite::transact(connection, work));
                asked.await?
            }
            Database::Postgres(database) => postgres::transact(database, work).await,
        }
    }
}

async fn open_file(path: &Path, opening: Opening) -> Result<database::Sqlite, String> {
    match path.metadata() {
        Ok(found) if opening == Opening::Make && found.mode() & 0o077 != 0 => {
            let (file, mode) = (path.display(), format!("{:04o}", found.mode() & 0o7777));
            tracing::warn!(%file, mode, "others may open the file of accounts: chmod 600");
        }
        Err(error) if opening == Opening::Existing && error.kind() == ErrorKind::NotFound => {
            let file = path.display();
            return Err(format!(
                "{file} is not there: `usher serve` makes it when it starts"
            ));
        }
        _ => {}
    }
    let prepare = |connection: &mut rusqlite::Connection| {
        connection.set_prepared_statement_cache_capacity(sqlite::STATEMENTS);
        let set = connection.execute_batch(sqlite::SETTINGS);
        set.map_err(|error| error.to_string())
    };
    database::Sqlite::open(path.to_owned(), opening, "usher-accounts", prepare).await
}
