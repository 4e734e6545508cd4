//! How often one user may ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use super::caller::Key;

const MINUTE: Duration = Duration::from_secs(60);

/// Users counted at once; one who is pushed out starts anew.
const USERS: u64 = 10_000;

/// A count per user and minute.
#[derive(Debug)]
pub(super) struct Limit {
    per_minute: u32,
    windows: Cache<Key, Arc<Window>>,
}

#[derive(Debug)]
struct Window {
    opened: Instant,
    calls: AtomicU32,
}

impl Limit {
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            windows: Cache::builder()
                .max_capacity(USERS)
                .time_to_live(MINUTE)
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .build(),
        }
    }

    /// Counts a call; beyond the limit, says how many seconds to wait.
    pub(super) fn count(&self, key: Key) -> Result<(), u32> {
        let now = Instant::now();
        let mut window = self.windows.get_with(key, || Arc::new(Window::new(now)));
        let mut age = now.saturating_duration_since(window.opened);
        if age >= MINUTE {
            window = Arc::new(Window::new(now));
            age = Duration::ZERO;
            self.windows.insert(key, window.clone());
        }
        if window.calls.fetch_add(1, Ordering::Relaxed) < self.per_minute {
            return Ok(());
        }
        window.calls.fetch_sub(1, Ordering::Relaxed);
        let left = MINUTE.saturating_sub(age).as_secs();
        Err(u32::try_from(left).unwrap_or(60).max(1))
    }
}

impl Window {
    fn new(opened: Instant) -> Self {
        Self {
            opened,
            calls: AtomicU32::new(0),
        }
    }
}
