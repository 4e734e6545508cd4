//! What is made of files, and made anew when they change.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::{ClientConfig, ServerConfig};

use crate::stamp::Stamp;

/// How often files are looked at: a few calls of `stat`, on any file system and through the
/// links by which Kubernetes swaps secrets.
const LOOK: Duration = Duration::from_secs(1);

/// What is counted about files that change.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    reloads: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Shows the counts.
    pub fn register(&self, registry: &mut Registry) {
        for outcome in ["done", "failed"] {
            self.reloads.get_or_create_owned(&OutcomeLabels { outcome });
        }
        registry.register(
            "tls_reloads",
            "Certificates and keys read again since their files changed, by outcome",
            self.reloads.clone(),
        );
    }

    fn count(&self, outcome: &'static str) {
        self.reloads
            .get_or_create_owned(&OutcomeLabels { outcome })
            .inc();
    }
}

/// Something made of files. Whoever holds what it was keeps it; who asks gets what it is now.
pub struct Live<T> {
    current: ArcSwap<T>,
    /// What it belongs to, for the log.
    name: String,
    files: Vec<PathBuf>,
    build: Build<T>,
    state: Mutex<State>,
}

type Build<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// What was seen of the files.
struct State {
    /// Those of which the current thing was made.
    stamps: Vec<Option<Stamp>>,
    /// Why the last attempt failed, if it did.
    problem: Option<String>,
}

impl<T> Live<T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    /// What `build` says.
    pub(super) fn new(
        name: String,
        files: Vec<PathBuf>,
        build: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before the files are read: a change in between is found by the first look.
        let stamps = files.iter().map(|file| Stamp::of(file)).collect();
        Ok(Self {
            current: ArcSwap::from_pointee(build()?),
            name,
            files,
            build: Box::new(build),
            state: Mutex::new(State {
                stamps,
                problem: None,
            }),
        })
    }

    /// As it is now.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Makes it anew if a file has changed. What cannot be used leaves everything as it is, and
    /// is tried again with each look: a certificate often comes before its key.
    fn look(&self, metrics: &Metrics) {
        let mut state = self.state.lock();
        let stamps: Vec<_> = self.files.iter().map(|file| Stamp::of(file)).collect();
        if stamps == state.stamps {
            state.problem = None;
            return;
        }
        match (self.build)() {
            Ok(made) => {
                self.current.store(Arc::new(made));
                *state = State {
                    stamps,
                    problem: None,
                };
                metrics.count("done");
                tracing::info!(of = %self.name, "certificates and keys were read again");
            }
            Err(problem) if state.problem.as_ref() == Some(&problem) => {}
            Err(problem) => {
                metrics.count("failed");
                tracing::warn!(of = %self.name, %problem, "changed certificates cannot be used; the old ones stay");
                state.problem = Some(problem);
            }
        }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("name", &self.name)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// One side's TLS.
#[derive(Clone, Debug)]
pub enum Followed {
    /// For callers.
    Server(Arc<Live<ServerConfig>>),
    /// To the app.
    Client(Arc<Live<ClientConfig>>),
}

impl Followed {
    fn look(&self, metrics: &Metrics) {
        match self {
            Self::Server(live) => live.look(metrics),
            Self::Client(live) => live.look(metrics),
        }
    }
}

/// Looks at the files of all of these for ever, if there are any.
pub async fn follow(all: Vec<Followed>, metrics: Metrics) {
    if all.is_empty() {
        return;
    }
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        for one in &all {
            one.look(&metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_followed_and_what_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let read = {
            let file = file.clone();
            move || {
                let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
                text.parse::<u32>().map_err(|error| error.to_string())
            }
        };
        let live = Live::new("a test".to_owned(), vec![file.clone()], read).unwrap();
        let metrics = Metrics::default();
        let count = |outcome| {
            let labels = OutcomeLabels { outcome };
            metrics.reloads.get_or_create_owned(&labels).get()
        };
        live.look(&metrics);
        assert_eq!((*live.current(), count("done")), (1, 0));
        for (text, number, done, failed) in [
            ("22", 22, 1, 0),
            ("none", 22, 1, 1),
            ("no one", 22, 1, 1),
            ("333", 333, 2, 1),
        ] {
            std::fs::write(&file, text).unwrap();
            live.look(&metrics);
            live.look(&metrics);
            let now = (*live.current(), count("done"), count("failed"));
            assert_eq!(now, (number, done, failed), "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        live.look(&metrics);
        assert_eq!((*live.current(), count("failed")), (333, 2));
    }
}
