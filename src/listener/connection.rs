//! One client connection: HTTP/1.1 until either side ends it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::activity::Activity;
use crate::config::Config;
use crate::drain::Guard;
use crate::edge::Peer;
use crate::head::Scheme;
use crate::sidecar::Worker;
use crate::telemetry::ConnectionMetrics;

use super::watch::{Watched, Watchman};
use super::{Accepted, Place};

/// How one worker serves its connections.
#[derive(Debug)]
pub(super) struct Server {
    http: http1::Builder,
    watchman: Watchman,
    metrics: ConnectionMetrics,
}

impl Server {
    pub(super) fn new(settings: &Config, metrics: ConnectionMetrics) -> Self {
        let mut http = http1::Builder::new();
        // Time is the watchman's business: a timer a request costs more than a clock a worker.
        http.header_read_timeout(None).max_buf_size(
            settings.limits.header_bytes.max(8 * 1024) + settings.limits.target_bytes,
        );
        if settings.limits.header_count > 100 {
            http.max_headers(settings.limits.header_count);
        }
        Self {
            http,
            watchman: Watchman::new(&settings.timeouts, metrics.timed_out.clone()),
            metrics,
        }
    }

    /// Closes what is late; runs as long as the worker.
    pub(super) async fn watch(self: Arc<Self>) {
        self.watchman.run().await;
    }

    /// Serves a connection in a task of its own.
    pub(super) fn start(self: &Arc<Self>, worker: &Arc<Worker>, accepted: Accepted) {
        let Accepted {
            stream,
            address,
            place,
            guard,
        } = accepted;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken over");
                return;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let peer = Peer::new(Some(address), Scheme::Http);
        let watch = self.watchman.watch();
        let served = self
            .clone()
            .serve(worker.clone(), stream, peer, guard, watch.clone(), place);
        watch.abort_with(tokio::spawn(served).abort_handle());
    }

    async fn serve(
        self: Arc<Self>,
        worker: Arc<Worker>,
        stream: TcpStream,
        peer: Peer,
        mut guard: Guard,
        watch: Arc<Activity>,
        place: Place,
    ) {
        let io = TokioIo::new(Watched::new(stream, watch.clone(), place));
        let tunnel_guard = guard.clone();
        let service = service_fn(|request| {
            let busy = watch.busy();
            let (worker, peer, guard) = (&worker, &peer, &tunnel_guard);
            async move {
                let mut response = worker.handle(peer, guard, request).await;
                response.body_mut().hold(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection =
            std::pin::pin!(self.http.serve_connection(io, service).with_upgrades());
        let look = guard.clone();
        let mut draining = std::pin::pin!(guard.draining());
        let (mut waiting, mut told) = (false, false);
        let served = std::future::poll_fn(|cx| {
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                return Poll::Ready(served);
            }
            // Once asked, `draining` wakes this task whenever it is time; until then a flag
            // says no for less.
            let ask = !told && (!waiting || look.is_draining());
            waiting = true;
            if ask && draining.as_mut().poll(cx).is_ready() {
                told = true;
                connection.as_mut().graceful_shutdown();
                return connection.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await;
        if let Err(error) = served {
            if error.is_parse() {
                self.metrics.broken.inc();
            }
            tracing::debug!(%error, client = %peer, "connection ended");
        }
        // What is left of the connection, if anything, is a tunnel, which keeps its own time.
        watch.become_tunnel();
    }
}
