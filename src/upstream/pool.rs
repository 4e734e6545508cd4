//! Connections to the app: one pool a worker, so that nobody shares and nobody waits.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config;
use crate::denial::{Denial, Reason};
use crate::stream::Stream;
use crate::tls;

use super::connect;
use super::connection::Connection;
use super::http2::{Links, Place};

/// The idle connections of one worker.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    /// What the app gets as `Host` instead of what the client sent.
    host: Option<HeaderValue>,
    tls: Option<tls::Client>,
    /// Whether another pool is in its place: nothing is kept any more.
    retired: AtomicBool,
    idle: Mutex<Vec<Idle>>,
    /// Where HTTP/2 is spoken, its connections.
    links: Option<Links>,
    /// How often idle connections were looked over: a clock that costs nothing to read.
    sweeps: AtomicU32,
    metrics: Metrics,
}

/// What connections depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    upstream: config::Upstream,
    connect: Duration,
    header_bytes: usize,
}

impl Settings {
    fn new(upstream: &config::Upstream, settings: &config::Config) -> Self {
        Self {
            upstream: upstream.clone(),
            connect: settings.timeouts.connect,
            // An app may set longer fields than a client.
            header_bytes: settings.limits.header_bytes.max(64 * 1024),
        }
    }
}

/// How often idle connections are to be looked over.
pub const SWEEP: Duration = Duration::from_secs(1);

/// A connection that nobody uses.
#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    /// The sweep after which nobody used it.
    since: u32,
}

/// What the pools count; shared by all of them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Connections opened.
    pub connects: Counter,
    /// Connections that could not be opened.
    pub failures: Counter,
    /// Requests sent again because the pooled connection turned out closed.
    pub retries: Counter,
    /// Connections kept idle.
    pub idle: Gauge,
    /// Open tunnels.
    pub tunnels: Gauge,
    /// TLS handshakes with the app that failed.
    handshake_failures: Family<CauseLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

impl Metrics {
    /// Shows the counts.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("upstream");
        registry.register(
            "connects",
            "Connections opened to the app",
            self.connects.clone(),
        );
        registry.register(
            "connect_failures",
            "Connections to the app that could not be opened",
            self.failures.clone(),
        );
        registry.register(
            "retries",
            "Requests sent again on a new connection, since the pooled one was closed",
            self.retries.clone(),
        );
        registry.register(
            "idle_connections",
            "Idle connections to the app",
            self.idle.clone(),
        );
        registry.register(
            "tunnels",
            "Open WebSockets, and tunnels of other protocols",
            self.tunnels.clone(),
        );
        // What never happened counts 0.
        for cause in tls::CAUSES {
            let labels = CauseLabels { cause };
            self.handshake_failures.get_or_create_owned(&labels);
        }
        registry.register(
            "handshake_failures",
            "TLS handshakes with the app that failed, by cause",
            self.handshake_failures.clone(),
        );
    }

    /// Counts a TLS handshake with the app that failed.
    pub(super) fn no_handshake(&self, cause: &'static str) {
        let labels = CauseLabels { cause };
        self.handshake_failures.get_or_create_owned(&labels).inc();
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(upstream: &config::Upstream, settings: &config::Config, metrics: Metrics) -> Self {
        Self {
            host: rewritten(upstream),
            settings: Settings::new(upstream, settings),
            tls: None,
            retired: AtomicBool::new(false),
            idle: Mutex::default(),
            links: upstream.http2.then(Links::default),
            sweeps: AtomicU32::new(0),
            metrics,
        }
    }

    /// The same with TLS on each connection, if there is any.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<tls::Client>) -> Self {
        self.tls = tls;
        self
    }

    /// Whether a new pool for these settings would be the same.
    pub fn fits(&self, upstream: &config::Upstream, settings: &config::Config) -> bool {
        self.settings == Settings::new(upstream, settings)
    }

    /// Another pool takes its place: what is idle is closed, and what is in use is not kept.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        if let Some(links) = &self.links {
            links.close();
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        self.metrics.idle.dec_by(count(idle.len()));
    }

    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// An idle connection that is still open, the last one used first.
    pub(super) fn take(&self) -> Option<Box<Connection>> {
        loop {
            let mut idle = self.idle.lock().pop()?;
            self.metrics.idle.dec();
            if idle.connection.is_open() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for the next request, or closes it when enough are kept.
    pub(super) fn put(&self, mut connection: Box<Connection>) {
        connection.rest();
        let now = self.sweeps.load(Ordering::Relaxed);
        let mut idle = self.idle.lock();
        // Asked under the lock, so that whoever retires the pool finds what was put before.
        let wanted = !self.retired.load(Ordering::Relaxed);
        if wanted && idle.len() < self.settings.upstream.max_idle && self.is_young(&connection, now)
        {
            self.metrics.idle.inc();
            idle.push(Idle {
                connection,
                since: now,
            });
        }
    }

    /// Whether a connection is younger than `upstream.max_age`.
    fn is_young(&self, connection: &Connection, now: u32) -> bool {
        u64::from(now.wrapping_sub(connection.born)) < self.settings.upstream.max_age.as_secs()
    }

    /// Closes what was not used for `upstream.idle`, and what is old; to be called every [`SWEEP`].
    pub fn sweep(&self) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let limit = self.settings.upstream.idle.as_secs();
        let fresh = |since: &u32| u64::from(now.wrapping_sub(*since)) <= limit;
        if let Some(links) = &self.links {
            links.sweep(now, limit, self.settings.upstream.max_age.as_secs());
        }
        let mut idle = self.idle.lock();
        let before = idle.len();
        idle.retain_mut(|idle| {
            fresh(&idle.since) && self.is_young(&idle.connection, now) && idle.connection.is_open()
        });
        self.metrics.idle.dec_by(count(before - idle.len()));
    }

    /// A new connection.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, also when it takes longer than `timeouts.connect`.
    pub(super) async fn connect(&self) -> Result<Box<Connection>, Denial> {
        let stream = self.open().await?;
        let born = self.sweeps.load(Ordering::Relaxed);
        Ok(Box::new(Connection::new(
            stream,
            self.settings.header_bytes,
            born,
        )))
    }

    /// The connections of an app that speaks HTTP/2.
    pub(super) fn links(&self) -> Option<&Links> {
        self.links.as_ref()
    }

    /// A place on a connection that is there.
    pub(super) fn place(&self) -> Option<Place> {
        self.links.as_ref()?.take()
    }

    /// A place on a new connection.
    ///
    /// # Errors
    /// `UpstreamUnreachable`.
    pub(super) async fn connect_http2(&self) -> Result<Place, Denial> {
        let stream = self.open().await?;
        let now = self.sweeps.load(Ordering::Relaxed);
        let links = self.links.as_ref();
        let links = links.ok_or_else(|| Denial::new(Reason::Internal, "HTTP/2 is not spoken"))?;
        let place = links.add(stream, self.settings.header_bytes, now).await;
        place.map_err(|error| self.unreachable(&error))
    }

    async fn open(&self) -> Result<Stream, Denial> {
        let address = &self.settings.upstream.address;
        let opening = connect::open(address, self.tls.as_ref(), &self.metrics);
        let opened = match tokio::time::timeout(self.settings.connect, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(connect::late()),
        };
        let stream = opened.map_err(|error| self.unreachable(&error))?;
        self.metrics.connects.inc();
        Ok(stream)
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Denial {
        self.metrics.failures.inc();
        let detail = format!(
            "cannot connect to {}: {error}",
            self.settings.upstream.address
        );
        Denial::because(Reason::UpstreamUnreachable, detail)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.retire();
    }
}

/// The configured `Host`; that it can stand in a head was checked with the configuration.
fn rewritten(settings: &config::Upstream) -> Option<HeaderValue> {
    let host = settings.host.as_deref()?;
    HeaderValue::from_str(host).ok()
}

fn count(connections: usize) -> i64 {
    i64::try_from(connections).unwrap_or(0)
}
