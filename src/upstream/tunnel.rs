//! Upgraded connections: bytes both ways until both sides ended or nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::denial::Denial;
use crate::drain::Guard;
use crate::headers;

use super::body::AnswerBody;
use super::broken;

/// Answers 101 and joins the two connections once it is sent.
///
/// # Errors
/// `UpstreamBroken` when the app switches to something that was not asked for: a tunnel that
/// only one side believes in lets requests through unseen.
pub(super) fn open(
    answer: Response<Incoming>,
    wanted: &HeaderValue,
    downstream: OnUpgrade,
    idle: Duration,
    guard: Guard,
) -> Result<Response<AnswerBody>, Denial> {
    let (mut parts, body) = answer.into_parts();
    // The app chooses one of those that the client offered (RFC 9110 §7.8).
    let chosen = headers::single(&parts.headers, &header::UPGRADE);
    let chosen = chosen
        .ok()
        .flatten()
        .filter(|chosen| offers(wanted, chosen));
    let upstream = parts.extensions.remove::<OnUpgrade>();
    let (Some(chosen), Some(upstream)) = (chosen.cloned(), upstream) else {
        return Err(broken(
            "the app switched to another protocol than the one asked for",
        ));
    };
    tokio::spawn(async move {
        match join(downstream, upstream, idle, guard).await {
            Ok((sent, received)) => tracing::debug!(sent, received, "tunnel closed"),
            Err(error) => tracing::debug!(%error, "tunnel ended"),
        }
    });
    headers::strip_hops_from_answer(&mut parts.headers);
    parts.headers.insert(header::UPGRADE, chosen);
    parts
        .headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    Ok(Response::from_parts(
        parts,
        AnswerBody::without_connection(body, idle),
    ))
}

fn offers(wanted: &HeaderValue, chosen: &HeaderValue) -> bool {
    let mut offered = wanted.as_bytes().split(|byte| *byte == b',');
    offered.any(|one| one.trim_ascii().eq_ignore_ascii_case(chosen.as_bytes()))
}

/// Copies both ways until both sides ended, nothing moved for `idle`, or usher ends.
async fn join(
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    idle: Duration,
    mut guard: Guard,
) -> io::Result<(u64, u64)> {
    let (downstream, upstream) =
        tokio::try_join!(downstream, upstream).map_err(io::Error::other)?;
    let moved = Arc::new(AtomicU64::new(0));
    let mut downstream = Counted::new(downstream, &moved);
    let mut upstream = Counted::new(upstream, &moved);
    let copied = tokio::io::copy_bidirectional(&mut downstream, &mut upstream);
    tokio::select! {
        done = copied => done,
        () = silence(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
        () = guard.draining() => Err(io::Error::other("usher is ending")),
    }
}

/// Resolves when nothing has moved for `idle`.
async fn silence(moved: &AtomicU64, idle: Duration) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// An upgraded connection that notices when something moves.
struct Counted {
    io: TokioIo<Upgraded>,
    moved: Arc<AtomicU64>,
}

impl Counted {
    fn new(io: Upgraded, moved: &Arc<AtomicU64>) -> Self {
        Self {
            io: TokioIo::new(io),
            moved: moved.clone(),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
