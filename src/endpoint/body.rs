//! The body of a request to ourselves, read whole within bounds.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::body::{BodyError, Frame, RequestBody};
use crate::denial::{Denial, Reason};

/// Up to here a body needs no place: it is no larger than a request's head may be.
pub(super) const SMALL: usize = 32 << 10;

/// For the whole of a body: who takes longer is not logging anybody in, or out.
const PATIENCE: Duration = Duration::from_secs(30);

/// How large bodies may be, and how many of the large ones there may be at once.
#[derive(Debug)]
pub(super) struct Bodies {
    most: usize,
    large: Semaphore,
    /// What one is told that is larger.
    too_large: &'static str,
}

impl Bodies {
    /// Bodies of up to `most` bytes, and so many `large` ones at once.
    pub(super) const fn new(most: usize, large: Semaphore, too_large: &'static str) -> Self {
        Self {
            most,
            large,
            too_large,
        }
    }

    /// The most bytes of one.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Reads a body to its end; it keeps its place as long as it is in memory. `large`: it may be
    /// larger than most.
    pub(super) async fn read(&self, body: RequestBody, large: bool) -> Result<Body<'_>, Denial> {
        let most = if large {
            self.most
        } else {
            self.most.min(SMALL)
        };
        if body.length().is_some_and(|length| length > most as u64) {
            return Err(self.too_large());
        }
        let late = |_| Denial::new(Reason::RequestTimeout, "the body took longer than 30 s");
        let read = tokio::time::timeout(PATIENCE, self.collect(body, most)).await;
        read.map_err(late)?
    }

    fn too_large(&self) -> Denial {
        Denial::new(Reason::BodyTooLarge, self.too_large)
    }

    async fn collect(&self, mut body: RequestBody, most: usize) -> Result<Body<'_>, Denial> {
        let mut bytes = Vec::new();
        let mut place: Option<SemaphorePermit<'_>> = None;
        // The connection feeds the body in the same task, so nobody has to be woken.
        while let Some(frame) = poll_fn(|_| body.poll_frame()).await {
            let Frame::Data(data) = frame.map_err(judge)? else {
                continue;
            };
            if bytes.len() + data.len() > most {
                return Err(self.too_large());
            }
            if place.is_none() && bytes.len() + data.len() > SMALL {
                let full = |_| Denial::new(Reason::Overloaded, "too many large bodies at once");
                place = Some(self.large.try_acquire().map_err(full)?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Body {
            bytes,
            _place: place,
        })
    }
}

/// A body that was read.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) bytes: Vec<u8>,
    /// Among the large ones, if it is one.
    _place: Option<SemaphorePermit<'a>>,
}

fn judge(error: BodyError) -> Denial {
    match error {
        BodyError::TimedOut => Denial::new(
            Reason::RequestTimeout,
            "the request's body stopped for timeouts.idle",
        ),
        // No token is asked for here, so none can end; the compiler does not know.
        BodyError::Expired | BodyError::Revoked => {
            Denial::new(Reason::TokenExpired, "the token has ended")
        }
        BodyError::Malformed(what) => Denial::new(Reason::BadFraming, what),
        BodyError::Broken(_) => {
            Denial::new(Reason::ClientGone, "the client left within its request")
        }
    }
}
