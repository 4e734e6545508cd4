//! How long something may still take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that is moved with each exchange while its timer stays where it is: a timer
/// costs most when it is set and taken away, and almost no exchange needs it.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// From now on, so long.
    pub fn start(&mut self, time: Duration) {
        self.at = Some(Instant::now() + time);
    }

    /// The same, unless it runs already.
    pub fn start_if_still(&mut self, time: Duration) {
        if self.at.is_none() {
            self.start(time);
        }
    }

    /// At this time.
    pub fn at(at: Instant) -> Self {
        Self {
            at: Some(at),
            timer: None,
        }
    }

    /// Whether the time has come, for whoever does not wait for it.
    pub fn has_passed(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// Nothing is waited for.
    pub fn stop(&mut self) {
        self.at = None;
    }

    /// Ready when the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        // A timer that would ring after the deadline has to be moved; one that rings before is
        // moved when it does.
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}
