//! From a configuration to a running usher, and to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::{Admin, Readiness};
use crate::assemble::{Assembled, Options, StartError, assemble};
use crate::config::{Config, Listen, Listener, Shutdown};
use crate::drain::Drain;
use crate::ext_authz::ExtAuthz;
use crate::listener::{self, Closed, Door, Doors, Workers};
use crate::sidecar::Worker;
use crate::tls::{self, Followed};
use crate::upstream::Pool;

/// How often verdicts whose time is over leave memory.
const SWEEP: Duration = Duration::from_secs(60);

/// An usher whose sockets are bound, so that every address is known.
pub struct Bound {
    doors: Vec<Door>,
    admin: Option<Admin>,
    ext_authz: Option<ExtAuthz>,
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
    let doors = doors(&settings, &parts)?;
    let admin = match settings.admin {
        Some(address) => {
            let (readiness, telemetry) = (parts.readiness.clone(), parts.sidecar.telemetry.clone());
            Some(Admin::new(bound(address)?, readiness, telemetry))
        }
        None => None,
    };
    let ext_authz = match &settings.ext_authz {
        Some(door) => {
            let (listener, sidecar) = (bound(door.listen)?, parts.sidecar.clone());
            Some(ExtAuthz::new(listener, sidecar, &settings.limits))
        }
        None => None,
    };
    Ok(Bound {
        doors,
        admin,
        ext_authz,
        parts,
        settings,
    })
}

/// A listener that is not for callers.
fn bound(address: SocketAddr) -> Result<TcpListener, StartError> {
    listener::bind(address).map_err(|error| StartError::Bind(Listen::Tcp(address), error))
}

fn doors(settings: &Config, parts: &Assembled) -> Result<Vec<Door>, StartError> {
    let mut doors = Doors::new(parts.sidecar.telemetry.metrics().connections.clone());
    let open = |listener: &Listener| {
        let opened = doors.open(listener);
        opened.map_err(|closed| match closed {
            Closed::Bind(error) => StartError::Bind(listener.listen.clone(), error),
            Closed::Tls(problem) => StartError::Tls(problem),
        })
    };
    settings.listeners.iter().map(open).collect()
}

impl Bound {
    /// The real TCP addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(Door::address).collect()
    }

    /// Where callers connect, in the words of the configuration but with real addresses.
    pub fn places(&self) -> Vec<String> {
        let doors = self.doors.iter().zip(&self.settings.listeners);
        let place = |(door, listener): (&Door, &Listener)| match door.address() {
            Some(address) => address.to_string(),
            None => listener.listen.to_string(),
        };
        doors.map(place).collect()
    }

    /// The admin listener's real address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// The real address where Envoy asks.
    pub fn ext_authz_address(&self) -> Option<SocketAddr> {
        let door = self.ext_authz.as_ref();
        door.and_then(|door| door.address().ok())
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
        let followed = self.followed();
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
        if let Some(exporter) = self.parts.exporter {
            background.spawn(exporter.run());
        }
        background.spawn(tls::follow(followed, self.parts.tls_metrics.clone()));
        if let Some((accounts, projects)) = self.parts.accounts {
            background.spawn(async move {
                accounts.sweep_for_ever(tokio::time::interval(SWEEP)).await;
            });
            background.spawn(projects.watch());
        }
        if let Some(admin) = self.admin {
            background.spawn(admin.run());
        }
        let mut accepting = JoinSet::new();
        for (door, listener) in self.doors.into_iter().zip(self.settings.listeners.clone()) {
            let (workers, guard) = (workers.clone(), drain.guard());
            accepting.spawn(async move {
                let ended = workers.accept(&door, &guard).await;
                ended.map_err(|error| StartError::Bind(listener.listen, error))
            });
        }
        if let Some(ext_authz) = self.ext_authz {
            let guard = drain.guard();
            accepting.spawn(async move {
                ext_authz.run(guard).await;
                Ok(())
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

    /// Everything whose certificates may change.
    fn followed(&self) -> Vec<Followed> {
        let app = self.parts.upstream_tls.iter();
        let app = app.map(|tls| Followed::Client(tls.config.clone()));
        self.doors
            .iter()
            .filter_map(Door::followed)
            .chain(app)
            .collect()
    }

    fn workers(&self) -> Vec<Worker> {
        let worker = |_| Worker {
            sidecar: self.parts.sidecar.clone(),
            pool: Arc::new(
                Pool::new(&self.settings, self.parts.pools.clone())
                    .with_tls(self.parts.upstream_tls.clone()),
            ),
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
