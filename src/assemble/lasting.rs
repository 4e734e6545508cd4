//! What every reload leaves as it is: numbers that never go back, the log, and our name.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use rustls::RootCertStore;

use super::{Options, StartError};
use crate::clock::Clock;
use crate::config::Config;
use crate::revocation::{self, Revocation};
use crate::revoked::Revoked;
use crate::roots::roots;
use crate::state::StateDir;
use crate::telemetry::{Exporter, Telemetry, Tracer};
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
    /// Followed from start to end: what is revoked stays so through every reload.
    pub(super) revocation: Option<Arc<Revocation>>,
    /// Our name among all the proxies in the world, for `Via`.
    pub(super) instance: String,
    serials: AtomicU64,
}

impl Lasting {
    /// Beside it what sends spans, where that is configured.
    pub(super) fn new(
        settings: &Config,
        state: Option<&StateDir>,
        options: Options,
    ) -> Result<(Self, Option<Exporter>), StartError> {
        let mut registry = Registry::with_prefix("usher");
        let (tracer, exporter) = traces(settings, &mut registry)?.unzip();
        let identify = identify::Metrics::default();
        identify.register(&mut registry);
        let pools = upstream::Metrics::default();
        pools.register(&mut registry);
        let tls = tls::Metrics::default();
        tls.register(&mut registry);
        let Options { clock, access } = options;
        let revocation = revocation(settings, state, &clock, &mut registry)?;
        let log = &settings.log;
        let lasting = Self {
            telemetry: Telemetry::new(log, Vec::new(), registry, clock.clone(), access, tracer),
            clock,
            identify,
            pools,
            tls,
            users: OnceLock::new(),
            accounts: OnceLock::new(),
            revocation,
            instance: instance(),
            serials: AtomicU64::new(0),
        };
        Ok((lasting, exporter))
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

    /// The set that requests ask.
    pub(super) fn revoked(&self) -> Option<Arc<Revoked>> {
        self.revocation.as_ref().map(|it| it.revoked().clone())
    }

    /// A number that no part has yet.
    pub(super) fn serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn revocation(
    settings: &Config,
    state: Option<&StateDir>,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<Option<Arc<Revocation>>, StartError> {
    let Some(revocation) = &settings.revocation else {
        return Ok(None);
    };
    let metrics = revocation::metrics::Metrics::default();
    metrics.register(registry);
    let opened = Revocation::open(revocation, state, metrics, clock.clone());
    opened
        .map(|opened| Some(Arc::new(opened)))
        .map_err(StartError::Revocation)
}

/// What takes spans and what sends them, where that is configured.
fn traces(
    settings: &Config,
    registry: &mut Registry,
) -> Result<Option<(Tracer, Exporter)>, StartError> {
    let Some(settings) = &settings.traces else {
        return Ok(None);
    };
    let roots = match settings.endpoint.starts_with("https:") {
        true => roots(settings.ca_file.as_deref()).map_err(StartError::Tls)?,
        false => RootCertStore::empty(),
    };
    let made = Tracer::new(settings, roots, registry).map_err(StartError::Tls)?;
    Ok(Some(made))
}

fn instance() -> String {
    let mut bytes = [0; 6];
    // Without randomness the name is the same everywhere; a chain of two ushers then looks
    // like a loop, which is refused rather than let through.
    let _ = getrandom::fill(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}
