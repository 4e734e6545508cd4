//! The way to Redis: one shared connection, made when needed, replaced when in doubt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use redis::{Cmd, RedisError, Value};
use tokio::sync::OnceCell;

use crate::breaker::Breaker;
use crate::database::redis::{Address, Connection};
use crate::users::StartError;
use crate::users::settings::StreamsSettings;

/// Why a command has no good answer. The three are never mixed up: only an unknown outcome
/// may have had an effect.
#[derive(Debug)]
pub(super) enum Failure {
    /// It never left.
    Unreached(String),
    /// Redis answered with this error, and did nothing.
    Answered { code: String, text: String },
    /// It left, and no answer came.
    Unknown(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(why) | Self::Unknown(why) => f.write_str(why),
            Self::Answered { text, .. } => f.write_str(text),
        }
    }
}

type Cell = OnceCell<Connection>;

pub(super) struct Link {
    address: Address,
    shared: ArcSwap<Cell>,
    breaker: Breaker,
    connect: Duration,
    response: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(settings: &StreamsSettings, open: Gauge) -> Result<Self, StartError> {
        Ok(Self {
            address: Address::new(&settings.redis, settings.ca_file.as_deref())
                .map_err(|why| StartError(format!("the provisioner: {why}")))?,
            shared: ArcSwap::from_pointee(Cell::new()),
            breaker: Breaker::new("redis", open),
            connect: settings.connect_timeout,
            response: settings.response_timeout,
        })
    }

    /// Asks over the shared connection.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, Failure> {
        let cell = self.shared.load_full();
        let connection = cell.get_or_try_init(|| self.open()).await;
        let mut connection = connection.map_err(Failure::Unreached)?.clone();
        // The connection has its own limit; this one also covers a cluster's repetitions.
        let limit = self.response * 2;
        match tokio::time::timeout(limit, connection.query(command)).await {
            Ok(Ok(value)) => {
                self.breaker.success();
                Ok(value)
            }
            Ok(Err(error)) => Err(self.judge(&cell, &error)),
            Err(_) => Err(self.give_up(&cell, "no answer in time".to_owned())),
        }
    }

    /// Whether Redis is out, so that waiting for it makes no sense.
    pub(super) fn is_out(&self) -> bool {
        self.breaker.is_open()
    }

    /// A connection of one's own, for commands that block up to `block`.
    pub(super) async fn connect_apart(&self, block: Duration) -> Result<Connection, String> {
        self.connect(block + self.response).await
    }

    async fn open(&self) -> Result<Connection, String> {
        if !self.breaker.allows() {
            return Err("redis failed a moment ago".to_owned());
        }
        match self.connect(self.response).await {
            Ok(connection) => Ok(connection),
            Err(why) => {
                self.breaker.failure(&why);
                Err(why)
            }
        }
    }

    async fn connect(&self, response: Duration) -> Result<Connection, String> {
        let limit = self.address.patience(self.connect);
        match tokio::time::timeout(limit, self.address.connect(self.connect, response)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(describe(&error)),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    fn judge(&self, cell: &Arc<Cell>, error: &RedisError) -> Failure {
        let text = describe(error);
        let Some(code) = error.code() else {
            return self.give_up(cell, text);
        };
        if is_elsewhere(code) {
            self.replace(cell, &text);
        } else {
            self.breaker.success();
        }
        if self.address.repeats_by_itself() && code != "NOSCRIPT" {
            // An earlier try of the crate's own may have got through.
            return Failure::Unknown(text);
        }
        Failure::Answered {
            code: code.to_owned(),
            text,
        }
    }

    fn give_up(&self, cell: &Arc<Cell>, why: String) -> Failure {
        self.replace(cell, &why);
        Failure::Unknown(why)
    }

    /// The next question makes a new connection. A peer that went silent would otherwise be
    /// asked again and again: a timeout alone changes nothing about a connection.
    fn replace(&self, broken: &Arc<Cell>, why: &str) {
        let fresh = Arc::new(Cell::new());
        let found = self.shared.compare_and_swap(broken, fresh);
        // Many may have waited on the same connection; the first to notice speaks for all.
        if Arc::ptr_eq(&found, broken) {
            self.breaker.failure(why);
        }
    }
}

/// Answers of a server that another connection may not give: a failover is under way.
fn is_elsewhere(code: &str) -> bool {
    matches!(
        code,
        "READONLY"
            | "LOADING"
            | "MASTERDOWN"
            | "CLUSTERDOWN"
            | "NOAUTH"
            | "NOREPLICAS"
            | "UNBLOCKED"
    )
}

/// Errors of the crate name addresses and answers of the server, never the URL.
fn describe(error: &RedisError) -> String {
    error.to_string()
}
