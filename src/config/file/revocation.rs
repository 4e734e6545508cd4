//! The mirror of revocation.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Hidden, TextOr, Time};

/// Which tokens are revoked before they expire.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Revocation {
    /// Where revocations are told: `redis://redis:6379/usher:revocations` (also `rediss://…`,
    /// `redis+sentinel://…`, `redis+cluster://…`), `file:/var/lib/usher/revoked` for one usher
    /// without Redis, or an object.
    pub(in crate::config) stream: Option<TextOr<RevocationStream>>,
    /// By how much a token may be younger than the time that revokes it: a login within it has to
    /// be repeated. Whole seconds. Default: 2s.
    pub(in crate::config) clock_skew: Option<Time>,
    /// With Redis away, a snapshot of this age is enough to begin with. Default: 1h.
    pub(in crate::config) max_snapshot_age: Option<Time>,
    /// After so long without an answer from Redis usher is not ready. Default: never.
    pub(in crate::config) max_staleness: Option<Time>,
    /// Revocations that are remembered at most; beyond it usher is not ready. Default: 4000000.
    pub(in crate::config) capacity: Option<Count>,
}

/// A Redis stream of revocations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RevocationStream {
    /// Such as `rediss://:${REDIS_PASSWORD}@redis:6379`.
    pub(in crate::config) url: Option<Hidden>,
    /// A file with the URL.
    pub(in crate::config) url_file: Option<String>,
    /// A PEM file with the roots to trust instead of the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// The stream's name, if the URL does not end in it. Default: `usher:revocations`.
    pub(in crate::config) name: Option<String>,
    /// Longest time for a connection. Default: 1s.
    pub(in crate::config) connect_timeout: Option<Time>,
    /// Longest time for a command. Default: 1s.
    pub(in crate::config) response_timeout: Option<Time>,
}
