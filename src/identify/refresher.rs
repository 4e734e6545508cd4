//! The task that keeps one issuer's keys fresh.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fetch::{self, Answer, Bounds, Fetcher};
use super::json;
use super::jwks;
use super::key_set::KeySet;
use super::keys::Keys;
use super::metrics::IssuerMetrics;
use super::snapshot::{self, Snapshot};
use crate::clock::Clock;
use crate::config::{Algorithm, Fetch};
use crate::pause::{Pauses, chance};

/// An answer is fresh for no less than this, whatever it says.
const MIN_FRESH: Duration = Duration::from_secs(30);
/// And for no more than this.
const MAX_FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// After failures.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(30));
/// The same while there are no keys at all: nobody is let in, and whoever waits counts seconds.
const LAST_PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(2);
/// How long a discovered `jwks_uri` is used before discovery is asked again.
const REDISCOVER: Duration = Duration::from_secs(60 * 60);

/// Where a refresher finds its issuer's keys.
pub(super) enum Place {
    /// A key set, and the same one elsewhere.
    KeySet(Vec<Uri>),
    /// A discovery document, which must name exactly this issuer.
    Discovery { url: Uri, issuer: String },
}

impl Place {
    /// The URLs that are configured.
    pub(super) fn urls(&self) -> &[Uri] {
        match self {
            Self::KeySet(urls) => urls,
            Self::Discovery { url, .. } => std::slice::from_ref(url),
        }
    }
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
    /// Where the last good set is kept for the next start.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) clock: Clock,
    pub(super) metrics: IssuerMetrics,
    pub(super) owner: watch::Receiver<()>,
}

/// What one attempt leaves for the next.
#[derive(Default)]
struct Memory {
    fetcher: Option<Fetcher>,
    /// The mirror that gave the last good set is asked first.
    mirror: usize,
    /// What the last good set is called where it came from.
    etag: Option<(Uri, HeaderValue)>,
    /// The last good set as it came, for the snapshot.
    body: Bytes,
    discovered: Option<(Uri, Instant)>,
    failures: u32,
    /// Whether it was told that the keys are too old to be used.
    told_too_old: bool,
    /// Whether it was told that the snapshot cannot be written.
    told_unwritten: bool,
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

    /// Fetches the keys once and keeps them nowhere; how many there are.
    ///
    /// # Errors
    /// Why there are none, with the URL.
    pub async fn try_once(&self) -> Result<usize, String> {
        let fetched = self.refresh(&mut Memory::default()).await;
        fetched.map(|_| self.keys.current().map_or(0, |set| set.len()))
    }

    /// The issuer's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn refresh_for_ever(&self) {
        let mut memory = Memory::default();
        loop {
            self.keys.begin();
            let pause = match self.refresh(&mut memory).await {
                Ok(fresh) => {
                    self.note_success(&mut memory);
                    self.keep(&mut memory, fresh).await;
                    ahead_of(fresh)
                }
                Err(error) => {
                    self.note_failure(&mut memory, error);
                    let pause = PAUSES.after(memory.failures.saturating_sub(1));
                    match self.keys.current() {
                        Some(_) => pause,
                        None => pause.min(LAST_PAUSE_WITHOUT_KEYS),
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.keys.wanted() => {}
            }
        }
    }

    fn note_success(&self, memory: &mut Memory) {
        if memory.failures > 0 {
            let failures = memory.failures;
            tracing::info!(issuer = self.name, failures, "key set fetched again");
        }
        memory.failures = 0;
        memory.told_too_old = false;
    }

    /// An outage is told when it begins, when it becomes one of the app, and when it ends; not at
    /// each attempt. What each attempt said is in `/readyz`.
    fn note_failure(&self, memory: &mut Memory, error: String) {
        memory.failures = memory.failures.saturating_add(1);
        memory.discovered = None;
        self.metrics.failed.inc();
        let failures = memory.failures;
        match failures {
            1 => tracing::warn!(issuer = self.name, error, "key set not fetched"),
            _ => tracing::debug!(issuer = self.name, error, failures, "key set not fetched"),
        }
        let set = self.keys.current();
        let too_old = set.is_some_and(|set| self.clock.now() > set.usable_until);
        if too_old && !memory.told_too_old {
            memory.told_too_old = true;
            tracing::error!(
                issuer = self.name,
                error,
                failures,
                "keys are older than max_stale: nobody can tell whether a token is good"
            );
        }
        self.keys.fail(error);
    }

    /// Keeps the set that is in use for the next start.
    async fn keep(&self, memory: &mut Memory, fresh: Duration) {
        let (Some(snapshot), Some(set)) = (&self.snapshot, self.keys.current()) else {
            return;
        };
        match snapshot.write(&memory.body, set.fetched, fresh).await {
            Ok(()) => {
                self.metrics.kept.inc();
                memory.told_unwritten = false;
            }
            Err(error) => {
                self.metrics.not_kept.inc();
                if !memory.told_unwritten {
                    memory.told_unwritten = true;
                    tracing::warn!(issuer = self.name, error, "key set not kept");
                }
            }
        }
    }

    /// Fetches the set from the first mirror that has a good one; the time for which it is fresh.
    async fn refresh(&self, memory: &mut Memory) -> Result<Duration, String> {
        let fetcher = match memory.fetcher.take() {
            Some(fetcher) => fetcher,
            None => self.fetcher().await?,
        };
        let fetched = self.refresh_by(&fetcher, memory).await;
        memory.fetcher = Some(fetcher);
        fetched
    }

    async fn refresh_by(&self, fetcher: &Fetcher, memory: &mut Memory) -> Result<Duration, String> {
        let urls = self.locate(fetcher, &mut memory.discovered).await?;
        let first = memory.mirror;
        let mut errors = Vec::new();
        for turn in 0..urls.len() {
            let place = (first + turn) % urls.len();
            let Some(url) = urls.get(place) else {
                break;
            };
            match self.fetch_from(fetcher, url, memory).await {
                Ok(fresh) => {
                    if turn > 0 {
                        let (from, error) = (url.to_string(), errors.join("; "));
                        tracing::warn!(
                            issuer = self.name,
                            from,
                            error,
                            "key set fetched from another mirror"
                        );
                    }
                    memory.mirror = place;
                    return Ok(fresh);
                }
                Err(error) => errors.push(format!("{url}: {error}")),
            }
        }
        Err(errors.join("; "))
    }

    async fn fetch_from(
        &self,
        fetcher: &Fetcher,
        url: &Uri,
        memory: &mut Memory,
    ) -> Result<Duration, String> {
        let known = memory.etag.as_ref().filter(|(from, _)| from == url);
        let answer = fetcher.get(url, known.map(|(_, etag)| etag)).await?;
        let fresh = answer.max_age.unwrap_or(self.fetch.refresh);
        let fresh = fresh.clamp(MIN_FRESH, MAX_FRESH);
        self.take(&answer, fresh)?;
        // Only a set that was taken is one that the server need not send again.
        if let Some(body) = answer.body {
            memory.etag = answer.etag.map(|etag| (url.clone(), etag));
            if self.snapshot.is_some() {
                memory.body = body;
            }
        }
        Ok(fresh)
    }

    /// Reading the system's roots takes a while, so it happens aside.
    async fn fetcher(&self) -> Result<Fetcher, String> {
        let ca = self.ca.clone();
        let places = self.place.urls().to_vec();
        let roots = tokio::task::spawn_blocking(move || fetch::roots(ca.as_deref(), &places));
        let roots = roots.await.map_err(|error| error.to_string())??;
        let bounds = Bounds {
            timeout: self.fetch.timeout,
            max_bytes: self.fetch.max_bytes,
            // Fetches are minutes apart: a kept connection would only be found closed.
            max_idle: 0,
            allowed: self.fetch.allow_addresses.clone(),
        };
        Fetcher::new(roots, bounds)
    }

    /// The URLs of the key set.
    async fn locate(
        &self,
        fetcher: &Fetcher,
        discovered: &mut Option<(Uri, Instant)>,
    ) -> Result<Vec<Uri>, String> {
        let (url, issuer) = match &self.place {
            Place::KeySet(urls) => return Ok(urls.clone()),
            Place::Discovery { url, issuer } => (url, issuer),
        };
        if let Some((found, since)) = discovered
            && since.elapsed() < REDISCOVER
        {
            return Ok(vec![found.clone()]);
        }
        let answer = fetcher.get(url, None).await;
        let found = answer
            .map_err(String::from)
            .and_then(|answer| self.read_discovery(&answer, url, issuer));
        let found = found.map_err(|error| format!("{url}: {error}"))?;
        *discovered = Some((found.clone(), Instant::now()));
        Ok(vec![found])
    }

    fn read_discovery(&self, answer: &Answer, url: &Uri, issuer: &str) -> Result<Uri, String> {
        let link = read_discovery(answer, issuer)?;
        fetch::check_link(url, &link, &self.fetch.allow_addresses)?;
        Ok(link)
    }

    /// Puts an answer's keys to use, unless they are the ones in use already.
    fn take(&self, answer: &Answer, fresh: Duration) -> Result<(), String> {
        let now = self.clock.now();
        let until = snapshot::usable_until(now, fresh.as_secs(), self.fetch.max_stale);
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
        self.metrics.show_skipped(parsed.skipped.len());
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
fn read_discovery(answer: &Answer, issuer: &str) -> Result<Uri, String> {
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
    link.parse()
        .map_err(|_| "its `jwks_uri` is not a URL".to_owned())
}

/// About four fifths of the time that is left, different in each process.
fn ahead_of(fresh: Duration) -> Duration {
    fresh.mul_f64(0.75 + 0.1 * chance())
}
