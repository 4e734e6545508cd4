//! The task that keeps one issuer's keys fresh.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fetch::{self, Answer, Fetcher};
use super::json;
use super::jwks;
use super::key_set::KeySet;
use super::keys::Keys;
use super::metrics::IssuerMetrics;
use crate::clock::Clock;
use crate::config::{Algorithm, Fetch};

/// An answer is fresh for no less than this, whatever it says.
const MIN_FRESH: Duration = Duration::from_secs(30);
/// And for no more than this.
const MAX_FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// The first pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a discovered `jwks_uri` is used before discovery is asked again.
const REDISCOVER: Duration = Duration::from_secs(60 * 60);

/// Where a refresher finds its issuer's keys.
pub(super) enum Place {
    /// A key set.
    KeySet(Uri),
    /// A discovery document, which must name exactly this issuer.
    Discovery { url: Uri, issuer: String },
}

/// Fetches one issuer's keys at start and ahead of their expiry, and again when a request
/// carries a key's name that is not known. Ends when nobody uses the keys any more.
pub struct Refresher {
    pub(super) name: String,
    pub(super) keys: Arc<Keys>,
    pub(super) place: Place,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) fetch: Fetch,
    /// The content of `fetch.ca_file`.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) clock: Clock,
    pub(super) metrics: IssuerMetrics,
    pub(super) owner: watch::Receiver<()>,
}

/// What one attempt leaves for the next.
#[derive(Default)]
struct Memory {
    fetcher: Option<Fetcher>,
    etag: Option<HeaderValue>,
    discovered: Option<(Uri, Instant)>,
    failures: u32,
}

impl Refresher {
    /// Runs until nobody uses the keys any more.
    pub async fn run(self) {
        let mut owner = self.owner.clone();
        tokio::select! {
            () = self.refresh_for_ever() => {}
            // Nobody sends: the only news is that the sender is gone.
            _ = owner.changed() => {}
        }
    }

    async fn refresh_for_ever(&self) {
        let mut memory = Memory::default();
        loop {
            self.keys.begin();
            let pause = match self.refresh(&mut memory).await {
                Ok(fresh) => {
                    memory.failures = 0;
                    ahead_of(fresh)
                }
                Err(error) => {
                    self.note_failure(&mut memory, error);
                    after_failures(memory.failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.keys.wanted() => {}
            }
        }
    }

    fn note_failure(&self, memory: &mut Memory, error: String) {
        memory.failures = memory.failures.saturating_add(1);
        memory.discovered = None;
        self.metrics.failed.inc();
        tracing::warn!(
            issuer = self.name,
            error,
            failures = memory.failures,
            "key set not fetched"
        );
        self.keys.fail(error);
    }

    /// Fetches the set; the time for which it is fresh.
    async fn refresh(&self, memory: &mut Memory) -> Result<Duration, String> {
        if memory.fetcher.is_none() {
            memory.fetcher = Some(self.fetcher().await?);
        }
        let Memory {
            fetcher: Some(fetcher),
            etag,
            discovered,
            ..
        } = memory
        else {
            return Err("there is no client".to_owned());
        };
        let url = self.locate(fetcher, discovered).await?;
        let answer = fetcher.get(&url, etag.as_ref()).await;
        let answer = answer.map_err(|error| format!("{url}: {error}"))?;
        let fresh = answer.max_age.unwrap_or(self.fetch.refresh);
        let fresh = fresh.clamp(MIN_FRESH, MAX_FRESH);
        self.take(&answer, fresh)
            .map_err(|error| format!("{url}: {error}"))?;
        // Only a set that was taken is one that the server need not send again.
        if answer.body.is_some() {
            *etag = answer.etag;
        }
        Ok(fresh)
    }

    /// Reading the system's roots takes a while, so it happens aside.
    async fn fetcher(&self) -> Result<Fetcher, String> {
        let ca = self.ca.clone();
        let roots = tokio::task::spawn_blocking(move || fetch::roots(ca.as_deref()));
        let roots = roots.await.map_err(|error| error.to_string())??;
        Fetcher::new(roots, self.fetch.timeout, self.fetch.max_bytes)
    }

    /// The URL of the key set.
    async fn locate(
        &self,
        fetcher: &Fetcher,
        discovered: &mut Option<(Uri, Instant)>,
    ) -> Result<Uri, String> {
        let (url, issuer) = match &self.place {
            Place::KeySet(url) => return Ok(url.clone()),
            Place::Discovery { url, issuer } => (url, issuer),
        };
        if let Some((found, since)) = discovered
            && since.elapsed() < REDISCOVER
        {
            return Ok(found.clone());
        }
        let answer = fetcher.get(url, None).await;
        let found = answer.and_then(|answer| read_discovery(&answer, url, issuer));
        let found = found.map_err(|error| format!("{url}: {error}"))?;
        *discovered = Some((found.clone(), Instant::now()));
        Ok(found)
    }

    /// Puts an answer's keys to use, unless they are the ones in use already.
    fn take(&self, answer: &Answer, fresh: Duration) -> Result<(), String> {
        let now = self.clock.now();
        let life = i64::try_from((fresh + self.fetch.max_stale).as_secs()).unwrap_or(i64::MAX);
        let until = now.saturating_add(life);
        let current = self.keys.current();
        let set = match (&answer.body, current) {
            (None, None) => return Err("answered 304 to the first request".to_owned()),
            (None, Some(current)) => {
                self.metrics.unchanged.inc();
                current.again(now, until)
            }
            (Some(body), current) => self.read(body, current.as_deref(), now, until)?,
        };
        self.metrics.show(set.len(), now);
        self.keys.succeed(Arc::new(set));
        Ok(())
    }

    fn read(
        &self,
        body: &[u8],
        current: Option<&KeySet>,
        now: i64,
        until: i64,
    ) -> Result<KeySet, String> {
        let parsed = jwks::parse(body, &self.algorithms).map_err(|error| error.to_string())?;
        if let Some(current) = current
            && current.same_keys(&parsed.keys)
        {
            self.metrics.unchanged.inc();
            return Ok(current.again(now, until));
        }
        self.metrics.changed.inc();
        for skipped in &parsed.skipped {
            tracing::warn!(
                issuer = self.name,
                place = skipped.place,
                reason = skipped.reason,
                "key skipped"
            );
        }
        tracing::info!(
            issuer = self.name,
            keys = parsed.keys.len(),
            "key set changed"
        );
        let version = current.map_or(0, |set| set.version) + 1;
        Ok(KeySet::new(parsed.keys, version, now, until))
    }
}

/// The key set's place in a discovery document (OpenID Connect Discovery 1.0 §4.2, §4.3).
fn read_discovery(answer: &Answer, url: &Uri, issuer: &str) -> Result<Uri, String> {
    let body = answer.body.as_deref().unwrap_or_default();
    let document =
        json::object(body).map_err(|error| format!("not a discovery document: {error}"))?;
    match document.get("issuer") {
        Some(Value::String(found)) if found == issuer => {}
        found => {
            let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Err(format!(
                "its `issuer` is {found}, and {issuer:?} is configured"
            ));
        }
    }
    let Some(Value::String(link)) = document.get("jwks_uri") else {
        return Err("it has no `jwks_uri`".to_owned());
    };
    let link: Uri = link
        .parse()
        .map_err(|_| "its `jwks_uri` is not a URL".to_owned())?;
    fetch::check_link(url, &link)?;
    Ok(link)
}

/// About four fifths of the time that is left, different in each process.
fn ahead_of(fresh: Duration) -> Duration {
    fresh.mul_f64(0.75 + 0.1 * chance())
}

/// Doubling pauses, different in each process.
fn after_failures(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LAST_PAUSE);
    pause.mul_f64(0.75 + 0.5 * chance())
}

/// A number from 0 to 1. If the system has no randomness left, the middle will do.
fn chance() -> f64 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.5,
    }
}
