//! An issuer's keys and what they were made of, so that a reload takes over what has not changed.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::issuer::Proof;
use super::keys::Patience;
use super::metrics::Metrics;
use super::refresher::Refresher;
use super::start;
use crate::clock::Clock;
use crate::config::{Algorithm, Files, Issuer, KeySource};
use crate::state::StateDir;

/// What shows that tokens are an issuer's, for as long as somebody uses them.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) proof: Proof,
    made_of: Arc<MadeOf>,
    /// The refresher ends when this is dropped for the last time.
    _owner: Arc<watch::Sender<()>>,
}

/// Every setting that keys depend on, and the files that they were read from.
#[derive(PartialEq)]
struct MadeOf {
    name: String,
    /// Which discovery document is the issuer's.
    issuer: Option<String>,
    keys: KeySource,
    /// Keys for others are skipped.
    algorithms: Vec<Algorithm>,
    patience: Patience,
    files: Files,
    /// Where fetched keys are kept.
    state: Option<StateDir>,
}

impl MadeOf {
    fn new(issuer: &Issuer, patience: Patience, files: &Files, state: Option<&StateDir>) -> Self {
        Self {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            keys: issuer.keys.clone(),
            algorithms: issuer.algorithms.clone(),
            patience,
            files: files.only(&paths(&issuer.keys)),
            state: state.cloned(),
        }
    }
}

/// What keys are made with, beside the issuer's settings.
pub(super) struct Making<'a> {
    pub(super) patience: Patience,
    pub(super) files: &'a Files,
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Metrics,
    pub(super) state: Option<&'a StateDir>,
}

impl Held {
    /// The keys of one of `before` that were made of the same, or new ones, and then perhaps with
    /// a task that keeps them fresh.
    pub(super) fn take_over<'h>(
        mut before: impl Iterator<Item = &'h Self>,
        issuer: &Issuer,
        making: &Making<'_>,
    ) -> Result<(Self, Option<Refresher>), String> {
        let made_of = MadeOf::new(issuer, making.patience, making.files, making.state);
        if let Some(same) = before.find(|held| *held.made_of == made_of) {
            return Ok((same.clone(), None));
        }
        let (owner, alive) = watch::channel(());
        let (proof, refresher) = start::proof(issuer, making, &alive)?;
        let held = Self {
            proof,
            made_of: Arc::new(made_of),
            _owner: Arc::new(owner),
        };
        Ok((held, refresher))
    }

    /// Keys that are there, for tests.
    #[cfg(test)]
    pub(super) fn of(issuer: &Issuer, proof: Proof, patience: Patience) -> Self {
        Self {
            proof,
            made_of: Arc::new(MadeOf::new(issuer, patience, &Files::default(), None)),
            _owner: Arc::new(watch::Sender::new(())),
        }
    }
}

/// The files that keys are made of.
fn paths(keys: &KeySource) -> Vec<PathBuf> {
    match keys {
        KeySource::Discovery { fetch, .. } | KeySource::JwksUri { fetch, .. } => {
            fetch.ca_file.iter().cloned().collect()
        }
        KeySource::JwksFile(path) | KeySource::PublicKeyFile(path) => vec![path.clone()],
        KeySource::Introspection(asked) => asked.ca_file.iter().cloned().collect(),
        // Read with the configuration.
        KeySource::PrivateKey(_) | KeySource::Secret(_) => Vec::new(),
    }
}
