//! A file of revocations, for one usher without Redis. Each line is an entry; whoever adds one
//! holds the file's lock, and returns when the disk has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Order, When};
use super::known::Known;
use super::reply::FIELD;
use super::seen::Seen;
use super::store::{Failure, Stored};
use crate::clock::Clock;
use crate::revoked::{Before, Entry, Second};

/// How often it is looked whether the file has grown.
const TICK: Duration = Duration::from_millis(10);

/// How long somebody waits for the lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// The file is written anew, without what has ended, when it is this long and half is over.
const WORTHWHILE: u64 = 1 << 20;

/// Longer lines are nothing of ours.
const LONGEST: u64 = 256;

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
}

/// How far it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    /// Which file it was: another one may have taken its place.
    inode: u64,
    length: u64,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds a revocation; its times are those of this machine.
    pub(super) async fn store(&self, order: &Order) -> Result<Stored, Failure> {
        let now = Clock::System.now();
        let entry = entry(order, now)?;
        let path = self.path.clone();
        let write = move || append(&path, &[entry]);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(Stored {
                entry,
                replicas: None,
            }),
            Ok(Err(error)) => {
                let path = self.path.display();
                Err(Failure::Unknown(format!("{path}: {error}")))
            }
            Err(_) => Err(Failure::Unknown(
                "the thread that writes has ended".to_owned(),
            )),
        }
    }

    /// Whether it can be used, for `check --connect`.
    pub(super) fn check(&self) -> Vec<String> {
        match self.path.parent().map(Path::metadata) {
            Some(Err(error)) if self.path.parent() != Some(Path::new("")) => {
                vec![format!("revocation: {}: {error}", self.path.display())]
            }
            _ => Vec::new(),
        }
    }

    /// Reads on whenever the file grows, for ever; puts back what it has lost.
    pub(super) async fn follow(&self, known: &Arc<Known>) {
        let mut at = Position::default();
        loop {
            match self.step(&mut at, known) {
                Ok(()) => {
                    known.confirm();
                    known.open();
                }
                Err(error) => known.fail(format!("{}: {error}", self.path.display())),
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn step(&self, at: &mut Position, known: &Known) -> io::Result<()> {
        let there = match self.path.metadata() {
            Ok(meta) => Position {
                inode: meta.ino(),
                length: meta.len(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Position::default(),
            Err(error) => return Err(error),
        };
        if there == *at && !known.has_room_again() {
            return Ok(());
        }
        if there.inode != at.inode || there.length < at.length || known.has_room_again() {
            self.read_whole(at, known)?;
        } else {
            self.read_from(at, known, |_| {})?;
        }
        Ok(())
    }

    /// Reads all of it, and adds what we know and it does not.
    fn read_whole(&self, at: &mut Position, known: &Known) -> io::Result<()> {
        let overflowed = known.begin();
        *at = Position::default();
        let mut seen = Seen::default();
        let read = self.read_from(at, known, |entry| seen.note(entry, known));
        read.inspect_err(|_| known.overflow(overflowed))?;
        let read = seen.len();
        let missing = seen.missing(known);
        if !missing.is_empty() {
            append(&self.path, &missing)?;
            known.metrics.restored.inc_by(missing.len() as u64);
            tracing::warn!("the file had lost revocations: they are put back");
        }
        if at.length > WORTHWHILE && read > 2 * known.revoked().len() {
            rewrite(&self.path, known.clock.now())?;
            *at = Position::default();
        }
        Ok(())
    }

    /// Reads whole lines from where we stand.
    fn read_from(
        &self,
        at: &mut Position,
        known: &Known,
        mut note: impl FnMut(&Entry),
    ) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        private(&meta)?;
        at.inode = meta.ino();
        file.seek(SeekFrom::Start(at.length))?;
        let mut lines = BufReader::new(file);
        while let Some((length, entry)) = line(&mut lines)? {
            at.length += length;
            match entry {
                Some(entry) => {
                    known.take([entry]);
                    note(&entry);
                }
                None => {
                    known.metrics.unknown.inc();
                }
            }
        }
        Ok(())
    }
}

/// What an order means now.
fn entry(order: &Order, now: i64) -> Result<Entry, Failure> {
    let before = match order.before {
        When::Always => Before::Always,
        When::Now => Before::At(second(now)),
        When::At(time) if time > now && !order.clamp => {
            return Err(Failure::Unclear(format!(
                "`before` lies in the future: it is {now}"
            )));
        }
        When::At(time) => Before::At(second(time.min(now))),
    };
    let life = order
        .life
        .map(|life| i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
    Ok(Entry {
        mark: order.mark,
        before,
        until: life.map_or(Second::Never, |life| {
            Second::At(second(now.saturating_add(life)))
        }),
    })
}

fn second(time: i64) -> u32 {
    u32::try_from(time.max(0)).unwrap_or(u32::MAX - 1)
}

/// A line, its length with its end, and what it says; `None` when there is no whole line.
fn line(from: &mut impl BufRead) -> io::Result<Option<(u64, Option<Entry>)>> {
    let mut bytes = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut bytes)?;
    if bytes.last() != Some(&b'\n') {
        if bytes.len() as u64 == LONGEST {
            let why = "a line is too long: this is no file of revocations";
            return Err(io::Error::other(why));
        }
        // Somebody is about to write the rest.
        return Ok(None);
    }
    let text = str::from_utf8(&bytes).ok().map(str::trim_end);
    let text = text.and_then(|text| text.strip_prefix(FIELD)?.strip_prefix(' '));
    let entry = text.and_then(|text| Entry::parse(text).ok());
    Ok(Some((bytes.len() as u64, entry)))
}

/// Adds lines under the file's lock, and returns when the disk has them.
fn append(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut file = locked(path)?;
    let mut text = String::new();
    // What a writer left that was killed in the middle must not swallow our line.
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    for entry in entries {
        text.push_str(&format!("{FIELD} {entry}\n"));
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if length == 0 {
        // The file's name has to be on the disk too.
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Writes the file anew without what has ended; under its lock, so that nobody adds to the old one.
fn rewrite(path: &Path, now: i64) -> io::Result<()> {
    let held = locked(path)?;
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut to = io::BufWriter::new(options.open(&fresh)?);
    let mut lines = BufReader::new(&held);
    while let Some((_, entry)) = line(&mut lines)? {
        if let Some(entry) = entry.filter(|entry| !entry.has_ended(now)) {
            writeln!(to, "{FIELD} {entry}")?;
        }
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

/// The file, locked, and certainly the one that has the name.
fn locked(path: &Path) -> io::Result<File> {
    let mut waited = Duration::ZERO;
    loop {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path)?;
        private(&file.metadata()?)?;
        match file.try_lock() {
            // It may have been written anew while we waited.
            Ok(()) if path.metadata().is_ok_and(|meta| same(&meta, &file)) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if waited >= PATIENCE => {
                return Err(io::Error::other("somebody else holds its lock"));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        std::thread::sleep(TICK);
        waited += TICK;
    }
}

fn same(meta: &std::fs::Metadata, file: &File) -> bool {
    file.metadata()
        .is_ok_and(|own| own.ino() == meta.ino() && own.dev() == meta.dev())
}

/// Who can write it can lock everybody out, and who can truncate it lets the revoked in.
fn private(meta: &std::fs::Metadata) -> io::Result<()> {
    match meta.is_file() && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is no file that its owner alone may write: chmod 600",
        )),
    }
}

/// For `fuzz/`: the entries in a file of these bytes, and how many of the bytes are whole lines.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(bytes: &[u8]) -> (Vec<Entry>, u64) {
    let (mut from, mut entries, mut read) = (bytes, Vec::new(), 0);
    while let Ok(Some((length, entry))) = line(&mut from) {
        read += length;
        entries.extend(entry);
    }
    (entries, read)
}
