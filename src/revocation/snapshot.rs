//! What is known, on disk: an usher that starts while Redis is away begins with it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::known::Known;
use crate::revoked::Entry;
use crate::state::StateDir;

/// The name in the folder, and the first line with the version of what follows.
const NAME: &str = "revocations";
const FIRST: &str = "usher revocations 1";

/// How often it is looked whether there is something to write.
const TICK: Duration = Duration::from_secs(1);

/// Writing takes at most so small a part of the time.
const PART: u32 = 20;

/// A file that holds the set as it was at some time.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    state: StateDir,
}

impl Snapshot {
    /// Reads what is there. A snapshot that is damaged, or that somebody else may have written, is
    /// left aside: Redis has all of it.
    pub(super) fn open(state: &StateDir, known: &Arc<Known>) -> Self {
        let parse = |file| read(file, known.capacity).map_err(|error| error.to_string());
        match state.read_with(NAME, parse) {
            Ok(Some((second, entries))) => {
                known.take(entries);
                known.remember(second);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error, "the snapshot of revocations is not used"),
        }
        Self {
            state: state.clone(),
        }
    }

    /// Whether what is known, from a snapshot, is young enough to begin with.
    pub(super) fn suffices(&self, known: &Known) -> bool {
        let Some(second) = known.confirmed() else {
            return false;
        };
        let age = known.clock.now().saturating_sub(second);
        // One from the future says nothing of its age.
        u64::try_from(age).is_ok_and(|age| Duration::from_secs(age) <= known.max_snapshot_age)
    }

    /// Writes whenever there is something new, and now and then to say that there is nothing.
    pub(super) async fn keep(&self, known: &Arc<Known>) {
        let mut written = (0, i64::MIN);
        let still = i64::try_from(known.max_snapshot_age.as_secs() / 10).unwrap_or(i64::MAX);
        loop {
            let now = (
                known.revoked().generation(),
                known.confirmed().unwrap_or(i64::MIN),
            );
            let fresh = now.1.saturating_sub(written.1) >= still.max(5);
            let mut pause = TICK;
            if now.0 > 0 && now.1 > i64::MIN && (now.0 != written.0 || fresh) {
                let begun = Instant::now();
                if self.save(known).await {
                    written = now;
                }
                pause = pause.max(begun.elapsed() * PART);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes; whether that went well.
    pub(super) async fn save(&self, known: &Arc<Known>) -> bool {
        let (state, shared) = (self.state.clone(), known.clone());
        let written = tokio::task::spawn_blocking(move || write(&state, &shared)).await;
        let error = match written {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => "the thread that writes has ended".to_owned(),
        };
        known.metrics.snapshots_failed.inc();
        tracing::warn!(error, "the snapshot of revocations is not written");
        false
    }
}

/// A reader or a writer, and the hash of what passed.
struct Hashed<T> {
    inner: T,
    hash: digest::Context,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        let hash = digest::Context::new(&digest::SHA256);
        Self { inner, hash }
    }
}

impl<T: Read> Hashed<T> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.inner.read_exact(&mut byte)?;
            self.hash.update(&byte);
            match byte {
                [b'\n'] => break,
                [_] if line.len() > 100 => return Err(damaged()),
                [other] => line.push(other),
            }
        }
        String::from_utf8(line).map_err(|_| damaged())
    }
}

impl<T: Write> Hashed<T> {
    fn put(&mut self, line: &str) -> io::Result<()> {
        for part in [line.as_bytes(), b"\n"] {
            self.hash.update(part);
            self.inner.write_all(part)?;
        }
        Ok(())
    }
}

/// The second as of which it was written, and the entries.
fn read(file: File, most: usize) -> io::Result<(i64, Vec<Entry>)> {
    let mut from = Hashed::new(BufReader::new(file));
    if from.line()? != FIRST {
        return Err(io::Error::other("it is of another version"));
    }
    let second = from.line()?.parse().map_err(|_| damaged())?;
    let count: usize = from.line()?.parse().map_err(|_| damaged())?;
    if count > most {
        return Err(io::Error::other("it has more than revocation.capacity"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(Entry::parse(&from.line()?).map_err(|_| damaged())?);
    }
    let digest = from.hash.finish();
    let mut told = Vec::new();
    from.inner.take(100).read_to_end(&mut told)?;
    match told == data_encoding::HEXLOWER.encode(digest.as_ref()).as_bytes() {
        true => Ok((second, entries)),
        false => Err(damaged()),
    }
}

fn write(state: &StateDir, known: &Known) -> Result<(), String> {
    // Asked first: what is added while we write may be in it, or be missing.
    let Some(second) = known.confirmed() else {
        return Ok(());
    };
    state.write_with(NAME, |file| fill(file, second, known))
}

fn fill(file: &mut File, second: i64, known: &Known) -> io::Result<()> {
    let mut to = Hashed::new(BufWriter::new(file));
    let mut lines = Vec::new();
    known.revoked().each(|entry| lines.push(entry));
    to.put(FIRST)?;
    to.put(&second.to_string())?;
    to.put(&lines.len().to_string())?;
    for entry in lines {
        to.put(&entry.to_string())?;
    }
    let digest = to.hash.finish();
    let digest = data_encoding::HEXLOWER.encode(digest.as_ref());
    to.inner.write_all(digest.as_bytes())?;
    to.inner.flush()
}

fn damaged() -> io::Error {
    io::Error::other("it is damaged")
}
