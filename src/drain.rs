//! How usher ends: everybody is told, everybody finishes, and nobody is waited for without end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

/// What everybody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
}

/// The side that ends things.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    guard: Guard,
    finished: mpsc::Receiver<Infallible>,
}

/// Held by what should finish first: a connection, a tunnel.
#[derive(Clone, Debug)]
pub struct Guard {
    phase: watch::Receiver<Phase>,
    leaving: Arc<AtomicBool>,
    /// The same without a lock, for whoever looks often.
    draining: Arc<AtomicBool>,
    _alive: mpsc::Sender<Infallible>,
}

impl Drain {
    /// Nobody holds a guard yet.
    pub fn new() -> Self {
        let (sender, phase) = watch::channel(Phase::Running);
        let (alive, finished) = mpsc::channel(1);
        Self {
            phase: sender,
            guard: Guard {
                phase,
                leaving: Arc::default(),
                draining: Arc::default(),
                _alive: alive,
            },
            finished,
        }
    }

    /// A guard for one more piece of work.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Lets clients know with each answer that they should connect elsewhere: what is told before
    /// connections are closed costs nobody a request.
    pub fn leave(&self) {
        self.guard.leaving.store(true, Ordering::Release);
    }

    /// Tells everybody to finish, and waits until the last guard is gone.
    pub async fn finish(self) {
        let Self {
            phase,
            guard,
            mut finished,
        } = self;
        guard.leaving.store(true, Ordering::Release);
        guard.draining.store(true, Ordering::Release);
        phase.send_replace(Phase::Draining);
        drop(guard);
        finished.recv().await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// Resolves when it is time to finish.
    pub async fn draining(&mut self) {
        // An error means that the other side is gone, which is an end as well.
        let _ = self.phase.wait_for(|phase| *phase == Phase::Draining).await;
    }

    /// Whether the end is near, so that a connection is not to be kept after its next answer.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether it is time to finish.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_the_last_guard() {
        let drain = Drain::new();
        let mut guard = drain.guard();
        assert!(!guard.is_leaving());
        drain.leave();
        assert!(guard.is_leaving() && !guard.is_draining());
        let end = tokio::spawn(drain.finish());
        guard.draining().await;
        assert!(!end.is_finished());
        drop(guard);
        end.await.unwrap();
    }
}
