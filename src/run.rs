//! From a configuration to a running usher, and to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::{Admin, Readiness};
use crate::assemble::{Assembled, Options, StartError, assemble};
use crate::config::{Config, Listen, Shutdown};
use crate::drain::Drain;
use crate::listener::{self, Workers};
use crate::sidecar::Worker;
use crate::upstream::Pool;

/// How often verdicts whose time is over leave memory.
const SWEEP: Duration = Duration::from_secs(60);

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
        let telemetry = self.parts.sidecar.telemetry.clone();
        let workers =
            Arc::new(Workers::start(self.workers(), &self.settings).map_err(StartError::Threads)?);
        let mut background = JoinSet::new();
        for refresher in self.parts.refreshers {
            background.spawn(refresher.run());
        }
        let identify = self.parts.identify.clone();
        background.spawn(async move {
            let mut sweep = tokio::time::interval(SWEEP);
            loop {
                sweep.tick().await;
                identify.sweep();
            }
        });
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
        let ended = tokio::select! {
            ended = ending => ended,
            () = now => Ended::Cut,
        };
        telemetry.finish().await;
        Ok(ended)
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
        Ok(()) => Ended::Drained,
        Err(_) => Ended::Cut,
    }
}
