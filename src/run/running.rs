//! A running usher: what serves, and how a reload swaps it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::tasks::Tasks;
use super::{Bound, fixed};
use crate::admin::Readiness;
use crate::assemble::{Assembled, StartError};
use crate::config::{Config, Upstream};
use crate::drain::Guard;
use crate::ext_authz::ExtAuthz;
use crate::identify::Refresher;
use crate::listener::{Door, Hall, Workers};
use crate::sidecar::{Sidecar, Worker};
use crate::tls::{self, Followed};
use crate::upstream::Pool;

/// How often what is over leaves memory, and databases.
const SWEEP: Duration = Duration::from_secs(60);

/// What serves, and the settings that it goes by.
pub(super) struct Running {
    /// Whoever accepts has them: when nobody does any more, they are shut.
    doors: Vec<Weak<Door>>,
    /// The door of `control`, which stays as it is.
    control: Option<Arc<Door>>,
    workers: Arc<Workers>,
    decides: Arc<ArcSwap<Sidecar>>,
    pub(super) readiness: Arc<Readiness>,
    parts: Assembled,
    settings: Config,
    /// Each ends by itself when nobody uses its keys any more.
    refreshers: Tasks,
    /// What goes on beside requests, for the parts that there are now.
    chores: Tasks,
}

/// Why nothing was swapped.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: StartError,
    /// Whether it may go well another time, though no file has changed.
    pub(super) may_pass: bool,
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Self {
            error,
            may_pass: false,
        }
    }
}

impl Running {
    /// Starts threads and tasks; nothing is accepted yet.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(
        bound: Bound,
        doors: &[Arc<Door>],
        control: Option<Arc<Door>>,
    ) -> Result<Self, StartError> {
        let Bound {
            decides,
            readiness,
            mut parts,
            settings,
            ..
        } = bound;
        let workers = (0..settings.workers).map(|_| worker(&parts, &settings, None));
        let workers = Workers::start(workers.collect(), &settings).map_err(StartError::Threads)?;
        let mut refreshers = Tasks::default();
        run(&mut refreshers, std::mem::take(&mut parts.refreshers));
        Ok(Self {
            chores: chores(&parts, doors.iter().chain(&control).map(|door| &**door)),
            control,
            workers: Arc::new(workers),
            doors: doors.iter().map(Arc::downgrade).collect(),
            decides,
            readiness,
            parts,
            settings,
            refreshers,
        })
    }

    /// What usher goes by.
    pub(super) fn settings(&self) -> &Config {
        &self.settings
    }

    /// What serves.
    pub(super) fn parts(&self) -> &Assembled {
        &self.parts
    }

    /// Waits until something has ended that should not have, for ever if need be: why.
    pub(super) async fn ended(&mut self) -> StartError {
        tokio::select! {
            error = self.refreshers.ended() => error,
            error = self.chores.ended() => error,
        }
    }

    /// Opens the doors, until what is returned is dropped.
    pub(super) fn accept(
        &self,
        doors: Vec<Arc<Door>>,
        ext_authz: Option<ExtAuthz>,
        guard: &Guard,
    ) -> Tasks {
        let mut accepting = Tasks::default();
        for (door, listener) in doors.into_iter().zip(&self.settings.listeners) {
            let workers = self.workers.clone();
            let (guard, listen) = (guard.clone(), listener.listen.clone());
            accepting.spawn_unless("accepting connections", async move {
                let ended = workers.accept(&door, &guard).await;
                ended.map_err(|error| StartError::Bind(listen, error))
            });
        }
        if let Some(ext_authz) = ext_authz {
            let guard = guard.clone();
            accepting.spawn("the ext_authz listener", ext_authz.run(guard));
        }
        accepting
    }

    /// Goes by other settings from now on, whole or not at all; the keys that changed and cannot
    /// without a restart. What has changed is built first. Requests under way end as they began.
    pub(super) async fn reload(
        &mut self,
        mut settings: Config,
    ) -> Result<Vec<&'static str>, Refused> {
        let fixed = fixed::keep(&self.settings, &mut settings);
        let mut parts = self.parts.again(&settings).await?;
        let halls = self.halls(&settings)?;
        run(&mut self.refreshers, std::mem::take(&mut parts.refreshers));
        let gathered = parts.identify.gather(&self.parts.identify).await;
        gathered.map_err(|error| Refused {
            error: StartError::Keys(error),
            may_pass: true,
        })?;
        self.swap(parts, halls, settings);
        Ok(fixed)
    }

    /// What is spoken behind each door, where that has changed.
    fn halls(&self, settings: &Config) -> Result<Vec<Option<Hall>>, StartError> {
        let metrics = &self.parts.sidecar.telemetry.metrics().connections;
        let pairs = self.settings.listeners.iter().zip(&settings.listeners);
        let hall = |(before, now)| match before == now {
            true => Ok(None),
            false => Hall::new(now, metrics).map(Some).map_err(StartError::Tls),
        };
        pairs.map(hall).collect()
    }

    /// Nothing here can fail, and nothing waits.
    fn swap(&mut self, parts: Assembled, halls: Vec<Option<Hall>>, settings: Config) {
        let doors: Vec<_> = self.doors.iter().map(Weak::upgrade).collect();
        for (door, hall) in doors.iter().zip(halls) {
            if let (Some(door), Some(hall)) = (door, hall) {
                door.lead_to(hall);
            }
        }
        let before = self.workers.current();
        let workers = before
            .iter()
            .map(|before| worker(&parts, &settings, Some(before)));
        self.workers.change(workers.collect(), &settings);
        for (before, now) in before.iter().zip(self.workers.current()) {
            let stays = |pool: &&Arc<Pool>| now.pools.iter().any(|other| Arc::ptr_eq(pool, other));
            let gone = before.pools.iter().filter(|pool| !stays(pool));
            gone.for_each(|pool| pool.retire());
        }
        self.decides.store(parts.sidecar.clone());
        parts.answer_for(&self.readiness);
        parts.identify.forget(&self.parts.identify);
        let doors = doors.iter().flatten().chain(&self.control);
        self.chores = chores(&parts, doors.map(|door| &**door));
        self.parts = parts;
        self.settings = settings;
    }
}

/// A worker with pools of its own, some of which may be those of `before`.
fn worker(parts: &Assembled, settings: &Config, before: Option<&Arc<Worker>>) -> Worker {
    let apps = settings.upstreams().into_iter().zip(&parts.upstream_tls);
    let pool = |(app, tls): (&Upstream, &Option<tls::Client>)| {
        let mut before = before.iter().flat_map(|before| &before.pools);
        match before.find(|pool| pool.fits(app, settings)) {
            Some(pool) => pool.clone(),
            None => {
                let pool = Pool::new(app, settings, parts.pools.clone());
                Arc::new(pool.with_tls(tls.clone()))
            }
        }
    };
    Worker {
        sidecar: parts.sidecar.clone(),
        pools: apps.map(pool).collect(),
    }
}

fn run(tasks: &mut Tasks, refreshers: Vec<Refresher>) {
    for refresher in refreshers {
        tasks.spawn_until_needless("fetching keys", refresher.run());
    }
}

/// What goes on beside requests; all of it ends when this is dropped.
fn chores<'d>(parts: &Assembled, doors: impl Iterator<Item = &'d Door>) -> Tasks {
    let mut chores = Tasks::default();
    let identify = parts.identify.clone();
    chores.spawn("sweeping tokens", async move {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            sweep.tick().await;
            identify.sweep();
        }
    });
    let app = parts.upstream_tls.iter().flatten();
    let app = app.map(|tls| Followed::Client(tls.config.clone()));
    let doors = doors.filter_map(Door::followed);
    let followed: Vec<_> = doors.chain(app).collect();
    // Without any there is nothing to do.
    chores.spawn_until_needless(
        "following certificates",
        tls::follow(followed, parts.tls_metrics.clone()),
    );
    if let Some((accounts, projects)) = parts.accounts() {
        chores.spawn("sweeping accounts", async move {
            accounts.sweep_for_ever(tokio::time::interval(SWEEP)).await;
        });
        chores.spawn("following the keys of projects", projects.watch());
    }
    chores
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::tests::some_bound;

    async fn running() -> Running {
        Running::start(some_bound().await, &[], None).unwrap()
    }

    #[tokio::test]
    async fn a_chore_that_panics_ends_usher() {
        let mut running = running().await;
        running.chores.spawn("a test", async { panic!("ouch") });
        let error = super::super::reload::follow(&mut running, None).await;
        assert!(error.to_string().contains("a test has stopped"), "{error}");
    }

    #[tokio::test]
    async fn reloads_that_fail_leave_no_tasks() {
        let mut running = running().await;
        let before = running.refreshers.len();
        // Nobody listens there.
        let text = "upstream: http://127.0.0.1:1\nissuers: [{ issuer: 'https://idp.test', \
            jwks_uri: 'http://127.0.0.1:1/', audiences: any }]\n";
        for _ in 0..3 {
            let parsed = crate::config::parse(text, "test", &|_| None);
            let config = parsed.unwrap_or_else(|problems| panic!("{problems:?}"));
            assert!(running.reload(config.config).await.is_err());
        }
        let gone = async {
            while running.refreshers.len() > before {
                tokio::select! {
                    error = running.ended() => panic!("{error}"),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone)
            .await
            .unwrap();
    }
}
