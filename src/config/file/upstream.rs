//! The mirror of the protected app.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Time};

/// The protected app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// Such as `http://127.0.0.1:3000`, `https://app.internal`, `h2://` (HTTP/2 within TLS),
    /// `h2c://127.0.0.1:50051` (in the clear) or `unix:/run/app.sock`.
    pub(in crate::config) url: Option<String>,
    /// Idle connections kept per worker. Default: 256.
    pub(in crate::config) max_idle: Option<Count>,
    /// How long an idle connection is kept; less than the app's own keep-alive. Default: 60s.
    pub(in crate::config) idle: Option<Time>,
    /// How long a connection is used at most, so that changes of the name are followed. Default: 10m.
    pub(in crate::config) max_age: Option<Time>,
    /// For `https` and `h2`: a PEM file with the authorities that sign the app's certificate. Default: the
    /// system's.
    pub(in crate::config) ca_file: Option<String>,
    /// For `https` and `h2`: a PEM file with the certificate by which usher proves who it is.
    pub(in crate::config) cert_file: Option<String>,
    /// For `https` and `h2`: a PEM file with its key.
    pub(in crate::config) key_file: Option<String>,
    /// For `https` and `h2`: whom the app's certificate has to name. Default: the host of `url`.
    pub(in crate::config) server_name: Option<String>,
    /// What the app gets as `Host`. Default: `keep`, which is what the client sent.
    pub(in crate::config) host: Option<String>,
}
