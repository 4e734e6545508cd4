//! A body that is read from a [`Wire`] as it comes.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use super::framing::{Framing, Piece};
use super::{Wire, WireError};

/// The rest of an answer, and the connection that it comes on.
#[derive(Debug)]
pub(in crate::upstream) struct WireBody {
    wire: Option<Box<Wire>>,
    framing: Framing,
    keep: bool,
    idle: Duration,
}

impl WireBody {
    /// The body of an answer whose head was read from `wire`.
    pub(in crate::upstream) fn new(
        wire: Box<Wire>,
        framing: Framing,
        keep: bool,
        idle: Duration,
    ) -> Self {
        Self {
            wire: Some(wire),
            framing,
            keep,
            idle,
        }
    }

    /// The whole body, if all of it was read together with the head.
    pub(in crate::upstream) fn take_whole(&mut self) -> Option<Bytes> {
        let wire = self.wire.as_mut()?;
        let Framing::Length(left) = self.framing else {
            return None;
        };
        let count = usize::try_from(left)
            .ok()
            .filter(|count| *count <= wire.input.len())?;
        self.framing = Framing::Length(0);
        Some(wire.input.split_to(count).freeze())
    }

    /// The connection, when the body is over and another request may follow: not when the app
    /// has sent more than it announced.
    pub(in crate::upstream) fn release(&mut self) -> Option<Box<Wire>> {
        let reusable = self.framing.is_over() && self.keep;
        let wire = self.wire.take_if(|_| reusable)?;
        wire.input.is_empty().then_some(wire)
    }

    /// Whether nothing is left.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.framing.is_over() || self.wire.is_none() && !matches!(self.framing, Framing::Length(_))
    }

    /// The next frame.
    pub(in crate::upstream) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(None);
        };
        loop {
            match self.framing.take(&mut wire.input) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(lines)) => {
                    return Poll::Ready(Some(trailers(&lines).map(Frame::trailers)));
                }
                Ok(Piece::Over) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) if self.framing == Framing::Close => {
                    self.wire = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => {
                    let cut = std::io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(self.fail(WireError::Broken(cut)))));
                }
                Poll::Ready(Ok(_)) => wire.deadline.at = None,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Some(Err(self.fail(WireError::Broken(error)))));
                }
                Poll::Pending => {
                    if wire.deadline.at.is_none() {
                        wire.deadline.start(self.idle);
                    }
                    ready!(wire.deadline.poll(cx));
                    return Poll::Ready(Some(Err(self.fail(WireError::Late))));
                }
            }
        }
    }

    /// How much is left, where that is known.
    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    /// After an error the connection is closed.
    fn fail(&mut self, error: WireError) -> WireError {
        self.wire = None;
        error
    }

    /// Forgets how long the answer's head took: the body has a time of its own.
    pub(in crate::upstream) fn begin(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.deadline.at = None;
        }
    }
}

/// Trailers as a map; the lines are those that the framing collected.
fn trailers(lines: &[u8]) -> Result<HeaderMap, WireError> {
    const WRONG: WireError = WireError::Malformed("a trailer is none");
    let mut text = BytesMut::from(lines);
    text.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&text, &mut fields)
    else {
        return Err(WRONG);
    };
    let mut map = HeaderMap::new();
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| WRONG)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| WRONG)?;
        map.append(name, value);
    }
    Ok(map)
}
