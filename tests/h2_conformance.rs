//! HTTP/2 as the RFC has it, over bare frames: the cases of h2spec 2.6.0, each with its section.
//!
//! A case is what is sent, and what has to come of it. As there, an error of a stream may be told by
//! RST_STREAM, by GOAWAY or by closing (RFC 9113 §5.4.2: an endpoint may take it for one of the
//! connection), and one of the connection by GOAWAY or by closing.

mod frames;
mod generic;
mod hpack;
mod messages;
mod streams;

use std::net::SocketAddr;

use crate::common::app::{Answer, answer};
use crate::common::http2::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    block, status,
};
use crate::common::{App, Issuer, Usher};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

// Codes of errors (RFC 9113 §7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

/// Section, title, what is sent, what has to come of it.
type Case = (&'static str, &'static str, fn(&mut Peer), Expect);

/// What the library does otherwise than h2spec expects: section, title, and why. In each the
/// connection ends with GOAWAY and PROTOCOL_ERROR, where a more precise code, or the end of the
/// stream alone, was expected. Nothing is served in any of them.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("9113 4.3", "a header block that cannot be read", UNDECODED),
    ("9113 5.1", "half-closed (remote): DATA", ENDED),
    ("9113 5.1", "half-closed (remote): HEADERS", ENDED),
    ("9113 5.1", "closed by RST_STREAM: HEADERS", ENDED),
    ("9113 6.1", "DATA on a stream that is not open", ENDED),
    ("9113 6.3", "PRIORITY of another length", UNDECODED),
    ("9113 6.4", "RST_STREAM of another length", UNDECODED),
    (
        "9113 6.5",
        "SETTINGS that acknowledge and say something",
        UNDECODED,
    ),
    (
        "9113 6.5",
        "SETTINGS whose length is no multiple of six",
        UNDECODED,
    ),
    (
        "9113 6.5.2",
        "INITIAL_WINDOW_SIZE above the most",
        UNDECODED,
    ),
    ("9113 6.7", "PING of another length", UNDECODED),
    ("9113 6.9", "WINDOW_UPDATE of another length", UNDECODED),
    ("9113 6.9.2", "the first window above the most", UNDECODED),
    (
        "7541 2.3.3",
        "a field whose index is beyond the tables",
        UNDECODED,
    ),
    (
        "7541 2.3.3",
        "a literal whose name's index is beyond the tables",
        UNDECODED,
    ),
    (
        "7541 4.2",
        "an update of the table's size at the end of a block",
        UNDECODED,
    ),
    (
        "7541 5.2",
        "Huffman's code with padding longer than seven bits",
        UNDECODED,
    ),
    ("7541 5.2", "Huffman's code padded with zeros", UNDECODED),
    ("7541 5.2", "Huffman's code with its end in it", UNDECODED),
    ("7541 6.1", "a field with the index 0", UNDECODED),
    ("7541 6.3", "a table larger than was agreed", UNDECODED),
];

const UNDECODED: &str = "h2 0.4 has one code for every frame that it cannot decode";
const ENDED: &str =
    "h2 0.4 ends the connection of a client that goes on with a stream which it has ended";

/// What has to come of a case.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// A good answer on this stream.
    Answer(u32),
    /// usher's own settings.
    Settings,
    /// This many acknowledged settings.
    Acknowledged(usize),
    /// The next piece of a body has this length.
    Data(usize),
    /// A ping is answered: the connection is as good as before.
    Alive,
    /// The same, or the end of the connection.
    AliveOrClosed,
    /// One of these codes is told of a stream.
    Stream(&'static [u32]),
    /// One of these codes is told of the connection, which ends.
    Connection(&'static [u32]),
}

/// A client that knows no rules.
struct Peer {
    frames: Frames,
}

/// The fields of a request without a body.
const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "app.test"),
];

/// The fields of one with a body.
const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "app.test"),
];

impl Peer {
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.frames.send(kind, flags, stream, payload);
    }

    /// A whole request.
    fn get(&mut self, stream: u32) {
        self.frames.head(stream, END_STREAM, &GET);
    }

    /// The same, whose answer never comes: its stream stays half-closed (remote).
    fn wait(&mut self, stream: u32) {
        let fields = [(":method", "WAIT"), GET[1], GET[2], GET[3]];
        self.frames.head(stream, END_STREAM, &fields);
    }

    /// The head of a request whose body follows.
    fn post(&mut self, stream: u32) {
        self.frames.head(stream, 0, &POST);
    }

    /// A request with more fields, or other ones.
    fn ask(&mut self, fields: &[(&str, &str)]) {
        self.frames.head(1, END_STREAM, fields);
    }

    /// A request with these bytes after its fields.
    fn ask_with(&mut self, more: &[u8]) {
        let fields = [&block(&GET)[..], more].concat();
        self.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields);
    }

    fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload);
    }

    fn window(&mut self, stream: u32, increment: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
    }

    fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Reads on until an answer has ended.
    fn ended(&mut self, stream: u32) {
        while let Some(frame) = self.frames.next() {
            let last = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if last && frame.stream == stream {
                return;
            }
        }
        panic!("no answer on {stream}");
    }

    /// Reads on until a piece of a body.
    fn data(&mut self) -> usize {
        while let Some(frame) = self.frames.next() {
            if frame.kind == DATA {
                return frame.payload.len();
            }
        }
        panic!("no data");
    }

    /// What came of it: well, or not.
    fn settle(&mut self, expect: Expect) -> Result<(), String> {
        if matches!(expect, Expect::Alive | Expect::AliveOrClosed) {
            self.send(PING, 0, 0, b"conforms");
        }
        let (mut seen, mut acknowledged) = (Vec::new(), 0);
        while let Some(frame) = self.frames.next() {
            acknowledged += usize::from(frame.kind == SETTINGS && frame.flags & ACK != 0);
            seen.push((frame.kind, frame.stream, told(&frame)));
            match verdict(expect, &frame, acknowledged) {
                Some(true) => return self.closes_after(expect),
                Some(false) => return Err(format!("{seen:?}")),
                None => {}
            }
        }
        let may_close = matches!(
            expect,
            Expect::Stream(_) | Expect::Connection(_) | Expect::AliveOrClosed
        );
        may_close
            .then_some(())
            .ok_or_else(|| format!("closed after {seen:?}"))
    }

    /// An error of the connection is its end.
    fn closes_after(&mut self, expect: Expect) -> Result<(), String> {
        if matches!(expect, Expect::Connection(_)) {
            while self.frames.next().is_some() {}
            if !self.frames.is_closed() {
                return Err("still open after GOAWAY".to_owned());
            }
        }
        Ok(())
    }
}

/// The code that a frame tells, or the length of what it holds.
fn told(frame: &Frame) -> u32 {
    let at = match frame.kind {
        RST_STREAM => 0,
        GOAWAY => 4,
        _ => return u32::try_from(frame.payload.len()).unwrap(),
    };
    u32::from_be_bytes(*frame.payload[at..].first_chunk().unwrap())
}

/// Whether a frame is what had to come, or what must not come; `None`: neither.
fn verdict(expect: Expect, frame: &Frame, acknowledged: usize) -> Option<bool> {
    let answers = |stream: u32| frame.kind == HEADERS && frame.stream == stream;
    match expect {
        Expect::Answer(stream) if answers(stream) => Some(status(&frame.payload) == 200),
        Expect::Settings if frame.kind == SETTINGS => Some(frame.flags & ACK == 0),
        Expect::Acknowledged(count) => (acknowledged == count).then_some(true),
        Expect::Data(length) if frame.kind == DATA => Some(frame.payload.len() == length),
        Expect::Alive | Expect::AliveOrClosed if frame.kind == PING => {
            Some(frame.flags & ACK != 0 && frame.payload == b"conforms")
        }
        Expect::AliveOrClosed if frame.kind == GOAWAY => Some(told(frame) == 0),
        Expect::Stream(codes) => match frame.kind {
            RST_STREAM | GOAWAY => Some(codes.contains(&told(frame))),
            _ => None,
        },
        Expect::Connection(codes) if frame.kind == GOAWAY => Some(codes.contains(&told(frame))),
        Expect::Connection(_) if frame.kind == RST_STREAM => Some(false),
        _ if matches!(frame.kind, RST_STREAM | GOAWAY) => Some(false),
        _ => None,
    }
}

fn stage() -> (App, Usher) {
    let app = App::with(|asked| match asked.line().split(' ').next().unwrap() {
        "HEAD" => Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec()),
        // Never answered.
        "WAIT" => Answer::Own(Box::new(|mut stream| {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let usher = Usher::start(
        &app,
        &Issuer::new(),
        "routes: [{ path: /**, access: public }]",
    );
    (app, usher)
}

fn connect(address: SocketAddr) -> Peer {
    let frames = Frames::connect(address);
    Peer { frames }
}

/// Runs all cases, each on a connection of its own; tells all that failed.
#[track_caller]
fn run(cases: &[Case], count: usize) {
    assert_eq!(cases.len(), count, "cases");
    let (_app, usher) = stage();
    let mut failed = Vec::new();
    for (section, title, send, expect) in cases {
        let exception = EXCEPTIONS
            .iter()
            .find(|one| (one.0, one.1) == (*section, *title));
        let settle = |expect: Expect| {
            let mut peer = connect(usher.address);
            send(&mut peer);
            peer.settle(expect)
        };
        let wanted = exception.map_or(*expect, |_| Expect::Connection(&[PROTOCOL]));
        if let Err(why) = settle(wanted) {
            failed.push(format!(
                "RFC {section}: {title}: wanted {wanted:?}, got {why}"
            ));
        }
        if let Some((_, _, why)) = exception
            && settle(*expect).is_ok()
        {
            failed.push(format!(
                "RFC {section}: {title}: no exception any more: {why}"
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let mut peer = connect(usher.address);
    peer.get(1);
    peer.settle(Expect::Answer(1)).unwrap();
}

#[test]
fn every_exception_is_one_of_a_case() {
    let all = [
        generic::CASES,
        hpack::CASES,
        streams::CASES,
        frames::CASES,
        messages::CASES,
    ];
    // One more is a test of its own, since what it sends is no HTTP/2.
    assert_eq!(
        all.iter().map(|cases| cases.len()).sum::<usize>() + 1,
        44 + 95 + 8
    );
    for (section, title, _) in EXCEPTIONS {
        let mut cases = all.iter().copied().flatten();
        let known = cases.any(|case| (case.0, case.1) == (*section, *title));
        assert!(known, "{section}: {title}");
    }
}
