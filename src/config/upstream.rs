//! Where the protected app is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::ClientTls;

/// The protected app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: Address,
    /// Idle connections kept per worker.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// How long a connection is used at most.
    pub max_age: Duration,
    /// Whether HTTP/2 is spoken to the app, and not HTTP/1.1.
    pub http2: bool,
    /// TLS to the app; `None`: in the clear.
    pub tls: Option<ClientTls>,
    /// What the app gets as `Host`; `None`: what the client sent.
    pub host: Option<String>,
}

/// Where an app listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address (a literal IPv6 address stands without brackets), and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp(String::new(), 0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
