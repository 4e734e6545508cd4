//! Where spans of requests go.

use std::path::PathBuf;
use std::time::Duration;

/// Where spans of requests go (OpenTelemetry's protocol, over HTTP as JSON).
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The URL, with its path.
    pub endpoint: String,
    /// A PEM file with the authorities that sign the collector's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// What usher is called in traces.
    pub service: String,
    /// Of the requests that begin a trace, the share of those that are sampled: 0 to 1.
    pub sample: f64,
    /// Spans that may wait; at least 1.
    pub queue: usize,
    /// Spans of one message; at least 1.
    pub batch: usize,
    /// How long a span may wait for others.
    pub every: Duration,
    /// How long the collector may take to answer.
    pub timeout: Duration,
}
