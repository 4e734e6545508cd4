//! An issuer's keys at start: files are read, fetching is prepared.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use tokio::sync::watch;

use super::held::Making;
use super::introspection::Introspection;
use super::issuer::Proof;
use super::jwks;
use super::key::{self, Key};
use super::key_set::KeySet;
use super::keys::Keys;
use super::mint::SigningKey;
use super::refresher::{Place, Refresher};
use super::snapshot::{Reading, Snapshot, Source};
use crate::config::{Fetch, Issuer, KeySource};
use crate::roots;
use crate::secret::Secret;

/// Files are read up to this size.
const MAX_FILE: u64 = 1024 * 1024;

/// Why identification cannot start: every problem, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub(super) Vec<String>);

impl StartError {
    /// Each problem.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for StartError {}

/// What shows that tokens are an issuer's, and the task that keeps its keys fresh if they are
/// fetched.
pub(super) fn proof(
    issuer: &Issuer,
    making: &Making<'_>,
    owner: &watch::Receiver<()>,
) -> Result<(Proof, Option<Refresher>), String> {
    if let KeySource::Introspection(settings) = &issuer.keys {
        let metrics = making.metrics.introspection(&issuer.name);
        let asked = Introspection::new(&issuer.name, settings, making.clock, metrics)?;
        return Ok((Proof::Introspection(Arc::new(asked)), None));
    }
    let (keys, refresher) = keys(issuer, making, owner)?;
    Ok((Proof::Keys(keys), refresher))
}

fn keys(
    issuer: &Issuer,
    making: &Making<'_>,
    owner: &watch::Receiver<()>,
) -> Result<(Arc<Keys>, Option<Refresher>), String> {
    let keys = match &issuer.keys {
        KeySource::Discovery { url, fetch } => {
            let name = issuer.issuer.clone();
            let name = name.ok_or("discovery needs `issuer`, the value of the tokens' `iss`")?;
            let place = Place::Discovery {
                url: parse(url)?,
                issuer: name,
            };
            return refresher(issuer, place, fetch, making, owner);
        }
        KeySource::JwksUri { urls, fetch } => {
            let urls: Result<_, _> = urls.iter().map(|url| parse(url)).collect();
            return refresher(issuer, Place::KeySet(urls?), fetch, making, owner);
        }
        KeySource::JwksFile(path) => key_set(issuer, path, making)?,
        KeySource::PublicKeyFile(path) => {
            let key = key::from_file(&read(path)?, &issuer.algorithms);
            vec![key.map_err(|error| format!("{}: {error}", path.display()))?]
        }
        KeySource::PrivateKey(pem) => own_key(issuer, pem)?,
        // It has none.
        KeySource::Introspection(_) => Vec::new(),
        KeySource::Secret(secret) => {
            vec![Key::shared(secret, &issuer.algorithms).map_err(|error| error.to_string())?]
        }
    };
    let now = making.clock.now();
    making.metrics.issuer(&issuer.name).show(keys.len(), now);
    let set = KeySet::new(keys, 1, now, i64::MAX);
    Ok((Arc::new(Keys::fixed(set)), None))
}

/// The public half of a key that usher signs with itself.
fn own_key(issuer: &Issuer, pem: &Secret) -> Result<Vec<Key>, String> {
    let signs = SigningKey::from_pem(pem.expose());
    let signs = signs.map_err(|error| format!("`issued_tokens.access.key_file`: {error}"))?;
    let set =
        serde_json::json!({ "keys": [signs.published().map_err(|error| error.to_string())?] });
    let parsed = jwks::parse(set.to_string().as_bytes(), &issuer.algorithms);
    parsed
        .map(|parsed| parsed.keys)
        .map_err(|error| error.to_string())
}

fn key_set(issuer: &Issuer, path: &Path, making: &Making<'_>) -> Result<Vec<Key>, String> {
    let parsed = jwks::parse(&read(path)?, &issuer.algorithms);
    let parsed = parsed.map_err(|error| format!("{}: {error}", path.display()))?;
    let metrics = making.metrics.issuer(&issuer.name);
    metrics.show_skipped(parsed.skipped.len());
    for skipped in &parsed.skipped {
        tracing::warn!(
            issuer = issuer.name,
            place = skipped.place,
            reason = skipped.reason,
            "key skipped"
        );
    }
    Ok(parsed.keys)
}

fn refresher(
    issuer: &Issuer,
    place: Place,
    fetch: &Fetch,
    making: &Making<'_>,
    owner: &watch::Receiver<()>,
) -> Result<(Arc<Keys>, Option<Refresher>), String> {
    let ca = fetch.ca_file.as_deref().map(read).transpose()?;
    if let (Some(pem), Some(path)) = (&ca, &fetch.ca_file) {
        roots::of_pem(pem).map_err(|error| format!("{} {error}", path.display()))?;
    }
    let snapshot = making.state.map(|state| {
        let source = Source {
            issuer: issuer.issuer.clone(),
            urls: place.urls().iter().map(Uri::to_string).collect(),
        };
        Snapshot::new(state, &issuer.name, source)
    });
    let refresher = Refresher {
        name: issuer.name.clone(),
        keys: Arc::new(Keys::fetched(fetch.cooldown, making.patience)),
        place,
        algorithms: issuer.algorithms.clone(),
        fetch: fetch.clone(),
        ca,
        snapshot,
        clock: making.clock.clone(),
        metrics: making.metrics.issuer(&issuer.name),
        owner: owner.clone(),
    };
    restore(&refresher);
    Ok((Arc::clone(&refresher.keys), Some(refresher)))
}

/// Starts with the keys of before the restart, if they are there and may be used.
fn restore(refresher: &Refresher) {
    let Some(snapshot) = &refresher.snapshot else {
        return;
    };
    let how = Reading {
        algorithms: &refresher.algorithms,
        max_bytes: refresher.fetch.max_bytes,
        max_stale: refresher.fetch.max_stale,
        now: refresher.clock.now(),
    };
    let issuer = &refresher.name;
    match snapshot.read(how) {
        Ok(None) => {}
        Ok(Some(set)) => {
            let age = how.now.saturating_sub(set.fetched);
            tracing::info!(
                issuer,
                keys = set.len(),
                age,
                "key set of before the restart is used"
            );
            refresher.metrics.restored.inc();
            refresher.metrics.show(set.len(), set.fetched);
            refresher.keys.restore(set);
        }
        Err(error) => {
            refresher.metrics.not_restored.inc();
            tracing::warn!(issuer, error, "key set of before the restart is not used");
        }
    }
}

pub(super) fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
    match uri.scheme_str() {
        Some("https" | "http") if uri.host().is_some() => Ok(uri),
        _ => Err(format!("`{url}` is not an https URL")),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(format!("{} is too large for a key file", path.display()));
    }
    std::fs::read(path).map_err(unreadable)
}
