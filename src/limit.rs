//! How often somebody may do something.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How often the same message may be told.
const SELDOM: Duration = Duration::from_secs(10);

/// A message that others can provoke: told at most every ten seconds, with how often it was due.
#[derive(Debug)]
pub struct Seldom(Mutex<Told>);

#[derive(Debug)]
struct Told {
    last: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// A message that was never told.
    pub const fn new() -> Self {
        Self(Mutex::new(Told {
            last: None,
            times: 0,
        }))
    }

    /// Counts it once more: how often it was due since it was told last, this time included, or
    /// `None` if that was a moment ago.
    pub fn again(&self) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.0.lock();
        told.times += 1;
        let recent = |last| now.saturating_duration_since(last) < SELDOM;
        if told.last.is_some_and(recent) {
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.times))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

/// A count per key and window; a window begins with a key's first call.
#[derive(Debug)]
pub struct Limit<K: Hash + Eq + Send + Sync + 'static> {
    calls: u32,
    window: Duration,
    windows: Cache<K, Arc<Window>>,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    calls: AtomicU32,
}

impl<K: Hash + Eq + Copy + Send + Sync + 'static> Limit<K> {
    /// So many calls in each window, for at most so many keys at once; one that is pushed out
    /// starts anew.
    pub fn new(calls: u32, window: Duration, keys: u64) -> Self {
        Self {
            calls,
            window,
            windows: Cache::builder()
                .max_capacity(keys)
                .time_to_live(window)
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .build(),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// Beyond the limit: how many seconds to wait.
    pub fn count(&self, key: K) -> Result<(), u32> {
        let now = Instant::now();
        let mut window = self.windows.get_with(key, || Arc::new(Window::new(now)));
        let mut age = now.saturating_duration_since(window.opened);
        if age >= self.window {
            window = Arc::new(Window::new(now));
            age = Duration::ZERO;
            self.windows.insert(key, window.clone());
        }
        if window.calls.fetch_add(1, Ordering::Relaxed) < self.calls {
            return Ok(());
        }
        window.calls.fetch_sub(1, Ordering::Relaxed);
        // Whoever comes back in so many seconds is not too early.
        let left = self.window.saturating_sub(age).as_secs_f64().ceil();
        Err(seconds(left))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from float to integer saturate, which is what is wanted"
)]
fn seconds(left: f64) -> u32 {
    (left as u32).max(1)
}

impl Window {
    fn new(opened: Instant) -> Self {
        Self {
            opened,
            calls: AtomicU32::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_said_again_and_again_is_counted() {
        let seldom = Seldom::new();
        assert_eq!(seldom.again(), Some(1));
        for _ in 0..1000 {
            assert_eq!(seldom.again(), None);
        }
        tokio::time::advance(SELDOM).await;
        assert_eq!(seldom.again(), Some(1001));
        assert_eq!(seldom.again(), None);
    }
}
