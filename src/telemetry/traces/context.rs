//! The trace context that requests carry: <https://www.w3.org/TR/trace-context/>.

use std::fmt;

use data_encoding::HEXLOWER;
use http::{HeaderName, HeaderValue};

use crate::fields::Fields;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What a `traceparent` of version 00 takes.
const LENGTH: usize = 55;

/// What a list of vendors' entries may take to be told of (§3.3.1.5); a longer one passes all the
/// same.
const STATE: usize = 512;

const SAMPLED: u8 = 1;

/// The flags that have a meaning: sampled, and that the trace's id is random (level 2, §3.2.2.5.1).
const KNOWN: u8 = SAMPLED | 2;

/// Which trace, which request of it, and whether somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) flags: u8,
}

impl Context {
    /// What a request carries; `None` when that is nothing, or nothing that can be read (§3.2.2.3: then
    /// a new trace begins).
    pub(super) fn read(fields: &Fields) -> Option<Self> {
        let value = fields.single(&TRACEPARENT).ok()??;
        Self::parse(value)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let part = |from: usize, to: usize| HEXLOWER.decode(text.get(from..to)?).ok();
        let dash = |at: usize| text.get(at) == Some(&b'-');
        let version = *part(0, 2)?.first()?;
        // Later versions may say more, after another dash (§3.2.4).
        let ends = match version {
            0xff => false,
            0 => text.len() == LENGTH,
            _ => text.len() == LENGTH || dash(LENGTH),
        };
        if !ends || !dash(2) || !dash(35) || !dash(52) {
            return None;
        }
        let context = Self {
            trace: part(3, 35)?.try_into().ok()?,
            span: part(36, 52)?.try_into().ok()?,
            flags: part(53, LENGTH)?.first()? & KNOWN,
        };
        (context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    /// A request that this one caused.
    pub(super) fn child(self, random: [u8; 24]) -> Self {
        let [.., a, b, c, d, e, f, g, h] = random;
        Self {
            span: [a, b, c, d, e, f, g, h],
            ..self
        }
    }

    /// The first request of a trace, which is sampled with this probability.
    pub(super) fn root(random: [u8; 24], sample: f64) -> Self {
        let (trace, span) = random.split_at(16);
        let own = Self {
            trace: trace.try_into().unwrap_or_default(),
            span: span.try_into().unwrap_or_default(),
            flags: KNOWN,
        };
        // The last seven bytes are random (level 2, §3.2.2.3.1), and everybody decides by them alike.
        let [.., a, b, c, d, e, f, g] = own.trace;
        let drawn = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        // 53 of the 56 bits, which a double holds: rounded up, the last of all would be none of all.
        #[expect(clippy::cast_precision_loss, reason = "nothing is lost of 53 bits")]
        let sampled = ((drawn >> 3) as f64) < sample * (1u64 << 53) as f64;
        match sampled {
            true => own,
            false => Self {
                flags: KNOWN & !SAMPLED,
                ..own
            },
        }
    }

    pub(super) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Puts it into a request. `continued`: it belongs to the trace that the request came with, whose
    /// `tracestate` it keeps.
    pub(super) fn write(self, fields: &mut Fields, continued: bool) {
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            fields.insert(&TRACEPARENT, &value);
        }
        if !continued {
            fields.remove(&TRACESTATE);
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (HEXLOWER.encode(&self.trace), HEXLOWER.encode(&self.span));
        write!(f, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

/// The vendors' entries, for the span.
pub(super) fn state(fields: &Fields) -> Option<Box<str>> {
    let lines: Vec<_> = fields.get_all(&TRACESTATE).collect();
    let joined = String::from_utf8(lines.join(&b","[..])).ok()?;
    (!joined.is_empty() && joined.len() <= STATE).then(|| joined.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_can_be_read_is_read_and_nothing_else() {
        let read = |text: &str| Context::parse(text.as_bytes());
        let good = read(GOOD).unwrap();
        assert!(good.is_sampled());
        assert_eq!(good.to_string(), GOOD);
        let unsampled = read(&GOOD.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
        // A later version may say more; its unknown flags are not passed on.
        let later = read(&GOOD.replacen("00", "cc", 1).replace("-01", "-fd-more")).unwrap();
        assert_eq!(later.to_string(), GOOD);
        for bad in [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-more"),
            format!("{GOOD}0"),
            GOOD.replacen("00", "cc", 1) + ".more",
            GOOD.replace('-', "_"),
            GOOD[..54].to_owned(),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("4bf9", "4bgg"),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn the_share_of_new_traces_is_what_was_asked_for() {
        let sampled = |byte: u8, sample| Context::root([byte; 24], sample).is_sampled();
        assert!(sampled(0xff, 1.0) && !sampled(0, 0.0));
        assert!(sampled(0x7f, 0.5) && !sampled(0x80, 0.5));
        assert!(!sampled(0x40, 0.01) && sampled(0x01, 0.01));
    }
}
