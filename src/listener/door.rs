//! A door for callers: a socket that listens, and what is spoken there before HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::config::{Listener, TrustedProxy};
use crate::edge::{Peer, is_trusted};
use crate::head::Scheme;
use crate::stream::Stream;
use crate::telemetry::ConnectionMetrics;

use super::proxy;
use super::socket::{Listening, Opener};

/// A socket that listens, and what is spoken there before HTTP.
#[derive(Debug)]
pub struct Door {
    pub(super) socket: Listening,
    pub(super) hall: Arc<Hall>,
}

/// What every connection goes through that came by one door.
#[derive(Debug)]
pub(super) struct Hall {
    /// Who sends a PROXY header.
    proxies: Option<Vec<TrustedProxy>>,
    metrics: ConnectionMetrics,
    /// How many are open.
    pub(super) open: Gauge,
}

/// Opens the doors of a configuration, in its order.
pub struct Doors {
    opener: Opener,
    metrics: ConnectionMetrics,
}

impl Doors {
    /// None is open yet.
    pub fn new(metrics: ConnectionMetrics) -> Self {
        Self {
            opener: Opener::from_environment(),
            metrics,
        }
    }

    /// Opens one.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn open(&mut self, settings: &Listener) -> io::Result<Door> {
        Ok(Door {
            socket: self.opener.open(&settings.listen)?,
            hall: Arc::new(Hall {
                proxies: settings.proxy_protocol.clone(),
                metrics: self.metrics.clone(),
                open: self.metrics.listener(settings.listen.to_string()),
            }),
        })
    }
}

impl Door {
    /// The real address; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.address()
    }
}

impl Hall {
    /// A hall that leads nowhere but to HTTP.
    pub(super) fn plain(metrics: ConnectionMetrics) -> Self {
        Self {
            proxies: None,
            metrics,
            open: Gauge::default(),
        }
    }

    /// Whether HTTP begins with the first byte.
    pub(super) fn is_empty(&self) -> bool {
        self.proxies.is_none()
    }

    /// Whether the address of a connection is the client's, as far as the socket knows.
    pub(super) fn tells_clients_apart(&self) -> bool {
        self.proxies.is_none()
    }

    /// Goes through all that stands before HTTP; `None` when the connection is to be closed,
    /// which is counted and told here.
    pub(super) async fn enter(
        &self,
        mut stream: Stream,
        address: Option<SocketAddr>,
    ) -> Option<(Stream, Peer)> {
        let client = match &self.proxies {
            None => address,
            Some(proxies) => self.introduced(&mut stream, address, proxies).await?,
        };
        Some((stream, Peer::new(client, Scheme::Http)))
    }

    /// The client that a proxy introduces.
    async fn introduced(
        &self,
        stream: &mut Stream,
        address: Option<SocketAddr>,
        proxies: &[TrustedProxy],
    ) -> Option<Option<SocketAddr>> {
        if !is_trusted(proxies, address.map(|address| address.ip())) {
            self.metrics.no_proxy_header("peer");
            tracing::debug!(?address, "closed: the peer is not in proxy_protocol.from");
            return None;
        }
        match proxy::read(stream).await {
            Ok(client) => Some(client.or(address)),
            Err(unusable) => {
                self.metrics.no_proxy_header(unusable.cause());
                tracing::debug!(?address, %unusable, "closed: no PROXY header");
                None
            }
        }
    }
}
