//! What stands on the reply stream, read without trusting any of it.

use redis::Value;
use serde::Deserialize;

use crate::database::streams;
pub(super) use crate::database::streams::EntryId;

/// Longer entries are nobody's reply to `createUser`.
const LONGEST: usize = 64 * 1024;

/// An entry: where it stands, and the reply in it, if it is one.
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) reply: Option<Reply>,
}

/// A reply to some request; most are to other kinds than ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::users) struct Reply {
    /// `requestId`, or `correlationId` where that is absent.
    pub(super) request_id: Option<String>,
    /// Whether it is about `createUser`.
    pub(super) creates: bool,
    /// The text: the user's id, or what the engine has to say.
    pub(super) message: Option<String>,
}

/// What the engine says of a user that it had already.
const EXISTS: &str = "user Already Exist";

impl Reply {
    /// Whether it says that this user exists (wire contract §3).
    pub(in crate::users) fn confirms(&self, id: &str) -> bool {
        self.message
            .as_deref()
            .is_some_and(|message| message == id || message == EXISTS)
    }

    fn read(text: &[u8]) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let wire: Wire = serde_json::from_slice(text).ok()?;
        if wire.function.is_none() && wire.request_id.is_none() && wire.correlation_id.is_none() {
            return None;
        }
        Some(Self {
            request_id: wire.request_id.or(wire.correlation_id),
            creates: wire.function.as_deref() == Some("createUser"),
            message: match wire.message {
                Some(serde_json::Value::String(message)) => Some(message),
                _ => None,
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    function: Option<String>,
    message: Option<serde_json::Value>,
    request_id: Option<String>,
    correlation_id: Option<String>,
}

/// The entries of an XREAD of one stream, in order; an entry that cannot be read has no reply.
pub(super) fn entries(answer: Value) -> Vec<Entry> {
    let list = streams::read(answer).unwrap_or_default();
    let entries = list.into_iter().filter_map(streams::entry);
    entries
        .map(|(id, fields)| Entry {
            id,
            reply: message(fields).and_then(|message| Reply::read(&message)),
        })
        .collect()
}

fn message(fields: Vec<Value>) -> Option<Vec<u8>> {
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if let (Value::BulkString(name), Value::BulkString(value)) = (name, value)
            && name == b"message"
        {
            return Some(value);
        }
    }
    None
}

/// For `fuzz/`: how many of the entries confirm a user. The bytes are what Redis says, or else the
/// text of one entry.
#[cfg(feature = "fuzzing")]
pub fn fuzz(bytes: &[u8], id: &str) -> usize {
    let text = |text: &[u8]| Value::BulkString(text.to_vec());
    let one = || {
        let fields = Value::Array(vec![text(b"message"), text(bytes)]);
        let entry = Value::Array(vec![text(b"1-1"), fields]);
        let stream = Value::Array(vec![text(b"replies"), Value::Array(vec![entry])]);
        Value::Array(vec![stream])
    };
    let answer = redis::parse_redis_value(bytes).unwrap_or_else(|_| one());
    let replies = entries(answer).into_iter().filter_map(|entry| entry.reply);
    replies.filter(|reply| reply.confirms(id)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Reply> {
        Reply::read(text.as_bytes())
    }

    #[test]
    fn the_request_id_comes_before_the_correlation_id() {
        let reply =
            read(r#"{"function":"createUser","message":"u","requestId":"a","correlationId":"b"}"#);
        assert_eq!(reply.and_then(|r| r.request_id).as_deref(), Some("a"));
        let reply = read(r#"{"function":"createUser","message":"u","correlationId":"b"}"#);
        assert_eq!(reply.and_then(|r| r.request_id).as_deref(), Some("b"));
        let reply =
            read(r#"{"function":"createUser","message":"u","requestId":null,"correlationId":"b"}"#);
        assert_eq!(reply.and_then(|r| r.request_id).as_deref(), Some("b"));
    }

    #[test]
    fn only_the_id_or_the_engines_phrase_confirms() {
        let says = |message: &str| {
            let text = format!(r#"{{"function":"createUser","message":{message}}}"#);
            read(&text).is_some_and(|reply| reply.confirms("u-1"))
        };
        assert!(says(r#""u-1""#));
        assert!(says(r#""user Already Exist""#));
        for other in [
            r#""u-2""#,
            r#""""#,
            "1",
            "null",
            r#"{"id":"u-1"}"#,
            r#""user already exist""#,
        ] {
            assert!(!says(other), "{other}");
        }
    }

    #[test]
    fn junk_is_no_reply() {
        let long = format!(
            r#"{{"function":"createUser","message":"{}"}}"#,
            "x".repeat(LONGEST)
        );
        for junk in [
            "",
            "{",
            "[]",
            "1",
            "{}",
            r#"{"a":1}"#,
            r#"{"function":5}"#,
            &long,
        ] {
            assert_eq!(read(junk), None, "{}", &junk[..junk.len().min(40)]);
        }
        assert_eq!(Reply::read(&[0xff, 0xfe]), None);
        let deep = "[".repeat(10_000);
        assert_eq!(read(&deep), None);
    }

    proptest::proptest! {
        #[test]
        fn only_who_is_named_is_confirmed(
            function in "(createUser|deleteUser|.{0,5})",
            message in "(u-1|u-2|\\PC{0,9})",
            noise in "\\PC{0,40}",
            cut in 0_usize..200,
        ) {
            let text = serde_json::json!({ "function": function, "message": message, "noise": noise });
            let text = text.to_string();
            let confirms = read(&text).is_some_and(|reply| reply.confirms("u-1"));
            proptest::prop_assert_eq!(confirms, message == "u-1" || message == EXISTS);
            // Whatever is left of it when it is cut, it is read or not.
            let _ = Reply::read(&text.as_bytes()[..cut.min(text.len())]);
        }
    }
}
