//! The access log: one line a request, written by a thread of its own so that a slow reader
//! of our output never holds up a request.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::{Log, LogFormat};
use crate::denial::{Fault, Reason};

use super::repeated::{Repeated, Told};

/// Bytes that may wait for the writer; lines beyond are dropped and counted.
const WAITING: usize = 4 * 1024 * 1024;

/// How long the writer lets lines gather: waking it for each would cost more than the line.
const GATHER: Duration = Duration::from_millis(10);

/// Where access lines go.
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Anything else, for tests.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Access {
    waiting: Arc<Waiting>,
    lost: Counter,
    writer: Option<JoinHandle<()>>,
}

/// Lines on their way to the writer.
#[derive(Debug)]
struct Waiting {
    lines: Mutex<Lines>,
    some: Condvar,
    format: LogFormat,
    clock: Clock,
}

#[derive(Debug)]
struct Lines {
    text: Vec<u8>,
    repeated: Repeated,
    /// Nobody will add any more.
    over: bool,
}

/// One request, as the access log tells it. The fields' names and order are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    pub(super) time: i64,
    pub(super) level: &'static str,
    pub(super) kind: &'static str,
    pub(super) method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    pub(super) client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) door: Option<&'static str>,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<&'a str>,
    pub(super) seconds: f64,
}

/// Denials for one reason that have no line of their own.
#[derive(Debug, Serialize)]
struct RepeatedLine {
    #[serde(serialize_with = "rfc3339")]
    time: i64,
    level: &'static str,
    kind: &'static str,
    reason: &'static str,
    times: u64,
}

/// The level of a line about a denial, or about none.
pub(super) fn level(reason: Option<Reason>) -> &'static str {
    match reason.map(Reason::fault) {
        Some(Fault::Ours | Fault::Upstream) => "warn",
        _ => "info",
    }
}

impl Access {
    pub(super) fn start(settings: &Log, sink: Sink, lost: Counter, clock: Clock) -> Self {
        let waiting = Arc::new(Waiting {
            lines: Mutex::new(Lines {
                text: Vec::new(),
                repeated: Repeated::new(settings.denials_per_second),
                over: false,
            }),
            some: Condvar::new(),
            format: settings.format,
            clock,
        });
        let writer: Box<dyn Write + Send> = match sink {
            Sink::Stdout => Box::new(std::io::stdout()),
            Sink::Writer(writer) => writer,
        };
        let started = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn({
                let waiting = waiting.clone();
                move || waiting.write_all(writer)
            });
        if let Err(error) = &started {
            tracing::error!(%error, "no access log: its thread cannot be started");
        }
        Self {
            waiting,
            lost,
            writer: started.ok(),
        }
    }

    /// Tells the writer that no more lines will come.
    pub(super) fn close(&self) {
        self.waiting.lines.lock().over = true;
        self.waiting.some.notify_one();
    }

    /// Whether everything is written after [`Self::close`].
    pub(super) fn is_written(&self) -> bool {
        self.writer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether a denial for this reason has a line of its own; if not, it is counted.
    pub(super) fn tells(&self, reason: Reason) -> bool {
        let told = self
            .waiting
            .lines
            .lock()
            .repeated
            .count(reason, Instant::now());
        if told == (Told::Counted { first: true }) {
            // The writer may wait for lines alone.
            self.waiting.some.notify_one();
        }
        told == Told::Alone
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        let text = match self.waiting.format {
            LogFormat::Json => escaped(serde_json::to_string(line).unwrap_or_default()),
            LogFormat::Text => line.text(),
        };
        if !self.waiting.add(&text) {
            self.lost.inc();
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.close();
    }
}

impl Waiting {
    /// Adds a line; wakes the writer only for the first of many. False when there is no room.
    fn add(&self, line: &str) -> bool {
        let mut lines = self.lines.lock();
        if lines.text.len() + line.len() >= WAITING {
            return false;
        }
        let first = lines.text.is_empty();
        lines.text.extend_from_slice(line.as_bytes());
        lines.text.push(b'\n');
        if first {
            self.some.notify_one();
        }
        true
    }

    /// Adds a line for each reason whose denials were counted; while there is no room they stay
    /// counted.
    fn tell_repeated(&self, lines: &mut Lines) {
        if lines.text.len() >= WAITING / 2 {
            return;
        }
        for (reason, times) in lines.repeated.take(Instant::now(), lines.over) {
            let line = RepeatedLine {
                time: self.clock.now_millis(),
                level: level(Some(reason)),
                kind: "repeated",
                reason: reason.id(),
                times,
            };
            let text = match self.format {
                LogFormat::Json => serde_json::to_string(&line).unwrap_or_default(),
                LogFormat::Text => line.text(),
            };
            lines.text.extend_from_slice(text.as_bytes());
            lines.text.push(b'\n');
        }
    }

    /// Writes what gathers, until nobody adds any more and all is written.
    fn write_all(&self, mut writer: Box<dyn Write + Send>) {
        let mut text = Vec::new();
        loop {
            let mut lines = self.lines.lock();
            self.tell_repeated(&mut lines);
            while lines.text.is_empty() && !lines.over {
                match lines.repeated.due() {
                    Some(due) => {
                        self.some.wait_until(&mut lines, due);
                    }
                    None => self.some.wait(&mut lines),
                }
                self.tell_repeated(&mut lines);
            }
            if !lines.over {
                drop(lines);
                std::thread::sleep(GATHER);
                lines = self.lines.lock();
            }
            self.tell_repeated(&mut lines);
            std::mem::swap(&mut lines.text, &mut text);
            let over = lines.over;
            drop(lines);
            // Nobody reads our output any more: there is nobody to tell.
            let _ = writer.write_all(&text).and_then(|()| writer.flush());
            text.clear();
            if over {
                return;
            }
        }
    }
}

impl RepeatedLine {
    fn text(&self) -> String {
        format!(
            "{} denied {} more times, reason={:?}",
            time(self.time),
            self.times,
            self.reason
        )
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        let mut text = format!(
            "{} {} {} {} {} {}B {:.1}ms",
            time(self.time),
            self.client.escape_debug(),
            self.status,
            self.method,
            self.path.escape_debug(),
            self.bytes,
            self.seconds * 1000.0
        );
        let more = [
            ("route", self.route),
            ("user", self.user),
            ("token", self.token.as_deref()),
            ("reason", self.reason),
            ("detail", self.detail),
            ("cut", self.cut),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                let _ = write!(text, " {name}={:?}", value);
            }
        }
        text
    }
}

/// Escapes what JSON allows within a string and a terminal or a reader of lines may obey:
/// control characters beyond ASCII, line separators, changes of direction.
fn escaped(json: String) -> String {
    if json.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return json;
    }
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match obeyed(c) {
            true => {
                // Writing to a String cannot fail; all of these have four digits at most.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            false => text.push(c),
        }
    }
    text
}

/// RFC 3339, whatever the clock shows: a time that it cannot write is the nearest it can.
fn time(millis: i64) -> String {
    // The last millisecond of the year 9999.
    const LAST: u64 = 253_402_300_799_999;
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0).min(LAST));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn rfc3339<S: serde::Serializer>(millis: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time(*millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_line_is_obeyed() {
        assert_eq!(escaped("{\"a\":\"é\"}".to_owned()), "{\"a\":\"é\"}");
        let odd = "{\"a\":\"\u{7f}\u{85}\u{2028}\u{202e}\"}";
        let text = escaped(odd.to_owned());
        assert_eq!(text, "{\"a\":\"\\u007f\\u0085\\u2028\\u202e\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&text), read(odd));
    }

    #[test]
    fn every_time_can_be_written() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(-1), time(0));
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
