//! How it becomes known what is revoked, everywhere and soon.
//!
//! A revocation is an entry on a Redis stream (`stream`), or a line of a `file` where there is one
//! usher only. Each usher reads all of it (`follower`) into the set of [`crate::revoked`], which
//! requests ask; keeps a `snapshot` of the set; and puts back what the stream has lost.

mod ask;
mod file;
mod follower;
mod known;
mod locked;
pub mod metrics;
mod reply;
mod seen;
mod snapshot;
mod store;
mod stream;
mod trimmer;

use std::fmt;
use std::sync::Arc;

use self::file::Journal;
use self::follower::Follower;
use self::known::Known;
use self::metrics::Metrics;
use self::snapshot::Snapshot;
use self::stream::Stream;
use self::trimmer::Trimmer;
use crate::clock::Clock;
use crate::config::revocation::{Settings, Source};
use crate::revoked::Revoked;
use crate::state::StateDir;

pub use self::ask::{Ask, Unclear};
pub use self::known::Report;
pub use self::store::{Failure, Store, Stored};

/// For `fuzz/`: the entries in these bytes, as Redis's answer and as a file; and how many of them are
/// whole lines of the file.
#[cfg(feature = "fuzzing")]
pub fn fuzz(bytes: &[u8]) -> (Vec<crate::revoked::Entry>, Vec<crate::revoked::Entry>, u64) {
    let (in_file, read) = file::fuzz(bytes);
    (reply::fuzz(bytes), in_file, read)
}

/// Why usher cannot start with this; the text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// What is revoked, and how that stays so.
#[derive(Debug)]
pub struct Revocation {
    known: Arc<Known>,
    store: Store,
    source: Arc<Place>,
    snapshot: Option<Snapshot>,
}

/// Where revocations are told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per process")]
enum Place {
    Stream(Stream),
    File(Journal),
}

impl Place {
    fn new(source: &Source) -> Result<Self, StartError> {
        match source {
            Source::Stream(settings) => Stream::new(settings).map(Self::Stream),
            Source::File(path) => Ok(Self::File(Journal::new(path.clone()))),
        }
    }
}

impl Revocation {
    /// Gets ready: reads the snapshot, if there is one. Redis need not be there, nor the file.
    ///
    /// # Errors
    /// When an address or a file cannot be used.
    pub fn open(
        settings: &Settings,
        state: Option<&StateDir>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let skew = u32::try_from(settings.clock_skew.as_secs()).unwrap_or(u32::MAX);
        let revoked = Arc::new(Revoked::new(skew, settings.capacity));
        let known = Arc::new(Known::new(revoked, settings, metrics, clock));
        let source = Arc::new(Place::new(&settings.source)?);
        let snapshot = match (state, &*source) {
            (Some(state), Place::Stream(_)) => Some(Snapshot::open(state, &known)),
            _ => None,
        };
        Ok(Self {
            store: Store::new(source.clone(), settings, Some(known.clone())),
            known,
            source,
            snapshot,
        })
    }

    /// The set that requests ask.
    pub fn revoked(&self) -> &Arc<Revoked> {
        self.known.revoked()
    }

    /// Where more can be revoked.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How it is, for readiness.
    pub fn report(&self) -> Report {
        self.known.report()
    }

    /// What is wrong with the place where revocations are told, for `check --connect`: problems,
    /// and what is no more than a weakness.
    pub async fn check(&self) -> (Vec<String>, Vec<String>) {
        match &*self.source {
            Place::Stream(stream) => stream.check().await,
            Place::File(journal) => (journal.check(), Vec::new()),
        }
    }

    /// Reads all that was told until now, once, and changes nothing; for a command.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn read(&self) -> Result<(), String> {
        match &*self.source {
            Place::Stream(stream) => Follower::new(stream, &self.known, None).read().await?,
            Place::File(journal) => journal.read(&self.known)?,
        }
        self.known.open();
        Ok(())
    }

    /// Keeps the set as the stream or the file has it, for ever.
    pub async fn follow(self: Arc<Self>) {
        match &*self.source {
            Place::Stream(stream) => {
                let follower = Follower::new(stream, &self.known, self.snapshot.as_ref());
                let trimmer = Trimmer::new(stream, &self.known);
                let keep = self.keep_snapshot();
                tokio::join!(follower.run(), trimmer.run(), keep, self.known.tick());
            }
            Place::File(journal) => {
                tokio::join!(journal.follow(&self.known), self.known.tick());
            }
        }
    }

    /// Writes the set down a last time.
    pub async fn finish(&self) {
        if let Some(snapshot) = &self.snapshot {
            snapshot.save(&self.known).await;
        }
    }

    async fn keep_snapshot(&self) {
        match &self.snapshot {
            Some(snapshot) => snapshot.keep(&self.known).await,
            None => std::future::pending().await,
        }
    }
}
