//! What was found while all of the stream or the file was read, and what is not among it.

use std::collections::HashMap;

use super::known::Known;
use crate::revoked::{Entry, Mark};

/// What the source says of marks.
#[derive(Default)]
pub(super) struct Seen {
    marks: Vec<Mark>,
    /// Of which it says less than we know, so far.
    behind: HashMap<Mark, Entry>,
}

impl Seen {
    /// An entry that was read, and taken.
    pub(super) fn note(&mut self, entry: &Entry, known: &Known) {
        self.marks.push(entry.mark);
        let ours = known.revoked().find(&entry.mark);
        if let Some(found) = self.behind.get_mut(&entry.mark) {
            *found = found.merged(entry);
        } else if ours.is_some_and(|ours| ours != *entry) {
            self.behind.insert(entry.mark, *entry);
        }
    }

    /// What we hold, and the source does not say all of.
    pub(super) fn missing(mut self, known: &Known) -> Vec<Entry> {
        self.marks.sort_unstable();
        let now = known.clock.now();
        let mut missing = Vec::new();
        known.revoked().each(|ours| {
            let seen = self.marks.binary_search(&ours.mark).is_ok();
            let behind = self.behind.get(&ours.mark);
            let behind = behind.is_some_and(|found| *found != ours);
            if (!seen || behind) && !ours.has_ended(now) {
                missing.push(ours);
            }
        });
        missing
    }
}
