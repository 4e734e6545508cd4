//! What revocation counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters and gauges; clones show the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) new: Counter,
    pub(super) known: Counter,
    pub(super) unknown: Counter,
    pub(super) full: Counter,
    pub(super) restored: Counter,
    pub(super) trimmed: Counter,
    pub(super) failures: Counter,
    pub(super) snapshots_failed: Counter,
    pub(super) entries: Gauge,
    pub(super) staleness: Gauge,
    read: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let read = Family::default();
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create_owned(&Outcome { outcome })
        };
        Self {
            new: of(&read, "new"),
            known: of(&read, "known"),
            unknown: of(&read, "unknown"),
            full: of(&read, "full"),
            restored: Counter::default(),
            trimmed: Counter::default(),
            failures: Counter::default(),
            snapshots_failed: Counter::default(),
            entries: Gauge::default(),
            staleness: Gauge::default(),
            read,
        }
    }
}

impl Metrics {
    /// Adds everything to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("revocations", "Revocations in force", self.entries.clone());
        registry.register_with_unit(
            "revocation_staleness",
            "Since revocations were last heard, -1 before the first time",
            Unit::Seconds,
            self.staleness.clone(),
        );
        registry.register(
            "revocation_entries",
            "Entries that were read, by what they were",
            self.read.clone(),
        );
        registry.register(
            "revocation_restored",
            "Revocations that the stream or the file had lost, and that were put back",
            self.restored.clone(),
        );
        registry.register(
            "revocation_trimmed",
            "Entries taken off the stream whose time was over",
            self.trimmed.clone(),
        );
        registry.register(
            "revocation_failures",
            "Times that revocations could not be heard",
            self.failures.clone(),
        );
        registry.register(
            "revocation_snapshots_failed",
            "Snapshots of the set that could not be written",
            self.snapshots_failed.clone(),
        );
    }
}
