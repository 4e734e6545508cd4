//! PostgreSQL, behind a bounded pool.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::ClientConfig;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Failure;
use crate::config::PostgresUrl;
use crate::config::users::PostgresSettings;
use crate::roots::roots;
pub use deadpool_postgres::Transaction as Open;

/// A pool of connections; none is opened before it is needed.
pub struct Postgres {
    pool: Pool,
    /// For connection and statement together: no question is held longer.
    patience: Duration,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The pool's own text would show the URL.
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Postgres {
    /// Gets ready; the server is not asked for yet.
    ///
    /// # Errors
    /// Says what is wrong with the URL or the roots, and no secret.
    pub fn new(settings: &PostgresSettings) -> Result<Self, String> {
        let config = config(settings)?;
        let manager_config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = if config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable {
            Manager::from_config(config, NoTls, manager_config)
        } else {
            let tls = MakeRustlsConnect::new(tls(settings)?);
            Manager::from_config(config, tls, manager_config)
        };
        let patience = settings.connect_timeout + settings.statement_timeout;
        let pool = Pool::builder(manager)
            .max_size(settings.pool.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(patience))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.connect_timeout))
            .build()
            .map_err(|error| format!("its pool: {error}"))?;
        Ok(Self { pool, patience })
    }

    /// A connection, to be given back.
    ///
    /// # Errors
    /// When none is there in time.
    pub async fn lease(&self) -> Result<Lease, Fault> {
        Ok(Lease(Some(self.pool.get().await.map_err(Fault::pool)?)))
    }

    /// Runs `work` within the time that one question may take.
    ///
    /// # Errors
    /// What went wrong, or that it took too long.
    pub async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::time::timeout(self.patience, work)
            .await
            .unwrap_or(Err(Fault::TooLate))
    }
}

/// A connection in use. Unless it is given back, it is closed: after an error, a timeout or a
/// caller who left, an answer may still be on its way, and the next user must not get it.
pub struct Lease(Option<Object>);

impl Lease {
    /// The connection.
    ///
    /// # Errors
    /// Not before it is given back.
    pub fn client(&self) -> Result<&Object, Fault> {
        self.0.as_ref().ok_or(Fault::Gone)
    }

    /// The connection, for a transaction.
    ///
    /// # Errors
    /// Not before it is given back.
    pub fn client_mut(&mut self) -> Result<&mut Object, Fault> {
        self.0.as_mut().ok_or(Fault::Gone)
    }

    /// Nothing is under way any more: somebody else may have it.
    pub fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// What went wrong, before anybody has judged it.
#[derive(Debug)]
pub enum Fault {
    /// The server, or the way to it.
    Database(tokio_postgres::Error),
    /// No connection could be had.
    Pool(String),
    /// The connection is gone.
    Gone,
    /// It took longer than a question may.
    TooLate,
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    fn pool(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Self::Database(error),
            other => Self::Pool(other.to_string()),
        }
    }

    /// Only what is wrong with these values is theirs; everything else means that the
    /// database cannot be asked.
    pub fn explain(self) -> Failure {
        match self {
            Self::Database(error) => {
                let why = describe(&error);
                if error.code().is_some_and(is_about_values) {
                    Failure::Refused(why)
                } else {
                    Failure::Unavailable(why)
                }
            }
            Self::Pool(why) => Failure::Unavailable(why),
            Self::Gone => Failure::unavailable("the connection is gone"),
            Self::TooLate => Failure::unavailable("no answer in time"),
        }
    }
}

impl Fault {
    /// Whether the same transaction may succeed when it is run again: two of them met
    /// (unique violation, serialization failure, deadlock).
    pub fn is_conflict(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        matches!(
            *error.code().unwrap_or(&SqlState::INTERNAL_ERROR),
            SqlState::UNIQUE_VIOLATION
                | SqlState::T_R_SERIALIZATION_FAILURE
                | SqlState::T_R_DEADLOCK_DETECTED
        )
    }
}

/// Class 22 is "data exception", class 23 "integrity constraint violation".
fn is_about_values(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("22" | "23"))
}

/// The server's message without its detail, which repeats values.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Text for a column of any type: the server reads it as it reads a literal, so that ids may
/// be text, numbers or UUIDs.
pub struct Text<'a>(pub Option<&'a str>);

/// The trait wants it, for logs; what is bound is nobody's business there.
impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The values as they are bound.
pub fn refs<'a>(values: &'a [Text<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

fn config(settings: &PostgresSettings) -> Result<Config, String> {
    let url =
        std::str::from_utf8(settings.url.expose()).map_err(|_| "its URL is not text".to_owned())?;
    let url = PostgresUrl::read(url).map_err(|why| format!("its URL: {why}"))?;
    let mut config = url.into_config(settings.ca_file.is_some());
    let timeout = settings.statement_timeout.as_millis();
    let options = match config.get_options() {
        Some(given) => format!("{given} -c statement_timeout={timeout}"),
        None => format!("-c statement_timeout={timeout}"),
    };
    config
        .options(options)
        .connect_timeout(settings.connect_timeout)
        .tcp_user_timeout(settings.connect_timeout + settings.statement_timeout)
        .keepalives_idle(Duration::from_secs(10));
    if config.get_application_name().is_none() {
        config.application_name("usher");
    }
    Ok(config)
}

fn tls(settings: &PostgresSettings) -> Result<ClientConfig, String> {
    let roots = roots(settings.ca_file.as_deref())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS to it: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
