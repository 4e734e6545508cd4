//! The user exists before the app sees them.
//!
//! A caller who is known costs one look into memory (`presence`). One who is not is looked up
//! in the `directory`, and, where there is no row, created by the `provisioner` while the
//! request waits. All who ask for one user at one time share one `flight`.

mod caller;
mod core;
mod directory;
mod ensure;
mod flight;
pub mod metrics;
mod presence;
mod provisioner;
mod sight;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::caller::{Key, Who};
use self::core::Core;
use self::directory::Directory;
use self::flight::{Ending, Flights, Stage};
use self::metrics::Metrics;
use self::presence::{Presence, Recall};
use self::provisioner::Provisioner;
use self::settings::Settings;
use crate::clock::Clock;
use crate::database::sqlite::Opening;
use crate::limit::Limit;

pub use self::caller::{Caller, MAX_TEXT};
#[cfg(feature = "fuzzing")]
pub use self::provisioner::fuzz as fuzz_replies;
pub use self::sight::{Ensured, Sight, Verified};
pub use crate::config::users as settings;
pub use crate::config::users::FirstSight;
pub use crate::user::User;

/// Background renewals under way at once; beyond it they wait for their next occasion.
const RENEWALS: usize = 16;

/// `ensure_user` calls are counted by the minute …
const MINUTE: Duration = Duration::from_secs(60);

/// … for so many users at once; one who is pushed out starts anew.
const USERS: u64 = 10_000;

/// Why usher cannot start with these users; the text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Who is known, and how the others become so.
#[derive(Debug)]
pub struct Users {
    core: Arc<Core>,
    flights: Flights,
    waiters: Semaphore,
    renewals: Arc<Semaphore>,
    ensured: Limit<Key>,
    runtime: Handle,
}

impl Users {
    /// Gets ready. Neither Redis nor PostgreSQL has to be up.
    ///
    /// # Errors
    /// What of the settings cannot be used.
    pub async fn open(
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::with(settings, metrics, clock, Opening::Make).await
    }

    /// The same with what is there: no file and no table is made or changed.
    ///
    /// # Errors
    /// As [`Self::open`], and where a file is missing.
    pub async fn look(
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        Self::with(settings, metrics, clock, Opening::Existing).await
    }

    async fn with(
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        opening: Opening,
    ) -> Result<Self, StartError> {
        let directory = Directory::open(&settings.directory, &settings.table, opening).await?;
        let provisioner = Provisioner::new(&settings.provisioner, &metrics)?;
        let presence = Presence::new(&settings.presence, clock);
        let waiters = settings.max_waiters.min(Semaphore::MAX_PERMITS);
        let ensured = Limit::new(settings.ensure_per_minute, MINUTE, USERS);
        Ok(Self {
            core: Arc::new(Core::new(
                settings,
                presence,
                directory,
                provisioner,
                metrics,
            )),
            flights: Flights::default(),
            waiters: Semaphore::new(waiters),
            renewals: Arc::new(Semaphore::new(RENEWALS)),
            ensured,
            runtime: Handle::current(),
        })
    }

    /// The caller's user, if it is known without asking anybody: the way of almost every
    /// request. What is due for renewal is renewed behind the request's back.
    pub fn recall(&self, caller: &Caller<'_>) -> Option<Arc<User>> {
        match self.core.presence.recall_for(caller) {
            Recall::Nothing => None,
            Recall::Fresh(user) => Some(user),
            Recall::Renew(user, renewal) => {
                if let Ok(permit) = self.renewals.clone().try_acquire_owned()
                    && let Ok(who) = Who::new(caller, &self.core.settings)
                {
                    let core = self.core.clone();
                    self.runtime.spawn(async move {
                        core.renew(Arc::new(who), renewal).await;
                        drop(permit);
                    });
                }
                Some(user)
            }
        }
    }

    /// Makes sure of the caller on a proxied route.
    pub async fn know(&self, caller: &Caller<'_>, mode: FirstSight) -> Sight {
        if mode == FirstSight::Off {
            return Sight::Unasked;
        }
        if let Some(user) = self.recall(caller) {
            return Sight::Known(user);
        }
        let who = match Who::new(caller, &self.core.settings) {
            Ok(who) => Arc::new(who),
            Err(why) => return Sight::Refused(why),
        };
        let Some(_place) = self.place() else {
            return Sight::Busy;
        };
        match self.ride(&who, mode == FirstSight::Background).await {
            Ride::Landed(Ending::Known(user)) => Sight::Known(user),
            Ride::Landed(Ending::Held(_)) => Sight::Conflict,
            Ride::Landed(Ending::Pending) => Sight::Pending,
            Ride::Landed(Ending::Unknown) => Sight::Unknown,
            Ride::Landed(Ending::Unavailable) => Sight::Unavailable,
            Ride::Landed(Ending::Refused(why)) => Sight::Refused(why),
            Ride::Sent => Sight::SentPending,
            Ride::Full => Sight::Busy,
        }
    }

    /// Whether the user exists, by id or by e-mail (wire contract §2); on first sight the
    /// engine is asked, together with whoever else asks for this user.
    pub async fn verify_user(&self, caller: &Caller<'_>) -> Verified {
        if let Some(user) = self.recall(caller) {
            return Verified::Exists(user);
        }
        let mut who = match Who::new(caller, &self.core.settings) {
            Ok(who) => who,
            Err(why) => return Verified::Refused(why),
        };
        // By this rule the holder of the e-mail exists already: there is nothing to link.
        who.may_link = false;
        let Some(_place) = self.place() else {
            return Verified::Busy;
        };
        match self.ride(&Arc::new(who), false).await {
            Ride::Landed(Ending::Known(user) | Ending::Held(user)) => Verified::Exists(user),
            Ride::Landed(Ending::Pending | Ending::Unknown) | Ride::Sent => Verified::InProgress,
            Ride::Landed(Ending::Unavailable) => Verified::Unavailable,
            Ride::Landed(Ending::Refused(why)) => Verified::Refused(why),
            Ride::Full => Verified::Busy,
        }
    }

    /// Asks the engine for the user, whether or not it exists (wire contract §3).
    pub async fn ensure_user(&self, caller: &Caller<'_>) -> Ensured {
        let who = match Who::new(caller, &self.core.settings) {
            Ok(who) => Arc::new(who),
            Err(why) => return Ensured::Refused(why),
        };
        if let Err(seconds) = self.ensured.count(who.key) {
            return Ensured::Limited(seconds);
        }
        let Some(_place) = self.place() else {
            return Ensured::Busy;
        };
        ensure::ensure(&self.core, &who).await
    }

    /// Asks everything that users depend on; what is wrong, by name, for `check --connect`.
    pub async fn check(&self) -> Vec<String> {
        let mut problems = self.core.directory.check(&self.core.settings.table).await;
        problems.extend(self.core.provisioner.check().await);
        problems
    }

    /// What cannot be asked at the moment, for the report of readiness. Known users do not
    /// notice, so it is no reason to be unready.
    pub fn degraded(&self) -> Vec<&'static str> {
        let directory = self.core.is_failing().then_some("directory");
        let provisioner = self.core.provisioner.is_failing().then_some("provisioner");
        directory.into_iter().chain(provisioner).collect()
    }

    fn place(&self) -> Option<Place<'_>> {
        let permit = self.waiters.try_acquire().ok()?;
        self.core.metrics.waiters.inc();
        Some(Place {
            _permit: permit,
            metrics: &self.core.metrics,
            since: Instant::now(),
        })
    }

    /// Waits with everybody else who asks for this user. Whoever boards late and sees the
    /// flight end without a row waits on in the next one, until their own time is over.
    async fn ride(&self, who: &Arc<Who>, until_sent: bool) -> Ride {
        let deadline = Instant::now() + self.core.settings.wait;
        loop {
            let Some(mut flight) = self.flights.board(&self.core, who) else {
                return Ride::Full;
            };
            let reached = flight.wait_for(|stage| match stage {
                Stage::Asking => false,
                Stage::Sent { .. } => until_sent,
                Stage::Done(_) => true,
            });
            let reached = tokio::time::timeout_at(deadline, reached).await;
            let reached = reached.map(|reached| reached.map(|stage| stage.clone()));
            match reached {
                Ok(Ok(Stage::Done(Ending::Pending))) if Instant::now() < deadline => {}
                Ok(Ok(Stage::Done(ending))) => return Ride::Landed(ending),
                Ok(Ok(Stage::Sent { .. } | Stage::Asking)) => return Ride::Sent,
                Ok(Err(_)) => return Ride::Landed(Ending::Unavailable),
                Err(_) => return Ride::Landed(out_of_time(&flight)),
            }
        }
    }
}

/// What can be said when the wait is over and the flight is still up.
fn out_of_time(flight: &tokio::sync::watch::Receiver<Stage>) -> Ending {
    match &*flight.borrow() {
        Stage::Done(ending) => ending.clone(),
        Stage::Sent { blind: false } => Ending::Pending,
        Stage::Sent { blind: true } | Stage::Asking => Ending::Unavailable,
    }
}

/// How waiting for a flight ended.
enum Ride {
    Landed(Ending),
    Sent,
    Full,
}

/// One of the places for those who wait; it counts and times them.
struct Place<'a> {
    _permit: SemaphorePermit<'a>,
    metrics: &'a Metrics,
    since: Instant,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.metrics.waiters.dec();
        let waited = self.since.elapsed().as_secs_f64();
        self.metrics.wait_seconds.observe(waited);
    }
}
