//! What identification counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters and gauges; clones show the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) refused_hits: Counter,
    pub(super) verifications: Counter,
    refreshes: Family<RefreshLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
    fetched: Family<IssuerLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    issuer: String,
    outcome: &'static str,
}

impl Metrics {
    /// Adds everything to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "token_cache_hits",
            "Requests whose token was verified before",
            self.hits.clone(),
        );
        registry.register(
            "token_cache_misses",
            "Requests whose token was not in the cache",
            self.misses.clone(),
        );
        registry.register(
            "token_cache_refused_hits",
            "Requests whose token was refused before",
            self.refused_hits.clone(),
        );
        registry.register(
            "token_verifications",
            "Tokens that were verified in full, whatever came out",
            self.verifications.clone(),
        );
        registry.register(
            "key_refreshes",
            "Fetches of key sets by issuer and outcome",
            self.refreshes.clone(),
        );
        registry.register("keys", "Keys in use by issuer", self.keys.clone());
        registry.register_with_unit(
            "keys_fetched_timestamp",
            "When the keys in use were fetched, since 1970",
            Unit::Seconds,
            self.fetched.clone(),
        );
    }

    /// Shows an issuer's keys no more.
    pub(super) fn forget(&self, name: &str) {
        let issuer = IssuerLabels {
            issuer: name.to_owned(),
        };
        self.keys.remove(&issuer);
        self.fetched.remove(&issuer);
    }

    /// The handles for one issuer.
    pub(super) fn issuer(&self, name: &str) -> IssuerMetrics {
        let issuer = IssuerLabels {
            issuer: name.to_owned(),
        };
        let refreshes = |outcome| {
            self.refreshes.get_or_create_owned(&RefreshLabels {
                issuer: name.to_owned(),
                outcome,
            })
        };
        IssuerMetrics {
            changed: refreshes("changed"),
            unchanged: refreshes("unchanged"),
            failed: refreshes("failed"),
            keys: self.keys.get_or_create_owned(&issuer),
            fetched: self.fetched.get_or_create_owned(&issuer),
        }
    }
}

/// The metrics of one issuer, without a look-up.
pub(super) struct IssuerMetrics {
    pub(super) changed: Counter,
    pub(super) unchanged: Counter,
    pub(super) failed: Counter,
    keys: Gauge,
    fetched: Gauge,
}

impl IssuerMetrics {
    /// Shows the set in use.
    pub(super) fn show(&self, keys: usize, fetched: i64) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.fetched.set(fetched);
    }
}
