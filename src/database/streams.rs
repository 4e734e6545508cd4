//! What Redis says of a stream, in both of its protocols, read without trusting any of it.

use std::fmt;

use redis::Value;

/// The id of an entry: milliseconds and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId(pub u64, pub u64);

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self(0, 0);

    /// Reads what [`fmt::Display`] writes.
    pub fn read(text: &str) -> Option<Self> {
        let (time, number) = text.split_once('-')?;
        Some(Self(time.parse().ok()?, number.parse().ok()?))
    }

    /// The first id after it.
    #[must_use]
    pub fn next(self) -> Self {
        match self.1.checked_add(1) {
            Some(number) => Self(self.0, number),
            None => Self(self.0.saturating_add(1), 0),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// The entries of an XREAD of one stream, each for [`entry`]; none when it waited for nothing. `None`
/// where it is no such answer.
pub fn read(answer: Value) -> Option<Vec<Value>> {
    let entries = match answer {
        Value::Nil => return Some(Vec::new()),
        // RESP3.
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        // The stream's name, then its entries.
        Value::Array(streams) => match streams.into_iter().next() {
            Some(Value::Array(parts)) => parts.into_iter().nth(1),
            _ => None,
        },
        _ => None,
    };
    match entries {
        Some(Value::Array(entries)) => Some(entries),
        _ => None,
    }
}

/// An entry's id, and its names and values in turn.
pub fn entry(entry: Value) -> Option<(EntryId, Vec<Value>)> {
    let Value::Array(parts) = entry else {
        return None;
    };
    let mut parts = parts.into_iter();
    let id = EntryId::read(text(&parts.next()?)?)?;
    match parts.next() {
        Some(Value::Array(fields)) => Some((id, fields)),
        _ => Some((id, Vec::new())),
    }
}

/// Names with their values, as XINFO has them.
pub fn pairs(answer: Value) -> Option<Vec<(Value, Value)>> {
    match answer {
        Value::Map(pairs) => Some(pairs),
        Value::Array(list) => {
            let mut list = list.into_iter();
            Some(std::iter::from_fn(|| Some((list.next()?, list.next()?))).collect())
        }
        _ => None,
    }
}

/// Text.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn both_protocols_say_the_same() {
        let one = Value::Array(vec![bulk("1-2"), Value::Array(vec![bulk("a"), bulk("b")])]);
        let list = Value::Array(vec![one.clone()]);
        let second = Value::Array(vec![Value::Array(vec![bulk("name"), list.clone()])]);
        let third = Value::Map(vec![(bulk("name"), list)]);
        assert_eq!(read(second), Some(vec![one.clone()]));
        assert_eq!(read(third), Some(vec![one.clone()]));
        assert_eq!(read(Value::Nil), Some(Vec::new()));
        assert_eq!(
            entry(one),
            Some((EntryId(1, 2), vec![bulk("a"), bulk("b")]))
        );
        let pair = vec![(bulk("a"), Value::Int(1))];
        assert_eq!(
            pairs(Value::Array(vec![bulk("a"), Value::Int(1)])),
            Some(pair.clone())
        );
        assert_eq!(pairs(Value::Map(pair.clone())), Some(pair));
    }

    #[test]
    fn what_is_no_stream_is_none_and_no_empty_stream() {
        for answer in [
            Value::Okay,
            Value::Int(1),
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![bulk("name")])]),
        ] {
            assert_eq!(read(answer.clone()), None, "{answer:?}");
            assert_eq!(entry(answer), None);
        }
        assert_eq!(entry(Value::Array(vec![bulk("x"), Value::Nil])), None);
        assert_eq!(pairs(Value::Nil), None);
    }

    #[test]
    fn ids_follow_each_other() {
        let id = EntryId::read("7-9").unwrap();
        assert_eq!(id.next().to_string(), "7-10");
        assert_eq!(EntryId(7, u64::MAX).next(), EntryId(8, 0));
        assert!(EntryId::read("8-0").unwrap() > id && id > EntryId::ZERO);
    }
}
