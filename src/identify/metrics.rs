//! What identification counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Counters and gauges; clones show the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) refused_hits: Counter,
    pub(super) verifications: Counter,
    refreshes: Family<RefreshLabels, Counter>,
    snapshots: Family<RefreshLabels, Counter>,
    keys: Family<IssuerLabels, Gauge>,
    skipped: Family<IssuerLabels, Gauge>,
    fetched: Family<IssuerLabels, Gauge>,
    introspections: Family<RefreshLabels, Counter>,
    introspection_seconds: Seconds,
    introspection_breaker: Family<IssuerLabels, Gauge>,
}

/// How long something takes. Clones show the same numbers.
#[derive(Clone, Debug)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new([
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]))
    }
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
        registry.register(
            "key_snapshots",
            "Key sets read from and written to the state directory, by issuer and outcome",
            self.snapshots.clone(),
        );
        registry.register("keys", "Keys in use by issuer", self.keys.clone());
        registry.register(
            "keys_skipped",
            "Entries of an issuer's key set that are not used, as the set was read last",
            self.skipped.clone(),
        );
        registry.register_with_unit(
            "keys_fetched_timestamp",
            "When the keys in use were fetched, since 1970",
            Unit::Seconds,
            self.fetched.clone(),
        );
        registry.register(
            "introspections",
            "Questions to issuers about opaque tokens, by issuer and outcome",
            self.introspections.clone(),
        );
        registry.register_with_unit(
            "introspection",
            "How long issuers took to answer about opaque tokens",
            Unit::Seconds,
            self.introspection_seconds.0.clone(),
        );
        registry.register(
            "introspection_breaker_open",
            "1 while an issuer is not asked about tokens after failures",
            self.introspection_breaker.clone(),
        );
    }

    /// The handles for one issuer that is asked about its tokens.
    pub(super) fn introspection(&self, name: &str) -> IntrospectionMetrics {
        let count = |outcome| {
            self.introspections.get_or_create_owned(&RefreshLabels {
                issuer: name.to_owned(),
                outcome,
            })
        };
        let issuer = IssuerLabels {
            issuer: name.to_owned(),
        };
        IntrospectionMetrics {
            active: count("active"),
            inactive: count("inactive"),
            failed: count("failed"),
            stale: count("stale"),
            seconds: self.introspection_seconds.0.clone(),
            breaker_open: self.introspection_breaker.get_or_create_owned(&issuer),
        }
    }

    /// Shows an issuer's keys no more.
    pub(super) fn forget(&self, name: &str) {
        let issuer = IssuerLabels {
            issuer: name.to_owned(),
        };
        self.keys.remove(&issuer);
        self.skipped.remove(&issuer);
        self.fetched.remove(&issuer);
        self.introspection_breaker.remove(&issuer);
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
        let snapshots = |outcome| {
            self.snapshots.get_or_create_owned(&RefreshLabels {
                issuer: name.to_owned(),
                outcome,
            })
        };
        IssuerMetrics {
            restored: snapshots("restored"),
            not_restored: snapshots("not_restored"),
            kept: snapshots("kept"),
            not_kept: snapshots("not_kept"),
            changed: refreshes("changed"),
            unchanged: refreshes("unchanged"),
            failed: refreshes("failed"),
            keys: self.keys.get_or_create_owned(&issuer),
            skipped: self.skipped.get_or_create_owned(&issuer),
            fetched: self.fetched.get_or_create_owned(&issuer),
        }
    }
}

/// The metrics of one issuer that is asked about its tokens.
pub(super) struct IntrospectionMetrics {
    pub(super) active: Counter,
    pub(super) inactive: Counter,
    pub(super) failed: Counter,
    pub(super) stale: Counter,
    pub(super) seconds: Histogram,
    pub(super) breaker_open: Gauge,
}

/// The metrics of one issuer, without a look-up.
pub(super) struct IssuerMetrics {
    pub(super) restored: Counter,
    pub(super) not_restored: Counter,
    pub(super) kept: Counter,
    pub(super) not_kept: Counter,
    pub(super) changed: Counter,
    pub(super) unchanged: Counter,
    pub(super) failed: Counter,
    keys: Gauge,
    skipped: Gauge,
    fetched: Gauge,
}

impl IssuerMetrics {
    /// Shows the set in use.
    pub(super) fn show(&self, keys: usize, fetched: i64) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.fetched.set(fetched);
    }

    /// Shows how many entries of the set that was read are not used.
    pub(super) fn show_skipped(&self, entries: usize) {
        self.skipped.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}
