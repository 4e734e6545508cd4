//! A table with one writer and any number of readers, none of whom waits.
//!
//! Places are tried one after the other. A place is written once: its mark's first half last, so
//! that who sees that sees the rest. Only the times of an entry change later, in one word. When
//! there is no room the writer makes a larger table of it and swaps that.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::entry::Entry;
use super::mark::Mark;

/// The smallest table.
const LEAST: usize = 64;

/// Entries for which there is a table's room.
#[derive(Debug)]
pub(super) struct Table {
    places: Box<[Place]>,
    used: AtomicUsize,
}

/// 24 bytes: the halves of a mark, and the times.
#[derive(Debug, Default)]
struct Place {
    /// 0 where nothing is.
    high: AtomicU64,
    low: AtomicU64,
    times: AtomicU64,
}

impl Table {
    /// Room for so many entries at least.
    pub(super) fn new(entries: usize) -> Self {
        // At most four fifths are used: beyond, searches become long.
        let places = (entries / 4 * 5 + 5).max(LEAST);
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            used: AtomicUsize::new(0),
        }
    }

    /// With these entries, and room for so many.
    pub(super) fn of(entries: usize, from: impl Iterator<Item = Entry>) -> Self {
        let table = Self::new(entries);
        from.for_each(|entry| table.insert(&entry));
        table
    }

    /// What is known of a mark.
    pub(super) fn find(&self, mark: &Mark) -> Option<Entry> {
        let place = self.place(mark).ok()?;
        Some(Entry::of_times(*mark, place.times.load(Ordering::Acquire)))
    }

    /// Whether one more entry fits.
    pub(super) fn has_room(&self) -> bool {
        self.len() < self.places.len() / 5 * 4
    }

    /// The room that a larger table has: half as much again keeps both within bounds while one
    /// is made of the other.
    pub(super) fn grown(&self) -> usize {
        self.len() + self.len() / 2 + LEAST
    }

    /// The writer's: adds an entry whose mark is not there. There is room.
    pub(super) fn insert(&self, entry: &Entry) {
        if let Err(Some(place)) = self.place(&entry.mark) {
            let (high, low) = entry.mark.halves();
            place.low.store(low, Ordering::Relaxed);
            place.times.store(entry.times(), Ordering::Relaxed);
            place.high.store(high, Ordering::Release);
            self.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The writer's: gives an entry other times.
    pub(super) fn change(&self, entry: &Entry) {
        if let Ok(place) = self.place(&entry.mark) {
            place.times.store(entry.times(), Ordering::Release);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.places.iter().filter_map(|place| {
            let high = place.high.load(Ordering::Acquire);
            let mark = Mark::of_halves(high, place.low.load(Ordering::Relaxed));
            let entry = || Entry::of_times(mark, place.times.load(Ordering::Acquire));
            (high != 0).then(entry)
        })
    }

    /// Where a mark is, or else where it belongs; there is always an empty place.
    fn place(&self, mark: &Mark) -> Result<&Place, Option<&Place>> {
        let (high, low) = mark.halves();
        let count = self.places.len();
        // Marks are hashes, so their first bits are as good as any (multiply, then take the top).
        let scaled = (u128::from(high) * count as u128) >> 64;
        let first = usize::try_from(scaled).unwrap_or(0);
        for step in 0..count {
            let Some(place) = self.places.get((first + step) % count) else {
                return Err(None);
            };
            match place.high.load(Ordering::Acquire) {
                0 => return Err(Some(place)),
                found if found == high && place.low.load(Ordering::Relaxed) == low => {
                    return Ok(place);
                }
                _ => {}
            }
        }
        Err(None)
    }
}
