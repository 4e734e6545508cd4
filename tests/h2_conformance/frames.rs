//! Each kind of frame, well and badly made: http2 6.1 to 6.10.

use super::{
    ACK, CONTINUATION, Case, DATA, END_HEADERS, END_STREAM, Expect, FLOW_CONTROL, FRAME_SIZE, GET,
    GOAWAY, HEADERS, PADDED, PING, POST, PRIORITY, PROTOCOL, RST_STREAM, SETTINGS, STREAM_CLOSED,
    WINDOW_UPDATE, block, run,
};

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW: u16 = 4;
const MAX_FRAME: u16 = 5;

#[rustfmt::skip] // a table: one case a line, as far as it goes
pub(super) const CASES: &[Case] = &[
    ("9113 6.1", "DATA of the connection", |p| { p.post(1); p.send(DATA, END_STREAM, 0, b"test"); }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.1", "DATA on a stream that is not open", |p| { p.wait(1); p.send(DATA, END_STREAM, 1, b"test"); }, Expect::Stream(&[STREAM_CLOSED])),
    ("9113 6.1", "DATA with more padding than payload", |p| { p.post(1); p.send(DATA, END_STREAM | PADDED, 1, b"\x06test"); }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.2", "HEADERS without an end, then PRIORITY", |p| { p.send(HEADERS, END_STREAM, 1, &block(&GET)); p.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]); }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.2", "HEADERS without an end, then HEADERS", |p| { p.send(HEADERS, END_STREAM, 1, &block(&GET)); p.get(3); }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.2", "HEADERS of the connection", |p| p.get(0), Expect::Connection(&[PROTOCOL])),
    ("9113 6.2", "HEADERS with more padding than payload", |p| {
        let padded = [&[255], &block(&GET)[..]].concat();
        p.send(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &padded);
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.3", "PRIORITY of the connection", |p| p.send(PRIORITY, 0, 0, &[0, 0, 0, 1, 255]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.3", "PRIORITY of another length", |p| p.send(PRIORITY, 0, 1, &[0, 0, 0, 3]), Expect::Stream(&[FRAME_SIZE])),
    ("9113 6.4", "RST_STREAM of the connection", |p| p.reset(0, 8), Expect::Connection(&[PROTOCOL])),
    ("9113 6.4", "RST_STREAM on an idle stream", |p| p.reset(1, 8), Expect::Connection(&[PROTOCOL])),
    ("9113 6.4", "RST_STREAM of another length", |p| { p.post(1); p.send(RST_STREAM, 0, 1, &[0, 0, 0]); }, Expect::Connection(&[FRAME_SIZE])),
    ("9113 6.5", "SETTINGS that acknowledge and say something", |p| p.send(SETTINGS, ACK, 0, &[0; 6]), Expect::Connection(&[FRAME_SIZE])),
    ("9113 6.5", "SETTINGS of a stream", |p| p.send(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.5", "SETTINGS whose length is no multiple of six", |p| p.send(SETTINGS, 0, 0, &[0, 3, 0]), Expect::Connection(&[FRAME_SIZE])),
    ("9113 6.5.2", "ENABLE_PUSH that is neither 0 nor 1", |p| p.settings(&[(ENABLE_PUSH, 2)]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.5.2", "INITIAL_WINDOW_SIZE above the most", |p| p.settings(&[(INITIAL_WINDOW, 1 << 31)]), Expect::Connection(&[FLOW_CONTROL])),
    ("9113 6.5.2", "MAX_FRAME_SIZE below the least", |p| p.settings(&[(MAX_FRAME, (1 << 14) - 1)]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.5.2", "MAX_FRAME_SIZE above the most", |p| p.settings(&[(MAX_FRAME, 1 << 24)]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.5.2", "a setting that is not known", |p| p.settings(&[(0xff, 1)]), Expect::Alive),
    ("9113 6.5.3", "a setting twice: the last counts", |p| { p.settings(&[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)]); p.get(1); }, Expect::Data(1)),
    ("9113 6.5.3", "SETTINGS are acknowledged", |p| p.settings(&[]), Expect::Acknowledged(2)),
    ("9113 6.7", "PING", |_| {}, Expect::Alive),
    ("9113 6.7", "PING that acknowledges is not answered", |p| p.send(PING, ACK, 0, b"unasked!"), Expect::Alive),
    ("9113 6.7", "PING of a stream", |p| p.send(PING, 0, 1, b"conforms"), Expect::Connection(&[PROTOCOL])),
    ("9113 6.7", "PING of another length", |p| p.send(PING, 0, 0, &[0; 6]), Expect::Connection(&[FRAME_SIZE])),
    ("9113 6.8", "GOAWAY of a stream", |p| p.send(GOAWAY, 0, 1, &[0; 8]), Expect::Connection(&[PROTOCOL])),
    ("9113 6.9", "WINDOW_UPDATE by nothing", |p| p.window(0, 0), Expect::Connection(&[PROTOCOL])),
    ("9113 6.9", "WINDOW_UPDATE of a stream by nothing", |p| { p.post(1); p.window(1, 0); }, Expect::Stream(&[PROTOCOL])),
    ("9113 6.9", "WINDOW_UPDATE of another length", |p| p.send(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), Expect::Connection(&[FRAME_SIZE])),
    ("9113 6.9.1", "no more is sent than there is room for", |p| { p.settings(&[(INITIAL_WINDOW, 1)]); p.get(1); }, Expect::Data(1)),
    ("9113 6.9.1", "the connection's window above the most", |p| { p.window(0, i32::MAX as u32); p.window(0, i32::MAX as u32); }, Expect::Connection(&[FLOW_CONTROL])),
    ("9113 6.9.1", "a stream's window above the most", |p| { p.post(1); p.window(1, i32::MAX as u32); p.window(1, i32::MAX as u32); }, Expect::Stream(&[FLOW_CONTROL])),
    ("9113 6.9.2", "the first window changes under way", |p| { p.settings(&[(INITIAL_WINDOW, 0)]); p.get(1); p.settings(&[(INITIAL_WINDOW, 1)]); }, Expect::Data(1)),
    ("9113 6.9.2", "a window can be negative", |p| {
        p.settings(&[(INITIAL_WINDOW, 3)]);
        p.get(1);
        assert_eq!(p.data(), 3);
        p.settings(&[(INITIAL_WINDOW, 2)]);
        p.window(1, 2);
    }, Expect::Data(1)),
    ("9113 6.9.2", "the first window above the most", |p| p.settings(&[(INITIAL_WINDOW, 1 << 31)]), Expect::Connection(&[FLOW_CONTROL])),
    ("9113 6.10", "several CONTINUATION", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(CONTINUATION, 0, 1, &block(&[("x-more", "1")]));
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "2")]));
    }, Expect::Answer(1)),
    ("9113 6.10", "CONTINUATION without an end, then DATA", |p| {
        p.send(HEADERS, 0, 1, &block(&POST));
        p.send(CONTINUATION, 0, 1, &block(&[("x-more", "1")]));
        p.send(DATA, END_STREAM, 1, b"test");
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.10", "CONTINUATION of the connection", |p| {
        p.send(HEADERS, END_STREAM, 1, &block(&GET));
        p.send(CONTINUATION, END_HEADERS, 0, &block(&[("x-more", "1")]));
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.10", "CONTINUATION after a header block has ended", |p| { p.post(1); p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")])); }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.10", "CONTINUATION after CONTINUATION has ended one", |p| {
        p.send(HEADERS, 0, 1, &block(&POST));
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "2")]));
    }, Expect::Connection(&[PROTOCOL])),
    ("9113 6.10", "CONTINUATION after DATA", |p| {
        p.post(1);
        p.send(DATA, 0, 1, b"test");
        p.send(CONTINUATION, END_HEADERS, 1, &block(&[("x-more", "1")]));
    }, Expect::Connection(&[PROTOCOL])),
];

#[test]
fn frames_are_what_the_rfc_says() {
    run(CASES, 42);
}
