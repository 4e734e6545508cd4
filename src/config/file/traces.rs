//! The mirror of where spans go.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Share, Time};

/// Where spans of requests go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Traces {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; without a path
    /// `/v1/traces` is asked.
    pub(in crate::config) endpoint: Option<String>,
    /// For `https`: a PEM file with the authorities that sign the collector's certificate. Default:
    /// the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// What usher is called in traces (`service.name`). Default: `usher`.
    pub(in crate::config) service: Option<String>,
    /// Of the requests that come without a `traceparent`, the share of those that are sampled.
    /// Default: 100%.
    pub(in crate::config) sample: Option<Share>,
    /// Spans that may wait; more are dropped and counted. Default: 2048.
    pub(in crate::config) queue: Option<Count>,
    /// Spans of one message. Default: 512.
    pub(in crate::config) batch: Option<Count>,
    /// How long a span may wait for others. Default: 5s.
    pub(in crate::config) every: Option<Time>,
    /// How long the collector may take to answer. Default: 10s.
    pub(in crate::config) timeout: Option<Time>,
}
