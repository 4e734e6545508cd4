//! Leaves a peer alone that has just failed, so that it costs a request nothing but its 503.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::pause::Pauses;

/// With this longest pause, and the time a try takes, a peer that is back is in use again
/// well within five seconds.
pub const PAUSES: Pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(2));

/// A single slow answer or lost connection is no outage: those who noticed try again.
const OUTAGE: u32 = 3;

/// While one try is under way, nobody else tries.
const TRY: Duration = Duration::from_secs(1);

/// Whether a peer is worth trying.
#[derive(Debug)]
pub struct Breaker {
    peer: Box<str>,
    state: Mutex<State>,
    open: Gauge,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Nobody tries before this; set while it is open.
    until: Option<Instant>,
}

impl Breaker {
    /// For the peer that logs call so; `open` shows 1 while it is left alone.
    pub fn new(peer: &str, open: Gauge) -> Self {
        Self {
            peer: peer.into(),
            state: Mutex::default(),
            open,
        }
    }

    /// Whether trying makes sense now. After a pause one caller gets a yes, and the next one
    /// only when that try has ended or taken too long: a caller who leaves blocks nobody.
    pub fn allows(&self) -> bool {
        let mut state = self.state.lock();
        let Some(until) = state.until else {
            return true;
        };
        let now = Instant::now();
        if now < until {
            return false;
        }
        state.until = Some(now + TRY);
        true
    }

    /// Whether there is an outage, so that nobody should wait for it to end.
    pub fn is_open(&self) -> bool {
        self.state.lock().until.is_some()
    }

    /// The peer has answered.
    pub fn success(&self) {
        let mut state = self.state.lock();
        if state.until.take().is_some() {
            tracing::info!(peer = %self.peer, "reachable again");
            self.open.set(0);
        }
        state.failures = 0;
    }

    /// Counts a failure; several callers who notice the same one report it once.
    pub fn failure(&self, why: &str) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        let Some(beyond) = state.failures.checked_sub(OUTAGE) else {
            return;
        };
        if state.until.is_none() {
            tracing::warn!(peer = %self.peer, why, "left alone for a while");
            self.open.set(1);
        }
        state.until = Some(Instant::now() + PAUSES.after(beyond));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_caller_tries_after_each_pause() {
        let breaker = Breaker::new("test", Gauge::default());
        for _ in 0..OUTAGE {
            assert!(breaker.allows() && !breaker.is_open());
            breaker.failure("test");
        }
        assert!(!breaker.allows() && breaker.is_open());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(breaker.allows());
        assert!(!breaker.allows(), "one at a time");
        tokio::time::advance(TRY).await;
        assert!(breaker.allows(), "whoever tried has left");
        breaker.success();
        assert!(breaker.allows() && breaker.allows());
    }
}
