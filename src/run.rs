//! From a configuration to a running usher, and to its end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::{Admin, Readiness};
use crate::assemble::{Assembled, assemble};
use crate::clock::Clock;
use crate::config::{Config, Listen, Shutdown};
use crate::drain::Drain;
use crate::identify;
use crate::listener::{self, Workers};
use crate::sidecar::Worker;
use crate::telemetry::Sink;
use crate::upstream::Pool;
use crate::users;

/// What a caller of [`bind`] may want otherwise than `usher serve`.
#[derive(Debug)]
pub struct Options {
    /// Where "now" comes from.
    pub clock: Clock,
    /// Where access lines go.
    pub access: Sink,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::System,
            access: Sink::Stdout,
        }
    }
}

/// Why usher does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind(Listen, std::io::Error),
    /// The keys of an issuer cannot be used.
    Keys(identify::StartError),
    /// The directory or the provisioner cannot be used.
    Users(users::StartError),
    /// The operating system gives no threads.
    Threads(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(Listen::Tcp(address), error) => write!(
                f,
                "cannot listen on {address}: {error}. Is another process there (ss -ltnp)? \
                 Set `listen` or `admin` to another address."
            ),
            Self::Keys(error) => write!(f, "{error}"),
            Self::Users(error) => write!(f, "users: {error}"),
            Self::Threads(error) => write!(f, "cannot start worker threads: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// An usher whose sockets are bound, so that every address is known.
pub struct Bound {
    listeners: Vec<TcpListener>,
    admin: Option<Admin>,
    parts: Assembled,
    settings: Config,
}

/// How usher ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything under way was finished.
    Drained,
    /// The deadline passed, or somebody would not wait, with requests under way.
    Cut,
}

/// Builds everything and binds every address; nothing is served yet.
///
/// # Errors
/// [`StartError`]: an address is taken, a key file is unusable.
pub async fn bind(settings: Config, options: Options) -> Result<Bound, StartError> {
    let parts = assemble(&settings, options).await?;
    let listeners = settings
        .listeners
        .iter()
        .map(listen)
        .collect::<Result<_, _>>()?;
    let admin = match &settings.admin {
        Some(address) => {
            let (readiness, telemetry) = (parts.readiness.clone(), parts.sidecar.telemetry.clone());
            Some(Admin::new(listen(address)?, readiness, telemetry))
        }
        None => None,
    };
    Ok(Bound {
        listeners,
        admin,
        parts,
        settings,
    })
}

fn listen(address: &Listen) -> Result<TcpListener, StartError> {
    listener::bind(address).map_err(|error| StartError::Bind(address.clone(), error))
}

impl Bound {
    /// The real addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The admin listener's real address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// Serves until `stop` resolves, then drains; gives up draining when `now` resolves.
    ///
    /// # Errors
    /// When a listening socket dies, or no thread can be started.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        let drain = Drain::new();
        let workers =
            Arc::new(Workers::start(self.workers(), &self.settings).map_err(StartError::Threads)?);
        let mut background = JoinSet::new();
        for refresher in self.parts.refreshers {
            background.spawn(refresher.run());
        }
        if let Some(admin) = self.admin {
            background.spawn(admin.run());
        }
        let mut accepting = JoinSet::new();
        for (listener, listen) in self
            .listeners
            .into_iter()
            .zip(self.settings.listeners.clone())
        {
            let (workers, guard) = (workers.clone(), drain.guard());
            accepting.spawn(async move {
                let ended = workers.accept(&listener, &guard).await;
                ended.map_err(|error| StartError::Bind(listen, error))
            });
        }
        tokio::select! {
            () = stop => {}
            Some(Ok(Err(error))) = accepting.join_next() => return Err(error),
        }
        let ending = end(
            &self.settings.shutdown,
            &self.parts.readiness,
            accepting,
            drain,
        );
        tokio::select! {
            ended = ending => Ok(ended),
            () = now => Ok(Ended::Cut),
        }
    }

    fn workers(&self) -> Vec<Worker> {
        let worker = |_| Worker {
            sidecar: self.parts.sidecar.clone(),
            pool: Arc::new(Pool::new(&self.settings, self.parts.pools.clone())),
        };
        (0..self.settings.workers).map(worker).collect()
    }
}

/// Unready first, so that load balancers look elsewhere; then no new connections; then wait.
async fn end(
    shutdown: &Shutdown,
    readiness: &Readiness,
    mut accepting: JoinSet<Result<(), StartError>>,
    drain: Drain,
) -> Ended {
    readiness.drain();
    tracing::info!(pause = ?shutdown.pause, deadline = ?shutdown.deadline, "ending: not ready any more");
    tokio::time::sleep(shutdown.pause).await;
    accepting.shutdown().await;
    tracing::info!("ending: no new connections");
    match tokio::time::timeout(shutdown.deadline, drain.finish()).await {
        Ok(()) => {
            // Answers are sent; give the writer of access lines a moment for the last of them.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ended::Drained
        }
        Err(_) => Ended::Cut,
    }
}
