//! An issuer's last good key set in the state directory, so that a restart while the issuer is
//! away is no outage of the app.
//!
//! Whoever can write that file can sign tokens. So it counts only if it is ours alone (`state`
//! looks), if it was fetched from the very places that are configured now, and for no longer than
//! the set would have been used in memory; and it is read by the rules for a set from the network.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::jwks::{self, Parsed};
use super::key_set::KeySet;
use crate::config::Algorithm;
use crate::state::StateDir;

/// The form of the file. Another one is not read.
const FORM: u32 = 1;
/// What stands around the key set, which as JSON in JSON takes twice its size at most.
const AROUND: u64 = 16 * 1024;
/// Seconds by which the clock may have been set back since the file was written.
const AHEAD: i64 = 60;

/// Where one issuer's snapshot is, and what it has to be of.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    state: StateDir,
    file: String,
    source: Source,
}

/// What a set was fetched for, and from where. A changed configuration does not believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// The configured `issuer`.
    pub(super) issuer: Option<String>,
    /// The URLs of the key set, or of the discovery document.
    pub(super) urls: Vec<String>,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    form: u32,
    source: Source,
    /// Seconds since 1970.
    fetched: i64,
    /// Seconds for which the answer was fresh.
    fresh: u64,
    /// The answer, byte for byte.
    key_set: String,
}

/// How a set that is found is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) algorithms: &'a [Algorithm],
    pub(super) max_bytes: usize,
    pub(super) max_stale: Duration,
    pub(super) now: i64,
}

impl Snapshot {
    /// The snapshot of the issuer that is configured under this name.
    pub(super) fn new(state: &StateDir, name: &str, source: Source) -> Self {
        Self {
            state: state.clone(),
            // The configuration allows letters, digits, `-`, `_` and `.` in a name.
            file: format!("keys-{name}.json"),
            source,
        }
    }

    /// The set as it was, if it may be used still; `None` if there is none.
    ///
    /// # Errors
    /// Why what is there does not count.
    pub(super) fn read(&self, how: Reading<'_>) -> Result<Option<KeySet>, String> {
        let most = how.max_bytes as u64 * 2 + AROUND;
        let Some(bytes) = self.state.read(&self.file, most)? else {
            return Ok(None);
        };
        let written: Written = serde_json::from_slice(&bytes)
            .map_err(|_| "it is damaged, or of another usher".to_owned())?;
        if written.form != FORM {
            return Err(format!("it has form {}, not {FORM}", written.form));
        }
        if written.source != self.source {
            return Err("it was fetched from elsewhere than is configured now".to_owned());
        }
        let until = usable_until(written.fetched, written.fresh, how.max_stale);
        if written.fetched > how.now.saturating_add(AHEAD) {
            return Err("it was fetched in the future: one of the clocks is wrong".to_owned());
        }
        if how.now > until {
            return Err("it is older than `max_stale`".to_owned());
        }
        let Parsed { keys, .. } = jwks::parse(written.key_set.as_bytes(), how.algorithms)
            .map_err(|error| error.to_string())?;
        Ok(Some(KeySet::new(keys, 1, written.fetched, until)))
    }

    /// Writes a set that was just fetched.
    ///
    /// # Errors
    /// What the system said.
    pub(super) async fn write(
        &self,
        key_set: &Bytes,
        fetched: i64,
        fresh: Duration,
    ) -> Result<(), String> {
        let written = Written {
            form: FORM,
            source: self.source.clone(),
            fetched,
            fresh: fresh.as_secs(),
            // It was parsed as JSON before, so it is text.
            key_set: String::from_utf8_lossy(key_set).into_owned(),
        };
        let bytes = serde_json::to_vec(&written).map_err(|error| error.to_string())?;
        let (state, file) = (self.state.clone(), self.file.clone());
        let done = tokio::task::spawn_blocking(move || state.write(&file, &bytes)).await;
        done.map_err(|error| error.to_string())?
    }
}

/// The second after which a set is used no more.
pub(super) fn usable_until(fetched: i64, fresh: u64, max_stale: Duration) -> i64 {
    let life = i64::try_from(fresh.saturating_add(max_stale.as_secs())).unwrap_or(i64::MAX);
    fetched.saturating_add(life)
}
