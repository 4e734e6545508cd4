//! Denials that come by the thousand: a few are told each second, the others are counted.

use std::time::{Duration, Instant};

use crate::denial::Reason;

const SECOND: Duration = Duration::from_secs(1);

/// How often each denial was told, and how often it was not.
#[derive(Debug)]
pub(super) struct Repeated {
    per_second: u32,
    counts: Vec<Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// The first denial of this second.
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        self.since
            .is_none_or(|since| now.saturating_duration_since(since) >= SECOND)
    }
}

/// What becomes of a denial's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is written.
    Alone,
    /// It is counted; `first` of those that one line will tell.
    Counted { first: bool },
}

impl Repeated {
    /// So many lines in each second for each reason.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            counts: vec![Count::default(); Reason::ALL.len()],
        }
    }

    /// Counts a denial.
    pub(super) fn count(&mut self, reason: Reason, now: Instant) -> Told {
        // Reasons are numbered as they stand in the table.
        let Some(count) = self.counts.get_mut(reason as usize) else {
            return Told::Alone;
        };
        if count.is_over(now) {
            count.since = Some(now);
            count.told = 0;
        }
        if count.told < self.per_second {
            count.told += 1;
            return Told::Alone;
        }
        count.untold += 1;
        Told::Counted {
            first: count.untold == 1,
        }
    }

    /// When there will be something to tell, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let untold = self.counts.iter().filter(|count| count.untold > 0);
        untold
            .filter_map(|count| count.since)
            .min()
            .map(|since| since + SECOND)
    }

    /// Takes what was counted in seconds that are over; in all of them at the end.
    pub(super) fn take(&mut self, now: Instant, end: bool) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().zip(&mut self.counts);
        counts
            .filter(|(_, count)| count.untold > 0 && (end || count.is_over(now)))
            .map(|(reason, count)| (*reason, std::mem::take(&mut count.untold)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_counted_and_told_once_the_second_is_over() {
        let mut repeated = Repeated::new(2);
        let now = Instant::now();
        let tell = |repeated: &mut Repeated, at| repeated.count(Reason::TokenExpired, at);
        assert_eq!(repeated.due(), None);
        let told: Vec<_> = (0..5).map(|_| tell(&mut repeated, now)).collect();
        let counted = |first| Told::Counted { first };
        let expected = [
            Told::Alone,
            Told::Alone,
            counted(true),
            counted(false),
            counted(false),
        ];
        assert_eq!(told, expected);
        // Another reason has lines of its own.
        assert_eq!(repeated.count(Reason::TokenMissing, now), Told::Alone);
        assert_eq!(repeated.take(now, false), []);
        let later = repeated.due().unwrap();
        assert_eq!(later, now + SECOND);
        assert_eq!(repeated.take(later, false), [(Reason::TokenExpired, 3)]);
        assert_eq!((repeated.due(), repeated.take(later, true)), (None, vec![]));
        assert_eq!(tell(&mut repeated, later), Told::Alone);
    }

    #[test]
    fn at_the_end_everything_is_told() {
        let mut repeated = Repeated::new(0);
        let now = Instant::now();
        for reason in Reason::ALL {
            assert_eq!(repeated.count(*reason, now), Told::Counted { first: true });
        }
        let all: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, 1)).collect();
        assert_eq!(repeated.take(now, true), all);
    }
}
