//! The mirror of the front doors beside the proxy's own.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Flag, Time};
use crate::config::Dialect;

/// Where another proxy asks about the requests it has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ForwardAuth {
    /// The exact path; with `envoy` what stands before the request's own. Default: `/_usher/auth`.
    pub(in crate::config) path: Option<String>,
    /// The proxy that asks: its words are read, and no others.
    pub(in crate::config) dialect: Option<Dialect>,
    /// How long the proxy may keep a yes: whole seconds, at most `5s`. Default: not at all.
    pub(in crate::config) cache: Option<Time>,
}

/// Where Envoy asks by gRPC.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ExtAuthz {
    /// The address with its port, such as `127.0.0.1:9902`.
    pub(in crate::config) listen: Option<String>,
}

/// A peer that is trusted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TrustedProxy {
    /// An address, or a network such as `10.1.2.0/28`.
    pub(in crate::config) network: Option<String>,
    /// With `0.0.0.0/0` or `::/0`: that everybody who can connect may say who is calling.
    pub(in crate::config) everybody: Option<Flag>,
}
