//! A door for callers: a socket that listens, and what is spoken there before HTTP.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::activity::Activity;
use crate::config::{Listener, TrustedProxy};
use crate::edge::is_trusted;
use crate::head::Scheme;
use crate::stream::Stream;
use crate::telemetry::ConnectionMetrics;
use crate::tls::{self, Followed, Live};

use super::proxy;
use super::socket::{Listening, Opener};

/// A socket that listens, and what is spoken there before HTTP.
#[derive(Debug)]
pub struct Door {
    pub(super) socket: Listening,
    /// A reload swaps it; who is in the old one goes on there.
    pub(super) hall: ArcSwap<Hall>,
}

/// What every connection goes through that came by one door.
#[derive(Debug)]
pub struct Hall {
    /// Who sends a PROXY header.
    proxies: Option<Vec<TrustedProxy>>,
    tls: Option<Arc<Live<ServerConfig>>>,
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
    /// When its certificates cannot be used, or the address is taken or not ours.
    pub fn open(&mut self, settings: &Listener) -> Result<Door, Closed> {
        let hall = Hall::new(settings, &self.metrics).map_err(Closed::Tls)?;
        Ok(Door {
            socket: self.opener.open(&settings.listen).map_err(Closed::Bind)?,
            hall: ArcSwap::from_pointee(hall),
        })
    }
}

/// Why a door does not open.
#[derive(Debug)]
pub enum Closed {
    /// Its certificates cannot be used.
    Tls(String),
    /// The address is taken or not ours.
    Bind(io::Error),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(problem) => f.write_str(problem),
            Self::Bind(error) => write!(f, "{error}"),
        }
    }
}

impl Door {
    /// The real address; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.address()
    }

    /// The next connection, for whoever serves it himself.
    ///
    /// # Errors
    /// When there is none.
    pub async fn next(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.socket.accept().await
    }

    /// The same within TLS, where that is spoken, and HTTP/1.1 within that; `None` when there is
    /// none in `time`.
    pub async fn greet(&self, stream: Stream, time: Duration) -> Option<Stream> {
        let hall = self.hall.load_full();
        let Some(tls) = &hall.tls else {
            return Some(stream);
        };
        let mut config = ServerConfig::clone(&tls.current());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shaking = TlsAcceptor::from(Arc::new(config)).accept(stream);
        match tokio::time::timeout(time, shaking).await {
            Ok(Ok(stream)) => Some(Stream::from(TlsStream::Server(stream))),
            Ok(Err(error)) => {
                hall.metrics.no_handshake(tls::cause(&error));
                tracing::debug!(%error, "closed: no TLS handshake");
                None
            }
            Err(_) => None,
        }
    }

    /// Its TLS, whose files have to be followed.
    pub fn followed(&self) -> Option<Followed> {
        self.hall.load().tls.clone().map(Followed::Server)
    }

    /// The next to come go through this hall.
    pub fn lead_to(&self, hall: Hall) {
        self.hall.store(Arc::new(hall));
    }
}

impl Hall {
    /// What is spoken behind a door.
    ///
    /// # Errors
    /// When its certificates cannot be used.
    pub fn new(settings: &Listener, metrics: &ConnectionMetrics) -> Result<Self, String> {
        let name = settings.listen.to_string();
        let tls = match &settings.tls {
            Some(tls) => Some(Arc::new(tls::server(name.clone(), tls)?)),
            None => None,
        };
        Ok(Self {
            proxies: settings.proxy_protocol.clone(),
            tls,
            metrics: metrics.clone(),
            open: metrics.listener(name),
        })
    }

    /// A hall that leads nowhere but to HTTP.
    pub(super) fn plain(metrics: ConnectionMetrics) -> Self {
        Self {
            proxies: None,
            tls: None,
            metrics,
            open: Gauge::default(),
        }
    }

    /// Whether HTTP begins with the first byte.
    pub(super) fn is_empty(&self) -> bool {
        self.proxies.is_none() && self.tls.is_none()
    }

    /// Whether nothing is hidden by TLS.
    pub(super) fn is_clear(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether the address of a connection is the client's, as far as the socket knows.
    pub(super) fn tells_clients_apart(&self) -> bool {
        self.proxies.is_none()
    }

    /// The client, as far as a proxy has to introduce it; `None` when the connection is to be
    /// closed, which is counted and told here.
    pub(super) async fn introduce(
        &self,
        mut stream: Stream,
        address: Option<SocketAddr>,
    ) -> Option<(Stream, Option<SocketAddr>)> {
        let client = match &self.proxies {
            None => address,
            Some(proxies) => self.introduced(&mut stream, address, proxies).await?,
        };
        Some((stream, client))
    }

    /// TLS, where it is spoken; `None` when there is none in spite of that, which is counted and
    /// told here.
    pub(super) async fn secure(
        &self,
        stream: Stream,
        client: Option<SocketAddr>,
        watch: &Activity,
    ) -> Option<(Stream, Scheme)> {
        let Some(tls) = &self.tls else {
            return Some((stream, Scheme::Http));
        };
        watch.shake_hands();
        match TlsAcceptor::from(tls.current()).accept(stream).await {
            Ok(stream) => {
                watch.begin();
                Some((Stream::from(TlsStream::Server(stream)), Scheme::Https))
            }
            Err(error) => {
                self.metrics.no_handshake(tls::cause(&error));
                tracing::debug!(?client, %error, "closed: no TLS handshake");
                None
            }
        }
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
