//! A directory in PostgreSQL, behind a bounded pool.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sql::{self, Dialect, Found, Statements};
use super::{DirectoryError, Inserted, Rows};
use crate::users::StartError;
use crate::users::caller::Who;
use crate::users::settings::{PostgresSettings, Table};

/// A pool of connections; none is opened before it is needed.
pub(in crate::users) struct Postgres {
    pool: Pool,
    statements: Statements,
    table: String,
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
    pub(super) fn new(settings: &PostgresSettings, table: &Table) -> Result<Self, StartError> {
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
            .map_err(|error| StartError(format!("the directory's pool: {error}")))?;
        Ok(Self {
            pool,
            statements: Statements::new(table, Dialect::Postgres),
            table: sql::table_name(table),
            patience,
        })
    }

    pub(super) async fn find(&self, who: &Who) -> Result<Rows, DirectoryError> {
        self.within(async {
            let lease = Lease::of(&self.pool).await?;
            let statement = lease
                .client()?
                .prepare_cached(&self.statements.find)
                .await?;
            let values = self.statements.find_values(who);
            let found = lease.client()?.query(&statement, &refs(&values)).await?;
            let rows = self.statements.rows(found)?;
            lease.give_back();
            Ok(rows)
        })
        .await
    }

    pub(super) async fn insert(&self, who: &Who) -> Result<Inserted, DirectoryError> {
        self.within(async {
            let mut lease = Lease::of(&self.pool).await?;
            let transaction = lease.client_mut()?.transaction().await?;
            let statement = transaction.prepare_cached(&self.statements.insert).await?;
            let values = self.statements.insert_values(who);
            let changed = transaction.execute(&statement, &refs(&values)).await?;
            let statement = transaction.prepare_cached(&self.statements.find).await?;
            let values = self.statements.find_values(who);
            let found = transaction.query(&statement, &refs(&values)).await?;
            transaction.commit().await?;
            let rows = self.statements.rows(found)?;
            lease.give_back();
            Ok(Inserted {
                created: changed == 1,
                rows,
            })
        })
        .await
    }

    pub(super) async fn columns(&self) -> Result<Vec<String>, DirectoryError> {
        let sql = "SELECT attname::text FROM pg_attribute \
                   WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped";
        self.within(async {
            let lease = Lease::of(&self.pool).await?;
            let rows = lease.client()?.query(sql, &[&self.table]).await?;
            let names: Result<_, _> = rows.iter().map(|row| row.try_get(0)).collect();
            lease.give_back();
            Ok(names?)
        })
        .await
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DirectoryError> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(fault.explain()),
            Err(_) => Err(DirectoryError::Unavailable("no answer in time".to_owned())),
        }
    }
}

/// A connection in use. Unless it is given back, it is closed: after an error, a timeout or a
/// caller who left, an answer may still be on its way, and the next user must not get it.
struct Lease(Option<Object>);

impl Lease {
    async fn of(pool: &Pool) -> Result<Self, Fault> {
        Ok(Self(Some(pool.get().await.map_err(Fault::pool)?)))
    }

    fn client(&self) -> Result<&Object, Fault> {
        self.0.as_ref().ok_or(Fault::Gone)
    }

    fn client_mut(&mut self) -> Result<&mut Object, Fault> {
        self.0.as_mut().ok_or(Fault::Gone)
    }

    fn give_back(mut self) {
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
enum Fault {
    Database(tokio_postgres::Error),
    Pool(String),
    Gone,
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

    /// Only what is wrong with this caller's values is theirs; everything else means that the
    /// directory cannot be asked.
    fn explain(self) -> DirectoryError {
        match self {
            Self::Database(error) => {
                let why = describe(&error);
                if error.code().is_some_and(is_about_values) {
                    DirectoryError::Refused(why)
                } else {
                    DirectoryError::Unavailable(why)
                }
            }
            Self::Pool(why) => DirectoryError::Unavailable(why),
            Self::Gone => DirectoryError::Unavailable("the connection is gone".to_owned()),
        }
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
#[derive(Debug)]
struct Text<'a>(Option<&'a str>);

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

fn refs<'a>(values: &'a [Text<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

impl Statements {
    fn find_values<'a>(&self, who: &'a Who) -> Vec<Text<'a>> {
        let mut values = vec![Text(Some(&who.id))];
        if self.email {
            values.push(Text(who.email.as_deref()));
        }
        if self.issuer {
            values.push(Text(Some(&who.issuer)));
        }
        values
    }

    fn insert_values<'a>(&self, who: &'a Who) -> Vec<Text<'a>> {
        let mut values = vec![Text(Some(&who.id)), Text(who.email.as_deref())];
        if self.name {
            values.push(Text(who.name.as_deref()));
        }
        if self.issuer {
            values.push(Text(Some(&who.issuer)));
        }
        values
    }

    fn rows(&self, found: Vec<Row>) -> Result<Rows, Fault> {
        let mut sorted = Vec::with_capacity(found.len());
        for row in found {
            let columns: Result<_, _> = (3..3 + self.extra).map(|at| row.try_get(at)).collect();
            sorted.push(Found {
                id: row.try_get(0)?,
                email: row.try_get(1)?,
                has_id: row.try_get::<_, Option<bool>>(2)?.unwrap_or_default(),
                columns: columns?,
            });
        }
        Ok(sql::sort(sorted))
    }
}

fn config(settings: &PostgresSettings) -> Result<Config, StartError> {
    let url = std::str::from_utf8(settings.url.expose())
        .map_err(|_| StartError("the directory's URL is not text".to_owned()))?;
    // tokio-postgres has no word for it, and what it does under `require` with rustls is
    // exactly this: the certificate and its name are verified.
    let url = url.replace("sslmode=verify-full", "sslmode=require");
    let mut config = Config::from_str(&url).map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(String::new, |s| s.to_string());
        StartError(format!("the directory's URL: {why}"))
    })?;
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

fn tls(settings: &PostgresSettings) -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &settings.ca_file {
        let bad = |why: String| StartError(format!("ca_file {}: {why}", file.display()));
        for certificate in CertificateDer::pem_file_iter(file).map_err(|e| bad(e.to_string()))? {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("no certificate in it".to_owned()));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError(format!("TLS to the directory: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
