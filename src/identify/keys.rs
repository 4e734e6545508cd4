//! An issuer's keys: a snapshot that readers never wait for, and a way to ask for a fresh one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::key_set::KeySet;
use crate::denial::{Denial, Reason};

/// Names of keys that are remembered as asked for, and as not there.
const MAX_KIDS: usize = 1000;

/// How long requests may wait for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// How many requests may wait.
    pub(super) max_waiters: usize,
    /// How long each waits.
    pub(super) key_wait: Duration,
}

/// The keys of one issuer, now.
pub(super) struct Keys {
    current: ArcSwapOption<KeySet>,
    fetching: Option<Fetching>,
    pub(super) last_error: Mutex<Option<String>>,
}

/// What a request and the refresher tell each other.
struct Fetching {
    wanted: Notify,
    progress: watch::Sender<Progress>,
    waiters: AtomicUsize,
    asked: Mutex<Asked>,
    cooldown: Duration,
    patience: Patience,
}

/// How far the refresher is. Attempts are counted from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The last attempt that began, and when.
    began: u64,
    began_at: Option<Instant>,
    /// The last attempt that ended.
    ended: u64,
    /// The last attempt that brought a good set.
    good: u64,
}

/// Names of keys that no set had.
#[derive(Default)]
struct Asked {
    /// Asked for since the last attempt began.
    pending: HashSet<Box<str>>,
    /// Asked for before the attempt that is under way began.
    under_way: HashSet<Box<str>>,
    /// Not in the set that was fetched since they were asked for.
    missing: HashSet<Box<str>>,
}

impl Keys {
    /// Keys that never change.
    pub(super) fn fixed(set: KeySet) -> Self {
        Self {
            current: ArcSwapOption::from_pointee(set),
            fetching: None,
            last_error: Mutex::new(None),
        }
    }

    /// Keys that a refresher fetches.
    pub(super) fn fetched(cooldown: Duration, patience: Patience) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            fetching: Some(Fetching {
                wanted: Notify::new(),
                progress: watch::Sender::new(Progress::default()),
                waiters: AtomicUsize::new(0),
                asked: Mutex::default(),
                cooldown,
                patience,
            }),
            last_error: Mutex::new(None),
        }
    }

    /// Starts with a set that was good before the restart, until the first fetch brings another.
    pub(super) fn restore(&self, set: KeySet) {
        self.current.store(Some(Arc::new(set)));
    }

    /// The last good set, however old.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// The version of the set that is used.
    pub(super) fn version(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |set| set.version)
    }

    /// The set, if there is one that is not too old: otherwise nobody can tell.
    pub(super) fn usable(&self, now: i64) -> Result<Arc<KeySet>, Denial> {
        match self.current.load_full() {
            Some(set) if now <= set.usable_until => Ok(set),
            Some(_) => Err(Denial::new(
                Reason::KeysUnavailable,
                "the issuer's keys are older than `max_stale`",
            )),
            None => Err(Denial::new(
                Reason::KeysUnavailable,
                "the issuer's keys have not been fetched yet",
            )),
        }
    }

    /// Whether a key is in a set that may be used.
    pub(super) fn hold(&self, id: u64, now: i64) -> bool {
        let guard = self.current.load();
        let set = guard.as_ref().filter(|set| now <= set.usable_until);
        set.is_some_and(|set| set.holds(id))
    }

    /// Waits until a key named `kid` is there. Ends with 401 only if a good set that was
    /// fetched since lacks it; in every other case nobody can tell yet, which is 503.
    pub(super) async fn wait_for(&self, kid: &str) -> Result<(), Denial> {
        let Some(fetching) = &self.fetching else {
            return Err(unknown());
        };
        let mut progress = fetching.progress.subscribe();
        let arrived = progress.borrow_and_update().began;
        if fetching.ask(kid) {
            return Err(unknown());
        }
        let _waiter = Waiter::enter(fetching)?;
        let deadline = Instant::now() + fetching.patience.key_wait;
        loop {
            if self.knows(kid) {
                return Ok(());
            }
            let now = *progress.borrow_and_update();
            if now.good > arrived {
                return Err(unknown());
            }
            fetching.check_hope(now, arrived, deadline)?;
            let changed = tokio::time::timeout_at(deadline, progress.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(fetching.pending());
            }
        }
    }

    /// Waits for the end of the first attempt; says why if it brought nothing.
    pub(super) async fn first(&self) -> Result<(), String> {
        if let Some(fetching) = &self.fetching {
            let mut progress = fetching.progress.subscribe();
            // The sender is ours: it lives.
            let _ = progress.wait_for(|progress| progress.ended > 0).await;
        }
        match self.current.load().is_some() {
            true => Ok(()),
            false => Err(self.last_error.lock().clone().unwrap_or_default()),
        }
    }

    fn knows(&self, kid: &str) -> bool {
        let guard = self.current.load();
        guard.as_ref().is_some_and(|set| set.knows(kid))
    }
}

/// The refresher's side.
impl Keys {
    /// Ends when a request wants a fresh set and the cooldown allows it.
    pub(super) async fn wanted(&self) {
        let Some(fetching) = &self.fetching else {
            return std::future::pending().await;
        };
        loop {
            fetching.wanted.notified().await;
            // The attempt just made may have served whoever rang.
            if !fetching.asked.lock().pending.is_empty() {
                break;
            }
        }
        let began_at = fetching.progress.borrow().began_at;
        if let Some(began_at) = began_at {
            tokio::time::sleep_until(began_at + fetching.cooldown).await;
        }
    }

    /// An attempt begins: what was asked for until now is asked for by it.
    pub(super) fn begin(&self) {
        let Some(fetching) = &self.fetching else {
            return;
        };
        let mut asked = fetching.asked.lock();
        let pending = std::mem::take(&mut asked.pending);
        asked.under_way.extend(pending);
        fetching.progress.send_modify(|progress| {
            progress.began += 1;
            progress.began_at = Some(Instant::now());
        });
    }

    /// The attempt brought a good set.
    pub(super) fn succeed(&self, set: Arc<KeySet>) {
        self.current.store(Some(Arc::clone(&set)));
        *self.last_error.lock() = None;
        let Some(fetching) = &self.fetching else {
            return;
        };
        let mut asked = fetching.asked.lock();
        let mut missing = std::mem::take(&mut asked.under_way);
        missing.retain(|kid| !set.knows(kid));
        asked.missing = missing;
        fetching.progress.send_modify(|progress| {
            progress.ended = progress.began;
            progress.good = progress.began;
        });
    }

    /// The attempt failed: the set stays as it is, and what was asked for still is.
    pub(super) fn fail(&self, error: String) {
        *self.last_error.lock() = Some(error);
        if let Some(fetching) = &self.fetching {
            fetching
                .progress
                .send_modify(|progress| progress.ended = progress.began);
        }
    }
}

impl Fetching {
    /// Asks for a refresh; tells whether the last one has shown that `kid` is missing.
    ///
    /// Even then a refresh is asked for, after the cooldown: a token may be ahead of the set
    /// that its issuer publishes, and must not be refused until the next refresh by plan.
    fn ask(&self, kid: &str) -> bool {
        let mut asked = self.asked.lock();
        if asked.pending.len() + asked.under_way.len() < MAX_KIDS {
            asked.pending.insert(kid.into());
        }
        self.wanted.notify_one();
        asked.missing.contains(kid)
    }

    /// Ends the wait if no attempt that could answer can end in time.
    fn check_hope(&self, now: Progress, arrived: u64, deadline: Instant) -> Result<(), Denial> {
        if now.ended > arrived {
            return Err(self.pending());
        }
        let under_way = now.began > now.ended;
        let earliest = now.began_at.map(|began| began + self.cooldown);
        if !under_way && earliest.is_some_and(|earliest| earliest > deadline) {
            return Err(self.pending());
        }
        Ok(())
    }

    /// 503: come back when the cooldown is over.
    fn pending(&self) -> Denial {
        let began_at = self.progress.borrow().began_at;
        let rest = began_at.map_or(Duration::ZERO, |began| {
            (began + self.cooldown).saturating_duration_since(Instant::now())
        });
        let seconds = u32::try_from(rest.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        Denial::new(
            Reason::KeyPending,
            "its `kid` is not in the issuer's keys, and a fresh set is not here yet",
        )
        .retry_after(seconds)
    }
}

fn unknown() -> Denial {
    Denial::new(Reason::KeyUnknown, "the issuer has no key with its `kid`")
}

/// A place among those who wait, given back on drop, also when the caller goes away.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(fetching: &'a Fetching) -> Result<Self, Denial> {
        let waiters = &fetching.waiters;
        let place = Self(waiters);
        if waiters.fetch_add(1, Ordering::Relaxed) >= fetching.patience.max_waiters {
            return Err(Denial::new(
                Reason::Overloaded,
                "too many requests wait for keys",
            ));
        }
        Ok(place)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
