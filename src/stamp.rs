//! What tells one content of a file from another, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What `stat` says of a file, through the links by which Kubernetes swaps secrets and
/// ConfigMaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// As the file is now; `None` where there is none.
    pub fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether there is anything in it.
    pub fn has_content(&self) -> bool {
        self.size > 0
    }
}
