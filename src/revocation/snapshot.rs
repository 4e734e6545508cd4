//! What is known, on disk: an usher that starts while Redis is away begins with it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use super::StartError;
use super::known::Known;
use crate::revoked::Entry;

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
    path: PathBuf,
}

impl Snapshot {
    /// Reads what is there; the folder is made if it is not. A snapshot that is damaged, or that
    /// somebody else may have written, is left aside: Redis has all of it.
    pub(super) fn open(folder: &Path, known: &Arc<Known>) -> Result<Self, StartError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| {
            let folder = folder.display();
            StartError(format!("state_dir {folder} cannot be made: {error}"))
        })?;
        let path = folder.join(NAME);
        match read(&path, known.capacity) {
            Ok((second, entries)) => {
                known.take(entries);
                known.remember(second);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the snapshot of revocations is not used");
            }
        }
        Ok(Self { path })
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
        let (path, shared) = (self.path.clone(), known.clone());
        let written = tokio::task::spawn_blocking(move || write(&path, &shared)).await;
        let error = match written {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("the thread that writes has ended"),
        };
        let path = self.path.display();
        known.metrics.snapshots_failed.inc();
        tracing::warn!(%path, %error, "the snapshot of revocations is not written");
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
fn read(path: &Path, most: usize) -> io::Result<(i64, Vec<Entry>)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.mode() & 0o022 != 0 {
        let why = "others may write it: chmod 600";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
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

/// All or nothing: a new file takes the place of the old one once it is on the disk.
fn write(path: &Path, known: &Known) -> io::Result<()> {
    // Asked first: what is added while we write may be in it, or be missing.
    let Some(second) = known.confirmed() else {
        return Ok(());
    };
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let written = fill(&fresh, second, known).and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        // It is of no use to anybody; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&fresh);
    }
    written?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn fill(path: &Path, second: i64, known: &Known) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut to = Hashed::new(BufWriter::new(options.open(path)?));
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
    let file = to
        .inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

fn damaged() -> io::Error {
    io::Error::other("it is damaged")
}
