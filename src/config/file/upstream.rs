//! The mirror of the protected app.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Time};

/// The protected app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// Such as `http://127.0.0.1:3000`, `h2c://127.0.0.1:50051` (HTTP/2 in the clear) or
    /// `unix:/run/app.sock`.
    pub(in crate::config) url: Option<String>,
    /// Idle connections kept per worker. Default: 256.
    pub(in crate::config) max_idle: Option<Count>,
    /// How long an idle connection is kept; less than the app's own keep-alive. Default: 60s.
    pub(in crate::config) idle: Option<Time>,
    /// How long a connection is used at most, so that changes of the name are followed. Default: 10m.
    pub(in crate::config) max_age: Option<Time>,
    /// What the app gets as `Host`. Default: `keep`, which is what the client sent.
    pub(in crate::config) host: Option<String>,
}
