//! Takes entries off the stream whose time is over; nothing else is ever taken off.

use std::sync::Arc;
use std::time::Duration;

use super::known::Known;
use super::reply::EntryId;
use super::stream::Stream;
use crate::pause::chance;

/// How often one of all ushers looks.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Now and then takes off what has ended.
pub(super) struct Trimmer<'a> {
    stream: &'a Stream,
    known: &'a Arc<Known>,
}

impl<'a> Trimmer<'a> {
    pub(super) fn new(stream: &'a Stream, known: &'a Arc<Known>) -> Self {
        Self { stream, known }
    }

    /// Runs for ever.
    pub(super) async fn run(self) {
        // Soon after the start, since an usher may never live for a whole period.
        let mut pause = Duration::from_secs(1);
        loop {
            tokio::time::sleep(pause.mul_f64(0.5 + chance())).await;
            pause = PERIOD;
            if let Err(why) = self.trim().await {
                tracing::debug!(why, "the stream of revocations is not trimmed");
            }
        }
    }

    async fn trim(&self) -> Result<(), String> {
        let mut connection = self.stream.connect(Duration::ZERO).await?;
        if !self.stream.turn(&mut connection, PERIOD).await? {
            return Ok(());
        }
        let now = self.stream.time(&mut connection).await?;
        let mut from = EntryId::ZERO;
        loop {
            let lines = self.stream.range(&mut connection, from).await?;
            let Some((last, _)) = lines.last() else {
                return Ok(());
            };
            from = last.next();
            let ended = lines.iter().filter_map(|(id, entry)| {
                // What we do not understand may mean something to a newer usher.
                entry.filter(|entry| entry.has_ended(now)).map(|_| *id)
            });
            let ended: Vec<EntryId> = ended.collect();
            if !ended.is_empty() {
                self.stream.delete(&mut connection, &ended).await?;
                self.known.metrics.trimmed.inc_by(ended.len() as u64);
            }
        }
    }
}
