//! From a configuration to a running usher, through its reloads, and to its end.

mod fixed;
mod reload;
mod running;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;

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
use tasks::Tasks;

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
    /// What goes on to the very end, whatever is reloaded.
    lasting: Tasks,
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
        lasting: Tasks::default(),
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
    /// When a listening socket dies, no thread can be started, or something has ended that goes
    /// on as long as usher does.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        let telemetry = self.parts.sidecar.telemetry.clone();
        let revocation = self.parts.revocation();
        let (mut lasting, control) = self.start_lasting();
        let ended = tokio::select! {
            error = lasting.ended() => Err(error),
            ended = self.serve(control, stop, now) => ended,
        };
        if let Some(revocation) = &revocation {
            revocation.finish().await;
        }
        telemetry.finish().await;
        ended
    }

    /// Starts what goes on to the very end, and tells where `control` is.
    fn start_lasting(&mut self) -> (Tasks, Option<Arc<Door>>) {
        let mut lasting = std::mem::take(&mut self.lasting);
        if let Some(admin) = self.admin.take() {
            lasting.spawn("the admin listener", admin.run());
        }
        if let Some(exporter) = self.parts.exporter.take() {
            // Its settings stay as they are, as the log's do.
            lasting.spawn_until_needless("sending spans", exporter.run());
        }
        if let Some(revocation) = self.parts.revocation() {
            lasting.spawn("following revocations", revocation.follow());
        }
        let control = self.control.take();
        let shown = control.as_ref().map(|control| control.door().clone());
        if let Some(control) = control {
            lasting.spawn("the control listener", control.run());
        }
        (lasting, shown)
    }

    async fn serve(
        mut self,
        control: Option<Arc<Door>>,
        stop: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
    ) -> Result<Ended, StartError> {
        let drain = Drain::new();
        let readiness = self.readiness.clone();
        let ext_authz = self.ext_authz.take();
        let source = self.source.take();
        let doors = std::mem::take(&mut self.doors);
        let mut running = Running::start(self, &doors, control)?;
        let mut accepting = running.accept(doors, ext_authz, &drain.guard());
        tokio::select! {
            () = stop => {}
            error = accepting.ended() => return Err(error),
            error = reload::follow(&mut running, source) => return Err(error),
        }
        let shutdown = &running.settings().shutdown;
        Ok(tokio::select! {
            ended = end(shutdown, &readiness, accepting, drain) => ended,
            () = now => Ended::Cut,
        })
    }
}

/// Unready first, so that load balancers look elsewhere; then no new connections; then wait.
async fn end(shutdown: &Shutdown, readiness: &Readiness, accepting: Tasks, drain: Drain) -> Ended {
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::clock::Clock;
    use crate::telemetry::Sink;

    /// An usher on free ports.
    pub(super) async fn some_bound() -> Bound {
        let text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\n\
            upstream: http://127.0.0.1:1\nissuers: [{ name: mine, audiences: any, \
            secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }]\n";
        let parsed = crate::config::parse(text, "test", &|_| None);
        let config = parsed.unwrap_or_else(|problems| panic!("{problems:?}"));
        let options = Options {
            clock: Clock::System,
            access: Sink::Writer(Box::new(std::io::sink())),
        };
        bind(config.config, options).await.unwrap()
    }

    #[tokio::test]
    async fn what_stops_unasked_ends_usher() {
        let mut bound = some_bound().await;
        bound.lasting.spawn("a test", async { panic!("ouch") });
        let error = bound.run(pending(), pending()).await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.starts_with("a test has stopped: it panicked: ouch."),
            "{told}"
        );
    }
}
