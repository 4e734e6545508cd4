//! Where callers connect: an accept loop for each door, which hands connections to the workers.
//!
//! A worker is a thread with a runtime and a pool of its own, so that a request never leaves
//! its core: no lock, no work stealing, no waking of another thread.

mod client;
mod connection;
mod crowd;
mod door;
mod http2;
mod proxy;
mod socket;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::drain::Guard;
use crate::limit::Seldom;
use crate::sidecar::Worker;
use crate::stream::{Detached, Stream};
use crate::telemetry::ConnectionMetrics;
use crate::upstream::SWEEP;

use connection::Server;
use crowd::{Crowd, Full, Seat};

pub use door::{Closed, Door, Doors, Hall};
#[cfg(feature = "fuzzing")]
pub use proxy::fuzz as fuzz_proxy_header;

/// How long accepting rests when the process is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds an address for something else than callers.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    socket::tcp(address)
}

/// A connection on its way to a worker.
struct Accepted {
    stream: Detached,
    address: Option<SocketAddr>,
    hall: Arc<Hall>,
    place: Place,
    guard: Guard,
}

/// One of `limits.connections`; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<AtomicUsize>,
    mine: Arc<AtomicUsize>,
    hall: Arc<Hall>,
    metrics: ConnectionMetrics,
    /// One of `limits.connections_per_client`.
    seat: Option<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.mine.fetch_sub(1, Ordering::Relaxed);
        self.hall.open.dec();
        self.metrics.open.dec();
    }
}

/// The threads that serve requests.
#[derive(Debug)]
pub struct Workers {
    lanes: Vec<Lane>,
    open: Arc<AtomicUsize>,
    limit: AtomicUsize,
    crowd: Arc<Crowd>,
    metrics: ConnectionMetrics,
}

#[derive(Debug)]
struct Lane {
    connections: mpsc::UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
    /// What answers requests; a reload swaps it.
    worker: Arc<ArcSwap<Worker>>,
    server: Arc<Server>,
}

impl Workers {
    /// Starts a thread for each of `workers`.
    ///
    /// # Errors
    /// When the operating system gives no thread or no runtime.
    pub fn start(workers: Vec<Worker>, settings: &Config) -> io::Result<Self> {
        let metrics = match workers.first() {
            Some(worker) => worker.sidecar.telemetry.metrics().connections.clone(),
            None => ConnectionMetrics::default(),
        };
        let crowd = Crowd::new(settings);
        let lanes = workers
            .into_iter()
            .enumerate()
            .map(|(index, worker)| {
                let server = Server::new(settings, crowd.clone(), metrics.clone());
                start_lane(index, worker, server)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            lanes,
            open: Arc::default(),
            limit: AtomicUsize::new(settings.limits.connections),
            crowd,
            metrics,
        })
    }

    /// What answers requests now, lane by lane.
    pub fn current(&self) -> Vec<Arc<Worker>> {
        let current = |lane: &Lane| lane.worker.load_full();
        self.lanes.iter().map(current).collect()
    }

    /// Swaps what answers requests, lane by lane: the next request on every connection is answered
    /// by these `workers`, by these `settings`.
    pub fn change(&self, workers: Vec<Worker>, settings: &Config) {
        self.limit
            .store(settings.limits.connections, Ordering::Relaxed);
        self.crowd.change(settings);
        for (lane, worker) in self.lanes.iter().zip(workers) {
            lane.worker.store(Arc::new(worker));
            lane.server.change(settings);
        }
    }

    /// Accepts until the future is dropped.
    ///
    /// # Errors
    /// When the listening socket itself is dead, or a worker is.
    pub async fn accept(&self, door: &Door, guard: &Guard) -> io::Result<()> {
        loop {
            match door.socket.accept().await {
                Ok((stream, address)) => {
                    self.hand_over(&door.hall.load(), stream, address, guard)?;
                }
                Err(error) => rest_after(error).await?,
            }
        }
    }

    fn hand_over(
        &self,
        hall: &Arc<Hall>,
        stream: Stream,
        address: Option<SocketAddr>,
        guard: &Guard,
    ) -> io::Result<()> {
        let Some((lane, place)) = self.place(hall, address) else {
            self.metrics.refused.inc();
            refuse(hall, &stream);
            return Ok(());
        };
        self.metrics.accepted.inc();
        match stream.detach() {
            Ok(stream) => {
                let accepted = Accepted {
                    stream,
                    address,
                    hall: hall.clone(),
                    place,
                    guard: guard.clone(),
                };
                // With fewer workers than it has been told usher does not go on.
                lane.connections
                    .send(accepted)
                    .map_err(|_| io::Error::other("a worker has ended"))?;
            }
            Err(error) => {
                static LOST: Seldom = Seldom::new();
                if let Some(times) = LOST.again() {
                    tracing::warn!(%error, times, "an accepted connection could not be handed over");
                }
            }
        }
        Ok(())
    }

    /// A place on the worker with the fewest connections, unless all places are taken, or all
    /// that the client may have.
    fn place(&self, hall: &Arc<Hall>, address: Option<SocketAddr>) -> Option<(&Lane, Place)> {
        let seat = match hall.tells_clients_apart() {
            true => seat(&self.crowd, address).ok()?,
            // A proxy has yet to say who the client is.
            false => None,
        };
        let lane = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.open.load(Ordering::Relaxed))?;
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        lane.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.open.inc();
        hall.open.inc();
        let place = Place {
            open: self.open.clone(),
            mine: lane.open.clone(),
            hall: hall.clone(),
            metrics: self.metrics.clone(),
            seat,
        };
        Some((lane, place))
    }
}

/// A place among those of the client, where they are counted.
fn seat(crowd: &Arc<Crowd>, address: Option<SocketAddr>) -> Result<Option<Seat>, Full> {
    crowd.enter(address.map(|address| address.ip()))
}

/// Serves one connection until it ends, as a worker does with each; for benchmarks.
pub async fn converse(
    worker: Arc<Worker>,
    settings: &Config,
    stream: tokio::net::TcpStream,
    address: SocketAddr,
    guard: Guard,
) {
    let metrics = worker.sidecar.telemetry.metrics().connections.clone();
    let hall = Arc::new(Hall::plain(metrics.clone()));
    let place = Place {
        open: Arc::new(AtomicUsize::new(1)),
        mine: Arc::new(AtomicUsize::new(1)),
        hall: hall.clone(),
        metrics: metrics.clone(),
        seat: None,
    };
    let server = Server::new(settings, Crowd::new(settings), metrics);
    let arriving = connection::Arriving {
        stream: stream.into(),
        address: Some(address),
        hall,
        place,
    };
    let worker = Arc::new(ArcSwap::from(worker));
    server.converse(&worker, arriving, guard).await;
}

/// Tells a client that there is no place, without waiting for it to listen. Before TLS it would
/// not understand.
fn refuse(hall: &Hall, stream: &Stream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        content-type: application/json; charset=utf-8\r\ncontent-length: 35\r\nconnection: close\r\n\r\n\
        {\"error\":\"temporarily_unavailable\"}";
    if hall.is_clear() {
        stream.try_write(FULL);
    }
}

fn start_lane(index: usize, worker: Worker, server: Server) -> io::Result<Lane> {
    let (connections, waiting) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let worker = Arc::new(ArcSwap::from_pointee(worker));
    let server = Arc::new(server);
    let serving = serve(worker.clone(), server.clone(), waiting);
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(serving))?;
    Ok(Lane {
        connections,
        open: Arc::default(),
        worker,
        server,
    })
}

/// Serves what arrives until the accept loop is gone; connections that still live then are
/// ended with the runtime, after the drain has waited for them. Without its watchman a worker ends,
/// since nobody would be late any more.
async fn serve(
    worker: Arc<ArcSwap<Worker>>,
    server: Arc<Server>,
    mut waiting: mpsc::UnboundedReceiver<Accepted>,
) {
    let mut sweep = tokio::time::interval(SWEEP);
    let mut watchman = tokio::spawn(server.clone().watch());
    loop {
        tokio::select! {
            accepted = waiting.recv() => match accepted {
                Some(accepted) => server.start(&worker, accepted),
                None => break,
            },
            _ = sweep.tick() => worker.load().pools.iter().for_each(|pool| pool.sweep()),
            _ = &mut watchman => return,
        }
    }
    watchman.abort();
}

/// Sorts what `accept` can fail with: the peer left, we are out of something, or the socket
/// is dead. Never a hot loop, never a silent stop.
async fn rest_after(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ECONNABORTED | libc::ECONNRESET | libc::EINTR | libc::EPERM | libc::EPROTO) => {
            Ok(())
        }
        // accept(2): already-pending network errors are passed on as if from accept.
        Some(
            libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ETIMEDOUT,
        ) => Ok(()),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            static SHORT: Seldom = Seldom::new();
            if let Some(times) = SHORT.again() {
                tracing::warn!(%error, times, "cannot accept connections; raise the limit of open files (ulimit -n)");
            }
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            Ok(())
        }
        _ => Err(error),
    }
}
