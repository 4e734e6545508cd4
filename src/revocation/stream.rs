//! A Redis stream of revocations: what is asked of Redis, and in which words.

use std::fmt;
use std::time::Duration;

use redis::{Cmd, RedisError, Value, cmd};

use super::StartError;
use super::ask::{Order, When};
use super::reply::{self, EntryId, FIELD, Head, Line};
use super::store::{Failure, Stored};
use crate::config::revocation::StreamSettings;
use crate::database::redis::{Address, Connection};
use crate::revoked::Entry;

/// Entries in one answer, and in one question.
const PAGE: usize = 1000;

/// Puts an entry on the stream. Its times are those of Redis: no two callers agree on theirs.
const STORE: &str = "\
local now = tonumber(redis.call('TIME')[1])
local before = ARGV[3]
if before == 'now' then before = now end
if before ~= '-' then
  before = tonumber(before)
  if before > now then
    if ARGV[5] ~= 'clamp' then return redis.error_reply('FUTURE by the clock of Redis it is ' .. now) end
    before = now
  end
  before = string.format('%.0f', before)
end
local ends = ARGV[4]
if ends ~= '-' then ends = string.format('%.0f', now + tonumber(ends)) end
local text = ARGV[2] .. ' ' .. before .. ' ' .. ends
redis.call('XADD', KEYS[1], '*', ARGV[1], text)
return text";

/// Puts entries on the stream, if nobody has added anything since it was read: of several ushers
/// that hold the same lost entries one adds them, and the others read that it has.
const RESTORE: &str = "\
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for place = 1, #info, 2 do
    if info[place] == 'last-generated-id' then last = info[place + 1] end
  end
end
if last ~= ARGV[1] then return 0 end
for place = 3, #ARGV do redis.call('XADD', KEYS[1], '*', ARGV[2], ARGV[place]) end
return 1";

/// The stream, and the way there.
pub(super) struct Stream {
    address: Address,
    name: String,
    connect: Duration,
    response: Duration,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(settings: &StreamSettings) -> Result<Self, StartError> {
        let address = Address::new(&settings.redis, settings.ca_file.as_deref());
        Ok(Self {
            address: address.map_err(StartError)?,
            name: settings.name.clone(),
            connect: settings.connect_timeout,
            response: settings.response_timeout,
        })
    }

    /// A connection of one's own, for questions that block up to `block`.
    pub(super) async fn connect(&self, block: Duration) -> Result<Connection, String> {
        let limit = self.address.patience(self.connect);
        let connecting = self.address.connect(self.connect, block + self.response);
        match tokio::time::timeout(limit, connecting).await {
            Ok(connection) => connection.map_err(|error| error.to_string()),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    /// Entries from this id on, as many as one answer holds.
    pub(super) async fn range(
        &self,
        connection: &mut Connection,
        from: EntryId,
    ) -> Result<Vec<Line>, String> {
        let mut command = cmd("XRANGE");
        command.arg(&self.name).arg(from.to_string()).arg("+");
        command.arg("COUNT").arg(PAGE);
        reply::range(self.ask(connection, &command, Duration::ZERO).await?)
    }

    /// Entries after this id, as soon as there are some; none after `block`.
    pub(super) async fn wait(
        &self,
        connection: &mut Connection,
        after: EntryId,
        block: Duration,
    ) -> Result<Vec<Line>, String> {
        // 0 would be for ever.
        let millis = u64::try_from(block.as_millis()).unwrap_or(1000).max(1);
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(PAGE).arg("BLOCK").arg(millis);
        command
            .arg("STREAMS")
            .arg(&self.name)
            .arg(after.to_string());
        reply::read(self.ask(connection, &command, block).await?)
    }

    /// How the stream is; one that is not there has given away no id.
    pub(super) async fn head(&self, connection: &mut Connection) -> Result<Head, String> {
        let mut command = cmd("EXISTS");
        command.arg(&self.name);
        if self.ask(connection, &command, Duration::ZERO).await? == Value::Int(0) {
            return Ok(Head::default());
        }
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(&self.name);
        reply::head(self.ask(connection, &command, Duration::ZERO).await?)
    }

    /// Adds entries if `last` is still the last id; whether it was.
    pub(super) async fn restore(
        &self,
        connection: &mut Connection,
        last: EntryId,
        entries: &[Entry],
    ) -> Result<bool, String> {
        let mut command = self.script(RESTORE);
        command.arg(last.to_string()).arg(FIELD);
        for entry in entries.iter().take(PAGE) {
            command.arg(entry.to_string());
        }
        let added = self.ask(connection, &command, Duration::ZERO).await?;
        Ok(added == Value::Int(1))
    }

    /// Takes entries off.
    pub(super) async fn delete(
        &self,
        connection: &mut Connection,
        ids: &[EntryId],
    ) -> Result<(), String> {
        let mut command = cmd("XDEL");
        command.arg(&self.name);
        for id in ids {
            command.arg(id.to_string());
        }
        self.ask(connection, &command, Duration::ZERO)
            .await
            .map(drop)
    }

    /// Whether it is this process's turn to look for what has ended: one in each period gets a yes.
    pub(super) async fn turn(
        &self,
        connection: &mut Connection,
        period: Duration,
    ) -> Result<bool, String> {
        let mut command = cmd("SET");
        command.arg(format!("{}:trimmed", self.name)).arg("1");
        command.arg("NX").arg("EX").arg(period.as_secs().max(1));
        let answer = self.ask(connection, &command, Duration::ZERO).await?;
        Ok(answer == Value::Okay)
    }

    /// The clock of Redis, in seconds since 1970.
    pub(super) async fn time(&self, connection: &mut Connection) -> Result<i64, String> {
        let answer = self.ask(connection, &cmd("TIME"), Duration::ZERO).await?;
        let seconds = match &answer {
            Value::Array(parts) => parts.first().and_then(reply::text),
            _ => None,
        };
        let seconds = seconds.and_then(|text| text.parse().ok());
        seconds.ok_or_else(|| "redis does not tell the time".to_owned())
    }

    /// Stores a revocation, and waits for replicas where some are wanted.
    pub(super) async fn store(&self, order: &Order, replicas: u64) -> Result<Stored, Failure> {
        let connection = self.connect(self.response).await;
        let mut connection = connection.map_err(Failure::NotStored)?;
        let command = self.order(order);
        let asked = tokio::time::timeout(self.response * 2, connection.query(&command)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.judge(&error)),
            Err(_) => return Err(Failure::Unknown("redis does not answer".to_owned())),
        };
        let entry = reply::text(&answer).and_then(|text| Entry::parse(text).ok());
        let entry = entry.ok_or_else(|| Failure::Unknown("redis answers strangely".to_owned()))?;
        if replicas == 0 {
            let replicas = None;
            return Ok(Stored { entry, replicas });
        }
        let have = self.replicas(&mut connection, replicas).await?;
        let stored = Stored {
            entry,
            replicas: Some(have),
        };
        match have >= replicas {
            true => Ok(stored),
            false => Err(Failure::TooFewReplicas(stored)),
        }
    }

    fn order(&self, order: &Order) -> Cmd {
        let mut command = self.script(STORE);
        command.arg(FIELD).arg(order.mark.to_string());
        match order.before {
            When::Always => command.arg("-"),
            When::Now => command.arg("now"),
            When::At(second) => command.arg(second.max(0)),
        };
        match order.life {
            Some(life) => command.arg(life.as_secs()),
            None => command.arg("-"),
        };
        command.arg(if order.clamp { "clamp" } else { "refuse" });
        command
    }

    /// How many replicas have all that this connection wrote.
    async fn replicas(&self, connection: &mut Connection, wanted: u64) -> Result<u64, Failure> {
        let millis = u64::try_from(self.response.as_millis()).unwrap_or(1000);
        let mut command = cmd("WAIT");
        command.arg(wanted).arg(millis.max(1));
        let told = |why| {
            Failure::Unknown(format!(
                "it is stored, but replicas cannot be asked for: {why}"
            ))
        };
        match self.ask(connection, &command, self.response).await {
            Ok(Value::Int(have)) => Ok(u64::try_from(have).unwrap_or(0)),
            Ok(_) => Err(told("redis answers strangely".to_owned())),
            Err(why) => Err(told(why)),
        }
    }

    /// An answer with a code is Redis's own, and nothing was done; but a cluster's client may have
    /// tried before by itself.
    fn judge(&self, error: &RedisError) -> Failure {
        match error.code() {
            Some("FUTURE") => Failure::Unclear(format!(
                "`before` lies in the future: {}",
                error.detail().unwrap_or_default()
            )),
            Some(_) if !self.address.repeats_by_itself() => Failure::NotStored(error.to_string()),
            _ => Failure::Unknown(error.to_string()),
        }
    }

    /// What is wrong, and what is weak.
    pub(super) async fn check(&self) -> (Vec<String>, Vec<String>) {
        let asked = async {
            let mut connection = self.connect(Duration::ZERO).await?;
            self.head(&mut connection).await?;
            Ok::<_, String>(self.weaknesses(&mut connection).await)
        };
        match asked.await {
            Ok(weaknesses) => (Vec::new(), weaknesses),
            Err(why) => (
                vec![format!("revocation: redis cannot be asked: {why}")],
                Vec::new(),
            ),
        }
    }

    /// What Redis could lose though it has said that it is stored.
    async fn weaknesses(&self, connection: &mut Connection) -> Vec<String> {
        let mut weak = Vec::new();
        for (setting, wanted, why) in [
            ("appendonly", "yes", "a restart forgets what was revoked"),
            (
                "appendfsync",
                "always",
                "a crash forgets what was revoked in the last second or more",
            ),
            (
                "maxmemory-policy",
                "noeviction",
                "revocations may be evicted when memory is short",
            ),
        ] {
            let mut command = cmd("CONFIG");
            command.arg("GET").arg(setting);
            let found = match self.ask(connection, &command, Duration::ZERO).await {
                Ok(answer) => value(&answer),
                Err(_) => None,
            };
            match found {
                Some(found) if found == wanted => {}
                Some(found) => weak.push(format!(
                    "revocation: Redis has `{setting} {found}`: {why}. Set `{setting} {wanted}`"
                )),
                None => weak.push(format!(
                    "revocation: Redis does not tell its `{setting}` (CONFIG GET). See that it is `{wanted}`: otherwise {why}"
                )),
            }
        }
        weak
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        command: &Cmd,
        block: Duration,
    ) -> Result<Value, String> {
        // The connection has its own limit; this one also covers a cluster's repetitions.
        let limit = block + self.response * 2;
        match tokio::time::timeout(limit, connection.query(command)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn script(&self, text: &str) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(text).arg(1).arg(&self.name);
        command
    }
}

/// The value in the answer to CONFIG GET.
fn value(answer: &Value) -> Option<String> {
    let value = match answer {
        Value::Array(parts) => parts.get(1),
        Value::Map(pairs) => pairs.first().map(|(_, value)| value),
        _ => None,
    };
    value.and_then(reply::text).map(str::to_owned)
}
