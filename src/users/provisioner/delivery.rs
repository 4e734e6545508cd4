//! Putting one request on the stream: certainly, certainly not, or perhaps.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script, Value};
use tokio::time::Instant;

use super::link::{Failure, Link};
use super::reply::EntryId;
use crate::database::streams::{self, text};

/// The marker and the request, in one step. A marker that is there already is answered with,
/// its value says whose it is. The request goes first: if Redis refuses it, no marker is left
/// behind that would speak for a request that never was.
const TEXT: &str = "\
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('XADD', KEYS[2], '*', 'message', ARGV[1])
redis.pcall('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3])
return false";

static SHA1: LazyLock<String> = LazyLock::new(|| Script::new(TEXT).get_hash().to_owned());

/// A request on its way.
pub(super) struct Order<'a> {
    pub(super) marker: String,
    pub(super) requests: &'a str,
    pub(super) replies: &'a str,
    pub(super) request_id: &'a str,
    pub(super) message: &'a str,
    pub(super) life: Duration,
    /// For how long a doubtful request is repeated.
    pub(super) repeat: Duration,
}

/// By what a request's reply is recognised, and from where on it can come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::users) struct Ticket {
    pub(in crate::users) request_id: String,
    pub(super) tail: EntryId,
}

/// What became of a request.
#[derive(Debug)]
pub(in crate::users) enum Delivery {
    /// It is on the stream; by us.
    Sent(Ticket),
    /// An equal one is on the stream; by somebody else.
    Joined(Ticket),
    /// It is certainly not on the stream.
    NotSent(String),
    /// It may be on the stream.
    InDoubt(String),
}

/// Sends. A lost connection is made up for; what is in doubt is repeated, under the same id,
/// until it is certain or the time is over. In an outage nobody waits who has sent nothing.
pub(super) async fn send(link: &Link, order: &Order<'_>) -> Delivery {
    let until = Instant::now() + order.repeat;
    let mut pause = Duration::from_millis(20);
    let mut doubt = false;
    let mut tail = None;
    loop {
        let failure = match attempt(link, order, &mut tail).await {
            Ok(delivery) => return delivery,
            Err(failure) => failure,
        };
        // Before the tail is known nothing has been sent, whatever happened.
        doubt |= matches!(failure, Failure::Unknown(_)) && tail.is_some();
        let refused = matches!(failure, Failure::Answered { .. });
        let hopeless = !doubt && (refused || link.is_out());
        if hopeless || Instant::now() + pause >= until {
            let why = failure.to_string();
            return match doubt {
                true => Delivery::InDoubt(why),
                false => Delivery::NotSent(why),
            };
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

async fn attempt(
    link: &Link,
    order: &Order<'_>,
    tail: &mut Option<EntryId>,
) -> Result<Delivery, Failure> {
    // On a cluster the replies may live in another slot, so this is no part of the script. The
    // first tail stays: a repeat must not step over the reply to what it repeats.
    let tail = match *tail {
        Some(tail) => tail,
        None => *tail.insert(read_tail(link, order.replies).await?),
    };
    let ticket = Ticket {
        request_id: order.request_id.to_owned(),
        tail,
    };
    let held = match run(link, order, &ticket, "EVALSHA", &SHA1).await {
        Err(Failure::Answered { code, .. }) if code == "NOSCRIPT" => {
            run(link, order, &ticket, "EVAL", TEXT).await?
        }
        other => other?,
    };
    match held {
        Value::Nil => Ok(Delivery::Sent(ticket)),
        held => match Ticket::read(&held) {
            Some(held) if held.request_id == ticket.request_id => Ok(Delivery::Sent(ticket)),
            Some(held) => Ok(Delivery::Joined(held)),
            None => Ok(Delivery::NotSent("the marker cannot be read".to_owned())),
        },
    }
}

async fn run(
    link: &Link,
    order: &Order<'_>,
    ticket: &Ticket,
    how: &str,
    script: &str,
) -> Result<Value, Failure> {
    let mut command = redis::cmd(how);
    command
        .arg(script)
        .arg(2)
        .arg(&order.marker)
        .arg(order.requests)
        .arg(order.message)
        .arg(ticket.write())
        .arg(u64::try_from(order.life.as_millis()).unwrap_or(u64::MAX));
    link.query(&command).await
}

/// The id of the newest entry, without reading any.
async fn read_tail(link: &Link, stream: &str) -> Result<EntryId, Failure> {
    let mut command = Cmd::new();
    command.arg("XINFO").arg("STREAM").arg(stream);
    let answer = match link.query(&command).await {
        Ok(answer) => answer,
        // No stream yet: everything on it will be new.
        Err(Failure::Answered { text, .. } | Failure::Unknown(text))
            if text.contains("no such key") =>
        {
            return Ok(EntryId::ZERO);
        }
        Err(failure) => return Err(failure),
    };
    let fields = streams::pairs(answer).unwrap_or_default();
    let mut fields = fields.iter();
    fields
        .find(|(name, _)| text(name) == Some("last-generated-id"))
        .and_then(|(_, id)| EntryId::read(text(id)?))
        .ok_or_else(|| Failure::Unreached("XINFO names no last id".to_owned()))
}

impl Ticket {
    fn write(&self) -> String {
        format!("{} {}", self.request_id, self.tail)
    }

    fn read(value: &Value) -> Option<Self> {
        let (request_id, tail) = text(value)?.split_once(' ')?;
        Some(Self {
            request_id: request_id.to_owned(),
            tail: EntryId::read(tail)?,
        })
    }
}

/// The part of a marker's key that puts it on the stream's slot, so that one script may use
/// both on a cluster; `None` where a name with stray braces makes that impossible.
pub(super) fn slot_prefix(stream: &str) -> Option<String> {
    let tag = stream.split_once('{').and_then(|(_, rest)| {
        let (tag, _) = rest.split_once('}')?;
        (!tag.is_empty()).then_some(tag)
    });
    match tag {
        Some(tag) => Some(format!("{{{tag}}}:{stream}")),
        None if stream.is_empty() || stream.contains('}') => None,
        None => Some(format!("{{{stream}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_shares_the_streams_slot() {
        assert_eq!(
            slot_prefix("stream:exness").as_deref(),
            Some("{stream:exness}")
        );
        assert_eq!(
            slot_prefix("{app}:users").as_deref(),
            Some("{app}:{app}:users")
        );
        assert_eq!(slot_prefix("odd}name"), None);
        assert_eq!(slot_prefix("{}odd"), None);
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let ticket = Ticket {
            request_id: "6f1c".to_owned(),
            tail: EntryId(5, 7),
        };
        let value = Value::BulkString(ticket.write().into_bytes());
        assert_eq!(Ticket::read(&value), Some(ticket));
        assert_eq!(Ticket::read(&Value::BulkString(vec![0xff])), None);
    }
}
