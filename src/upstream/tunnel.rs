//! Upgraded connections: bytes both ways until both sides ended or nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, header};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::drain::Guard;
use crate::fields::{Fields, members};
use crate::identify::{End, Validity, Vigil};
use crate::stream::Stream;
use crate::wire::rewound::Rewound;

use super::websocket::{self, Frames};

/// The app's side of a tunnel, until the client has its answer.
#[derive(Debug)]
pub struct Tunnel {
    app: Half<Stream>,
    idle: Duration,
    /// How long the token is good that it was asked for with.
    validity: Option<Validity>,
    websocket: bool,
    open: Counted,
}

/// Counts as long as it lives.
#[derive(Debug)]
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How long a client has for its own goodbye, once it was told that its token is good no more.
const GOODBYE: Duration = Duration::from_secs(1);

impl Tunnel {
    /// A tunnel to the app, which has sent these bytes already. `websocket`: what passes are
    /// frames of a WebSocket, so that the client can be told why it ends.
    pub(super) fn new(
        stream: Stream,
        early: BytesMut,
        idle: Duration,
        validity: Option<Validity>,
        websocket: bool,
        open: Gauge,
    ) -> Self {
        open.inc();
        let told = validity.clone().filter(|_| websocket);
        let told = told.map(|validity| Expiry {
            vigil: validity.watch(),
            frames: Frames::default(),
            state: State::Good,
        });
        Self {
            app: Half::new(stream, early, told),
            idle,
            validity,
            websocket,
            open: Counted(open),
        }
    }

    /// Copies both ways until both sides ended, nothing moved for `timeouts.idle`, the token
    /// expired or was revoked, or usher ends. `early` is what the client has sent already.
    ///
    /// # Errors
    /// What ended it, if it is not one of the two sides.
    pub async fn join<S>(self, client: S, early: BytesMut, guard: &mut Guard) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let _open = self.open;
        let mut app = self.app;
        let mut client = Half::new(client, early, None);
        let moved = [app.moved.clone(), client.moved.clone()];
        let copied = tokio::io::copy_bidirectional(&mut client, &mut app);
        tokio::select! {
            done = copied => done.map(|_| ()),
            () = silence(&moved, self.idle) => Err(io::ErrorKind::TimedOut.into()),
            end = over(self.validity, self.websocket) => Err(io::Error::other(match end {
                End::Expired => "the token has expired",
                End::Revoked => "the token was revoked",
            })),
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

/// Resolves when the token is good no more, and there was time for a goodbye; whoever cannot be
/// told has none.
async fn over(validity: Option<Validity>, websocket: bool) -> End {
    let Some(validity) = validity else {
        return std::future::pending().await;
    };
    let end = validity.watch().over().await;
    if websocket {
        tokio::time::sleep(GOODBYE).await;
    }
    end
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

/// What it takes to tell a client between two frames.
#[derive(Debug)]
struct Expiry {
    vigil: Vigil,
    frames: Frames,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    /// The frame under way goes on to its end.
    Over(End),
    /// Nothing follows.
    Told,
}

impl Expiry {
    /// Reads what the app sends, and after the frame in which the token ends the goodbye.
    fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state == State::Good
            && let Poll::Ready(end) = self.vigil.poll(cx)
        {
            self.state = State::Over(end);
        }
        if let State::Over(end) = self.state
            && self.frames.is_between()
            && buf.remaining() >= websocket::close(end).len()
        {
            buf.put_slice(websocket::close(end));
            self.state = State::Told;
            return Poll::Ready(Ok(()));
        }
        let room = match self.state {
            State::Good => buf.remaining(),
            State::Over(_) => self.frames.room(),
            State::Told => return Poll::Ready(Ok(())),
        };
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room.min(buf.remaining())));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        self.frames.pass(part.filled());
        let length = part.filled().len();
        buf.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// One side of a tunnel, which notices when something moves.
#[derive(Debug)]
struct Half<S> {
    stream: Rewound<S>,
    moved: Arc<AtomicU64>,
    /// On the app's side, where the client is told when its token ends.
    expiry: Option<Expiry>,
}

impl<S> Half<S> {
    fn new(stream: S, early: BytesMut, expiry: Option<Expiry>) -> Self {
        Self {
            stream: Rewound::new(stream, early),
            moved: Arc::default(),
            expiry,
        }
    }

    fn is_revoked(&self) -> bool {
        let expiry = self.expiry.as_ref();
        expiry.is_some_and(|expiry| expiry.vigil.ended() == Some(End::Revoked))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Half<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, expiry, .. } = &mut *self;
        let read = match expiry {
            Some(expiry) => expiry.poll_read(stream, cx, buf),
            None => Pin::new(stream).poll_read(cx, buf),
        };
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
        if self.is_revoked() {
            // The app hears no more of whoever has the token.
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
