//! What all of the users module shares, and asking the directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::caller::Who;
use super::directory::{Directory, DirectoryError, Inserted, Rows};
use super::metrics::Metrics;
use super::presence::{Presence, Renewal};
use super::provisioner::Provisioner;
use super::settings::Settings;
use crate::limit::Seldom;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) presence: Presence,
    pub(super) directory: Directory,
    pub(super) provisioner: Provisioner,
    pub(super) metrics: Metrics,
    /// Whether the directory failed last; so that the log says it once.
    failing: AtomicBool,
}

/// Why the directory did not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blind {
    Unavailable,
    Refused,
}

/// What a refusal by the directory is called; the database's own words are in the log.
pub(super) const REFUSED: &str = "the directory cannot hold this id, e-mail or name";

impl Core {
    pub(super) fn new(
        settings: Settings,
        presence: Presence,
        directory: Directory,
        provisioner: Provisioner,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            presence,
            directory,
            provisioner,
            metrics,
            failing: AtomicBool::new(false),
        }
    }

    /// Whether the directory failed when it was asked last.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Asks the directory, and not beyond the deadline.
    pub(super) async fn look(&self, who: &Arc<Who>, deadline: Instant) -> Result<Rows, Blind> {
        let answer = tokio::time::timeout_at(deadline, self.directory.find(who)).await;
        let rows = self.judge(answer.unwrap_or_else(|_| Err(too_late())))?;
        self.learn(who, &rows);
        Ok(rows)
    }

    /// Inserts into the directory, and not beyond the deadline.
    pub(super) async fn insert(
        &self,
        who: &Arc<Who>,
        deadline: Instant,
    ) -> Result<Inserted, Blind> {
        let answer = tokio::time::timeout_at(deadline, self.directory.insert(who)).await;
        let inserted = self.judge(answer.unwrap_or_else(|_| Err(too_late())))?;
        self.learn(who, &inserted.rows);
        if inserted.created {
            tracing::info!(issuer = %who.issuer, id = ?who.id, "user created");
        }
        Ok(inserted)
    }

    /// Asks again for somebody who is known. One who is gone is forgotten at once; while the
    /// directory cannot be asked, what is known stays.
    pub(super) async fn renew(&self, who: Arc<Who>, renewal: Renewal) {
        let deadline = Instant::now() + self.settings.wait;
        if let Ok(rows) = self.look(&who, deadline).await
            && rows.by_id.is_none()
        {
            self.presence.forget(&who.key);
        }
        drop(renewal);
    }

    fn judge<T>(&self, answer: Result<T, DirectoryError>) -> Result<T, Blind> {
        match answer {
            Ok(answer) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the directory answers again");
                }
                Ok(answer)
            }
            Err(DirectoryError::Unavailable(why)) => {
                self.metrics.failed.inc();
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(why, "the directory cannot be asked");
                }
                Err(Blind::Unavailable)
            }
            Err(DirectoryError::Refused(why)) => {
                self.metrics.failed.inc();
                static REFUSED: Seldom = Seldom::new();
                if let Some(times) = REFUSED.again() {
                    tracing::info!(why, times, "the directory refuses a user");
                }
                Err(Blind::Refused)
            }
        }
    }

    fn learn(&self, who: &Who, rows: &Rows) {
        match (&rows.by_id, &rows.by_email) {
            (Some(user), _) => {
                self.presence.remember(who.key, user.clone());
                self.metrics.found.inc();
            }
            (None, Some(_)) => {
                self.metrics.email_only.inc();
            }
            (None, None) => {
                self.metrics.missing.inc();
            }
        }
    }
}

fn too_late() -> DirectoryError {
    DirectoryError::Unavailable("no answer before the wait was over".to_owned())
}
