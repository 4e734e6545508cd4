//! What every reload leaves as it is: numbers that never go back, the log, and our name.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use super::Options;
use crate::clock::Clock;
use crate::config::Log;
use crate::telemetry::Telemetry;
use crate::{accounts, identify, tls, upstream, users};

/// Made once.
pub(super) struct Lasting {
    pub(super) clock: Clock,
    /// For no route in particular.
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) identify: identify::Metrics,
    pub(super) pools: upstream::Metrics,
    pub(super) tls: tls::Metrics,
    /// Shown once there are users.
    users: OnceLock<users::metrics::Metrics>,
    /// Shown once there are accounts.
    accounts: OnceLock<accounts::metrics::Metrics>,
    /// Our name among all the proxies in the world, for `Via`.
    pub(super) instance: String,
    serials: AtomicU64,
}

impl Lasting {
    pub(super) fn new(log: &Log, options: Options) -> Self {
        let mut registry = Registry::with_prefix("usher");
        let identify = identify::Metrics::default();
        identify.register(&mut registry);
        let pools = upstream::Metrics::default();
        pools.register(&mut registry);
        let tls = tls::Metrics::default();
        tls.register(&mut registry);
        let Options { clock, access } = options;
        Self {
            telemetry: Telemetry::new(log, Vec::new(), registry, clock.clone(), access),
            clock,
            identify,
            pools,
            tls,
            users: OnceLock::new(),
            accounts: OnceLock::new(),
            instance: instance(),
            serials: AtomicU64::new(0),
        }
    }

    pub(super) fn users(&self) -> &users::metrics::Metrics {
        self.users.get_or_init(|| {
            let metrics = users::metrics::Metrics::default();
            self.telemetry
                .register(|registry| metrics.register(registry));
            metrics
        })
    }

    pub(super) fn accounts(&self) -> &accounts::metrics::Metrics {
        self.accounts.get_or_init(|| {
            let metrics = accounts::metrics::Metrics::default();
            self.telemetry
                .register(|registry| metrics.register(registry));
            metrics
        })
    }

    /// A number that no part has yet.
    pub(super) fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn instance() -> String {
    let mut bytes = [0; 6];
    // Without randomness the name is the same everywhere; a chain of two ushers then looks
    // like a loop, which is refused rather than let through.
    let _ = getrandom::fill(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}
