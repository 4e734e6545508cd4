//! A file of revocations, for one usher without Redis. Each line is an entry; whoever adds one
//! holds the file's lock (`locked`), and returns when the disk has it.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ask::{Order, When};
use super::known::Known;
use super::locked::{Locked, private};
use super::reply::FIELD;
use super::seen::Seen;
use super::store::{Failure, Stored};
use crate::clock::Clock;
use crate::revoked::{Before, Entry, Second};

/// How often it is looked whether the file has grown.
const TICK: Duration = Duration::from_millis(10);

/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// A shorter file is not worth writing anew.
const WORTHWHILE: u64 = 1 << 20;

/// Longer lines are nothing of ours.
const LONGEST: u64 = 256;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// From this length on it may be written anew: twice what it had when that was done last.
    worthwhile: Arc<AtomicU64>,
}

/// How far it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    /// Which file it was: another one may have taken its place.
    inode: u64,
    /// Where the last whole line ends.
    length: u64,
    /// How long the file was then: there may be half a line behind.
    seen: u64,
    /// How many of the lines before it are revocations.
    entries: usize,
}

impl Position {
    /// Before anybody has looked, also whether there is a file.
    const NOWHERE: Self = Self {
        inode: u64::MAX,
        length: 0,
        seen: 0,
        entries: 0,
    };

    /// Whether nothing was added to the file since, and nothing taken away.
    fn is_end_of(&self, file: Option<&Metadata>) -> bool {
        end(file) == (self.inode, self.seen)
    }

    /// Whether what was read is still there, as far as the length can tell.
    fn is_within(&self, file: Option<&Metadata>) -> bool {
        let (inode, length) = end(file);
        inode == self.inode && length >= self.length
    }
}

/// Which file it is, and its length; of none, what reading begins with.
fn end(file: Option<&Metadata>) -> (u64, u64) {
    file.map_or((0, 0), |meta| (meta.ino(), meta.len()))
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            worthwhile: Arc::new(AtomicU64::new(WORTHWHILE)),
        }
    }

    /// Adds a revocation; its times are those of this machine.
    pub(super) async fn store(&self, order: &Order) -> Result<Stored, Failure> {
        let now = Clock::System.now();
        let entry = entry(order, now)?;
        let path = self.path.clone();
        let write = move || Locked::open(&path)?.append(&[entry]);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(Stored {
                entry,
                replicas: None,
            }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path.display();
                let why = format!(
                    "{path}: there is no such file. `usher serve` makes it when it starts, so that it can read it"
                );
                Err(Failure::NotStored(why))
            }
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

    /// Reads all of it, once; blocks.
    pub(super) fn read(&self, known: &Known) -> Result<(), String> {
        let read = self
            .open()
            .and_then(|file| read(file, Position::default(), known, |_| {}));
        read.map(drop)
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Reads on whenever the file grows, for ever; puts back what it has lost.
    pub(super) async fn follow(&self, known: &Arc<Known>) {
        let mut at = Position::NOWHERE;
        loop {
            let pause = match self.look(at, known).await {
                Ok(now) => {
                    at = now;
                    known.confirm();
                    known.open();
                    TICK
                }
                // All of it is done again from where it began.
                Err(error) => {
                    known.fail(format!("{}: {error}", self.path.display()));
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whatever takes longer than a `stat` is done where it keeps nobody waiting.
    async fn look(&self, at: Position, known: &Arc<Known>) -> io::Result<Position> {
        let there = if_there(self.path.metadata())?;
        if at.is_end_of(there.as_ref()) && !known.has_room_again() {
            return Ok(at);
        }
        let (journal, known) = (self.clone(), known.clone());
        let step = tokio::task::spawn_blocking(move || journal.step(at, &known));
        step.await
            .unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(ending) => Err(io::Error::other(ending)),
            })
    }

    /// Reads on, and tidies up; where reading stands then.
    fn step(&self, at: Position, known: &Known) -> io::Result<Position> {
        let file = self.open_or_make()?;
        let meta = file.as_ref().map(File::metadata).transpose()?;
        let (inode, seen) = end(meta.as_ref());
        let mut now = match at.is_within(meta.as_ref()) && !known.has_room_again() {
            true => read(file, at, known, |_| {})?,
            false => self.read_whole(file, inode, known)?,
        };
        // What was added since is read the next time.
        now.seen = seen.max(now.length);
        let long = now.length > self.worthwhile.load(Ordering::Relaxed);
        match long && now.entries > 2 * known.revoked().len() {
            true => Ok(self.rewrite(now, known)),
            false => Ok(now),
        }
    }

    /// The file, if there is one, which nobody else may write.
    fn open(&self) -> io::Result<Option<File>> {
        let file = if_there(File::open(&self.path))?;
        if let Some(file) = &file {
            private(&file.metadata()?)?;
        }
        Ok(file)
    }

    /// The same, made where there is none and this user may: commands add to it, and do not make it.
    fn open_or_make(&self) -> io::Result<Option<File>> {
        if let Some(file) = self.open()? {
            return Ok(Some(file));
        }
        match Locked::make(&self.path) {
            Ok(_) => self.open(),
            // Somebody else writes there, and we only read.
            Err(error) if !may_write(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all of it, and adds what we know and it does not.
    fn read_whole(&self, file: Option<File>, inode: u64, known: &Known) -> io::Result<Position> {
        let overflowed = known.begin();
        let mut seen = Seen::default();
        let start = Position {
            inode,
            ..Position::default()
        };
        let end = read(file, start, known, |entry| seen.note(entry, known));
        let end = end.inspect_err(|_| known.overflow(overflowed))?;
        let missing = seen.missing(known);
        if !missing.is_empty() {
            Locked::make(&self.path)?.append(&missing)?;
            known.metrics.restored.inc_by(missing.len() as u64);
            tracing::warn!("the file had lost revocations: they are put back");
            // Whether they stay there is looked at anew.
            return Ok(Position::NOWHERE);
        }
        Ok(end)
    }

    /// Writes the file anew without what has ended, and from its beginning it is read then.
    fn rewrite(&self, at: Position, known: &Known) -> Position {
        let written = Locked::open(&self.path).and_then(|file| file.rewrite(known.clock.now()));
        let length = written.as_ref().copied().unwrap_or(at.length);
        let worthwhile = length.saturating_mul(2).max(WORTHWHILE);
        self.worthwhile.store(worthwhile, Ordering::Relaxed);
        match written {
            Ok(_) => Position::NOWHERE,
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "revocations that have ended stay in the file");
                at
            }
        }
    }
}

fn may_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// What was found, or that there is nothing.
fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Takes whole lines from there on; where the last of them ends.
fn read(
    file: Option<File>,
    mut at: Position,
    known: &Known,
    mut note: impl FnMut(&Entry),
) -> io::Result<Position> {
    let Some(mut file) = file else {
        return Ok(at);
    };
    file.seek(SeekFrom::Start(at.length))?;
    let mut lines = BufReader::new(file);
    while let Some(line) = line(&mut lines)? {
        at.length += line.bytes.len() as u64;
        match line.entry {
            Some(entry) => {
                at.entries += 1;
                known.take([entry]);
                note(&entry);
            }
            None => {
                known.metrics.unknown.inc();
            }
        }
    }
    Ok(at)
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

/// A line with its end, and what it says, if we understand that.
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    pub(super) entry: Option<Entry>,
}

/// The next line; `None` when there is no whole one.
pub(super) fn line(from: &mut impl BufRead) -> io::Result<Option<Line>> {
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
    Ok(Some(Line { bytes, entry }))
}

/// For `fuzz/`: the entries in a file of these bytes, and how many of the bytes are whole lines.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(bytes: &[u8]) -> (Vec<Entry>, u64) {
    let (mut from, mut entries, mut read) = (bytes, Vec::new(), 0);
    while let Ok(Some(line)) = line(&mut from) {
        read += line.bytes.len() as u64;
        entries.extend(line.entry);
    }
    (entries, read)
}
