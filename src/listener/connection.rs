//! One client's connection: HTTP/1.1, one request after the other, until either side ends it.
//!
//! All of it is one task. While the line works on a request, the same task feeds it the
//! request's body and notices when the client leaves.
//!
//! Here is the order of things; `client` reads and writes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Version;

use crate::activity::Activity;
use crate::body::RequestBody;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::denial::{Denial, Reason};
use crate::drain::Guard;
use crate::edge::Peer;
use crate::head::{Head, Scheme};
use crate::hints::Hints;
use crate::limit::Seldom;
use crate::respond::Response;
use crate::sidecar::Worker;
use crate::stream::Stream;
use crate::telemetry::ConnectionMetrics;
use crate::wire::framing::Framing;
use crate::wire::input::HeadError;
use crate::wire::request::{self, Limits, Unreadable};

use super::client::{Asked, Client, Looked};
use super::crowd::Crowd;
use super::door::Hall;
use super::http2;
use super::watch::{Watched, Watchman};
use super::{Accepted, Place, seat};

/// How one worker serves its connections.
#[derive(Debug)]
pub(super) struct Server {
    bounds: Bounds,
    watchman: Watchman,
    http2: ArcSwap<http2::Settings>,
    crowd: Arc<Crowd>,
    metrics: ConnectionMetrics,
}

/// What a reload changes for connections that are there: how large heads may be, and how long a
/// client may wait that has ended its direction.
#[derive(Debug)]
struct Bounds {
    bytes: AtomicUsize,
    fields: AtomicUsize,
    /// Milliseconds.
    half_closed: AtomicU64,
}

impl Bounds {
    fn new(settings: &Config) -> Self {
        let limits = limits(settings);
        Self {
            bytes: AtomicUsize::new(limits.bytes),
            fields: AtomicUsize::new(limits.fields),
            half_closed: AtomicU64::new(half_closed(settings)),
        }
    }

    fn change(&self, settings: &Config) {
        let limits = limits(settings);
        self.bytes.store(limits.bytes, Ordering::Relaxed);
        self.fields.store(limits.fields, Ordering::Relaxed);
        self.half_closed
            .store(half_closed(settings), Ordering::Relaxed);
    }

    fn half_closed(&self) -> Duration {
        Duration::from_millis(self.half_closed.load(Ordering::Relaxed))
    }

    fn limits(&self) -> Limits {
        Limits {
            bytes: self.bytes.load(Ordering::Relaxed),
            fields: self.fields.load(Ordering::Relaxed),
        }
    }
}

fn half_closed(settings: &Config) -> u64 {
    u64::try_from(settings.timeouts.half_closed.as_millis()).unwrap_or(u64::MAX)
}

fn limits(settings: &Config) -> Limits {
    let limits = &settings.limits;
    Limits {
        bytes: limits.header_bytes.max(8 * 1024) + limits.target_bytes,
        fields: limits.header_count,
    }
}

/// A connection of which nothing was read yet.
pub(super) struct Arriving {
    pub(super) stream: Stream,
    pub(super) address: Option<SocketAddr>,
    pub(super) hall: Arc<Hall>,
    pub(super) place: Place,
}

impl Server {
    pub(super) fn new(settings: &Config, crowd: Arc<Crowd>, metrics: ConnectionMetrics) -> Self {
        Self {
            bounds: Bounds::new(settings),
            watchman: Watchman::new(&settings.timeouts, metrics.clone()),
            http2: ArcSwap::from_pointee(http2::Settings::new(settings, metrics.clone())),
            crowd,
            metrics,
        }
    }

    /// Serves by other settings from now on; a connection in HTTP/2 keeps what it has announced.
    pub(super) fn change(&self, settings: &Config) {
        self.bounds.change(settings);
        self.watchman.change(&settings.timeouts);
        let http2 = http2::Settings::new(settings, self.metrics.clone());
        self.http2.store(Arc::new(http2));
    }

    /// Closes what is late; runs as long as the worker.
    pub(super) async fn watch(self: Arc<Self>) {
        self.watchman.run().await;
    }

    /// Serves a connection in a task of its own.
    pub(super) fn start(self: &Arc<Self>, worker: &Arc<ArcSwap<Worker>>, accepted: Accepted) {
        let Accepted {
            stream,
            address,
            hall,
            place,
            guard,
        } = accepted;
        let stream = match stream.attach() {
            Ok(stream) => stream,
            Err(error) => {
                static LOST: Seldom = Seldom::new();
                if let Some(times) = LOST.again() {
                    tracing::warn!(%error, times, "a connection could not be taken over");
                }
                return;
            }
        };
        let arriving = Arriving {
            stream,
            address,
            hall,
            place,
        };
        let watch = self.watchman.watch();
        let (server, worker, watched) = (self.clone(), worker.clone(), watch.clone());
        let served = tokio::spawn(async move {
            server.serve(&worker, arriving, guard, &watched).await;
        });
        watch.abort_with(served.abort_handle());
    }

    /// Serves a connection in the calling task.
    pub(super) async fn converse(
        &self,
        worker: &Arc<ArcSwap<Worker>>,
        arriving: Arriving,
        guard: Guard,
    ) {
        let watch = self.watchman.watch();
        self.serve(worker, arriving, guard, &watch).await;
    }

    async fn serve(
        &self,
        worker: &Arc<ArcSwap<Worker>>,
        arriving: Arriving,
        guard: Guard,
        watch: &Arc<Activity>,
    ) {
        let Arriving {
            stream,
            address,
            hall,
            mut place,
        } = arriving;
        if let Err(error) = stream.set_nodelay() {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let entered = match hall.is_empty() {
            true => Some((stream, Peer::new(address, Scheme::Http))),
            // Boxed: what most connections do not need must not make all their futures larger.
            false => Box::pin(self.enter(&hall, stream, address, watch, &mut place)).await,
        };
        let Some((stream, peer)) = entered else {
            return;
        };
        let peer = Arc::new(peer);
        let connection = Connection {
            client: Client::new(
                Watched::new(stream, watch.clone(), place),
                self.bounds.half_closed(),
            ),
            server: self,
            worker,
            peer: &peer,
            watch,
        };
        if let Err(error) = connection.run(guard).await {
            tracing::debug!(%error, client = %peer, "connection ended");
        }
    }

    /// Goes through what stands before HTTP, and finds the client's place among its own.
    async fn enter(
        &self,
        hall: &Hall,
        stream: Stream,
        address: Option<SocketAddr>,
        watch: &Activity,
        place: &mut Place,
    ) -> Option<(Stream, Peer)> {
        let (stream, client) = hall.introduce(stream, address).await?;
        if !hall.tells_clients_apart() {
            let Ok(seat) = seat(&self.crowd, client) else {
                self.metrics.refused.inc();
                super::refuse(hall, &stream);
                return None;
            };
            place.seat = seat;
        }
        let (stream, scheme) = hall.secure(stream, client, watch).await?;
        let certificate = stream.certificate().map(Certificate::read).map(Box::new);
        let peer = Peer::new(client, scheme).with_certificate(certificate);
        Some((stream, peer))
    }
}

/// A connection, and whom it is served for.
struct Connection<'a> {
    client: Client,
    server: &'a Server,
    worker: &'a Arc<ArcSwap<Worker>>,
    peer: &'a Arc<Peer>,
    watch: &'a Arc<Activity>,
}

impl Connection<'_> {
    /// Answers one request after the other.
    async fn run(mut self, mut guard: Guard) -> io::Result<()> {
        let look = guard.clone();
        let mut told = pin!(guard.draining());
        let mut draining = Draining::new(told.as_mut(), &look);
        let mut first = true;
        loop {
            let head = match self.next(&mut draining).await {
                Ok(Some(head)) => head,
                Ok(None) => return self.client.leave().await,
                Err(HeadError::Ended { between: true }) => return Ok(()),
                Err(HeadError::Ended { between: false }) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Err(HeadError::Failed(error)) => return Err(error),
                Err(HeadError::Unreadable(_)) if first && self.client.speaks_http2() => {
                    return self.become_http2(look).await;
                }
                Err(HeadError::Unreadable(what)) => return Box::pin(self.refuse(what)).await,
            };
            first = false;
            let busy = self.watch.busy();
            let asked = Asked::of(&head);
            let Some(mut response) = self.ask(head).await else {
                return Ok(());
            };
            let tunnel = response.tunnel.take();
            let keep = asked.keep && !look.is_leaving();
            if let Some(tunnel) = tunnel {
                self.client.switch(response).await?;
                self.watch.become_tunnel();
                let (stream, early) = self.client.into_parts();
                // Boxed, as is every end of a connection: what a connection may come to must not
                // make it larger while it serves.
                return Box::pin(tunnel.join(stream, early, &mut look.clone())).await;
            }
            let keep = self.client.answer(response, &asked, keep).await?;
            if !keep || !self.client.finish_body().await? {
                return self.client.leave().await;
            }
            drop(busy);
        }
    }

    /// The next request's head; `None` when usher ends and nothing has come yet.
    async fn next(
        &mut self,
        draining: &mut Draining<'_, impl Future>,
    ) -> Result<Option<Box<Head>>, HeadError<Unreadable>> {
        let (client, bounds) = (&mut self.client, &self.server.bounds);
        client.rest();
        std::future::poll_fn(|cx| {
            if let Poll::Ready(head) = client.poll_head(cx, bounds.limits()) {
                return Poll::Ready(head.map(Some));
            }
            if client.is_idle() && draining.poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            Poll::Pending
        })
        .await
    }

    /// The same connection in another protocol, which the client has begun to speak.
    async fn become_http2(self, guard: Guard) -> io::Result<()> {
        let (http2, parts) = (self.server.http2.load_full(), self.client.into_parts());
        // Boxed, since most connections never need it.
        Box::pin(http2.serve(parts, self.worker, self.peer, self.watch, guard)).await
    }

    /// Answers what is no request, and ends.
    async fn refuse(mut self, what: Unreadable) -> io::Result<()> {
        self.server.metrics.broken.inc();
        let denial = match what {
            Unreadable::Malformed(detail) => Denial::new(Reason::RequestMalformed, detail),
            Unreadable::LongTarget => Denial::new(
                Reason::TargetTooLong,
                "the first line exceeds limits.header_bytes and limits.target_bytes together",
            ),
            Unreadable::Large => Denial::new(
                Reason::HeadersTooLarge,
                "the header fields exceed limits.header_bytes or limits.header_count",
            ),
        };
        self.client.give_up();
        let busy = self.watch.busy();
        let target = self.client.target();
        let response = self.worker.load().refuse_unread(self.peer, target, denial);
        self.client.answer(response, &Asked::NOTHING, false).await?;
        drop(busy);
        self.client.leave().await
    }

    /// Lets the line answer a request; `None` when the client leaves before.
    async fn ask(&mut self, head: Box<Head>) -> Option<Response> {
        // Held until there is an answer and no longer: what goes on after it, for hours perhaps,
        // does not keep alive what a reload has replaced.
        let worker = self.worker.load_full();
        let body = match request::framing(&head) {
            Ok(Framing::Length(0)) => RequestBody::empty(),
            Ok(framing) => self.client.expect_body(&head, framing),
            Err(malformed) => {
                self.server.metrics.broken.inc();
                self.client.give_up();
                let denial = Denial::new(Reason::BadFraming, malformed.0);
                return Some(worker.refuse(self.peer, &head, denial));
            }
        };
        // HTTP/1.0 knows no informational answers (RFC 9110 §15.2).
        let hears = head.version == Version::HTTP_11;
        let hints = Hints::default();
        let client = &mut self.client;
        let mut handled = pin!(worker.handle(self.peer, head, body, &hints));
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(response) = handled.as_mut().poll(cx) {
                    if hears {
                        client.owe(&hints);
                    }
                    return Poll::Ready(Some(response));
                }
                if hears && client.inform(cx, &hints).is_err() {
                    return Poll::Ready(None);
                }
                match client.look(cx) {
                    Looked::Filled => {}
                    Looked::Still => return Poll::Pending,
                    Looked::Gone => return Poll::Ready(None),
                }
            }
        })
        .await
    }
}

/// Tells an idle connection when usher ends. Once asked, it wakes the task by itself whenever
/// it is time; until then a flag says no for less.
struct Draining<'a, F> {
    told: Pin<&'a mut F>,
    look: &'a Guard,
    asked: bool,
}

impl<'a, F: Future> Draining<'a, F> {
    fn new(told: Pin<&'a mut F>, look: &'a Guard) -> Self {
        Self {
            told,
            look,
            asked: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked && !self.look.is_draining() {
            return Poll::Pending;
        }
        self.asked = true;
        self.told.as_mut().poll(cx).map(|_| ())
    }
}
