//! Who is this? From a request's token to an identity that can be trusted.
//!
//! Read in this order: `bearer` finds the token in a request, `token` verifies it (`jws`
//! takes it apart, `claims` checks what it says, `render` turns that into header values),
//! `keys` holds what verifies it (`refresher` fetches, `jwks` reads sets, `key` is one key),
//! and `seen` remembers verdicts.

mod algorithm;
mod bearer;
mod claims;
mod cookie;
mod der;
mod fetch;
mod fingerprint;
mod held;
mod inspect;
mod issuer;
mod json;
mod jwks;
mod jws;
mod key;
mod key_set;
mod keys;
mod metrics;
pub mod mint;
mod protocol;
mod refresher;
mod render;
mod seen;
mod start;
mod step;
mod token;
mod vouched;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::bearer::{Asked, Bearer, Sources};
pub use self::cookie::{remove as remove_cookie, values as cookie_values};
pub use self::fingerprint::{Fingerprint, fingerprint};
pub use self::inspect::{Inspected, inspect};
pub use self::metrics::Metrics;
pub use self::refresher::Refresher;
pub use self::start::StartError;
pub use self::step::{Outcome, Step};
pub use self::token::Verified;
pub use self::vouched::{Rules, Vouched, VouchingKey};

use self::held::{Held, Making};
use self::issuer::Issuer;
use self::keys::Patience;
use self::seen::{Name, Seen};
use self::step::Trace;
use self::token::{Context, Stop};
use crate::clock::Clock;
use crate::config;
use crate::denial::{Denial, Reason};
use crate::identity::{Kept, Thumbprint};

/// What identification needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may sign tokens.
    pub issuers: Vec<config::Issuer>,
    /// Where tokens are read from and how they are remembered.
    pub tokens: config::Tokens,
    /// The identity headers.
    pub headers: Vec<config::IdentityHeader>,
    /// The claims that somebody reads.
    pub kept: Kept,
    /// Bytes that the identity headers may take together, names included.
    pub identity_bytes: usize,
    /// The files that the issuers' settings were read from.
    pub files: config::Files,
    /// Another number whenever other users are asked: what a verdict has at hand of its user came
    /// from these.
    pub users: u64,
}

/// Verifies tokens and remembers verdicts.
pub struct Identify {
    issuers: Vec<Issuer>,
    sources: Sources,
    seen: Seen,
    clock: Clock,
    metrics: Metrics,
    max_bytes: usize,
    identity_bytes: usize,
}

/// How an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerState {
    /// The issuer's configured name.
    pub name: Arc<str>,
    /// Whether readiness waits for its keys.
    pub required: bool,
    /// Whether there are keys that may be used.
    pub has_keys: bool,
    /// Seconds since they were fetched.
    pub age: Option<u64>,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
}

impl Identify {
    /// Resolves the settings and reads key files; nothing is fetched before the refreshers
    /// run. An error names every problem.
    pub fn new(
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Self, Vec<Refresher>), StartError> {
        Self::build(&settings, clock, metrics, None)
    }

    /// The same with other settings: takes over the keys that were made of the same, and verdicts,
    /// which hold as long as the rules and the key do by which they were reached.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn again(&self, settings: &Settings) -> Result<(Self, Vec<Refresher>), StartError> {
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        Self::build(settings, clock, metrics, Some(self))
    }

    fn build(
        settings: &Settings,
        clock: Clock,
        metrics: Metrics,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<Refresher>), StartError> {
        let making = Making {
            patience: Patience {
                max_waiters: settings.tokens.max_waiters,
                key_wait: settings.tokens.key_wait,
            },
            files: &settings.files,
            clock: &clock,
            metrics: &metrics,
        };
        let held = || {
            before
                .iter()
                .flat_map(|before| &before.issuers)
                .map(|issuer| &issuer.held)
        };
        let mut issuers = Vec::new();
        let mut refreshers = Vec::new();
        let mut problems = Vec::new();
        for issuer in &settings.issuers {
            if render::encode_text(&issuer.name).is_err() {
                problems.push(format!("issuer {:?}: the name fits no header", issuer.name));
            }
            match Held::take_over(held(), issuer, &making) {
                Ok((held, refresher)) => {
                    issuers.push(Issuer::new(issuer, held, settings));
                    refreshers.extend(refresher);
                }
                Err(problem) => problems.push(format!("issuer `{}`: {problem}", issuer.name)),
            }
        }
        if !problems.is_empty() {
            return Err(StartError(problems));
        }
        let identify = Self {
            issuers,
            sources: Sources::new(&settings.tokens),
            seen: Seen::new(
                &settings.tokens,
                clock.clone(),
                before.map(|before| &before.seen),
            )
            .map_err(|problem| StartError(vec![problem.to_owned()]))?,
            clock,
            metrics,
            max_bytes: settings.tokens.max_bytes,
            identity_bytes: settings.identity_bytes,
        };
        Ok((identify, refreshers))
    }

    /// Waits until keys that `before` has not were asked for once; they are needed where readiness
    /// waits for them.
    ///
    /// # Errors
    /// Names the issuers whose keys cannot be fetched.
    pub async fn gather(&self, before: &Self) -> Result<(), StartError> {
        let had = |issuer: &Issuer| {
            let mut keys = before.issuers.iter().map(|issuer| &issuer.keys);
            keys.any(|keys| Arc::ptr_eq(keys, &issuer.keys))
        };
        let mut problems = Vec::new();
        for issuer in self.issuers.iter().filter(|issuer| !had(issuer)) {
            if let Err(error) = issuer.keys.first().await
                && issuer.required
            {
                problems.push(format!("issuer `{}`: no keys: {error}", issuer.name));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(StartError(problems)),
        }
    }

    /// Takes issuers of `before` that are gone out of what is shown; what was counted stays.
    pub fn forget(&self, before: &Self) {
        let there = |name: &Arc<str>| self.issuers.iter().any(|issuer| issuer.name == *name);
        for gone in before.issuers.iter().filter(|issuer| !there(&issuer.name)) {
            self.metrics.forget(&gone.name);
        }
    }

    /// Where tokens are read from.
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Who the token names. Waits only for a key that is being fetched. `certificate` is the one
    /// that whoever sent the token has shown: a token may be bound to it.
    pub async fn identify(
        &self,
        token: impl AsRef<[u8]>,
        certificate: Option<&Thumbprint>,
    ) -> Result<Arc<Verified>, Denial> {
        let token = token.as_ref();
        token::size(token, self.max_bytes)?;
        let name = self.seen.name(token)?;
        if let Some(verdict) = self.recall(&name) {
            return verdict.and_then(|verified| verified.held_by(certificate));
        }
        self.metrics.misses.inc();
        let token = token::shape(token)?;
        let stop = match self.verify_once(&name, token) {
            Ok(verified) => return verified.held_by(certificate),
            Err(stop) => stop,
        };
        Box::pin(self.wait(&stop)).await?;
        match self.verify_once(&name, token) {
            Ok(verified) => verified.held_by(certificate),
            Err(stop) => Err(denial(&stop)),
        }
    }

    /// The same verification step by step, past the caches, up to the first failure.
    pub async fn explain(&self, token: &str) -> Vec<Step> {
        let mut trace = Trace::on();
        if let Err(stop) = token::verify(&self.context(), token, &mut trace)
            && matches!(stop, Stop::KeyWanted { .. })
        {
            match self.wait(&stop).await {
                Ok(()) => {
                    trace.restart();
                    // The outcome is the last step.
                    let _ = token::verify(&self.context(), token, &mut trace);
                }
                Err(denial) => {
                    let _ = trace.step("key", Err::<(), _>(denial), |()| String::new());
                }
            }
        }
        trace.into_steps()
    }

    /// How each issuer's keys are.
    pub fn ready(&self) -> Vec<IssuerState> {
        let now = self.clock.now();
        let state = |issuer: &Issuer| {
            let set = issuer.keys.current();
            let age = set.as_ref().map(|set| now.saturating_sub(set.fetched));
            IssuerState {
                name: Arc::clone(&issuer.name),
                required: issuer.required,
                has_keys: issuer.keys.usable(now).is_ok(),
                age: age.map(|age| u64::try_from(age).unwrap_or(0)),
                last_error: issuer.keys.last_error.lock().clone(),
            }
        };
        self.issuers.iter().map(state).collect()
    }

    /// A verdict that was reached before and still holds: the cache is asked for what was
    /// said, the clock for the time, and the issuer for the key.
    fn recall(&self, name: &Name) -> Option<Result<Arc<Verified>, Denial>> {
        if let Some(verified) = self.seen.verified(name) {
            let now = self.clock.now();
            if let Err(denial) = verified.times().check(now) {
                return Some(Err(denial));
            }
            if now < verified.until && self.still_stands(&verified, now) {
                self.metrics.hits.inc();
                return Some(Ok(verified));
            }
            self.seen.forget(name);
            return None;
        }
        let refusal = self.seen.refused(name)?;
        if let Some((issuer, version)) = refusal.keys
            && self.issuers.get(issuer)?.keys.version() != version
        {
            return None;
        }
        self.metrics.refused_hits.inc();
        Some(Err(refusal.denial.clone()))
    }

    fn still_stands(&self, verified: &Verified, now: i64) -> bool {
        let place = usize::try_from(verified.issuer).unwrap_or(usize::MAX);
        let same = |issuer: &&Issuer| issuer.generation == verified.generation;
        let issuer = self.issuers.get(place).filter(same);
        // A reload may have moved it.
        let issuer = issuer.or_else(|| self.issuers.iter().find(same));
        issuer.is_some_and(|issuer| issuer.keys.hold(verified.key, now))
    }

    fn verify_once(&self, name: &Name, token: &str) -> Result<Arc<Verified>, Stop> {
        self.seen.once(name, || {
            self.metrics.verifications.inc();
            token::verify(&self.context(), token, &mut Trace::off())
        })
    }

    /// Waits for the key that is missing; anything else that stopped a token is final.
    async fn wait(&self, stop: &Stop) -> Result<(), Denial> {
        let Stop::KeyWanted { issuer, kid } = stop else {
            return Err(denial(stop));
        };
        match self.issuers.get(*issuer) {
            Some(issuer) => issuer.keys.wait_for(kid).await,
            None => Err(denial(stop)),
        }
    }

    /// Forgets verdicts whose time is over; to be called now and then.
    pub fn sweep(&self) {
        self.seen.sweep();
    }

    fn context(&self) -> Context<'_> {
        Context {
            issuers: &self.issuers,
            max_bytes: self.max_bytes,
            identity_bytes: self.identity_bytes,
            now: self.clock.now(),
        }
    }
}

/// What is answered if nothing more can be done.
fn denial(stop: &Stop) -> Denial {
    match stop {
        Stop::Refused(refusal) => refusal.denial.clone(),
        Stop::KeyWanted { .. } => {
            Denial::new(Reason::KeyPending, "the key with its `kid` came and went")
        }
    }
}
