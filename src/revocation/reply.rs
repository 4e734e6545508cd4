//! What Redis says of the stream, read without trusting any of it.

use redis::Value;

use crate::database::streams;
pub(super) use crate::database::streams::{EntryId, text};
use crate::revoked::Entry;

/// The field of an entry, and with it the version: another one is none that we understand.
pub(super) const FIELD: &str = "v1";

/// Where an entry stands, and what it says; `None` if that is nothing we understand.
pub(super) type Line = (EntryId, Option<Entry>);

/// How the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The last id that was given away.
    pub(super) last: Option<EntryId>,
    /// How many entries were ever added; Redis 7 and newer tell.
    pub(super) added: u64,
}

/// The entries of an XRANGE.
pub(super) fn range(answer: Value) -> Result<Vec<Line>, String> {
    match answer {
        Value::Array(list) => lines(list),
        _ => Err(strange()),
    }
}

/// The entries of an XREAD of one stream; none when it waited for nothing.
pub(super) fn read(answer: Value) -> Result<Vec<Line>, String> {
    lines(streams::read(answer).ok_or_else(strange)?)
}

/// XINFO STREAM.
pub(super) fn head(answer: Value) -> Result<Head, String> {
    let mut head = Head::default();
    for (name, value) in streams::pairs(answer).ok_or_else(strange)? {
        match (text(&name), &value) {
            (Some("last-generated-id"), value) => {
                head.last = text(value).and_then(EntryId::read);
            }
            (Some("entries-added"), Value::Int(count)) => {
                head.added = u64::try_from(*count).unwrap_or(0);
            }
            _ => {}
        }
    }
    match head.last {
        Some(_) => Ok(head),
        None => Err(strange()),
    }
}

fn lines(list: Vec<Value>) -> Result<Vec<Line>, String> {
    let line = |entry| {
        let (id, fields) = streams::entry(entry)?;
        let said = match fields.as_slice() {
            [name, value] if text(name) == Some(FIELD) => text(value),
            _ => None,
        };
        Some((id, said.and_then(|text| Entry::parse(text).ok())))
    };
    let lines: Option<_> = list.into_iter().map(line).collect();
    lines.ok_or_else(strange)
}

fn strange() -> String {
    "redis answers something that no stream answers".to_owned()
}

/// For `fuzz/`: the entries in what Redis answers.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(bytes: &[u8]) -> Vec<Entry> {
    let answers = redis::parse_redis_value(bytes).ok();
    let lines = answers.and_then(|answer| read(answer).ok());
    let entries = lines.into_iter().flatten();
    entries.filter_map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|field| bulk(field)).collect();
        Value::Array(vec![bulk(id), Value::Array(fields)])
    }

    const GOOD: &str = "000102030405060708090a0b0c0d0e0f - 17";

    #[test]
    fn entries_are_read_and_others_are_none() {
        let list = Value::Array(vec![
            entry("1-0", &["v1", GOOD]),
            entry("1-1", &["v2", GOOD]),
            entry("1-2", &["v1", "junk"]),
            entry("1-3", &["v1", GOOD, "more", "x"]),
            entry("1-4", &[]),
        ]);
        let lines = range(list.clone()).unwrap();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0].1.unwrap().to_string(), GOOD);
        assert!(lines[1..].iter().all(|(_, entry)| entry.is_none()));
        let stream = Value::Array(vec![bulk("name"), list.clone()]);
        assert_eq!(read(Value::Array(vec![stream])).unwrap(), lines);
        assert_eq!(read(Value::Map(vec![(bulk("name"), list)])).unwrap(), lines);
        assert_eq!(read(Value::Nil).unwrap(), []);
    }

    #[test]
    fn what_is_no_stream_is_an_error_and_no_empty_stream() {
        for answer in [
            Value::Okay,
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![entry("x", &["v1", GOOD])]),
        ] {
            assert!(range(answer.clone()).is_err(), "{answer:?}");
            assert!(read(answer).is_err());
        }
        assert!(read(Value::Array(Vec::new())).is_err());
        assert!(head(Value::Nil).is_err());
    }
}
