//! An entry: a mark, which tokens it revokes, and until when it has to be known.

use std::fmt;

use super::mark::Mark;

/// What is revoked, since when, and until when it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is revoked.
    pub mark: Mark,
    /// Which tokens of it.
    pub before: Before,
    /// When the last of these tokens has expired.
    pub until: Second,
}

/// Which tokens a mark revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Before {
    /// Those issued up to this second since 1970.
    At(u32),
    /// All of them.
    Always,
}

/// A second since 1970, as far as it fits 32 bits (the year 2106), or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Second {
    /// Then.
    At(u32),
    /// Not in our time.
    Never,
}

/// Why a line is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Before {
    /// Whether a token that was issued then is revoked; one that does not say when is.
    pub(super) fn revokes(self, issued: Option<i64>, skew: u32) -> bool {
        match (self, issued) {
            (Self::At(before), Some(issued)) => issued <= i64::from(before) + i64::from(skew),
            (Self::Always, _) | (_, None) => true,
        }
    }
}

impl Entry {
    /// Both entries in one: the later times.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        Self {
            mark: self.mark,
            before: self.before.max(other.before),
            until: self.until.max(other.until),
        }
    }

    /// Whether it need not be known any more.
    pub fn has_ended(&self, now: i64) -> bool {
        match self.until {
            Second::At(until) => i64::from(until) <= now,
            Second::Never => false,
        }
    }

    /// Both times in one word.
    pub(super) fn times(&self) -> u64 {
        let before = match self.before {
            Before::At(second) => second,
            Before::Always => u32::MAX,
        };
        let until = match self.until {
            Second::At(second) => second,
            Second::Never => u32::MAX,
        };
        u64::from(before) << 32 | u64::from(until)
    }

    pub(super) fn of_times(mark: Mark, times: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "each half is cut out")]
        let (before, until) = ((times >> 32) as u32, times as u32);
        Self {
            mark,
            before: match before {
                u32::MAX => Before::Always,
                second => Before::At(second),
            },
            until: match until {
                u32::MAX => Second::Never,
                second => Second::At(second),
            },
        }
    }

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(Unreadable);
        let (mark, before, until) = (word()?, word()?, word()?);
        if words.next().is_some() {
            return Err(Unreadable);
        }
        Ok(Self {
            mark: Mark::parse(mark).ok_or(Unreadable)?,
            before: second(before)?.map_or(Before::Always, Before::At),
            until: second(until)?.map_or(Second::Never, Second::At),
        })
    }
}

/// `-` stands for no second at all.
fn second(word: &str) -> Result<Option<u32>, Unreadable> {
    if word == "-" {
        return Ok(None);
    }
    // A sign is no part of it.
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let second: u64 = word.parse().ok().filter(|_| digits).ok_or(Unreadable)?;
    Ok(u32::try_from(second)
        .ok()
        .filter(|second| *second < u32::MAX))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.mark)?;
        match self.before {
            Before::At(second) => write!(f, "{second} ")?,
            Before::Always => f.write_str("- ")?,
        }
        match self.until {
            Second::At(second) => write!(f, "{second}"),
            Second::Never => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn what_is_written_is_read() {
        for times in ["- -", "1 2", "1790000000 1790003600", "- 4294967294"] {
            let text = format!("{MARK} {times}");
            let entry = Entry::parse(&text).unwrap();
            assert_eq!(entry.to_string(), text);
            assert_eq!(Entry::of_times(entry.mark, entry.times()), entry);
            let (high, low) = entry.mark.halves();
            assert_eq!(Mark::of_halves(high.max(1), low).halves(), (high, low));
        }
        let late = Entry::parse(&format!("{MARK} 1 99999999999")).unwrap();
        assert_eq!(late.until, Second::Never, "beyond 2106");
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for text in [
            "",
            MARK,
            "- -",
            &format!("{MARK} -"),
            &format!("{MARK} - - -"),
            &format!("{MARK}  -"),
            &format!("{MARK} +1 -"),
            &format!("{MARK} -1 -"),
            &format!("{MARK} 1.5 -"),
            &format!("{} - -", &MARK[1..]),
            &format!("{MARK} x -"),
        ] {
            assert_eq!(Entry::parse(text), Err(Unreadable), "{text:?}");
        }
    }
}
