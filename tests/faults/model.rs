//! What may be answered to whom at which moment, whatever is broken; and what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::callers::{Forgery, Mortal, Standing};
use super::line::Outcome;
use super::schedule::{Kind, Peer};

/// Everything has recovered so long after the last fault.
pub const RECOVERY: Duration = Duration::from_secs(5);

/// A revocation has arrived so long after it was stored, where nothing was broken.
const ARRIVAL: Duration = Duration::from_secs(1);

/// What an usher has read is in its snapshot so long after.
const WRITTEN: Duration = Duration::from_secs(3);

/// What a fault has broken is noticed so long after its end: a connection that was reset.
const ECHO: Duration = Duration::from_secs(1);

/// The most that is kept of what was wrong.
const MOST: usize = 50;

/// A fault, while it lasts and after.
struct Trouble {
    peer: Peer,
    from: Instant,
    to: Option<Instant>,
}

impl Trouble {
    /// Whether it lasted, or had ended for less than `margin`, at any time from `from` on.
    fn reaches(&self, from: Instant, margin: Duration) -> bool {
        self.to.is_none_or(|to| to + margin >= from)
    }
}

/// Usher, its process, and who is revoked.
type Hearing = (usize, u32, String);

#[derive(Default)]
pub struct Model {
    troubles: Mutex<Vec<Trouble>>,
    /// Who cannot be let in any more by which process, and since when that is so.
    heard: Mutex<BTreeMap<Hearing, Instant>>,
    answers: Mutex<BTreeMap<(&'static str, String), u64>>,
    faults: Mutex<BTreeMap<(String, Kind), u64>>,
    wrong: Mutex<Vec<String>>,
}

/// A request that was sent.
#[derive(Clone, Copy)]
pub struct Asked {
    pub usher: usize,
    pub life: u32,
    pub at: Instant,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

impl Model {
    /// A fault begins; the number to end it by.
    pub fn begin(&self, peer: Peer, kind: Kind) -> usize {
        let name = match peer {
            Peer::Usher(_) => "Usher".to_owned(),
            other => format!("{other:?}"),
        };
        *lock(&self.faults).entry((name, kind)).or_default() += 1;
        let mut troubles = lock(&self.troubles);
        troubles.push(Trouble {
            peer,
            from: Instant::now(),
            to: None,
        });
        troubles.len() - 1
    }

    pub fn end(&self, number: usize) {
        lock(&self.troubles)[number].to = Some(Instant::now());
    }

    /// Whether one of these was broken at any time from `from` until now, or had recovered for
    /// less than `margin` then.
    fn troubled(&self, whom: impl Fn(Peer) -> bool, from: Instant, margin: Duration) -> bool {
        let troubles = lock(&self.troubles);
        let mut concerning = troubles.iter().filter(|one| whom(one.peer));
        concerning.any(|one| one.reaches(from, margin))
    }

    /// Whether Redis was broken at any time of a stretch, with some room on both sides.
    pub fn redis_was_well(&self, from: Instant, to: Instant) -> bool {
        let redis = |one: &&Trouble| one.peer == Peer::Redis;
        let troubles = lock(&self.troubles);
        let mut troubles = troubles.iter().filter(redis);
        !troubles.any(|one| one.from <= to + ECHO && one.reaches(from, RECOVERY))
    }

    pub fn blame(&self, what: String) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() < MOST {
            println!("WRONG: {what}");
            wrong.push(what);
        }
    }

    pub fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// Whether this usher can let them in no more: it is told before the request is sent.
    pub fn must_refuse(&self, mortal: &Mortal, asked: Asked, began: Instant, keeps: bool) -> bool {
        let Standing::Dead(dead) = mortal.standing() else {
            return false;
        };
        let who = (asked.usher, asked.life, mortal.person.name.clone());
        if lock(&self.heard).contains_key(&who) {
            return true;
        }
        // Without a snapshot, all of the stream is read before the first answer.
        let from_the_start = !keeps && began > dead;
        let calm_since = self.calm_since(asked.usher, began);
        let arrived = calm_since.is_some_and(|since| asked.at >= since.max(dead) + ARRIVAL);
        if from_the_start || arrived {
            lock(&self.heard).insert(who, asked.at);
        }
        from_the_start || arrived
    }

    /// Since when Redis and an usher that began then have been well, and recovered from what was.
    fn calm_since(&self, usher: usize, began: Instant) -> Option<Instant> {
        let troubles = lock(&self.troubles);
        let concerns = |one: &&Trouble| [Peer::Redis, Peer::Usher(usher)].contains(&one.peer);
        let mut ends = troubles.iter().filter(concerns).map(|one| one.to);
        let last = ends.try_fold(began, |last, end| Some(last.max(end?)))?;
        Some(last + RECOVERY)
    }

    /// An usher with a snapshot was killed: the next process begins with what it had written.
    pub fn inherit(&self, usher: usize, life: u32, killed: Instant) {
        let written = killed - WRITTEN;
        let this = |one: &&Trouble| one.peer == Peer::Usher(usher) && one.to.is_some();
        let stood_still = {
            let troubles = lock(&self.troubles);
            troubles
                .iter()
                .filter(this)
                .any(|one| one.reaches(written, Duration::ZERO))
        };
        if stood_still {
            return;
        }
        let mut heard = lock(&self.heard);
        let of_it = heard
            .iter()
            .filter(|((number, of, _), when)| (*number, *of) == (usher, life) && **when < written);
        let names: Vec<_> = of_it.map(|((_, _, name), _)| name.clone()).collect();
        let next = names
            .into_iter()
            .map(|name| ((usher, life + 1, name), killed));
        heard.extend(next);
    }

    /// Judges what somebody with a good token got.
    pub fn judge_valid(&self, kind: &'static str, name: &str, asked: Asked, got: &Outcome) {
        self.count(kind, got);
        match got {
            Outcome::Answer {
                status: 200, body, ..
            } if body == name => {}
            other => self.judge_outage(kind, name, asked, other),
        }
    }

    /// Judges what somebody got whose token dies; `refuse` is what [`Self::must_refuse`] said.
    pub fn judge_mortal(&self, mortal: &Mortal, refuse: bool, asked: Asked, got: &Outcome) {
        let name = &mortal.person.name;
        match (mortal.standing(), got.status()) {
            (Standing::Valid, _) => self.judge_valid("not yet revoked", name, asked, got),
            (_, Some(401)) => {
                self.count("revoked", got);
                let who = (asked.usher, asked.life, name.clone());
                lock(&self.heard).entry(who).or_insert_with(Instant::now);
            }
            _ if refuse => self.judge_refused("revoked", name, asked, got),
            (Standing::Dead(_), _) => self.judge_valid("revoked, not yet heard", name, asked, got),
            (Standing::Dying, _) => self.judge_valid("being revoked", name, asked, got),
        }
    }

    /// Judges what somebody got who is never let in.
    pub fn judge_refused(&self, kind: &'static str, name: &str, asked: Asked, got: &Outcome) {
        match got.status() {
            Some(401) => {}
            Some(503) if name == Forgery::UNKNOWN_KEY => {}
            // That would be the app's failure, which they may not come near.
            Some(502 | 504) => self.blame_for(kind, name, asked, got),
            _ => self.judge_outage(kind, name, asked, got),
        }
        self.count(kind, got);
    }

    /// Nobody is told that their token is bad because something is broken; and it is, or was.
    fn judge_outage(&self, kind: &str, name: &str, asked: Asked, got: &Outcome) {
        let fits = match got {
            Outcome::Answer {
                status: 503,
                later: true,
                ..
            }
            | Outcome::Answer {
                status: 502 | 504, ..
            } => self.troubled(|_| true, asked.at, RECOVERY),
            Outcome::Answer { .. } => false,
            Outcome::Nothing(_) => {
                let near = |peer| [Peer::App, Peer::Usher(asked.usher)].contains(&peer);
                self.troubled(near, asked.at, ECHO)
            }
        };
        if !fits {
            self.blame_for(kind, name, asked, got);
        }
    }

    fn blame_for(&self, kind: &str, name: &str, asked: Asked, got: &Outcome) {
        let (usher, life) = (asked.usher, asked.life);
        let after = asked.at.elapsed();
        let got = match got {
            Outcome::Answer {
                status,
                later,
                body,
            } => format!("{status} (Retry-After: {later}) {body:?}"),
            Outcome::Nothing(why) => format!("no answer ({why})"),
        };
        self.blame(format!(
            "{kind} {name:?} at usher {usher} (process {life}) got {got} after {after:?}"
        ));
    }

    fn count(&self, kind: &'static str, got: &Outcome) {
        let what = got
            .status()
            .map_or("nothing".to_owned(), |status| status.to_string());
        *lock(&self.answers).entry((kind, what)).or_default() += 1;
    }

    /// How `usher revoke` ended.
    pub fn note_command(&self, stored: bool) {
        let what = if stored { "stored" } else { "not stored" };
        *lock(&self.answers)
            .entry(("usher revoke", what.to_owned()))
            .or_default() += 1;
    }

    /// How many of a kind had this answer.
    pub fn answered(&self, kind: &'static str, status: &str) -> u64 {
        let answers = lock(&self.answers);
        answers
            .get(&(kind, status.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// What was asked and what was broken, in numbers.
    pub fn summary(&self) -> String {
        let answers = lock(&self.answers);
        let kinds: BTreeSet<_> = answers.keys().map(|(kind, _)| *kind).collect();
        let mut lines = Vec::new();
        for kind in kinds {
            let of_it = answers.iter().filter(|((of, _), _)| *of == kind);
            let counts: Vec<_> = of_it
                .map(|((_, what), count)| format!("{count} × {what}"))
                .collect();
            lines.push(format!("{kind}: {}", counts.join(", ")));
        }
        for ((peer, kind), count) in lock(&self.faults).iter() {
            lines.push(format!("{count} × {peer} {kind:?}"));
        }
        lines.join("\n")
    }
}
