//! What goes out on a connection, and what the kernel has not taken yet.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::body::Frame;

use super::framing;

/// A piece of a body up to this size is copied to what stands before it: one plain write costs
/// the kernel less than a vectored one.
const SMALL: usize = 4 * 1024;

thread_local! {
    /// Where a worker's connections put together what they write.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is to be written: a head or the line before a chunk, data, and what ends a chunk.
#[derive(Debug, Default)]
pub struct Output {
    before: Vec<u8>,
    written: usize,
    data: Bytes,
    after: &'static [u8],
}

impl Output {
    /// Whether all was taken.
    pub fn is_empty(&self) -> bool {
        self.written == self.before.len() && self.data.is_empty() && self.after.is_empty()
    }

    /// Writes what `build` puts together, then `data`, then `after`; nothing else may be waiting.
    /// `Pending`: the rest waits for [`Self::poll_flush`].
    pub fn poll_start<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        build: impl FnOnce(&mut Vec<u8>),
        data: Bytes,
        after: &'static [u8],
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            build(scratch);
            if data.len() > SMALL {
                self.keep(scratch);
                (self.data, self.after) = (data, after);
                return Ok(());
            }
            scratch.extend_from_slice(&data);
            scratch.extend_from_slice(after);
            let written = match Pin::new(&mut *stream).poll_write(cx, scratch) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.keep(&scratch[written..]);
            Ok::<_, io::Error>(())
        })?;
        self.poll_flush(cx, stream)
    }

    /// Writes a piece of a body, or its end; nothing else may be waiting. Trailers go out with
    /// chunks only.
    pub fn poll_frame<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        frame: Option<Frame>,
        chunked: bool,
    ) -> Poll<io::Result<()>> {
        match frame {
            Some(Frame::Data(data)) if chunked => {
                let size = data.len();
                let build = |out: &mut Vec<u8>| framing::write_size(size, out);
                self.poll_start(cx, stream, build, data, b"\r\n")
            }
            Some(Frame::Data(data)) => self.poll_start(cx, stream, |_| {}, data, b""),
            _ if !chunked => Poll::Ready(Ok(())),
            end => {
                let trailers = match &end {
                    Some(Frame::Trailers(fields)) => Some(fields),
                    _ => None,
                };
                let build = |out: &mut Vec<u8>| framing::write_end(trailers, out);
                self.poll_start(cx, stream, build, Bytes::new(), b"")
            }
        }
    }

    /// Writes what is waiting.
    pub fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let pieces = [
                IoSlice::new(&self.before[self.written..]),
                IoSlice::new(&self.data),
                IoSlice::new(self.after),
            ];
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &pieces))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.forget(written);
        }
        // TLS takes everything and may still hold some of it; plain streams have nothing to do.
        Pin::new(stream).poll_flush(cx)
    }

    fn keep(&mut self, rest: &[u8]) {
        self.before = rest.to_vec();
        self.written = 0;
    }

    fn forget(&mut self, mut written: usize) {
        let head = written.min(self.before.len() - self.written);
        self.written += head;
        written -= head;
        let data = written.min(self.data.len());
        self.data.advance(data);
        self.after = self.after.get(written - data..).unwrap_or_default();
    }
}
