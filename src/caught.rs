//! A panic costs its own request a 500, and nobody else anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use crate::denial::{Denial, Reason};

/// What comes of `work`; `internal` if it panics, which is a bug of usher's. Where, is in the log
/// (`telemetry/events.rs`).
///
/// What was going on is dropped as if its client had left, and what is shared is made for that: snapshots
/// swapped whole, and locks that are not poisoned.
pub async fn caught<T>(
    mut work: Pin<&mut impl Future<Output = Result<T, Denial>>>,
) -> Result<T, Denial> {
    std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Err(PANICKED)))
    })
    .await
}

const PANICKED: Denial = Denial::new(
    Reason::Internal,
    "a panic: an event in the log says where; please report it",
);
