//! Who is this? From a request's token to an identity that can be trusted.
//!
//! Read in this order: `bearer` finds the token in a request, `token` verifies it (`jws`
//! takes it apart, `claims` checks what it says, `render` turns that into header values),
//! `keys` holds what verifies it (`refresher` fetches, `jwks` reads sets, `key` is one key,
//! `snapshot` outlives a restart), and `seen` remembers verdicts. A token that says nothing itself
//! is `opaque`: its issuer is asked (`asking`, `introspection`), and what it says is checked
//! (`introspected`).

mod algorithm;
mod asking;
mod bearer;
mod claims;
mod cookie;
mod dial;
mod fetch;
mod fingerprint;
mod held;
mod inspect;
mod introspected;
mod introspection;
mod issuer;
mod json;
mod jwks;
mod jws;
mod key;
mod key_set;
mod keys;
mod logout;
mod metrics;
pub mod mint;
mod opaque;
mod protocol;
mod public_key;
mod read_headers;
mod refresher;
mod render;
mod seen;
mod signed;
mod snapshot;
mod start;
mod step;
mod token;
mod validity;
mod vouched;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::bearer::{Asked, Bearer, Sources};
pub use self::cookie::{remove as remove_cookie, values as cookie_values};
pub use self::fingerprint::{Fingerprint, fingerprint};
pub use self::inspect::{Inspected, inspect};
#[cfg(feature = "fuzzing")]
pub use self::introspection::fuzz as fuzz_introspection;
#[cfg(feature = "fuzzing")]
pub use self::jwks::fuzz as fuzz_key_set;
pub use self::logout::Logout;
pub use self::metrics::Metrics;
pub use self::refresher::Refresher;
pub use self::start::StartError;
pub use self::step::{Outcome, Step};
pub use self::token::Verified;
pub use self::validity::{End, Validity, Vigil};
pub use self::vouched::{Rules, Vouched, VouchingKey};

use self::held::{Held, Making};
use self::issuer::{Issuer, Proof};
use self::keys::{Keys, Patience};
use self::opaque::Opaque;
use self::read_headers::ReadHeaders;
use self::seen::{Name, Seen};
use self::step::Trace;
use self::token::{Context, Stop};
use crate::clock::Clock;
use crate::config;
use crate::denial::{Denial, Reason};
use crate::identity::{Kept, Thumbprint};
use crate::revoked::Revoked;
use crate::state::StateDir;

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
    /// Where fetched keys are kept for the next start, if anywhere.
    pub state: Option<StateDir>,
    /// What is revoked, where anything can be.
    pub revoked: Option<Arc<Revoked>>,
}

/// Verifies tokens and remembers verdicts.
pub struct Identify {
    issuers: Vec<Issuer>,
    opaque: Opaque,
    headers: ReadHeaders,
    sources: Sources,
    seen: Seen,
    clock: Clock,
    metrics: Metrics,
    max_bytes: usize,
    identity_bytes: usize,
    revoked: Option<Arc<Revoked>>,
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
            state: settings.state.as_ref(),
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
            opaque: Opaque::new(&settings.issuers),
            headers: ReadHeaders::new(),
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
            revoked: settings.revoked.clone(),
        };
        Ok((identify, refreshers))
    }

    /// Waits until keys that `before` has not were asked for once; they are needed where readiness
    /// waits for them.
    ///
    /// # Errors
    /// Names the issuers whose keys cannot be fetched.
    pub async fn gather(&self, before: &Self) -> Result<(), StartError> {
        let of = |issuer: &Issuer| issuer.keys().cloned();
        let had = |keys: &Arc<Keys>| {
            let mut all = before.issuers.iter().filter_map(of);
            all.any(|had| Arc::ptr_eq(&had, keys))
        };
        let mut problems = Vec::new();
        for issuer in &self.issuers {
            let Some(keys) = issuer.keys().filter(|keys| !had(keys)) else {
                continue;
            };
            if let Err(error) = keys.first().await
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

    /// Who the token names. Waits only for a key that is being fetched, or for an issuer that has
    /// to be asked. `certificate` is the one that whoever sent the token has shown: a token may be
    /// bound to it.
    pub async fn identify(
        &self,
        token: impl AsRef<[u8]>,
        certificate: Option<&Thumbprint>,
    ) -> Result<Arc<Verified>, Denial> {
        let token = token.as_ref();
        token::size(token, self.max_bytes)?;
        let name = self.seen.name(token)?;
        if let Some(verdict) = self.recall(&name) {
            return verdict.and_then(|verified| self.pass(verified, certificate));
        }
        self.metrics.misses.inc();
        let token = token::shape(token)?;
        let verified = match self.verify_once(&name, token) {
            Ok(verified) => verified,
            Err(stop) => Box::pin(self.go_on(&stop, &name, token)).await?,
        };
        self.pass(verified, certificate)
    }

    /// Waits for what stopped a token, or asks its issuer; anything else is final.
    async fn go_on(&self, stop: &Stop, name: &Name, token: &str) -> Result<Arc<Verified>, Denial> {
        if let Stop::Ask { issuer } = stop {
            return self.ask(*issuer, name, token).await;
        }
        self.wait(stop).await?;
        let verified = self.verify_once(name, token);
        verified.map_err(|stop| denial(&stop))
    }

    /// What is asked of a good token at each request: whether it is revoked, and who holds it.
    fn pass(
        &self,
        verified: Arc<Verified>,
        certificate: Option<&Thumbprint>,
    ) -> Result<Arc<Verified>, Denial> {
        self.stands(&verified)?;
        verified.held_by(certificate)
    }

    /// Whether a token that was good is so still, as far as it may have been revoked since. While
    /// nothing is revoked anew that costs a comparison.
    ///
    /// # Errors
    /// `TokenRevoked`, or that nobody can tell yet.
    pub fn stands(&self, verified: &Verified) -> Result<(), Denial> {
        match &self.revoked {
            Some(revoked) => validity::stands(revoked, verified),
            None => Ok(()),
        }
    }

    /// For how long what streams may go on that this token opened: until the given time, if
    /// there is one, and until the token is revoked.
    pub fn validity(&self, verified: &Arc<Verified>, until: Option<Instant>) -> Option<Validity> {
        let revoked = self.revoked.clone().map(|set| (set, verified.clone()));
        Validity::new(until, revoked)
    }

    /// The same verification step by step, past the caches, up to the first failure.
    pub async fn explain(&self, token: &str) -> Vec<Step> {
        let mut trace = Trace::on();
        // The outcome is the last step.
        let verified = match token::verify(&self.context(), token, &mut trace) {
            Err(Stop::Ask { issuer }) => self.explain_asking(issuer, token, &mut trace).await,
            Err(stop @ Stop::KeyWanted { .. }) => match self.wait(&stop).await {
                Ok(()) => {
                    trace.restart();
                    let again = token::verify(&self.context(), token, &mut trace);
                    again.map_err(|stop| denial(&stop))
                }
                Err(denial) => trace.step("key", Err(denial), |_| String::new()),
            },
            first => first.map_err(|stop| denial(&stop)),
        };
        if let (Ok(verified), Some(_)) = (verified, &self.revoked) {
            let stands = self.stands(&verified);
            let _ = trace.step("revocation", stands, |()| "it is not revoked".to_owned());
        }
        trace.into_steps()
    }

    /// How each issuer's keys are.
    pub fn ready(&self) -> Vec<IssuerState> {
        let now = self.clock.now();
        self.issuers
            .iter()
            .map(|issuer| issuer.state(now))
            .collect()
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
        if self.clock.now() >= refusal.until {
            return None;
        }
        if let Some((issuer, version)) = refusal.keys
            && self.issuers.get(issuer)?.version() != version
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
        issuer.is_some_and(|issuer| issuer.stands_by(verified, now))
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
        match self.issuers.get(*issuer).map(|issuer| &issuer.proof) {
            Some(Proof::Keys(keys)) => keys.wait_for(kid).await,
            _ => Err(denial(stop)),
        }
    }

    /// Forgets verdicts whose time is over; to be called now and then.
    pub fn sweep(&self) {
        self.seen.sweep();
    }

    fn context(&self) -> Context<'_> {
        Context {
            issuers: &self.issuers,
            opaque: &self.opaque,
            headers: &self.headers,
            max_bytes: self.max_bytes,
            identity_bytes: self.identity_bytes,
            revocable: self.revoked.is_some(),
            now: self.clock.now(),
        }
    }
}

/// What is answered if nothing more can be done.
fn denial(stop: &Stop) -> Denial {
    match stop {
        Stop::Refused(refusal) => refusal.denial.clone(),
        Stop::Ask { .. } => Denial::new(Reason::Internal, "its issuer was not asked"),
        Stop::KeyWanted { .. } => {
            Denial::new(Reason::KeyPending, "the key with its `kid` came and went")
        }
    }
}
