//! What every server does: generic 1 to 5.

use super::{
    CONTINUATION, Case, DATA, END_HEADERS, END_STREAM, Expect, GET, GOAWAY, HEADERS, PADDED,
    PRIORITY, Peer, WITH_PRIORITY, block, run,
};

/// `user-agent`, by its place in the static table, which takes two bytes with four bits of prefix.
const AGENT: u8 = 58;

/// Huffman's code of `no-cache`, `custom-key` and `custom-value` (RFC 7541 appendix C).
const NO_CACHE: &[u8] = &[0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
const CUSTOM_KEY: &[u8] = &[0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f];
const CUSTOM_VALUE: &[u8] = &[0x89, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf];

/// A field whose name is in the static table: how it begins, and its value.
fn known(peer: &mut Peer, begin: &[u8], huffman: bool) {
    let value = if huffman { NO_CACHE } else { b"\x04test" };
    peer.ask_with(&[begin, value].concat());
}

/// A field with a name of its own.
fn new(peer: &mut Peer, begin: u8, huffman: bool) {
    let field = match huffman {
        true => [CUSTOM_KEY, CUSTOM_VALUE].concat(),
        false => b"\x06x-test\x04test".to_vec(),
    };
    peer.ask_with(&[&[begin], &field[..]].concat());
}

fn priority(exclusive: bool, on: u32, weight: u8) -> [u8; 5] {
    let [a, b, c, d] = (on | u32::from(exclusive) << 31).to_be_bytes();
    [a, b, c, d, weight]
}

#[rustfmt::skip] // a table: one case a line, as far as it goes
pub(super) const CASES: &[Case] = &[
    ("9113 3.4", "a client's preface", |_| {}, Expect::Settings),
    ("9113 5.1", "PRIORITY on an idle stream", |p| p.send(PRIORITY, 0, 1, &priority(false, 0, 255)), Expect::Alive),
    ("9113 5.1", "WINDOW_UPDATE on a half-closed (remote) stream", |p| { p.get(1); p.window(1, 100); }, Expect::Answer(1)),
    ("9113 5.1", "PRIORITY on a half-closed (remote) stream", |p| { p.get(1); p.send(PRIORITY, 0, 1, &priority(false, 0, 255)); }, Expect::Answer(1)),
    ("9113 5.1", "RST_STREAM on a half-closed (remote) stream", |p| { p.get(1); p.reset(1, 8); }, Expect::Alive),
    ("9113 5.1", "PRIORITY on a closed stream", |p| { p.get(1); p.ended(1); p.send(PRIORITY, 0, 1, &priority(false, 0, 255)); }, Expect::Alive),
    ("9113 6.1", "DATA", |p| { p.post(1); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Answer(1)),
    ("9113 6.1", "several DATA", |p| { p.post(1); p.send(DATA, 0, 1, b"test"); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Answer(1)),
    ("9113 6.1", "DATA with padding", |p| { p.post(1); p.send(DATA, END_STREAM | PADDED, 1, b"\x06test\0\0\0\0\0\0"); }, Expect::Answer(1)),
    ("9113 6.2", "HEADERS", |p| p.get(1), Expect::Answer(1)),
    ("9113 6.2", "HEADERS with padding", |p| {
        let padded = [&[6], &block(&GET)[..], &[0; 6]].concat();
        p.send(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &padded);
    }, Expect::Answer(1)),
    ("9113 6.2", "HEADERS with priority", |p| {
        let fields = [&priority(false, 0, 255)[..], &block(&GET)].concat();
        p.send(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &fields);
    }, Expect::Answer(1)),
    ("9113 6.3", "PRIORITY with the least weight", |p| { p.send(PRIORITY, 0, 1, &priority(false, 0, 0)); p.get(1); }, Expect::Answer(1)),
    ("9113 6.3", "PRIORITY with the most weight", |p| { p.send(PRIORITY, 0, 1, &priority(false, 0, 255)); p.get(1); }, Expect::Answer(1)),
    ("9113 6.3", "PRIORITY with a dependency", |p| { p.send(PRIORITY, 0, 1, &priority(false, 3, 255)); p.get(1); }, Expect::Answer(1)),
    ("9113 6.3", "PRIORITY with an exclusive dependency", |p| { p.send(PRIORITY, 0, 1, &priority(true, 3, 255)); p.get(1); }, Expect::Answer(1)),
    ("9113 6.3", "PRIORITY on an idle stream, then HEADERS on a lower one", |p| { p.send(PRIORITY, 0, 5, &priority(false, 0, 255)); p.get(3); }, Expect::Answer(3)),
    ("9113 6.4", "RST_STREAM", |p| { p.post(1); p.reset(1, 8); }, Expect::Alive),
    ("9113 6.5", "SETTINGS", |p| p.settings(&[(3, 100)]), Expect::Acknowledged(2)),
    ("9113 6.7", "PING", |_| {}, Expect::Alive),
    ("9113 6.8", "GOAWAY", |p| p.send(GOAWAY, 0, 0, &[0; 8]), Expect::AliveOrClosed),
    ("9113 6.9", "WINDOW_UPDATE of the connection", |p| { p.window(0, 1); p.get(1); }, Expect::Answer(1)),
    ("9113 6.9", "WINDOW_UPDATE of a stream", |p| { p.get(1); p.window(1, 1); }, Expect::Answer(1)),
    ("9113 6.10", "CONTINUATION", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
    }, Expect::Answer(1)),
    ("9113 6.10", "several CONTINUATION", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(CONTINUATION, 0, 1, &block(&[("x-more", "1")]));
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "2")]));
    }, Expect::Answer(1)),
    ("9110 9.3.1", "GET", |p| p.get(1), Expect::Answer(1)),
    ("9110 9.3.2", "HEAD", |p| p.ask(&[(":method", "HEAD"), GET[1], GET[2], GET[3]]), Expect::Answer(1)),
    ("9110 9.3.3", "POST", |p| { p.post(1); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Answer(1)),
    ("9113 8.1", "POST with trailers", |p| {
        p.post(1);
        p.send(DATA, 0, 1, b"test");
        p.frames.head(1, END_STREAM, &[("x-test", "ok")]);
    }, Expect::Answer(1)),
    ("7541 6.1", "an indexed field", |p| p.send(HEADERS, END_STREAM | END_HEADERS, 1, b"\x82\x86\x84\x01\x08app.test"), Expect::Answer(1)),
    ("7541 6.2.1", "a literal that is indexed, with a known name", |p| known(p, &[0x40 | AGENT], false), Expect::Answer(1)),
    ("7541 6.2.1", "the same in Huffman's code", |p| known(p, &[0x40 | AGENT], true), Expect::Answer(1)),
    ("7541 6.2.1", "a literal that is indexed, with a new name", |p| new(p, 0x40, false), Expect::Answer(1)),
    ("7541 6.2.1", "the same in Huffman's code", |p| new(p, 0x40, true), Expect::Answer(1)),
    ("7541 6.2.2", "a literal without indexing, with a known name", |p| known(p, &[0x0f, AGENT - 15], false), Expect::Answer(1)),
    ("7541 6.2.2", "the same in Huffman's code", |p| known(p, &[0x0f, AGENT - 15], true), Expect::Answer(1)),
    ("7541 6.2.2", "a literal without indexing, with a new name", |p| new(p, 0x00, false), Expect::Answer(1)),
    ("7541 6.2.2", "the same in Huffman's code", |p| new(p, 0x00, true), Expect::Answer(1)),
    ("7541 6.2.3", "a literal never indexed, with a known name", |p| known(p, &[0x1f, AGENT - 15], false), Expect::Answer(1)),
    ("7541 6.2.3", "the same in Huffman's code", |p| known(p, &[0x1f, AGENT - 15], true), Expect::Answer(1)),
    ("7541 6.2.3", "a literal never indexed, with a new name", |p| new(p, 0x10, false), Expect::Answer(1)),
    ("7541 6.2.3", "the same in Huffman's code", |p| new(p, 0x10, true), Expect::Answer(1)),
    ("7541 6.3", "an update of the table's size", |p| {
        p.send(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x20], &block(&GET)[..]].concat());
    }, Expect::Answer(1)),
    ("7541 6.3", "two of them", |p| {
        p.send(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x20, 0x3f, 0xe1, 0x1f], &block(&GET)[..]].concat());
    }, Expect::Answer(1)),
];

#[test]
fn every_server_does_these() {
    run(CASES, 44);
}
