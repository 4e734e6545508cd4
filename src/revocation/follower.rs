//! Follows the stream: all of it after each connection, and then what comes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::known::Known;
use super::reply::{EntryId, Line};
use super::seen::Seen;
use super::snapshot::Snapshot;
use super::stream::Stream;
use crate::database::redis::Connection;
use crate::pause::{Pauses, chance};
use crate::revoked::{Entry, Mark};

/// How long Redis holds a question, and how often the stream itself is looked at: who emptied it
/// adds no entry that would tell.
const BLOCK: Duration = Duration::from_secs(1);

/// Entries that are put back in one step.
const BATCH: usize = 500;

/// Between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const PAUSES: Pauses = Pauses::new(Duration::from_millis(50), LONGEST_PAUSE);

/// Keeps the set as the stream has it.
pub(super) struct Follower<'a> {
    stream: &'a Stream,
    known: &'a Arc<Known>,
    snapshot: Option<&'a Snapshot>,
}

/// Where reading stands.
struct Position {
    /// The last id that was read.
    last: EntryId,
    /// What we hold and the stream has not.
    missing: HashMap<Mark, Entry>,
    /// When the next of it is put back.
    restore_at: Instant,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        stream: &'a Stream,
        known: &'a Arc<Known>,
        snapshot: Option<&'a Snapshot>,
    ) -> Self {
        Self {
            stream,
            known,
            snapshot,
        }
    }

    /// Runs for ever.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let Err(why) = self.session().await;
            self.known.fail(why);
            // With Redis away, what was known a moment ago is enough to begin with.
            if self
                .snapshot
                .is_some_and(|snapshot| snapshot.suffices(self.known))
            {
                self.known.open();
            }
            failures = if begun.elapsed() > LONGEST_PAUSE {
                0
            } else {
                failures + 1
            };
            tokio::time::sleep(PAUSES.after(failures)).await;
        }
    }

    /// Reads all that there is, once.
    pub(super) async fn read(&self) -> Result<(), String> {
        let mut connection = self.stream.connect(Duration::ZERO).await?;
        self.read_whole(&mut connection).await.map(drop)
    }

    /// One connection, to its end.
    async fn session(&self) -> Result<Infallible, String> {
        let mut connection = self.stream.connect(BLOCK).await?;
        loop {
            let overflowed = self.known.begin();
            let position = match self.read_whole(&mut connection).await {
                Ok(position) => position,
                Err(why) => {
                    self.known.overflow(overflowed);
                    return Err(why);
                }
            };
            self.known.confirm();
            self.known.open();
            self.follow(&mut connection, position).await?;
        }
    }

    /// Reads all that there is, and finds out what of ours is not among it.
    async fn read_whole(&self, connection: &mut Connection) -> Result<Position, String> {
        let mut last = EntryId::ZERO;
        let mut seen = Seen::default();
        // The last id that was given away may be that of an entry which was taken off since. It is
        // where reading stands once nothing is found before it.
        let mut given = EntryId::ZERO;
        loop {
            let lines = self.stream.range(connection, last.next()).await?;
            match lines.last() {
                Some((id, _)) => last = *id,
                None if last >= given => {
                    let head = self.stream.head(connection).await?;
                    given = head.last.unwrap_or(EntryId::ZERO);
                    if given <= last {
                        break;
                    }
                }
                None => {
                    last = given;
                    break;
                }
            }
            let entries = self.take(lines);
            entries
                .iter()
                .for_each(|entry| seen.note(entry, self.known));
        }
        let missing = seen.missing(self.known).into_iter();
        Ok(Position {
            last,
            missing: missing.map(|entry| (entry.mark, entry)).collect(),
            restore_at: Instant::now() + jitter(),
        })
    }

    /// Reads on; returns when all has to be read again.
    async fn follow(&self, connection: &mut Connection, at: Position) -> Result<(), String> {
        let Position {
            mut last,
            mut missing,
            mut restore_at,
        } = at;
        let mut added = 0;
        let mut checked = Instant::now();
        loop {
            let block = match missing.is_empty() {
                true => BLOCK,
                false => restore_at
                    .saturating_duration_since(Instant::now())
                    .min(BLOCK),
            };
            let lines = self.stream.wait(connection, last, block).await?;
            last = lines.last().map_or(last, |(id, _)| last.max(*id));
            for entry in self.take(lines) {
                let covers = |ours: &Entry| ours.merged(&entry) == entry;
                if missing.get(&entry.mark).is_some_and(covers) {
                    missing.remove(&entry.mark);
                }
            }
            self.known.confirm();
            if checked.elapsed() >= BLOCK {
                checked = Instant::now();
                let head = self.stream.head(connection).await?;
                let lost = head.last.unwrap_or(EntryId::ZERO) < last || head.added < added;
                if lost || self.known.has_room_again() {
                    return Ok(());
                }
                added = head.added;
            }
            if !missing.is_empty() && Instant::now() >= restore_at {
                let batch: Vec<Entry> = missing.values().copied().take(BATCH).collect();
                if self.stream.restore(connection, last, &batch).await? {
                    self.restored(&batch, &mut missing);
                } else {
                    restore_at = Instant::now() + jitter();
                }
            }
        }
    }

    fn restored(&self, batch: &[Entry], missing: &mut HashMap<Mark, Entry>) {
        for entry in batch {
            missing.remove(&entry.mark);
        }
        self.known.metrics.restored.inc_by(batch.len() as u64);
        if missing.is_empty() {
            tracing::warn!("the stream had lost revocations: they are put back");
        }
    }

    /// Takes what can be understood, and counts the rest.
    fn take(&self, lines: Vec<Line>) -> Vec<Entry> {
        let count = lines.len();
        let entries: Vec<Entry> = lines.into_iter().filter_map(|(_, entry)| entry).collect();
        let unknown = count - entries.len();
        self.known.metrics.unknown.inc_by(unknown as u64);
        if !entries.is_empty() {
            self.known.take(entries.iter().copied());
        }
        entries
    }
}

/// Up to a second, so that not all put back at once.
fn jitter() -> Duration {
    Duration::from_secs(1).mul_f64(chance())
}
