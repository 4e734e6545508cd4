//! The mirror of a door for callers.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{OneOrMany, Scalar, Tls};

/// A door for callers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// `0.0.0.0:8080`, `unix:/run/usher/usher.sock` or `systemd:NAME`.
    pub(in crate::config) address: Option<String>,
    /// Permissions of a Unix socket, in octal. Default: `0660`.
    pub(in crate::config) mode: Option<String>,
    /// The user that owns a Unix socket, by name or number. Default: usher's.
    pub(in crate::config) owner: Option<Scalar>,
    /// The group that owns a Unix socket, by name or number. Default: usher's.
    pub(in crate::config) group: Option<Scalar>,
    /// Who sends a PROXY header (version 1 or 2) before anything else. Nobody else may connect then.
    pub(in crate::config) proxy_protocol: Option<ProxyProtocol>,
    /// TLS. Default: in the clear.
    pub(in crate::config) tls: Option<Tls>,
}

/// Who sends a PROXY header.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProxyProtocol {
    /// Addresses, networks, `unix`.
    pub(in crate::config) from: Option<OneOrMany<String>>,
}
