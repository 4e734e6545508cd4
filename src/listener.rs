//! Where callers connect: one accept loop, which hands each connection to a worker.
//!
//! A worker is a thread with a runtime and a pool of its own, so that a request never leaves
//! its core: no lock, no work stealing, no waking of another thread.

mod client;
mod connection;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{Config, Listen};
use crate::drain::Guard;
use crate::sidecar::Worker;
use crate::telemetry::ConnectionMetrics;
use crate::upstream::SWEEP;

use connection::Server;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds an address.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(listen: &Listen) -> io::Result<TcpListener> {
    let Listen::Tcp(address) = listen;
    let socket = Socket::new(
        Domain::for_address(*address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&(*address).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection on its way to a worker.
struct Accepted {
    stream: std::net::TcpStream,
    address: SocketAddr,
    place: Place,
    guard: Guard,
}

/// One of `limits.connections`; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<AtomicUsize>,
    mine: Arc<AtomicUsize>,
    metrics: ConnectionMetrics,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.mine.fetch_sub(1, Ordering::Relaxed);
        self.metrics.open.dec();
    }
}

/// The threads that serve requests.
#[derive(Debug)]
pub struct Workers {
    lanes: Vec<Lane>,
    open: Arc<AtomicUsize>,
    limit: usize,
    metrics: ConnectionMetrics,
}

#[derive(Debug)]
struct Lane {
    connections: mpsc::UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
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
        let lanes = workers
            .into_iter()
            .enumerate()
            .map(|(index, worker)| {
                start_lane(index, worker, Server::new(settings, metrics.clone()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            lanes,
            open: Arc::default(),
            limit: settings.limits.connections,
            metrics,
        })
    }

    /// Accepts until the future is dropped.
    ///
    /// # Errors
    /// When the listening socket itself is dead.
    pub async fn accept(&self, listener: &TcpListener, guard: &Guard) -> io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.hand_over(stream, address, guard),
                Err(error) => rest_after(error).await?,
            }
        }
    }

    fn hand_over(&self, stream: tokio::net::TcpStream, address: SocketAddr, guard: &Guard) {
        let Some((lane, place)) = self.place() else {
            refuse(stream);
            self.metrics.refused.inc();
            return;
        };
        self.metrics.accepted.inc();
        match stream.into_std() {
            Ok(stream) => {
                let accepted = Accepted {
                    stream,
                    address,
                    place,
                    guard: guard.clone(),
                };
                if lane.connections.send(accepted).is_err() {
                    tracing::error!("a worker thread is gone; its connections are lost");
                }
            }
            Err(error) => tracing::warn!(%error, "an accepted connection could not be handed over"),
        }
    }

    /// A place on the worker with the fewest connections, unless all places are taken.
    fn place(&self) -> Option<(&Lane, Place)> {
        let lane = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.open.load(Ordering::Relaxed))?;
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        lane.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.open.inc();
        let place = Place {
            open: self.open.clone(),
            mine: lane.open.clone(),
            metrics: self.metrics.clone(),
        };
        Some((lane, place))
    }
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
    let place = Place {
        open: Arc::new(AtomicUsize::new(1)),
        mine: Arc::new(AtomicUsize::new(1)),
        metrics: metrics.clone(),
    };
    let server = Server::new(settings, metrics);
    server
        .converse(&worker, stream.into(), address, guard, place)
        .await;
}

/// Tells a client that there is no place, without waiting for it to listen.
fn refuse(stream: tokio::net::TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        content-type: application/json; charset=utf-8\r\ncontent-length: 35\r\nconnection: close\r\n\r\n\
        {\"error\":\"temporarily_unavailable\"}";
    // Best effort: a client that does not read it sees the connection close.
    let _ = stream.try_write(FULL);
}

fn start_lane(index: usize, worker: Worker, server: Server) -> io::Result<Lane> {
    let (connections, waiting) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(serve(worker, Arc::new(server), waiting)))?;
    Ok(Lane {
        connections,
        open: Arc::default(),
    })
}

/// Serves what arrives until the accept loop is gone; connections that still live then are
/// ended with the runtime, after the drain has waited for them.
async fn serve(
    worker: Worker,
    server: Arc<Server>,
    mut waiting: mpsc::UnboundedReceiver<Accepted>,
) {
    let worker = Arc::new(worker);
    let mut sweep = tokio::time::interval(SWEEP);
    let watchman = tokio::spawn(server.clone().watch());
    loop {
        tokio::select! {
            accepted = waiting.recv() => match accepted {
                Some(accepted) => server.start(&worker, accepted),
                None => break,
            },
            _ = sweep.tick() => worker.pool.sweep(),
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
            tracing::warn!(%error, "cannot accept connections; raise the limit of open files (ulimit -n)");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            Ok(())
        }
        _ => Err(error),
    }
}
