//! A client's connection that speaks HTTP/2 (RFC 9113): many requests at once, each a task of
//! its own, all of them on the thread that reads the connection.
//!
//! Frames are the library's; here is who may open how many streams, and when it ends.

mod duplex;
mod exchange;
mod message;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use crate::activity::{Activity, BUSY, STILL};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::drain::Guard;
use crate::edge::Peer;
use crate::limit::Seldom;
use crate::sidecar::Worker;
use crate::telemetry::ConnectionMetrics;
use crate::wire::http2::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};
use crate::wire::rewound::Rewound;

use super::watch::Watched;
use exchange::Exchange;

/// What the library counts for a header field beside its name and value (RFC 9113 §6.5.2).
const FIELD: usize = 32;

/// Requests that a client may take back, if it lets no more than as many come to their end: each
/// costs the app a connection (CVE-2023-44487).
const CANCELLED: usize = 500;

/// How long a client has to hear that the connection ends, once nothing is under way on it.
const GOODBYE: Duration = Duration::from_secs(5);

/// How HTTP/2 is served.
#[derive(Debug)]
pub(super) struct Settings {
    builder: server::Builder,
    keep_alive: Duration,
    /// How long a client may not take what is sent.
    idle: Duration,
    metrics: ConnectionMetrics,
}

impl Settings {
    pub(super) fn new(settings: &Config, metrics: ConnectionMetrics) -> Self {
        let limits = &settings.limits;
        let list = limits.header_bytes + limits.target_bytes + limits.header_count * FIELD;
        let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut builder = server::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(whole(limits.streams))
            .max_header_list_size(whole(list))
            .max_send_buffer_size(SEND_BUFFER)
            .enable_connect_protocol();
        Self {
            builder,
            keep_alive: settings.timeouts.keep_alive,
            idle: settings.timeouts.idle,
            metrics,
        }
    }

    /// Serves a connection until either side ends it. `early` is what was read of it.
    ///
    /// # Errors
    /// What ended it, if it is not one of the two sides.
    pub(super) async fn serve(
        &self,
        (stream, early): (Watched, BytesMut),
        worker: &Arc<ArcSwap<Worker>>,
        peer: &Arc<Peer>,
        watch: &Arc<Activity>,
        guard: Guard,
    ) -> io::Result<()> {
        self.metrics.http2.inc();
        let connection = self.builder.handshake(Rewound::new(stream, early)).await;
        watch.enter(STILL);
        let streams = Streams {
            watch: watch.clone(),
            metrics: self.metrics.clone(),
            open: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
        };
        let connection = Connection {
            frames: connection.map_err(io::Error::other)?,
            settings: self,
            worker,
            peer,
            streams: Arc::new(streams),
            guard: guard.clone(),
        };
        connection.run(guard).await
    }
}

/// A connection, and whom it is served for.
struct Connection<'a> {
    frames: server::Connection<Rewound<Watched>, Bytes>,
    settings: &'a Settings,
    worker: &'a Arc<ArcSwap<Worker>>,
    peer: &'a Arc<Peer>,
    streams: Arc<Streams>,
    guard: Guard,
}

/// What happens on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "almost every event is the large one, and it is moved once"
)]
enum Event {
    Asked(Request<RecvStream>, SendResponse<Bytes>),
    /// Nothing was asked for `timeouts.keep_alive`, or usher ends.
    Enough,
    Ended(Option<h2::Error>),
}

impl Connection<'_> {
    async fn run(mut self, mut guard: Guard) -> io::Result<()> {
        let mut told = pin!(guard.draining());
        let mut limit = self.settings.keep_alive;
        let mut quiet = Deadline::default();
        quiet.start(limit);
        let (mut leaving, mut abrupt) = (false, false);
        loop {
            let event = poll_fn(|cx| {
                if let Poll::Ready(accepted) = self.frames.poll_accept(cx) {
                    return Poll::Ready(match accepted {
                        Some(Ok((request, respond))) => Event::Asked(request, respond),
                        Some(Err(error)) => Event::Ended(Some(error)),
                        None => Event::Ended(None),
                    });
                }
                let busy = self.streams.open.load(Ordering::Relaxed) > 0;
                if !leaving && told.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Enough);
                }
                while quiet.poll(cx).is_ready() {
                    // A client that does not hear the goodbye is left all the same.
                    if abrupt || !busy {
                        return Poll::Ready(Event::Enough);
                    }
                    quiet.start(limit);
                }
                Poll::Pending
            });
            match event.await {
                Event::Asked(request, respond) => {
                    quiet.start(limit);
                    self.start(request, respond);
                    if self.streams.is_abused() {
                        static ABUSED: Seldom = Seldom::new();
                        if let Some(times) = ABUSED.again() {
                            tracing::info!(client = %self.peer, times, "closed: too many requests were taken back");
                        }
                        self.frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        (leaving, abrupt, limit) = (true, true, GOODBYE);
                        quiet.start(limit);
                    }
                }
                // GOAWAY tells which requests were heard; those come to their end.
                Event::Enough if leaving => return Ok(()),
                Event::Enough => {
                    (leaving, limit) = (true, GOODBYE);
                    quiet.start(limit);
                    self.frames.graceful_shutdown();
                }
                Event::Ended(None) => return Ok(()),
                Event::Ended(Some(error)) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Answers a request in a task of its own.
    fn start(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let turn = Turn::new(&self.streams);
        let (worker, peer) = (self.worker.load_full(), self.peer.clone());
        let exchange = Exchange::new(respond, self.settings.idle, self.guard.clone());
        tokio::spawn(async move {
            let answered = exchange.run(worker, &peer, request).await;
            turn.end(answered);
        });
    }
}

/// The streams of a connection.
#[derive(Debug)]
struct Streams {
    watch: Arc<Activity>,
    metrics: ConnectionMetrics,
    open: AtomicUsize,
    finished: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Streams {
    fn is_abused(&self) -> bool {
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        cancelled > CANCELLED && cancelled > self.finished.load(Ordering::Relaxed)
    }
}

/// A request under way: while there is one, the connection is busy.
struct Turn(Arc<Streams>);

impl Turn {
    fn new(streams: &Arc<Streams>) -> Self {
        if streams.open.fetch_add(1, Ordering::Relaxed) == 0 {
            streams.watch.enter(BUSY);
        }
        streams.metrics.streams.inc();
        Self(streams.clone())
    }

    /// `answered`: all of the answer was taken.
    fn end(self, answered: bool) {
        let count = match answered {
            true => &self.0.finished,
            false => &self.0.cancelled,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.metrics.streams.dec();
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.watch.enter(STILL);
        }
    }
}
