//! What HTTP/2 has in common on both sides of usher: fields, and bodies as frames.
//!
//! The library reads and writes frames (RFC 9113); this is where its types and ours meet.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::body::{BodyError, Frame};
use crate::fields::Fields;

/// What the other side may send of one body before somebody reads it.
pub const STREAM_WINDOW: u32 = 128 * 1024;

/// What it may send of all bodies of a connection together.
pub const CONNECTION_WINDOW: u32 = 256 * 1024;

/// What is kept of a body that the other side does not take.
pub const SEND_BUFFER: usize = 64 * 1024;

/// Fields in the library's form. What was read as a field is one there as well; a name or value
/// that is not stays behind.
pub fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// The next piece of a body; `None` at its end.
pub fn poll_frame(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame, BodyError>>> {
    let broken = |error: h2::Error| Some(Err(BodyError::Broken(io::Error::other(error))));
    loop {
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // More may come, since this goes on now. A stream that has ended needs no room
                // any more.
                let _ = stream.flow_control().release_capacity(data.len());
                if !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
            }
            Some(Err(error)) => return Poll::Ready(broken(error)),
            None => {
                return Poll::Ready(match ready!(stream.poll_trailers(cx)) {
                    Ok(None) => None,
                    Ok(Some(trailers)) => Some(Ok(Frame::Trailers(Fields::from(&trailers)))),
                    Err(error) => broken(error),
                });
            }
        }
    }
}

/// How many of so many bytes the other side, and our own bound, have room for; at least one.
pub fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Refused>> {
    stream.reserve_capacity(wanted);
    loop {
        match stream.capacity() {
            0 => match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Refused)),
            },
            room => return Poll::Ready(Ok(room)),
        }
    }
}

/// A body on its way out.
#[derive(Debug)]
pub struct Outbound {
    stream: SendStream<Bytes>,
    data: Bytes,
    /// Whether nothing follows the data.
    last: bool,
    /// Whether something was sent since somebody asked.
    moved: bool,
}

/// The other side wants no more of a body, or is gone.
#[derive(Debug)]
pub struct Refused;

impl Outbound {
    /// A body that begins with `data`, and ends with it if it is the `last`.
    pub fn new(stream: SendStream<Bytes>, data: Bytes, last: bool) -> Self {
        Self {
            stream,
            data,
            last,
            moved: false,
        }
    }

    /// Whether something was sent since this was last asked.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Sends what is there, as far as there is room; tells whether that was the end.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Refused>> {
        while !self.data.is_empty() {
            let room = ready!(poll_room(&mut self.stream, self.data.len(), cx))?;
            let piece = self.data.split_to(room.min(self.data.len()));
            let end = self.last && self.data.is_empty();
            let sent = self.stream.send_data(piece, end);
            sent.map_err(|_| Refused)?;
            self.moved = true;
        }
        Poll::Ready(Ok(self.last))
    }

    /// Takes the next piece, once all before it was sent; `None` is the end. Tells whether
    /// nothing follows.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(&mut self, frame: Option<Frame>) -> Result<bool, Refused> {
        let sent = match frame {
            Some(Frame::Data(data)) => {
                self.data = data;
                return Ok(false);
            }
            Some(Frame::Trailers(fields)) => self.stream.send_trailers(header_map(&fields)),
            None => self.stream.send_data(Bytes::new(), true),
        };
        self.last = true;
        sent.map(|()| true).map_err(|_| Refused)
    }
}
