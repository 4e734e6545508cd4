//! The files that a configuration was read from.

use std::path::{Path, PathBuf};

use crate::stamp::Stamp;

/// The configuration file and those it names, as they were when they were read. Certificates, and
/// the keys of projects, are not among them: those are followed by whoever uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// Notes a file that is about to be read: a change in between is found by the first look.
    pub(super) fn note(&mut self, path: &Path) {
        if !self.0.iter().any(|(known, _)| known == path) {
            self.0.push((path.to_owned(), Stamp::of(path)));
        }
    }

    /// The same files, as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        let now = |(path, _): &(PathBuf, _)| (path.clone(), Stamp::of(path));
        Self(self.0.iter().map(now).collect())
    }

    /// These of them, as they were when they were read.
    #[must_use]
    pub fn only(&self, paths: &[PathBuf]) -> Self {
        let wanted = |(path, _): &&(PathBuf, _)| paths.contains(path);
        Self(self.0.iter().filter(wanted).cloned().collect())
    }
}
