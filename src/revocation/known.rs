//! What is known, since when, and whether that is enough to take traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::metrics::Metrics;
use crate::clock::Clock;
use crate::config::revocation::Settings;
use crate::revoked::{Added, Entry, Revoked};

/// Nothing was ever confirmed.
const NEVER: i64 = i64::MIN;

/// How often the age is shown, and what has ended is looked for.
const TICK: Duration = Duration::from_secs(1);
const TICKS_TO_PURGE: u32 = 60;

/// The set, and how good it is.
#[derive(Debug)]
pub(super) struct Known {
    revoked: Arc<Revoked>,
    /// The second since 1970 at which the source was last heard.
    confirmed: AtomicI64,
    /// Whether something had no room.
    full: AtomicBool,
    error: Mutex<Option<String>>,
    max_staleness: Option<Duration>,
    pub(super) max_snapshot_age: Duration,
    pub(super) capacity: usize,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

/// How the set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether traffic may come as far as this is concerned.
    pub ready: bool,
    /// Whether everything that was revoked before the start is known.
    pub loaded: bool,
    /// How many revocations are in force.
    pub entries: usize,
    /// Seconds since the source was last heard; `None`: not since the start.
    pub stale: Option<u64>,
    /// What is wrong, if something is.
    pub error: Option<String>,
}

impl Known {
    pub(super) fn new(
        revoked: Arc<Revoked>,
        settings: &Settings,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self {
            revoked,
            confirmed: AtomicI64::new(NEVER),
            full: AtomicBool::new(false),
            error: Mutex::new(None),
            max_staleness: settings.max_staleness,
            max_snapshot_age: settings.max_snapshot_age,
            capacity: settings.capacity,
            metrics,
            clock,
        }
    }

    pub(super) fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// Takes what was read.
    pub(super) fn take(&self, entries: impl IntoIterator<Item = Entry>) {
        let now = self.clock.now();
        let alive = entries.into_iter().filter(|entry| !entry.has_ended(now));
        self.revoked.add(alive, |added| match added {
            Added::New => {
                self.metrics.new.inc();
            }
            Added::Known => {
                self.metrics.known.inc();
            }
            Added::Full => {
                self.metrics.full.inc();
                if !self.full.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        "revocation.capacity is reached: what is revoked now is not remembered"
                    );
                }
            }
        });
        self.show();
    }

    /// The source was heard, and all that it has said until now is taken.
    pub(super) fn confirm(&self) {
        self.confirmed.store(self.clock.now(), Ordering::Relaxed);
        if self.error.lock().take().is_some() {
            tracing::info!("revocations are heard again");
        }
    }

    /// The source cannot be heard; told once.
    pub(super) fn fail(&self, why: String) {
        self.metrics.failures.inc();
        let mut error = self.error.lock();
        if error.is_none() {
            tracing::warn!(
                why,
                "revocations are not heard: what is known stays in force"
            );
        }
        *error = Some(why);
    }

    /// All of the source is about to be read; whether something had found no room before.
    pub(super) fn begin(&self) -> bool {
        self.full.swap(false, Ordering::Relaxed)
    }

    /// Reading failed before its end: what had found no room still has none.
    pub(super) fn overflow(&self, overflowed: bool) {
        self.full.fetch_or(overflowed, Ordering::Relaxed);
    }

    /// Whether what found no room would find some now, if it were read again.
    pub(super) fn has_room_again(&self) -> bool {
        self.full.load(Ordering::Relaxed) && self.revoked.len() < self.capacity / 10 * 9
    }

    /// From now on requests may be judged by the set.
    pub(super) fn open(&self) {
        if self.revoked.generation() == 0 {
            let entries = self.revoked.len();
            tracing::info!(entries, "revocations are loaded");
            self.revoked.open();
        }
    }

    /// When the source was last heard, in seconds since 1970.
    pub(super) fn confirmed(&self) -> Option<i64> {
        Some(self.confirmed.load(Ordering::Relaxed)).filter(|second| *second != NEVER)
    }

    /// What a snapshot says of that.
    pub(super) fn remember(&self, second: i64) {
        self.confirmed.fetch_max(second, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> Report {
        let stale = self.staleness();
        let loaded = self.revoked.generation() > 0;
        let full = self.full.load(Ordering::Relaxed);
        let late = self
            .max_staleness
            .is_some_and(|most| stale.is_none_or(|stale| Duration::from_secs(stale) > most));
        let error = match full {
            true => Some("revocation.capacity is reached".to_owned()),
            false => self.error.lock().clone(),
        };
        Report {
            ready: loaded && !full && !late,
            loaded,
            entries: self.revoked.len(),
            stale,
            error,
        }
    }

    /// Shows the age each second, and lets go of what has ended each minute.
    pub(super) async fn tick(&self) {
        let mut interval = tokio::time::interval(TICK);
        let mut ticks = 0;
        loop {
            interval.tick().await;
            self.show();
            ticks += 1;
            if ticks % TICKS_TO_PURGE == 0 {
                self.revoked.purge(self.clock.now());
            }
        }
    }

    fn staleness(&self) -> Option<u64> {
        let age = self.clock.now().saturating_sub(self.confirmed()?);
        Some(u64::try_from(age).unwrap_or(0))
    }

    fn show(&self) {
        let entries = i64::try_from(self.revoked.len()).unwrap_or(i64::MAX);
        self.metrics.entries.set(entries);
        let stale = self
            .staleness()
            .map_or(-1, |age| i64::try_from(age).unwrap_or(i64::MAX));
        self.metrics.staleness.set(stale);
    }
}
