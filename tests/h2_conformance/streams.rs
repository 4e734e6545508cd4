//! Beginnings, frames in general, and the life of streams: http2 3.5 to 5.5.

use std::io::{Read, Write};

use super::{
    COMPRESSION, CONTINUATION, Case, DATA, END_HEADERS, END_STREAM, Expect, FRAME_SIZE, GET,
    GOAWAY, HEADERS, PING, PRIORITY, PROTOCOL, Peer, REFUSED, STREAM_CLOSED, WITH_PRIORITY, block,
    run, stage, told,
};

#[rustfmt::skip] // a table: one case a line, as far as it goes
pub(super) const CASES: &[Case] = &[
    ("9113 3.4", "a preface", |_| {}, Expect::Settings),
    ("9113 4.1", "a frame of an unknown type", |p| p.send(22, 0, 0, b"what?"), Expect::Alive),
    ("9113 4.1", "a frame with unknown flags", |p| p.send(PING, 0x16, 0, b"conforms"), Expect::Alive),
    ("9113 4.1", "a frame with its reserved bit set", |p| p.send(PING, 0, 1 << 31, b"conforms"), Expect::Alive),
    ("9113 4.2", "DATA of 2^14 bytes", |p| { p.post(1); p.send(DATA, END_STREAM, 1, &[0; 1 << 14]); }, Expect::Answer(1)),
    ("9113 4.2", "DATA larger than was agreed", |p| { p.post(1); p.send(DATA, END_STREAM, 1, &[0; (1 << 14) + 1]); }, Expect::Stream(&[FRAME_SIZE])),
    ("9113 4.2", "HEADERS larger than was agreed", |p| {
        let large = "x".repeat(1 << 14);
        p.ask(&[GET[0], GET[1], GET[2], GET[3], ("x-large", &large)]);
    }, Expect::Connection(&[FRAME_SIZE])),
    ("9113 4.3", "a header block that cannot be read", |p| p.send(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x00\x7f\xff"), Expect::Connection(&[COMPRESSION])),
    ("9113 4.3", "PRIORITY within a header block", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]);
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 4.3", "HEADERS of another stream within a header block", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.get(3);
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 5.1", "idle: DATA", |p| p.send(DATA, END_STREAM, 1, b"test"), Expect::Connection(&[PROTOCOL])),
    ("9113 5.1", "idle: RST_STREAM", |p| p.reset(1, 8), Expect::Connection(&[PROTOCOL])),
    ("9113 5.1", "idle: WINDOW_UPDATE", |p| p.window(1, 100), Expect::Connection(&[PROTOCOL])),
    ("9113 5.1", "idle: CONTINUATION", |p| p.send(CONTINUATION, END_HEADERS, 1, &block(&GET)), Expect::Connection(&[PROTOCOL])),
    ("9113 5.1", "half-closed (remote): DATA", |p| { p.wait(1); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 5.1", "half-closed (remote): HEADERS", |p| { p.wait(1); p.get(1); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 5.1", "half-closed (remote): CONTINUATION", |p| { p.wait(1); p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x", "1")])); }, Expect::Connection(&[STREAM_CLOSED, PROTOCOL])),
    ("9113 5.1", "closed by RST_STREAM: DATA", |p| { p.post(1); p.reset(1, 8); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 5.1", "closed by RST_STREAM: HEADERS", |p| { p.post(1); p.reset(1, 8); p.get(1); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 5.1", "closed by RST_STREAM: CONTINUATION", |p| { p.post(1); p.reset(1, 8); p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x", "1")])); }, Expect::Connection(&[STREAM_CLOSED, PROTOCOL])),
    ("9113 5.1", "closed: DATA", |p| { p.get(1); p.ended(1); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 5.1", "closed: HEADERS", |p| { p.get(1); p.ended(1); p.get(1); }, Expect::Connection(&[STREAM_CLOSED, PROTOCOL])),
    ("9113 5.1", "closed: CONTINUATION", |p| { p.get(1); p.ended(1); p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x", "1")])); }, Expect::Connection(&[STREAM_CLOSED, PROTOCOL])),
    ("9113 5.1.1", "a stream with an even number", |p| p.get(2), Expect::Connection(&[PROTOCOL])),
    ("9113 5.1.1", "a stream with a smaller number than the last", |p| { p.get(5); p.get(3); }, Expect::Connection(&[PROTOCOL])),
    ("9113 5.1.2", "more streams than may be open at once", |p| for stream in 0..101 { p.post(2 * stream + 1); }, Expect::Stream(&[PROTOCOL, REFUSED])),
    ("7540 5.3.1", "HEADERS that depend on themselves", |p| {
        let fields = [&[0, 0, 0, 1, 255], &block(&GET)[..]].concat();
        p.send(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &fields);
    }, Expect::Stream(&[PROTOCOL])),
    ("7540 5.3.1", "PRIORITY that depends on itself", |p| p.send(PRIORITY, 0, 2, &[0, 0, 0, 2, 255]), Expect::Stream(&[PROTOCOL])),
    ("9113 5.4.1", "an error ends the connection", |p| p.send(PING, 0, 3, b"conforms"), Expect::Connection(&[PROTOCOL])),
    ("9113 5.4.1", "an error is told before the end", |p| { p.send(PING, 0, 3, b"conforms"); p.goes_away(); }, Expect::Connection(&[PROTOCOL])),
    ("9113 5.5", "a frame of an unknown type", |p| p.send(0xff, 0xff, 0, b"unknown"), Expect::Alive),
    ("9113 5.5", "a frame of an unknown type within a header block", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(0xff, 1, 0, b"unknown!");
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
    }, Expect::Connection(&[PROTOCOL])),
];

impl Peer {
    /// A frame must say so: closing is not enough here.
    fn goes_away(&mut self) {
        while let Some(frame) = self.frames.next() {
            if frame.kind == GOAWAY {
                assert_eq!(told(&frame), PROTOCOL);
                return;
            }
        }
        panic!("no GOAWAY");
    }
}

#[test]
fn streams_live_and_die_by_the_rules() {
    // One more, below: what begins with no preface is no HTTP/2.
    run(CASES, 32);
}

#[test]
fn rfc_9113_3_4_a_preface_that_is_none() {
    let (_app, usher) = stage();
    let mut stream = std::net::TcpStream::connect(usher.address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(b"INVALID CONNECTION PREFACE\r\n\r\n")
        .unwrap();
    // The port is HTTP/1.1's as well: the end is told in its words.
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    // One that goes wrong later is told in HTTP/2's, or not at all.
    let mut stream = std::net::TcpStream::connect(usher.address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX")
        .unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    assert!(!told.starts_with(b"HTTP/1.1 200"), "{told:?}");
}
