//! Upgraded connections: bytes both ways until both sides ended or nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderValue, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::drain::Guard;
use crate::fields::{Fields, members};
use crate::stream::Stream;

/// The app's side of a tunnel, until the client has its answer.
#[derive(Debug)]
pub struct Tunnel {
    app: Half<Stream>,
    idle: Duration,
}

impl Tunnel {
    /// A tunnel to the app, which has sent these bytes already.
    pub(super) fn new(stream: Stream, early: BytesMut, idle: Duration) -> Self {
        Self {
            app: Half::new(stream, early),
            idle,
        }
    }

    /// Copies both ways until both sides ended, nothing moved for `timeouts.idle`, or usher ends.
    /// `early` is what the client has sent already.
    ///
    /// # Errors
    /// What ended it, if it is not one of the two sides.
    pub async fn join<S>(self, client: S, early: BytesMut, guard: &mut Guard) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut app = self.app;
        let mut client = Half::new(client, early);
        let moved = [app.moved.clone(), client.moved.clone()];
        let copied = tokio::io::copy_bidirectional(&mut client, &mut app);
        tokio::select! {
            done = copied => done.map(|_| ()),
            () = silence(&moved, self.idle) => Err(io::ErrorKind::TimedOut.into()),
            () = guard.draining() => Err(io::Error::other("usher is ending")),
        }
    }
}

/// Turns the fields of a 101 into those that the client gets; `None` when the app switches to
/// something that was not asked for: a tunnel that only one side believes in lets requests
/// through unseen.
pub(super) fn accept(fields: &mut Fields, wanted: &[u8]) -> Option<()> {
    // The app chooses one of those that the client offered (RFC 9110 §7.8).
    let chosen = fields.single(&header::UPGRADE).ok()??;
    let offered = members(wanted).any(|one| one.eq_ignore_ascii_case(chosen));
    let chosen = HeaderValue::from_bytes(chosen).ok().filter(|_| offered)?;
    crate::headers::strip_hops_from_answer(fields);
    fields.append(&header::UPGRADE, &chosen);
    fields.append(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
    Some(())
}

/// Resolves when nothing has moved for `idle`.
async fn silence(moved: &[Arc<AtomicU64>; 2], idle: Duration) {
    let count = || moved.each_ref().map(|moved| moved.load(Ordering::Relaxed));
    let mut before = count();
    loop {
        tokio::time::sleep(idle).await;
        let now = count();
        if now == before {
            return;
        }
        before = now;
    }
}

/// One side of a tunnel: it notices when something moves, and begins with what was read of it
/// before.
#[derive(Debug)]
struct Half<S> {
    stream: S,
    early: BytesMut,
    moved: Arc<AtomicU64>,
}

impl<S> Half<S> {
    fn new(stream: S, early: BytesMut) -> Self {
        Self {
            stream,
            early,
            moved: Arc::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Half<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..count]);
            self.early.advance(count);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Half<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
