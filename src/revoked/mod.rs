//! What is revoked: a set that a request asks without a lock and without an allocation.
//!
//! A mark (`mark`) names what is revoked: one token, a session, a user, a key or an issuer. An
//! `entry` says of a mark since when and until when; the `table` holds entries. Who fills it is
//! `revocation`'s business.

mod entry;
mod mark;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::entry::{Before, Entry, Second, Unreadable};
pub use self::mark::{Mark, Marks, Said};
use self::table::Table;

/// The set, and a number that changes whenever it does: who remembers the number under which a
/// token was found good need not ask again before it has changed.
#[derive(Debug)]
pub struct Revoked {
    table: ArcSwap<Table>,
    /// Writers wait for each other; readers for nobody.
    writers: Mutex<()>,
    /// 0 until everything that was revoked before we started is known.
    generation: AtomicU64,
    changed: watch::Sender<u64>,
    /// Seconds by which a token may be younger than what it is measured against.
    skew: u32,
    capacity: usize,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It says something new.
    New,
    /// All that it says was known.
    Known,
    /// There is no room: it is not remembered.
    Full,
}

impl Revoked {
    /// An empty set that is not open yet. A token is revoked too if its `iat` is up to `skew`
    /// seconds after the time that revokes. Of more entries than `capacity` none is remembered.
    pub fn new(skew: u32, capacity: usize) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(0)),
            writers: Mutex::new(()),
            generation: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            skew,
            capacity,
        }
    }

    /// Changes with the set; 0: not open, so nobody can tell what is revoked.
    pub fn generation(&self) -> u64 {
        // Whoever sees the number sees the entries that it stands for.
        self.generation.load(Ordering::Acquire)
    }

    /// From now on the set is believed. Again, it does nothing.
    pub fn open(&self) {
        let _writer = self.writers.lock();
        if self.generation() == 0 {
            self.turn();
        }
    }

    /// Whether anything that these marks name is revoked.
    pub fn holds(&self, marks: &Marks) -> bool {
        let table = self.table.load();
        let revokes = |mark: &Mark| {
            table
                .find(mark)
                .is_some_and(|entry| entry.before.revokes(marks.issued, self.skew))
        };
        marks.all().any(revokes)
    }

    /// What is known of a mark.
    pub fn find(&self, mark: &Mark) -> Option<Entry> {
        self.table.load().find(mark)
    }

    /// Adds entries, and tells everybody once.
    pub fn add(&self, entries: impl IntoIterator<Item = Entry>, mut told: impl FnMut(Added)) {
        let _writer = self.writers.lock();
        let mut news = false;
        for entry in entries {
            let added = self.put(entry);
            news |= added == Added::New;
            told(added);
        }
        if news && self.generation() > 0 {
            self.turn();
        }
    }

    /// Forgets what has ended at `now`, in seconds since 1970; how much that was.
    pub fn purge(&self, now: i64) -> usize {
        let _writer = self.writers.lock();
        let table = self.table.load_full();
        let ended = table.entries().filter(|entry| entry.has_ended(now)).count();
        if ended > 0 {
            // What ended revokes no token that is good, so nobody needs to be told.
            let rest = table.entries().filter(|entry| !entry.has_ended(now));
            self.table
                .store(Table::of(table.len() - ended, rest).into());
        }
        ended
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.table.load().len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry, as of now.
    pub fn each(&self, mut visit: impl FnMut(Entry)) {
        self.table.load_full().entries().for_each(&mut visit);
    }

    /// Hears of each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The writer's; the lock is held.
    fn put(&self, entry: Entry) -> Added {
        let table = self.table.load();
        match table.find(&entry.mark) {
            Some(known) if known.merged(&entry) == known => return Added::Known,
            Some(known) => {
                table.change(&known.merged(&entry));
                return Added::New;
            }
            None if table.len() >= self.capacity => return Added::Full,
            None => {}
        }
        if table.has_room() {
            table.insert(&entry);
        } else {
            let larger = Table::of(table.grown(), table.entries());
            larger.insert(&entry);
            self.table.store(larger.into());
        }
        Added::New
    }

    fn turn(&self) {
        let next = self.generation.fetch_add(1, Ordering::Release) + 1;
        self.changed.send_replace(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, before: Before) -> Entry {
        Entry {
            mark: Mark::of_user("idp", &number.to_string()),
            before,
            until: Second::Never,
        }
    }

    fn marks(id: &str, issued: Option<i64>) -> Marks {
        Marks::of(&Said {
            issuer: "idp",
            id,
            fingerprint: [7; 16],
            jti: Some("j"),
            session: Some("s"),
            key: Some("k"),
            issued,
        })
    }

    fn add(set: &Revoked, entry: Entry) -> Added {
        let mut last = Added::Full;
        set.add([entry], |added| last = added);
        last
    }

    #[test]
    fn each_kind_of_mark_reaches_the_token_and_no_other() {
        let kinds: [(Mark, Mark); 6] = [
            (Mark::of_token("idp", "j"), Mark::of_token("other", "j")),
            (Mark::of_session("idp", "s"), Mark::of_session("idp", "j")),
            (Mark::of_key("idp", "k"), Mark::of_key("idp", "K")),
            (Mark::of_fingerprint([7; 16]), Mark::of_fingerprint([8; 16])),
            (Mark::of_user("idp", "u"), Mark::of_user("id", "pu")),
            (Mark::of_issuer("idp"), Mark::of_issuer("other")),
        ];
        for (hit, miss) in kinds {
            let set = Revoked::new(0, 10);
            let until = Second::Never;
            let whole = |mark| Entry {
                mark,
                before: Before::Always,
                until,
            };
            add(&set, whole(miss));
            assert!(!set.holds(&marks("u", Some(1))));
            add(&set, whole(hit));
            assert!(set.holds(&marks("u", Some(1))));
        }
    }

    #[test]
    fn a_time_revokes_what_is_as_old_and_a_little_younger() {
        let set = Revoked::new(2, 10);
        add(&set, entry(1, Before::At(100)));
        for (issued, revoked) in [(Some(100), true), (Some(102), true), (Some(103), false)] {
            assert_eq!(set.holds(&marks("1", issued)), revoked, "{issued:?}");
        }
        assert!(set.holds(&marks("1", None)), "without `iat` it is older");
        assert!(!set.holds(&marks("2", Some(0))));
    }

    #[test]
    fn the_later_time_wins_whatever_comes_first() {
        let set = Revoked::new(0, 10);
        assert_eq!(add(&set, entry(1, Before::At(200))), Added::New);
        assert_eq!(add(&set, entry(1, Before::At(100))), Added::Known);
        assert!(set.holds(&marks("1", Some(150))));
        assert_eq!(add(&set, entry(1, Before::At(300))), Added::New);
        assert!(set.holds(&marks("1", Some(250))));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn the_number_changes_with_the_set_once_it_is_open() {
        let set = Revoked::new(0, 2);
        add(&set, entry(1, Before::Always));
        assert_eq!(set.generation(), 0, "nobody can tell yet");
        set.open();
        let open = set.generation();
        assert!(open > 0);
        add(&set, entry(1, Before::Always));
        assert_eq!(set.generation(), open, "nothing new");
        add(&set, entry(2, Before::Always));
        assert!(set.generation() > open);
        assert_eq!(add(&set, entry(3, Before::Always)), Added::Full);
        assert!(!set.holds(&marks("3", None)));
    }

    #[test]
    fn what_has_ended_goes_and_the_rest_stays() {
        let set = Revoked::new(0, 100_000);
        let ends = |number: u64| Entry {
            until: Second::At(u32::try_from(number).unwrap()),
            ..entry(number, Before::Always)
        };
        set.add((1..=50_000).map(ends), |added| {
            assert_eq!(added, Added::New)
        });
        assert_eq!(set.len(), 50_000);
        assert_eq!(set.purge(20_000), 20_000);
        assert_eq!((set.len(), set.purge(20_000)), (30_000, 0));
        assert!(!set.holds(&marks("20000", None)) && set.holds(&marks("20001", None)));
        let mut seen = 0;
        set.each(|entry| {
            assert_eq!(set.find(&entry.mark), Some(entry));
            seen += 1;
        });
        assert_eq!(seen, 30_000);
    }

    #[test]
    fn readers_see_every_entry_while_the_table_grows() {
        let set = Revoked::new(0, 1 << 20);
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while done.load(Ordering::Acquire) < 50_000 {
                        let known = done.load(Ordering::Acquire);
                        assert!(known == 0 || set.holds(&marks(&known.to_string(), None)));
                    }
                });
            }
            for number in 1..=50_000 {
                add(&set, entry(number, Before::Always));
                done.store(number, Ordering::Release);
            }
        });
    }
}
