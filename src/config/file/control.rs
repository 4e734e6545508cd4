//! The mirror of the control listener.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Hidden, Scalar, Tls};

/// Where usher can be told to change something.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Control {
    /// `unix:/run/usher/control.sock`; an address of loopback, with a token; or any address, with
    /// certificates of clients.
    pub(in crate::config) address: Option<String>,
    /// Permissions of a Unix socket, in octal. Default: `0600`.
    pub(in crate::config) mode: Option<String>,
    /// The user that owns a Unix socket, by name or number. Default: usher's.
    pub(in crate::config) owner: Option<Scalar>,
    /// The group that owns a Unix socket, by name or number. Default: usher's.
    pub(in crate::config) group: Option<Scalar>,
    /// What whoever asks has to show as a bearer token; better in a file.
    pub(in crate::config) token: Option<Hidden>,
    /// A file with that token.
    pub(in crate::config) token_file: Option<String>,
    /// TLS, with `client_ca_file` where the address is not of loopback.
    pub(in crate::config) tls: Option<Tls>,
    /// Questions answered in a minute. Default: 600.
    pub(in crate::config) per_minute: Option<Count>,
}
