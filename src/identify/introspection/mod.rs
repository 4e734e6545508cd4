//! Asking an issuer about a token that says nothing by itself (RFC 7662).
//!
//! Many requests with one token at one time ask once. Who asks too often, or asks somebody who
//! has just failed, hears at once that nobody can tell. What was told is remembered where verified
//! and refused tokens are; nothing is kept here.

mod answer;
mod client;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(super) use self::answer::Told;
#[cfg(feature = "fuzzing")]
pub use self::answer::fuzz;
use self::client::Client;
use super::fetch::Failure;
use super::metrics::IntrospectionMetrics;
use super::seen::Name;
use crate::breaker::Breaker;
use crate::clock::Clock;
use crate::config;
use crate::denial::{Denial, Reason};

/// Failures are told in the events no more often; each is in the access line.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What was heard about a token; an error if nobody can tell.
pub(super) type Heard = Result<Told, Denial>;

/// An issuer that is asked about its tokens.
pub(super) struct Introspection {
    issuer: Box<str>,
    client: Client,
    /// Questions under way, by token.
    flights: Mutex<HashMap<Name, watch::Receiver<Option<Heard>>>>,
    max_in_flight: usize,
    breaker: Breaker,
    last_error: Mutex<Option<String>>,
    /// When a failure was last told in the events.
    told: Mutex<Option<Instant>>,
    metrics: IntrospectionMetrics,
    pub(super) lives: Lives,
}

/// For how long what was told counts, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    /// A yes.
    pub(super) active: i64,
    /// A no.
    pub(super) inactive: i64,
    /// A yes beyond its time, while nobody can tell.
    pub(super) stale: i64,
}

impl Lives {
    fn new(settings: &config::Introspection) -> Self {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Self {
            active: seconds(settings.active_life),
            inactive: seconds(settings.inactive_life),
            stale: seconds(settings.max_stale),
        }
    }
}

impl Introspection {
    /// Reads what it takes to ask; nobody is asked yet.
    ///
    /// # Errors
    /// Which file or setting cannot be used, and why.
    pub(super) fn new(
        issuer: &str,
        settings: &config::Introspection,
        clock: &Clock,
        metrics: IntrospectionMetrics,
    ) -> Result<Self, String> {
        let peer = format!("introspection of {issuer}");
        Ok(Self {
            issuer: issuer.into(),
            client: Client::new(settings, clock)?,
            flights: Mutex::default(),
            max_in_flight: settings.max_in_flight,
            breaker: Breaker::new(&peer, metrics.breaker_open.clone()),
            last_error: Mutex::new(None),
            told: Mutex::new(None),
            metrics,
            lives: Lives::new(settings),
        })
    }

    /// What the issuer says of the token. Everybody who asks for one token waits for one answer.
    pub(super) async fn ask(self: &Arc<Self>, name: Name, token: &str) -> Heard {
        let mut flight = self.join(name, token)?;
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(heard)) => heard.clone(),
            _ => Err(unavailable("the question was given up")),
        }
    }

    /// Why the last question was not answered, if it was not.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// A yes was used beyond its time.
    pub(super) fn count_stale(&self) {
        self.metrics.stale.inc();
    }

    fn join(
        self: &Arc<Self>,
        name: Name,
        token: &str,
    ) -> Result<watch::Receiver<Option<Heard>>, Denial> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&name) {
            return Ok(flight.clone());
        }
        if flights.len() >= self.max_in_flight {
            return Err(Denial::new(
                Reason::Overloaded,
                "too many tokens are being asked about (`max_in_flight`)",
            ));
        }
        if !self.breaker.allows() {
            return Err(unavailable("its issuer failed a moment ago"));
        }
        let (tell, flight) = watch::channel(None);
        flights.insert(name, flight.clone());
        let landing = Landing {
            introspection: Arc::clone(self),
            name,
            tell,
        };
        let token = Zeroizing::new(token.to_owned());
        // A task of its own: whoever asked first may leave, and the others wait on.
        tokio::spawn(async move {
            let heard = landing.introspection.exchange(&token).await;
            landing.tell.send_replace(Some(heard));
        });
        Ok(flight)
    }

    async fn exchange(&self, token: &str) -> Heard {
        let begun = Instant::now();
        let told = self.client.ask(token).await;
        self.metrics.seconds.observe(begun.elapsed().as_secs_f64());
        match told {
            Ok(told) => {
                self.breaker.success();
                *self.last_error.lock() = None;
                match &told {
                    Told::Active(_) => self.metrics.active.inc(),
                    Told::Inactive => self.metrics.inactive.inc(),
                };
                Ok(told)
            }
            Err(failure) => Err(self.note(&failure)),
        }
    }

    /// Only an outage is a reason to leave the issuer alone. An answer that says neither yes nor no
    /// may be about one token alone, and whoever has one that the issuer stumbles over must not be
    /// able to make it unreachable for everybody.
    fn note(&self, failure: &Failure) -> Denial {
        let why = format!("{}: {failure}", self.client.url());
        match failure.is_outage {
            true => self.breaker.failure(&why),
            false => self.breaker.success(),
        }
        self.metrics.failed.inc();
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
            *told = Some(Instant::now());
            tracing::warn!(issuer = %self.issuer, error = why, "issuer did not tell about a token");
        }
        *self.last_error.lock() = Some(why.clone());
        Denial::because(Reason::IntrospectionUnavailable, why)
    }
}

/// A question under way; when it is over, however that came, the next one may be asked.
struct Landing {
    introspection: Arc<Introspection>,
    name: Name,
    tell: watch::Sender<Option<Heard>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.introspection.flights.lock().remove(&self.name);
    }
}

fn unavailable(detail: &'static str) -> Denial {
    Denial::new(Reason::IntrospectionUnavailable, detail)
}
