//! Bodies on their way through: streamed, never collected.

use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::fields::Fields;
use crate::wire::Malformed;

/// A piece of a body.
#[derive(Debug)]
pub enum Frame {
    /// Data; never empty.
    Data(Bytes),
    /// The fields after the last chunk; nothing follows.
    Trailers(Fields),
}

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// Nothing came for `timeouts.idle`.
    TimedOut,
    /// The token that it was asked for with has expired.
    Expired,
    /// The token that it was asked for with was revoked.
    Revoked,
    /// The connection that it came on failed, or ended in the middle.
    Broken(io::Error),
    /// What came is no body; says what it is.
    Malformed(&'static str),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("nothing came for timeouts.idle"),
            Self::Expired => f.write_str("the token has expired"),
            Self::Revoked => f.write_str("the token was revoked"),
            Self::Broken(error) => write!(f, "the connection failed: {error}"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl From<Malformed> for BodyError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::TimedOut | Self::Expired | Self::Revoked | Self::Malformed(_) => None,
        }
    }
}

/// A request's body, for whoever reads it; it comes through a [`Source`].
///
/// The two are polled by one task, the source after the reader: that is why asking needs no
/// waker, and why a reader that was given something is polled again.
#[derive(Debug)]
pub struct RequestBody {
    mailbox: Option<Arc<Mutex<Mailbox>>>,
    length: Option<u64>,
}

/// The client's connection, as the body's reader sees it.
#[derive(Debug)]
pub struct Source(Arc<Mutex<Mailbox>>);

#[derive(Debug)]
enum Mailbox {
    /// Nobody has asked.
    Still,
    /// The reader waits.
    Asked,
    /// A piece is there, or the reason why there is none.
    Filled(Result<Frame, BodyError>),
    /// Nothing more will come.
    Over,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self {
            mailbox: None,
            length: Some(0),
        }
    }

    /// A body of a length, where it is known, and the end that it is filled from.
    pub fn new(length: Option<u64>) -> (Self, Source) {
        let mailbox = Arc::new(Mutex::new(Mailbox::Still));
        let source = Source(mailbox.clone());
        let mailbox = Some(mailbox);
        (Self { mailbox, length }, source)
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.mailbox.is_none()
    }

    /// How many bytes it has, where that was said.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next piece.
    pub fn poll_frame(&mut self) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(mailbox) = &self.mailbox else {
            return Poll::Ready(None);
        };
        let mut mailbox = mailbox.lock();
        match std::mem::replace(&mut *mailbox, Mailbox::Asked) {
            Mailbox::Still | Mailbox::Asked => Poll::Pending,
            Mailbox::Filled(Ok(Frame::Data(data))) => {
                *mailbox = Mailbox::Still;
                Poll::Ready(Some(Ok(Frame::Data(data))))
            }
            Mailbox::Filled(last) => {
                *mailbox = Mailbox::Over;
                Poll::Ready(Some(last))
            }
            Mailbox::Over => {
                *mailbox = Mailbox::Over;
                Poll::Ready(None)
            }
        }
    }
}

impl Source {
    /// Whether the reader waits for a piece.
    pub fn is_asked(&self) -> bool {
        matches!(*self.0.lock(), Mailbox::Asked)
    }

    /// Whether nobody will read any more.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Gives the reader what it waits for; `None`: the body is over.
    pub fn fill(&self, frame: Option<Result<Frame, BodyError>>) {
        *self.0.lock() = frame.map_or(Mailbox::Over, Mailbox::Filled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_arrives_in_order() {
        let (mut body, source) = RequestBody::new(None);
        assert!(!source.is_asked());
        assert!(body.poll_frame().is_pending() && source.is_asked());
        source.fill(Some(Ok(Frame::Data(Bytes::from_static(b"a")))));
        assert!(!source.is_asked());
        assert!(matches!(
            body.poll_frame(),
            Poll::Ready(Some(Ok(Frame::Data(_))))
        ));
        assert!(!source.is_asked(), "nobody asked for the next one");
        assert!(body.poll_frame().is_pending() && source.is_asked());
        source.fill(Some(Err(BodyError::TimedOut)));
        assert!(matches!(body.poll_frame(), Poll::Ready(Some(Err(_)))));
        assert!(matches!(body.poll_frame(), Poll::Ready(None)));
        assert!(!source.is_abandoned());
        drop(body);
        assert!(source.is_abandoned());
    }
}
