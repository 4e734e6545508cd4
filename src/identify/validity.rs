//! For how long a token is good for what it has opened.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::token::Verified;
use crate::deadline::Deadline;
use crate::denial::{Denial, Reason};
use crate::revoked::Revoked;

/// Why something that a token opened has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
}

/// The terms on which something is open; there may be any number of vigils over them.
#[derive(Clone, Debug)]
pub struct Validity {
    until: Option<Instant>,
    revoked: Option<(Arc<Revoked>, Arc<Verified>)>,
}

/// Ends when the token is revoked.
type Gone = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Waits for the end of what a token has opened.
pub struct Vigil {
    deadline: Deadline,
    revoked: Option<Gone>,
    ended: Option<End>,
}

/// Whether a token is not among what is revoked. It remembers the number of the set that it was
/// not in, and asks again only when the set has another.
pub(super) fn stands(revoked: &Revoked, verified: &Verified) -> Result<(), Denial> {
    let generation = revoked.generation();
    if generation != 0 && verified.unrevoked_at.load(Ordering::Relaxed) == generation {
        return Ok(());
    }
    look(revoked, verified, generation)
}

#[cold]
fn look(revoked: &Revoked, verified: &Verified, generation: u64) -> Result<(), Denial> {
    if generation == 0 {
        let detail = "what is revoked is not known yet";
        return Err(Denial::new(Reason::RevocationsUnavailable, detail));
    }
    if verified
        .marks
        .as_ref()
        .is_none_or(|marks| revoked.holds(marks))
    {
        return Err(Denial::new(Reason::TokenRevoked, "it was revoked"));
    }
    verified.unrevoked_at.store(generation, Ordering::Relaxed);
    Ok(())
}

impl Validity {
    /// Until then, and as long as the token is not in the set; `None` if neither bounds it.
    pub(super) fn new(
        until: Option<Instant>,
        revoked: Option<(Arc<Revoked>, Arc<Verified>)>,
    ) -> Option<Self> {
        (until.is_some() || revoked.is_some()).then_some(Self { until, revoked })
    }

    /// The same without an end by the clock; `None` if nothing is left.
    pub fn without_end(self) -> Option<Self> {
        Self::new(None, self.revoked)
    }

    /// Whether it has been revoked; what expires by the clock is not looked at.
    pub fn is_revoked(&self) -> bool {
        let gone = |(revoked, verified): &(Arc<Revoked>, Arc<Verified>)| {
            let stands = stands(revoked, verified);
            stands.is_err_and(|denial| denial.reason == Reason::TokenRevoked)
        };
        self.revoked.as_ref().is_some_and(gone)
    }

    /// Somebody who waits for the end.
    pub fn watch(self) -> Vigil {
        let until = self.until;
        let set = self.revoked.as_ref().map(|(set, _)| set.clone());
        let revoked = set.map(|set| {
            let gone: Gone = Box::pin(async move {
                let mut changes = set.watch();
                while !self.is_revoked() {
                    if changes.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            });
            gone
        });
        Vigil {
            deadline: until.map(Deadline::at).unwrap_or_default(),
            revoked,
            ended: None,
        }
    }
}

impl Vigil {
    /// Ready when it is over, and again whenever it is asked after that.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.ended.is_none() {
            let revoked = self.revoked.as_mut();
            if revoked.is_some_and(|revoked| revoked.as_mut().poll(cx).is_ready()) {
                self.ended = Some(End::Revoked);
            } else if self.deadline.poll(cx).is_ready() {
                self.ended = Some(End::Expired);
            }
        }
        match self.ended {
            Some(end) => {
                self.revoked = None;
                Poll::Ready(end)
            }
            None => Poll::Pending,
        }
    }

    /// Whether it is over by the clock, or was found to be over; for whoever does not wait.
    pub fn has_passed(&self) -> Option<End> {
        let expired = self.deadline.has_passed().then_some(End::Expired);
        self.ended.or(expired)
    }

    /// How it ended, if that was seen.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// Waits for the end.
    pub async fn over(&mut self) -> End {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vigil")
            .field("deadline", &self.deadline)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
