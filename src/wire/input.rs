//! What comes on a connection, and what of it was not used yet.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// What is read at once; most heads, and most answers as a whole, are smaller.
const READ: usize = 16 * 1024;

/// With less room than this, a read is not worth its system call.
const LITTLE: usize = 2 * 1024;

thread_local! {
    /// Where a worker's connections read heads. A connection that waits has no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// What was read from a connection and not used yet.
#[derive(Debug, Default)]
pub struct Input {
    rest: BytesMut,
    /// Whether `rest` holds a head that is not whole, as far as was looked.
    partial: bool,
}

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError<E> {
    /// The connection ended; between heads, if nothing of one was there.
    Ended {
        /// Whether nothing of another head was there.
        between: bool,
    },
    /// The connection failed.
    Failed(io::Error),
    /// What came is no head.
    Unreadable(E),
}

impl Input {
    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How much is waiting.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// What is waiting, for whoever reads a body.
    pub fn rest(&mut self) -> &mut BytesMut {
        &mut self.rest
    }

    /// Gives the memory back; nothing may be waiting.
    pub fn release(&mut self) {
        debug_assert!(self.rest.is_empty());
        self.rest = BytesMut::new();
    }

    /// Reads until there is a head. `read` finds one at the front of what it is shown and tells
    /// its length, or tells that more is needed.
    pub fn poll_head<S, H, E>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        mut read: impl FnMut(&[u8]) -> Result<Option<(H, usize)>, E>,
    ) -> Poll<Result<H, HeadError<E>>>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            if !self.rest.is_empty() && !self.partial {
                if let Some((head, length)) = read(&self.rest).map_err(HeadError::Unreadable)? {
                    self.rest.advance(length);
                    return Poll::Ready(Ok(head));
                }
                self.partial = true;
            }
            let found = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))
                    .map_err(HeadError::Failed)?;
                Poll::Ready(self.take_head(buffer.filled(), &mut read))
            });
            if let Some(head) = ready!(found)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Looks for a head in what came, and keeps what is not part of one.
    fn take_head<H, E>(
        &mut self,
        came: &[u8],
        read: &mut impl FnMut(&[u8]) -> Result<Option<(H, usize)>, E>,
    ) -> Result<Option<H>, HeadError<E>> {
        if came.is_empty() {
            return Err(HeadError::Ended {
                between: self.rest.is_empty(),
            });
        }
        if self.rest.is_empty() {
            let found = read(came).map_err(|error| {
                // It may be another protocol, for somebody else to read.
                self.rest.extend_from_slice(came);
                HeadError::Unreadable(error)
            })?;
            let used = found.as_ref().map_or(0, |(_, length)| *length);
            self.rest.extend_from_slice(&came[used..]);
            self.partial = found.is_none();
            return Ok(found.map(|(head, _)| head));
        }
        // A head that comes byte by byte is not parsed anew with each of them, but when a line
        // has ended.
        self.rest.extend_from_slice(came);
        self.partial = !came.contains(&b'\n') && self.rest.len() < LITTLE;
        Ok(None)
    }

    /// Reads more of a body; 0 is the end.
    pub fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        // One allocation serves many small pieces, which share it.
        if self.rest.capacity() - self.rest.len() < LITTLE {
            self.rest.reserve(READ);
        }
        self.partial = false;
        let read = tokio::io::AsyncReadExt::read_buf(stream, &mut self.rest);
        std::pin::pin!(read).poll(cx)
    }

    /// Looks for more without taking memory for it; 0 is the end. What comes is kept.
    pub fn poll_ahead<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
            self.rest.extend_from_slice(buffer.filled());
            self.partial = false;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}
