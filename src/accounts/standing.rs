//! Who is suspended, remembered for a moment: routes that refuse the suspended ask the database
//! once in that time for each user, and not for each request.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::transaction::{Fault, Transaction};
use crate::config::accounts::Standing as Settings;

/// Whether somebody may pass where the suspended may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Good,
    /// They are suspended.
    Suspended,
    /// There is no such account any more.
    Gone,
}

/// An account, as far as this is concerned: the times for which it is suspended, now or later.
/// They are remembered themselves, so that an end is noticed without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    exists: bool,
    suspended: Vec<(i64, i64)>,
}

/// What was learnt, and when.
#[derive(Debug)]
struct Learnt {
    standing: Standing,
    at: i64,
}

#[derive(Debug)]
pub(super) struct Standings {
    seen: Cache<Box<str>, Arc<Learnt>>,
    /// Milliseconds.
    fresh: i64,
    max_stale: i64,
}

const EXISTS: &str = "SELECT id FROM usher_users WHERE id = $1";
const TIMES: &str = "SELECT start_at, end_at FROM usher_suspensions \
    WHERE user_id = $1 AND (end_at IS NULL OR end_at > $2)";

/// Asks the database.
pub(super) async fn look(
    tx: &mut dyn Transaction,
    user: &str,
    now: i64,
) -> Result<Standing, Fault> {
    let exists = !tx.rows(EXISTS, vec![user.into()]).await?.is_empty();
    let rows = tx.rows(TIMES, vec![user.into(), now.into()]).await?;
    let time = |row: &super::transaction::Row| {
        let start = row.integer(0).unwrap_or(i64::MIN);
        (start, row.integer(1).unwrap_or(i64::MAX))
    };
    Ok(Standing {
        exists,
        suspended: rows.iter().map(time).collect(),
    })
}

impl Standing {
    fn verdict(&self, now: i64) -> Verdict {
        let holds = |(start, end): &(i64, i64)| (*start..*end).contains(&now);
        match (self.exists, self.suspended.iter().any(holds)) {
            (false, _) => Verdict::Gone,
            (true, true) => Verdict::Suspended,
            (true, false) => Verdict::Good,
        }
    }
}

impl Standings {
    pub(super) fn new(settings: &Settings) -> Self {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            seen: Cache::new(settings.capacity),
            fresh: millis(settings.fresh),
            max_stale: millis(settings.max_stale),
        }
    }

    /// What is remembered, if it is fresh.
    pub(super) fn recall(&self, user: &str, now: i64) -> Option<Verdict> {
        self.younger_than(self.fresh, user, now)
    }

    /// What is remembered, for when nobody can be asked.
    pub(super) fn last(&self, user: &str, now: i64) -> Option<Verdict> {
        self.younger_than(self.max_stale, user, now)
    }

    /// Remembers an answer.
    pub(super) fn learn(&self, user: &str, standing: Standing, now: i64) -> Verdict {
        let verdict = standing.verdict(now);
        let learnt = Arc::new(Learnt { standing, at: now });
        self.seen.insert(user.into(), learnt);
        verdict
    }

    /// A clock that was set back makes an age negative: then it is asked for again.
    fn younger_than(&self, most: i64, user: &str, now: i64) -> Option<Verdict> {
        let learnt = self.seen.get(user)?;
        let age = now.saturating_sub(learnt.at);
        (0..most)
            .contains(&age)
            .then(|| learnt.standing.verdict(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_begins_and_ends_by_the_clock() {
        let settings = Settings {
            fresh: Duration::from_secs(30),
            max_stale: Duration::from_secs(60),
            capacity: 10,
        };
        let standings = Standings::new(&settings);
        let standing = Standing {
            exists: true,
            suspended: vec![(10_000, 20_000)],
        };
        assert_eq!(standings.learn("u", standing, 0), Verdict::Good);
        assert_eq!(standings.recall("u", 9_999), Some(Verdict::Good));
        assert_eq!(standings.recall("u", 10_000), Some(Verdict::Suspended));
        assert_eq!(standings.recall("u", 20_000), Some(Verdict::Good));
        assert_eq!(standings.recall("u", 30_000), None, "too old");
        assert_eq!(standings.last("u", 30_000), Some(Verdict::Good));
        assert_eq!(standings.last("u", 60_000), None);
        assert_eq!(standings.recall("u", -1), None, "the clock was set back");
        assert_eq!(standings.recall("v", 0), None);
    }
}
