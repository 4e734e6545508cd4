//! Codes that nobody knows, and requests that are malformed: http2 7 and 8.

use super::{
    Case, DATA, END_HEADERS, END_STREAM, Expect, GET, GOAWAY, POST, PROTOCOL, PUSH_PROMISE, block,
    run,
};

/// Fields in place of the good ones.
const fn with(first: (&'static str, &'static str)) -> [(&'static str, &'static str); 5] {
    [GET[0], GET[1], GET[2], GET[3], first]
}

#[rustfmt::skip] // a table: one case a line, as far as it goes
pub(super) const CASES: &[Case] = &[
    ("9113 7", "GOAWAY with an unknown code", |p| p.send(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]), Expect::AliveOrClosed),
    ("9113 7", "RST_STREAM with an unknown code", |p| { p.post(1); p.reset(1, 0xff); }, Expect::AliveOrClosed),
    ("9113 8.1", "a second HEADERS that does not end the stream", |p| {
        p.post(1);
        p.send(DATA, 0, 1, b"test");
        p.frames.head(1, 0, &[("x-test", "ok")]);
    }, Expect::Stream(&[PROTOCOL])),
    ("9113 8.2.1", "a name with a capital letter", |p| p.ask(&with(("X-Test", "ok"))), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3", "a pseudo-header that is not known", |p| p.ask(&with((":test", "ok"))), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3", "a pseudo-header of answers", |p| p.ask(&with((":status", "200"))), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3", "a pseudo-header as a trailer", |p| {
        p.post(1);
        p.send(DATA, 0, 1, b"test");
        p.frames.head(1, END_STREAM, &[(":method", "200")]);
    }, Expect::Stream(&[PROTOCOL])),
    ("9113 8.3", "a pseudo-header after another field", |p| p.ask(&[GET[0], GET[1], GET[3], ("x-test", "ok"), GET[2]]), Expect::Stream(&[PROTOCOL])),
    ("9113 8.2.2", "a field of the connection", |p| p.ask(&with(("connection", "keep-alive"))), Expect::Stream(&[PROTOCOL])),
    ("9113 8.2.2", "TE that is not `trailers`", |p| p.ask(&with(("te", "trailers, deflate"))), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", "an empty :path", |p| p.ask(&[GET[0], GET[1], (":path", ""), GET[3]]), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", "no :method", |p| p.ask(&[GET[1], GET[2], GET[3]]), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", "no :scheme", |p| p.ask(&[GET[0], GET[2], GET[3]]), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", "no :path", |p| p.ask(&[GET[0], GET[1], GET[3]]), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", ":method twice", |p| p.ask(&with(GET[0])), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", ":scheme twice", |p| p.ask(&with(GET[1])), Expect::Stream(&[PROTOCOL])),
    ("9113 8.3.1", ":path twice", |p| p.ask(&with(GET[2])), Expect::Stream(&[PROTOCOL])),
    ("9113 8.1.1", "a length that DATA does not have", |p| {
        p.frames.head(1, 0, &[POST[0], POST[1], POST[2], POST[3], ("content-length", "1")]);
        p.send(DATA, END_STREAM, 1, b"test");
    }, Expect::Stream(&[PROTOCOL])),
    ("9113 8.1.1", "a length that several DATA do not have", |p| {
        p.frames.head(1, 0, &[POST[0], POST[1], POST[2], POST[3], ("content-length", "1")]);
        p.send(DATA, 0, 1, b"test");
        p.send(DATA, END_STREAM, 1, b"test");
    }, Expect::Stream(&[PROTOCOL])),
    ("9113 8.4", "PUSH_PROMISE of a client", |p| {
        let promised = [&[0, 0, 0, 2], &block(&GET)[..]].concat();
        p.send(PUSH_PROMISE, END_HEADERS, 1, &promised);
    }, Expect::Connection(&[PROTOCOL])),
];

#[test]
fn malformed_requests_are_not_answered_as_if_they_were_good() {
    run(CASES, 20);
}
