//! An issuer's keys at start: files are read, fetching is prepared.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use tokio::sync::watch;

use super::fetch;
use super::held::Making;
use super::jwks;
use super::key::{self, Key};
use super::key_set::KeySet;
use super::keys::Keys;
use super::mint::SigningKey;
use super::refresher::{Place, Refresher};
use crate::config::{Fetch, Issuer, KeySource};
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

/// The keys of an issuer, and the task that keeps them fresh if they are fetched.
pub(super) fn keys(
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
        KeySource::JwksUri { url, fetch } => {
            let place = Place::KeySet(parse(url)?);
            return refresher(issuer, place, fetch, making, owner);
        }
        KeySource::JwksFile(path) => key_set(issuer, path)?,
        KeySource::PublicKeyFile(path) => {
            let key = key::from_file(&read(path)?, &issuer.algorithms);
            vec![key.map_err(|error| format!("{}: {error}", path.display()))?]
        }
        KeySource::PrivateKey(pem) => own_key(issuer, pem)?,
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
    let signs = SigningKey::from_pem(pem.expose()).map_err(|error| error.to_string())?;
    let set =
        serde_json::json!({ "keys": [signs.published().map_err(|error| error.to_string())?] });
    let parsed = jwks::parse(set.to_string().as_bytes(), &issuer.algorithms);
    parsed
        .map(|parsed| parsed.keys)
        .map_err(|error| error.to_string())
}

fn key_set(issuer: &Issuer, path: &Path) -> Result<Vec<Key>, String> {
    let parsed = jwks::parse(&read(path)?, &issuer.algorithms);
    let parsed = parsed.map_err(|error| format!("{}: {error}", path.display()))?;
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
        fetch::roots(Some(pem)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let keys = Arc::new(Keys::fetched(fetch.cooldown, making.patience));
    let refresher = Refresher {
        name: issuer.name.clone(),
        keys: Arc::clone(&keys),
        place,
        algorithms: issuer.algorithms.clone(),
        fetch: fetch.clone(),
        ca,
        clock: making.clock.clone(),
        metrics: making.metrics.issuer(&issuer.name),
        owner: owner.clone(),
    };
    Ok((keys, Some(refresher)))
}

fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
    match uri.scheme_str() {
        Some("https" | "http") if uri.host().is_some() => Ok(uri),
        _ => Err(format!("`{url}` is not an https URL")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE {
        return Err(format!("{} is too large for a key file", path.display()));
    }
    std::fs::read(path).map_err(unreadable)
}
