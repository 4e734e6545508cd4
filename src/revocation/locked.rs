//! The file of revocations under its lock: whoever writes there does it alone.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::file::line;
use super::reply::FIELD;
use crate::revoked::{Entry, Mark};
use crate::state;

/// How long somebody waits for the lock, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(10);

/// The file, locked until this is dropped.
pub(super) struct Locked<'p> {
    path: &'p Path,
    file: File,
}

impl<'p> Locked<'p> {
    /// Waits for the lock; blocks.
    ///
    /// # Errors
    /// Also where there is no such file.
    pub(super) fn open(path: &'p Path) -> io::Result<Self> {
        Self::lock(path, OpenOptions::new().read(true).write(true))
    }

    /// Makes the file if it is not there: whoever does that owns it, and so usher does it itself.
    pub(super) fn make(path: &'p Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Self::lock(path, options.mode(0o600))
    }

    fn lock(path: &'p Path, options: &OpenOptions) -> io::Result<Self> {
        let mut waited = Duration::ZERO;
        loop {
            let file = options.open(path)?;
            private(&file.metadata()?)?;
            match file.try_lock() {
                // It may have been written anew while we waited.
                Ok(()) if has_name(&file, path) => return Ok(Self { path, file }),
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

    /// Adds lines, and returns when the disk has them.
    pub(super) fn append(mut self, entries: &[Entry]) -> io::Result<()> {
        let mut text = String::new();
        // What a writer left that was killed in the middle must not swallow our line.
        let length = self.file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            self.file.seek(SeekFrom::Start(length - 1))?;
            self.file.read_exact(&mut last)?;
            if last != *b"\n" {
                text.push('\n');
            }
        }
        for entry in entries {
            text.push_str(&format!("{FIELD} {entry}\n"));
        }
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        if length == 0 {
            // The file's name has to be on the disk too.
            state::sync_folder(self.path)?;
        }
        Ok(())
    }

    /// Writes it anew without what has ended, and each mark once; its length then. What we do not
    /// understand may mean something to a newer usher, and stays.
    pub(super) fn rewrite(self, now: i64) -> io::Result<u64> {
        let mut entries: HashMap<Mark, Entry> = HashMap::new();
        let mut strange = Vec::new();
        let mut lines = BufReader::new(&self.file);
        while let Some(line) = line(&mut lines)? {
            let Some(entry) = line.entry else {
                strange.extend_from_slice(&line.bytes);
                continue;
            };
            if !entry.has_ended(now) {
                let merged = entries.entry(entry.mark).or_insert(entry);
                *merged = merged.merged(&entry);
            }
        }
        state::replace(self.path, |file| {
            let mut to = BufWriter::new(&mut *file);
            to.write_all(&strange)?;
            for entry in entries.values() {
                writeln!(to, "{FIELD} {entry}")?;
            }
            to.flush()
        })?;
        Ok(self.path.metadata()?.len())
    }
}

fn has_name(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(named)) = (file.metadata(), path.metadata()) else {
        return false;
    };
    (own.dev(), own.ino()) == (named.dev(), named.ino())
}

/// Who can write it can lock everybody out, and who can truncate it lets the revoked in.
pub(super) fn private(meta: &Metadata) -> io::Result<()> {
    match meta.is_file() && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is no file that its owner alone may write: chmod 600",
        )),
    }
}
