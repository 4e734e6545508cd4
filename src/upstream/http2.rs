//! The way to an app that speaks HTTP/2: one connection carries many requests at once.

mod exchange;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use parking_lot::Mutex;

use crate::head::Scheme;
use crate::stream::Stream;
use crate::wire::http2::{SEND_BUFFER, STREAM_WINDOW};

pub(super) use exchange::{Body, Exchange};

/// The most there is (RFC 9113 §6.9.1): a connection carries many clients' answers, and one who
/// reads slowly must not hold up the others. Each answer has a bound of its own.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The connections of one worker. More than one only when the app takes fewer requests at once
/// than there are.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: Mutex<Vec<Link>>,
}

/// A connection to the app.
#[derive(Clone, Debug)]
struct Link {
    sender: SendRequest<Bytes>,
    /// How the app is spoken to.
    scheme: Scheme,
    load: Arc<Load>,
    /// The sweep at which it was opened, and the last one at which it was in use.
    born: u32,
    seen: u32,
}

/// What the requests on a connection tell of it.
#[derive(Debug, Default)]
struct Load {
    /// Requests under way.
    count: AtomicUsize,
    /// Whether one was not answered in time, so that the next ones go elsewhere.
    silent: AtomicBool,
}

/// A place for one request on a connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    load: Arc<Load>,
}

impl Place {
    /// No answer came in time.
    fn complain(&self) {
        self.load.silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// Whether another request can begin at once.
    fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.load.count.load(Ordering::Relaxed) < self.sender.current_max_send_streams()
            && matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// Whether it has not ended.
    fn is_open(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.load.silent.load(Ordering::Relaxed)
            && !matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn take(&self) -> Place {
        self.load.count.fetch_add(1, Ordering::Relaxed);
        Place {
            sender: self.sender.clone(),
            scheme: self.scheme,
            load: self.load.clone(),
        }
    }
}

impl Links {
    /// A place on a connection that is there.
    pub(super) fn take(&self) -> Option<Place> {
        let mut open = self.open.lock();
        open.retain_mut(Link::is_open);
        open.iter_mut()
            .find_map(|link| link.is_ready().then(|| link.take()))
    }

    /// Begins to speak HTTP/2 on a connection, and takes the first place on it. Whoever opened
    /// another one meanwhile uses that; both are kept. Heads of answers may have `head_limit` bytes.
    ///
    /// # Errors
    /// When the other side does not speak it.
    pub(super) async fn add(
        &self,
        stream: Stream,
        head_limit: usize,
        now: u32,
    ) -> io::Result<Place> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(head_limit).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER);
        let scheme = match stream.announces_its_end() {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        let handshake = builder.handshake::<_, Bytes>(stream).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the app ended");
            }
        });
        let link = Link {
            sender,
            scheme,
            load: Arc::default(),
            born: now,
            seen: now,
        };
        let place = link.take();
        self.open.lock().push(link);
        Ok(place)
    }

    /// Lets go of all of them: each ends when its last request has.
    pub(super) fn close(&self) {
        self.open.lock().clear();
    }

    /// Lets go of what was not used for `idle` sweeps, and of what is older than `age`: a
    /// connection ends when its last request has.
    pub(super) fn sweep(&self, now: u32, idle: u64, age: u64) {
        let passed = |since: u32| u64::from(now.wrapping_sub(since));
        self.open.lock().retain_mut(|link| {
            if link.load.count.load(Ordering::Relaxed) > 0 {
                link.seen = now;
            }
            passed(link.seen) <= idle && passed(link.born) < age && link.is_open()
        });
    }
}
