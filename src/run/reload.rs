//! Follows the configuration while usher runs: read again when somebody asks, or when a file has
//! changed; what cannot be used changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::running::{Refused, Running};
use crate::assemble::StartError;
use crate::config::{self, Attempt, Files, Loaded, Problem};

/// How often files are looked at: a few calls of `stat`, on any file system and through the
/// links by which Kubernetes swaps ConfigMaps.
const LOOK: Duration = Duration::from_secs(1);

/// When a reload is tried again that failed for something that may pass, such as an issuer that
/// cannot be reached.
const AGAIN: Duration = Duration::from_secs(30);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Whoever wants a reload at once notifies this.
    pub asked: Arc<Notify>,
}

/// What is counted about reloads.
#[derive(Clone, Debug, Default)]
struct Metrics {
    reloads: Family<ResultLabels, Counter>,
    well: Gauge,
    loaded: Gauge,
    hash: Gauge,
    restart: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        for result in ["done", "failed"] {
            self.reloads.get_or_create_owned(&ResultLabels { result });
        }
        let registry = registry.sub_registry_with_prefix("config");
        registry.register(
            "reloads",
            "Reloads of the configuration, by result",
            self.reloads.clone(),
        );
        registry.register(
            "last_reload_successful",
            "1 unless the last reload failed, and the configuration before it is still used",
            self.well.clone(),
        );
        registry.register_with_unit(
            "loaded_timestamp",
            "When the configuration in use was loaded, since 1970",
            Unit::Seconds,
            self.loaded.clone(),
        );
        registry.register(
            "hash",
            "The first 48 bits of the SHA-256 of the file in use",
            self.hash.clone(),
        );
        registry.register(
            "restart_needed",
            "Keys that have changed and wait for a restart",
            self.restart.clone(),
        );
    }

    fn count(&self, result: &'static str) {
        self.well.set(i64::from(result == "done"));
        let reloads = &self.reloads;
        reloads.get_or_create_owned(&ResultLabels { result }).inc();
    }

    /// What is used from now on.
    fn show(&self, running: &Running) {
        self.loaded.set(running.parts().now());
        let hash = i64::try_from(running.settings().hash);
        self.hash.set(hash.unwrap_or(0));
    }
}

/// Reloads for ever, if there is something to read again; until something has ended that should
/// not have.
pub(super) async fn follow(running: &mut Running, source: Option<Source>) -> StartError {
    let metrics = Metrics::default();
    metrics.well.set(1);
    metrics.show(running);
    let telemetry = &running.parts().sidecar.telemetry;
    telemetry.register(|registry| metrics.register(registry));
    let Some(source) = source else {
        return running.ended().await;
    };
    let mut watch = Watch::new(running.settings().files.clone());
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            error = running.ended() => return error,
            () = source.asked.notified() => {}
            _ = tick.tick() => if !watch.is_due() {
                continue;
            },
        }
        let file = source.file.clone();
        let reading = tokio::task::spawn_blocking(move || config::attempt(&file));
        match reading.await {
            Ok(attempt) => watch = reload(running, attempt, &metrics).await,
            Err(error) => tracing::error!(%error, "the configuration could not be read"),
        }
    }
}

/// Uses what was read, or says why not; what to watch from now on.
async fn reload(running: &mut Running, attempt: Attempt, metrics: &Metrics) -> Watch {
    let mut watch = Watch::new(attempt.files);
    let outcome = match attempt.outcome {
        Ok(loaded) => take(running, loaded, metrics).await,
        Err(problems) => Err(told(&problems)),
    };
    match outcome {
        Ok(()) => metrics.count("done"),
        Err(may_pass) => {
            metrics.count("failed");
            tracing::error!("the configuration was not reloaded; the one before it stays");
            watch.retry = may_pass.then(|| Instant::now() + AGAIN);
        }
    }
    running.readiness.reloaded(outcome.is_ok());
    watch
}

/// Says what is wrong in the words of `usher check`; only another file can help.
fn told(problems: &[Problem]) -> bool {
    for problem in problems {
        tracing::error!(%problem, "the configuration cannot be used");
    }
    false
}

/// `Err` says whether it may go well another time.
async fn take(running: &mut Running, loaded: Loaded, metrics: &Metrics) -> Result<(), bool> {
    let hash = loaded.config.hash;
    let fixed = running.reload(loaded.config).await;
    let fixed = fixed.map_err(|Refused { error, may_pass }| {
        tracing::error!(problem = %error, again = may_pass, "the configuration cannot be used");
        may_pass
    })?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for key in &fixed {
        tracing::warn!(
            key,
            "has changed and takes a restart; until then it stays as it was"
        );
    }
    metrics.show(running);
    metrics.restart.set(i64::try_from(fixed.len()).unwrap_or(0));
    tracing::info!(hash, "the configuration was reloaded");
    Ok(())
}

/// When to read again.
struct Watch {
    /// The files as they were read.
    read: Files,
    /// As they were at the last look.
    last: Files,
    retry: Option<Instant>,
}

impl Watch {
    fn new(read: Files) -> Self {
        Self {
            last: read.clone(),
            read,
            retry: None,
        }
    }

    /// Whether something has changed, and is still the same at the next look: half a file may be
    /// a good one that says something else.
    fn is_due(&mut self) -> bool {
        let now = self.read.now();
        let still = now == self.last;
        let changed = now != self.read;
        self.last = now;
        changed && still || self.retry.is_some_and(|at| at <= Instant::now())
    }
}
