//! The watchman: closes connections that take too long, without a timer for each request.
//!
//! A connection notes what it is doing and since when, in ticks of a clock that one task a
//! worker moves. That task looks over all connections at each tick.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::activity::{self, Activity};
use crate::config::Timeouts;
use crate::stream::Stream;
use crate::telemetry::ConnectionMetrics;

use super::Place;

/// How exact the times are.
const TICK: Duration = Duration::from_millis(200);

/// Looks over all connections of a worker.
#[derive(Debug)]
pub(super) struct Watchman {
    clock: Arc<AtomicU32>,
    watches: Mutex<Vec<Weak<Activity>>>,
    /// Ticks allowed in each phase: `HEAD`, `BUSY`, `IDLE`, `NEW`,
    /// `HANDSHAKE`. A tunnel is not limited here.
    limits: [AtomicU32; 5],
    metrics: ConnectionMetrics,
}

impl Watchman {
    pub(super) fn new(timeouts: &Timeouts, metrics: ConnectionMetrics) -> Self {
        Self {
            clock: Arc::default(),
            watches: Mutex::default(),
            limits: limits(timeouts).map(AtomicU32::new),
            metrics,
        }
    }

    /// Other times count from now on, also for connections that are there.
    pub(super) fn change(&self, timeouts: &Timeouts) {
        for (limit, changed) in self.limits.iter().zip(limits(timeouts)) {
            limit.store(changed, Ordering::Relaxed);
        }
    }

    /// Starts watching a connection that was just accepted.
    pub(super) fn watch(&self) -> Arc<Activity> {
        let watch = Arc::new(Activity::new(self.clock.clone()));
        self.watches.lock().push(Arc::downgrade(&watch));
        watch
    }

    /// Moves the clock and closes what is late.
    pub(super) async fn run(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let now = self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            self.look_over(now);
        }
    }

    fn look_over(&self, now: u32) {
        self.watches.lock().retain(|watch| {
            let Some(watch) = watch.upgrade() else {
                return false;
            };
            let (phase, passed) = watch.phase(now);
            let late = self
                .limits
                .get(usize::from(phase))
                .is_some_and(|limit| passed > limit.load(Ordering::Relaxed));
            if late {
                self.metrics.timed_out.inc();
                if phase == activity::HANDSHAKE {
                    self.metrics.no_handshake("late");
                }
                watch.abort();
            }
            !late
        });
    }
}

fn limits(timeouts: &Timeouts) -> [u32; 5] {
    // A busy connection may be silent while the app is reached, thinks, and pauses: each of
    // these has a limit of its own that answers with a status. This one is for clients that
    // do not take the answer.
    let busy = timeouts.connect + timeouts.response + timeouts.idle;
    [
        timeouts.header_read,
        busy,
        timeouts.keep_alive,
        timeouts.first_byte,
        timeouts.handshake,
    ]
    .map(ticks)
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
}

/// A connection that tells the watchman when something moves, and keeps its place among
/// `limits.connections` as long as it is open, also as a tunnel.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    watch: Arc<Activity>,
    _place: Place,
}

impl Watched {
    pub(super) fn new(stream: Stream, watch: Arc<Activity>, place: Place) -> Self {
        Self {
            stream,
            watch,
            _place: place,
        }
    }
}

impl Watched {
    /// Whether its end has to be announced.
    pub(super) fn announces_its_end(&self) -> bool {
        self.stream.announces_its_end()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.watch.read();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.watch.touch();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.watch.touch();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
