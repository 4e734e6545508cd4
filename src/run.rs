//! From a configuration to a running usher, through its reloads, and to its end.

mod fixed;
mod reload;
mod running;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::{Admin, Readiness};
use crate::assemble::{Assembled, Options, StartError, assemble};
use crate::config::{Config, Listen, Listener, Shutdown};
use crate::control::Control;
use crate::drain::Drain;
use crate::ext_authz::ExtAuthz;
use crate::listener::{self, Closed, Door, Doors};
use crate::sidecar::Sidecar;

pub use reload::Source;
use running::Running;

/// An usher whose sockets are bound, so that every address is known.
pub struct Bound {
    doors: Vec<Arc<Door>>,
    admin: Option<Admin>,
    ext_authz: Option<ExtAuthz>,
    /// What decides for `ext_authz`.
    decides: Arc<ArcSwap<Sidecar>>,
    control: Option<Control>,
    readiness: Arc<Readiness>,
    parts: Assembled,
    settings: Config,
    source: Option<Source>,
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
    let (doors, control) = doors(&settings, &parts)?;
    let readiness = Arc::new(parts.readiness());
    let admin = match settings.admin {
        Some(address) => {
            let (readiness, telemetry) = (readiness.clone(), parts.sidecar.telemetry.clone());
            Some(Admin::new(bound(address)?, readiness, telemetry))
        }
        None => None,
    };
    let decides = Arc::new(ArcSwap::from(parts.sidecar.clone()));
    let ext_authz = match &settings.ext_authz {
        Some(door) => Some(ExtAuthz::new(bound(door.listen)?, decides.clone())),
        None => None,
    };
    Ok(Bound {
        doors,
        admin,
        ext_authz,
        decides,
        control,
        readiness,
        parts,
        settings,
        source: None,
    })
}

/// A listener that is not for callers.
fn bound(address: SocketAddr) -> Result<TcpListener, StartError> {
    listener::bind(address).map_err(|error| StartError::Bind(Listen::Tcp(address), error))
}

fn doors(
    settings: &Config,
    parts: &Assembled,
) -> Result<(Vec<Arc<Door>>, Option<Control>), StartError> {
    let mut doors = Doors::new(parts.sidecar.telemetry.metrics().connections.clone());
    let mut open = |listener: &Listener| {
        let opened = doors.open(listener).map(Arc::new);
        opened.map_err(|closed| match closed {
            Closed::Bind(error) => StartError::Bind(listener.listen.clone(), error),
            Closed::Tls(problem) => StartError::Tls(problem),
        })
    };
    let opened = settings
        .listeners
        .iter()
        .map(&mut open)
        .collect::<Result<_, _>>()?;
    let control = match settings.control.as_ref().zip(parts.revocation()) {
        Some((control, revocation)) => {
            let door = open(&control.listener)?;
            Some(Control::new(door, control, revocation))
        }
        None => None,
    };
    Ok((opened, control))
}

impl Bound {
    /// The real TCP addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors
            .iter()
            .filter_map(|door| door.address())
            .collect()
    }

    /// Where callers connect, in the words of the configuration but with real addresses.
    pub fn places(&self) -> Vec<String> {
        let doors = self.doors.iter().zip(&self.settings.listeners);
        let place = |(door, listener): (&Arc<Door>, &Listener)| match door.address() {
            Some(address) => address.to_string(),
            None => listener.listen.to_string(),
        };
        doors.map(place).collect()
    }

    /// The admin listener's real address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// The control listener's real address, if it has one.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control
            .as_ref()
            .and_then(|control| control.door().address())
    }

    /// The real address where Envoy asks.
    pub fn ext_authz_address(&self) -> Option<SocketAddr> {
        let door = self.ext_authz.as_ref();
        door.and_then(|door| door.address().ok())
    }

    /// The same, and the configuration is followed where it comes from while usher runs.
    #[must_use]
    pub fn following(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// Serves until `stop` resolves, then drains; gives up draining when `now` resolves.
    ///
    /// # Errors
    /// When a listening socket dies, or no thread can be started.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        let drain = Drain::new();
        let telemetry = self.parts.sidecar.telemetry.clone();
        let readiness = self.readiness.clone();
        let revocation = self.parts.revocation();
        // What goes on to the very end, whatever is reloaded.
        let mut admin = JoinSet::new();
        if let Some(listener) = self.admin.take() {
            admin.spawn(listener.run());
        }
        if let Some(revocation) = revocation.clone() {
            admin.spawn(revocation.follow());
        }
        let control = self.control.take();
        let shown = control.as_ref().map(|control| control.door().clone());
        if let Some(control) = control {
            admin.spawn(control.run());
        }
        let ext_authz = self.ext_authz.take();
        let source = self.source.take();
        let doors = std::mem::take(&mut self.doors);
        let mut running = Running::start(self, &doors, shown)?;
        let mut accepting = running.accept(doors, ext_authz, &drain.guard());
        tokio::select! {
            () = stop => {}
            Some(Ok(Err(error))) = accepting.join_next() => return Err(error),
            never = reload::follow(&mut running, source) => match never {},
        }
        let shutdown = &running.settings().shutdown;
        let ended = tokio::select! {
            ended = end(shutdown, &readiness, accepting, drain) => ended,
            () = now => Ended::Cut,
        };
        if let Some(revocation) = &revocation {
            revocation.finish().await;
        }
        telemetry.finish().await;
        Ok(ended)
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
    drain.leave();
    tracing::info!(pause = ?shutdown.pause, deadline = ?shutdown.deadline, "ending: not ready any more");
    tokio::time::sleep(shutdown.pause).await;
    accepting.shutdown().await;
    tracing::info!("ending: no new connections");
    match tokio::time::timeout(shutdown.deadline, drain.finish()).await {
        Ok(()) => Ended::Drained,
        Err(_) => Ended::Cut,
    }
}
