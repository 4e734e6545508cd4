//! Where usher listens, and what is spoken there before HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ServerTls, TrustedProxy};

/// A door for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it is.
    pub listen: Listen,
    /// Who sends a PROXY header before anything else; nobody but these may connect then.
    pub proxy_protocol: Option<Vec<TrustedProxy>>,
    /// TLS, after that; `None`: in the clear.
    pub tls: Option<ServerTls>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixSocket),
    /// A socket that systemd has opened, by its name or its number from 0.
    Systemd(String),
}

/// A Unix socket that usher makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// The user that owns it, by name or number, if not ours.
    pub owner: Option<String>,
    /// The group that owns it, by name or number, if not ours.
    pub group: Option<String>,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
