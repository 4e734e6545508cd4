//! External users: one platform's users in another's project.
//!
//! What is decided about them is written once (`login`, `renewal`, `operator`), over a
//! `transaction::Transaction` that both databases speak; `store` runs it in either of them.
//! Tokens are none of its business: it keeps the hashes that it is given.

mod account;
mod date;
mod login;
pub mod metrics;
mod operator;
mod postgres;
mod profile;
mod renewal;
mod schema;
mod sqlite;
mod standing;
mod store;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::metrics::Metrics;
use self::standing::Standings;
use self::store::Store;
use crate::clock::Clock;
use crate::config;
use crate::config::accounts::Settings;
use crate::database::Failure;
use crate::database::sqlite::Opening;

pub use self::account::{Account, Suspension};
pub use self::date::{parse as parse_date, render as render_date};
pub use self::login::{Entrance, Login, NewToken};
pub use self::operator::Exported;
pub use self::profile::{Invalid, Profile};
pub use self::renewal::{Renewal, Renewed, Successor};
pub use self::standing::Verdict;

/// Expired tokens that are deleted in one transaction.
const BATCH: i64 = 500;

/// Why usher cannot start with these accounts; the text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// What `usher serve` will find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// None: it makes them.
    None,
    /// Of this version, which it brings up to date.
    Old(i64),
    /// What it needs.
    Good,
}

/// Looks at the tables, and changes nothing; for `check --connect`.
///
/// # Errors
/// What is wrong with the database, or that its tables are of a newer usher.
pub async fn look(settings: &config::accounts::Store) -> Result<Tables, String> {
    let failed = |why| format!("accounts: {why}");
    let store = Store::open(settings, Opening::Existing, &Clock::System).await;
    match store.map_err(failed)?.version().await.map_err(unasked)? {
        0 => Ok(Tables::None),
        version if version < schema::newest() => Ok(Tables::Old(version)),
        version => match schema::check(version) {
            Err(schema::Unfit::Version(why)) => Err(failed(why)),
            Err(schema::Unfit::Failed(failure)) => Err(unasked(failure)),
            Ok(()) => Ok(Tables::Good),
        },
    }
}

fn unasked((Failure::Unavailable(why) | Failure::Refused(why)): Failure) -> String {
    format!("the accounts cannot be asked: {why}")
}

/// The accounts cannot be asked now; the log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// Accounts, wherever they are kept.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    standings: Standings,
    /// What is counted.
    pub metrics: Metrics,
    clock: Clock,
    /// Whether the database failed last; so that the log says it once.
    failing: AtomicBool,
}

impl Accounts {
    /// Gets ready. A SQLite file is opened and brought up to date; a PostgreSQL server is asked,
    /// but it need not be there: then it is brought up to date before its first use.
    ///
    /// # Errors
    /// When the file cannot be used, or the database was written by a newer usher.
    pub async fn open(
        settings: &Settings,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::with(settings, metrics, clock, Opening::Make).await
    }

    /// The same for somebody who only comes by: the file and its tables have to be there, as this
    /// usher needs them. Whoever makes a file owns it, and that should be the usher that serves.
    ///
    /// # Errors
    /// As [`Self::open`], and where anything is missing.
    pub async fn visit(
        settings: &Settings,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::with(settings, metrics, clock, Opening::Existing).await
    }

    async fn with(
        settings: &Settings,
        metrics: Metrics,
        clock: Clock,
        opening: Opening,
    ) -> Result<Self, StartError> {
        let store = Store::open(&settings.store, opening, &clock).await;
        let accounts = Self {
            store: store.map_err(StartError)?,
            standings: Standings::new(&settings.standing),
            metrics,
            clock,
            failing: AtomicBool::new(false),
        };
        match accounts.store.prepare().await {
            Err(schema::Unfit::Version(why)) => return Err(StartError(why)),
            Err(schema::Unfit::Failed(failure)) => {
                let _ = accounts.judge::<()>(Err(failure));
            }
            Ok(()) => {}
        }
        Ok(accounts)
    }

    /// Finds, makes or changes whoever logs in, and keeps the hash of their refresh token.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn login(&self, login: Login) -> Result<Entrance, Unavailable> {
        let login = Arc::new(login);
        let run = self.store.run(move |tx| {
            let login = login.clone();
            Box::pin(async move { login::login(tx, &login).await })
        });
        self.judge(run.await)
    }

    /// Looks at a refresh token, and replaces it where that is wanted.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn renew(&self, renewal: Renewal) -> Result<Renewed, Unavailable> {
        let renewal = Arc::new(renewal);
        let run = self.store.run(move |tx| {
            let renewal = renewal.clone();
            Box::pin(async move { renewal::renew(tx, &renewal).await })
        });
        self.judge(run.await)
    }

    /// Forgets a refresh token, with those that it replaced or was replaced by.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn sign_out(&self, hash: String) -> Result<(), Unavailable> {
        let run = self.store.run(move |tx| {
            let hash = hash.clone();
            Box::pin(async move { renewal::sign_out(tx, &hash).await })
        });
        self.judge(run.await)
    }

    /// Whether a user may pass where the suspended may not; asked of the database only when what
    /// is remembered is too old.
    ///
    /// # Errors
    /// When the database cannot be asked, and what is remembered is older than `max_stale`.
    pub async fn standing(&self, user: &str) -> Result<Verdict, Unavailable> {
        let now = self.clock.now_millis();
        if let Some(verdict) = self.standings.recall(user, now) {
            return Ok(verdict);
        }
        self.metrics.standing_lookups.inc();
        let id = user.to_owned();
        let run = self.store.run(move |tx| {
            let id = id.clone();
            Box::pin(async move { standing::look(tx, &id, now).await })
        });
        match self.judge(run.await) {
            Ok(standing) => Ok(self.standings.learn(user, standing, now)),
            Err(unavailable) => self.standings.last(user, now).ok_or(unavailable),
        }
    }

    /// Deletes a batch of expired tokens; how many there were.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn sweep(&self) -> Result<u64, Unavailable> {
        let now = self.clock.now_millis();
        let run = self
            .store
            .run(move |tx| Box::pin(renewal::sweep(tx, now, BATCH)));
        let swept = self.judge(run.await)?;
        self.metrics.swept.inc_by(swept);
        Ok(swept)
    }

    /// Deletes what has expired, batch after batch, and again whenever `tick` comes.
    pub async fn sweep_for_ever(&self, mut tick: tokio::time::Interval) {
        loop {
            tick.tick().await;
            // A full batch may have left some; logins come in between.
            while matches!(self.sweep().await, Ok(swept) if swept >= BATCH.unsigned_abs()) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether the database failed when it was asked last.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// What is wrong with the database, if anything is.
    pub async fn problem(&self) -> Option<String> {
        match self.store.prepare().await {
            Ok(()) => None,
            Err(schema::Unfit::Version(why)) => Some(format!("accounts: {why}")),
            Err(schema::Unfit::Failed(failure)) => Some(unasked(failure)),
        }
    }

    fn judge<T>(&self, answer: Result<T, Failure>) -> Result<T, Unavailable> {
        match answer {
            Ok(answer) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the accounts answer again");
                }
                Ok(answer)
            }
            Err(Failure::Unavailable(why) | Failure::Refused(why)) => {
                self.metrics.failures.inc();
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(why, "the accounts cannot be asked");
                }
                Err(Unavailable)
            }
        }
    }
}
