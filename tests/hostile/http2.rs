//! F: HTTP/2, upgrades and tunnels.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::grid;
use super::stage::{Recorder, Stage, head};
use crate::common::app::{Answer, answer};
use crate::common::authority::Authority;
use crate::common::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, GOAWAY, HEADERS, Http2, Http2App,
    PING, PREFACE, RST_STREAM, SETTINGS, block, get, request,
};
use crate::common::issuer::now;
use crate::common::{App, Client, Issuer, Served, Usher, eventually, tls};

/// A connection that was ended for what came on it: `ENHANCE_YOUR_CALM`.
const CALM_DOWN: Fate = Fate::GoAway(11);

const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;

fn bearer(stage: &Stage) -> String {
    format!("Bearer {}", stage.token)
}

/// The fields of a good request.
fn fields<'a>(path: &'a str, bearer: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app.test"),
        (":path", path),
        ("authorization", bearer),
    ]
}

/// The same with another value for one of them.
fn with<'a>(fields: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let put =
        |(given, old): &(&'a str, &'a str)| (*given, if *given == name { value } else { *old });
    fields.iter().map(put).collect()
}

/// Nothing of it reaches the app: an error of the protocol, or a status.
#[track_caller]
fn refused(stage: &Stage, fields: &[(&str, &str)], status: Option<u16>) {
    let before = stage.app.count();
    let mut client = Frames::connect(stage.usher.address);
    client.head(1, END_STREAM, fields);
    let fate = client.fate(1);
    let fine = match status {
        Some(status) => fate == Fate::Answered(status),
        None => matches!(fate, Fate::Reset(1) | Fate::GoAway(1)),
    };
    assert!(fine, "{fate:?} to {fields:?}");
    assert_eq!(stage.app.count(), before);
    stage.good();
}

/// usher still serves others, over both versions.
#[track_caller]
fn good(stage: &Stage) {
    stage.good();
    let client = Http2::connect(stage.usher.address);
    assert_eq!(client.ask(get("/good", &stage.token)).unwrap().status, 200);
}

#[test]
fn f01_lengths_and_codings_that_downgrade() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    for (length, data) in [
        ("0", "GET /smuggled HTTP/1.1\r\n\r\n"),
        ("3", "xxxx"),
        ("50", "x"),
    ] {
        let mut fields = with(&fields("/x", &bearer), ":method", "POST");
        fields.push(("content-length", length));
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, 0, &fields);
        client.send(DATA, END_STREAM, 1, data.as_bytes());
        assert!(
            matches!(client.fate(1), Fate::Reset(1) | Fate::Answered(400)),
            "{length}"
        );
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
    ] {
        let fields = [fields("/x", &bearer), vec![(name, value)]].concat();
        refused(&stage, &fields, None);
    }
    for lengths in [["1", "2"], ["1", "1"], ["+1", ""], ["1,1", ""]] {
        let mut fields = fields("/x", &bearer);
        fields.extend(
            lengths
                .iter()
                .filter(|one| !one.is_empty())
                .map(|one| ("content-length", *one)),
        );
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, 0, &fields);
        client.send(DATA, END_STREAM, 1, b"x");
        assert_ne!(client.fate(1), Fate::Answered(200), "{lengths:?}");
    }
    let whole: Vec<_> = stage
        .app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert!(whole.iter().all(|target| target == "/good"), "{whole:?}");
    good(&stage);
}

#[test]
fn f02_line_breaks_in_names_values_and_pseudo_headers() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    let plain = fields("/x", &bearer);
    for (name, value) in [
        (":path", "/\r\nx-user-id: root"),
        (":path", "/ HTTP/1.1\r\nhost: evil\r\n\r\nGET /smuggled"),
        (":path", "/a b"),
        (":path", "/\0"),
        (":method", "GET / HTTP/1.1\r\nx: y"),
        (":method", "GE T"),
        (":method", ""),
        (":authority", "app.test\r\nx: y"),
        (":authority", "a b"),
        (":scheme", "http://x"),
        (":scheme", "http\r\nx: y"),
    ] {
        let before = stage.app.count();
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, END_STREAM, &with(&plain, name, value));
        let fate = client.fate(1);
        assert!(
            matches!(fate, Fate::Reset(1) | Fate::GoAway(1) | Fate::Answered(400)),
            "{name} {value:?}: {fate:?}"
        );
        assert_eq!(stage.app.count(), before);
    }
    for (name, value) in [
        ("x-a", "b\r\nx-user-id: root"),
        ("x-a", "b\nc"),
        ("x-a", "b\0c"),
        ("x-a\r\nx-user-id", "root"),
        ("x-a: b\r\nx", "y"),
        ("X-Upper", "a"),
        ("x a", "b"),
        ("x-a:", "b"),
        ("", "b"),
    ] {
        refused(&stage, &[plain.clone(), vec![(name, value)]].concat(), None);
    }
    good(&stage);
}

/// usher in a process of its own, so that its memory and its processor time can be told.
struct Alone {
    app: App,
    served: Served,
    token: String,
    /// Bytes of memory before the attack.
    memory: u64,
}

impl Alone {
    fn new(more: &str) -> Self {
        Self::before(App::start(), more)
    }

    fn before(app: App, more: &str) -> Self {
        let issuer = Issuer::new();
        let yaml = format!(
            "upstream: http://{}\nissuers: [{}]\n{more}",
            app.address,
            issuer.yaml()
        );
        let served = Served::start(&yaml);
        let alone = Self {
            app,
            token: issuer.token("alice"),
            memory: 0,
            served,
        };
        alone.good();
        // What every process takes once it has served both versions is not the attack's.
        Self {
            memory: alone.served.memory(),
            ..alone
        }
    }

    fn frames(&self) -> Frames {
        Frames::connect(self.served.address)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Others are served, over both versions.
    #[track_caller]
    fn good(&self) {
        let mut client = self.served.connect();
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        client.send(head("GET", "/good", &bearer));
        assert_eq!(client.reply().unwrap().status, 200);
        let client = Http2::connect(self.served.address);
        assert_eq!(client.ask(get("/good", &self.token)).unwrap().status, 200);
    }

    /// The same, and what the attack has cost has a bound: mebibytes of memory, and seconds of a
    /// processor since `since`.
    #[track_caller]
    fn still_good(&self, mebibytes: u64, since: Duration, seconds: u64) {
        self.good();
        let more = self.served.memory().saturating_sub(self.memory) >> 20;
        let spent = self.served.processor_time() - since;
        assert!(more < mebibytes, "{more} MiB more");
        assert!(spent < Duration::from_secs(seconds), "{spent:?}");
    }
}

/// Whatever a head of HTTP/2 holds, it is one request to the app, or none.
#[test]
fn streams_are_one_request_each_or_none() {
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let token = issuer.token("alice");
    let blocks = grid::blocks(&token);
    assert_eq!(blocks.len(), 14 * 13 + 10);
    let mut let_in = 0;
    for block in &blocks {
        let mut client = Frames::connect(usher.address);
        client.send(HEADERS, END_HEADERS, 1, block);
        client.send(DATA, END_STREAM, 1, b"hello");
        match client.fate(1) {
            Fate::Answered(200) => let_in += 1,
            Fate::Answered(400..) | Fate::Reset(_) | Fate::GoAway(1..) => {}
            fate => panic!("{fate:?} to {}", block.escape_ascii()),
        }
    }
    usher.serves(&token);
    let whole = recorder.whole();
    assert_eq!(
        whole.len(),
        let_in + 1,
        "one for each answer, and the good one"
    );
    for message in &whole {
        assert_ne!(message.target, "/smuggled");
        let framings = [
            message.all("content-length"),
            message.all("transfer-encoding"),
        ];
        assert!(framings.concat().len() <= 1);
        assert!(
            message.target == "/good" || message.body == b"hello",
            "{message:?}"
        );
    }
    assert!((10..150).contains(&let_in), "{let_in}");
    grid::h11_agrees(&recorder.connections(), &whole);
}

#[test]
fn f03_authority_that_is_not_the_host() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    let plain = fields("/x", &bearer);
    for host in ["evil.test", "app.test:81", "app.test, evil.test", ""] {
        refused(
            &stage,
            &[plain.clone(), vec![("host", host)]].concat(),
            Some(400),
        );
    }
    for authority in ["user@app.test", "app.test/x", "app.test:99999", "a,b"] {
        let before = stage.app.count();
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, END_STREAM, &with(&plain, ":authority", authority));
        assert_ne!(client.fate(1), Fate::Answered(200), "{authority}");
        assert_eq!(stage.app.count(), before);
    }
    let mut client = Frames::connect(stage.usher.address);
    client.head(1, END_STREAM, &[plain, vec![("host", "app.test")]].concat());
    assert_eq!(client.fate(1), Fate::Answered(200));
    assert_eq!(stage.app.last().all("host"), ["app.test"]);
    good(&stage);
}

#[test]
fn f04_pseudo_headers_twice_late_or_unknown() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    let plain = fields("/x", &bearer);
    for more in [
        (":path", "/y"),
        (":method", "POST"),
        (":authority", "b"),
        (":status", "200"),
        (":unknown", "x"),
        (":protocol", "websocket"),
    ] {
        refused(&stage, &[plain.clone(), vec![more]].concat(), None);
        refused(&stage, &[vec![more], plain.clone()].concat(), None);
    }
    for name in [":method", ":path"] {
        let fields: Vec<_> = plain
            .iter()
            .copied()
            .filter(|(given, _)| *given != name)
            .collect();
        refused(&stage, &fields, None);
    }
}

#[test]
fn f05_split_cookies_and_two_tokens() {
    let stage = Stage::new("tokens: { from: [{ cookie: token }, authorization] }");
    let client = Http2::connect(stage.usher.address);
    let crumbs = http::Request::get("http://app.test/")
        .header("cookie", "a=1")
        .header("cookie", format!("token={}", stage.token))
        .header("cookie", "b=2");
    assert_eq!(client.ask(crumbs.body(()).unwrap()).unwrap().status, 200);
    assert_eq!(stage.app.last().all("cookie"), ["a=1; b=2"]);
    let twice = request(Method::GET, "/", &stage.token).header("authorization", "Bearer other");
    assert_eq!(client.ask(twice.body(()).unwrap()).unwrap().status, 400);
    let two = http::Request::get("http://app.test/")
        .header("cookie", format!("token={}", stage.token))
        .header("cookie", "token=other");
    assert_eq!(client.ask(two.body(()).unwrap()).unwrap().status, 400);
    good(&stage);
}

#[test]
fn f06_rapid_reset() {
    let app = App::with(|received| match received.target() {
        "/slow" => Answer::Own(Box::new(|mut stream| {
            let _ = stream.read(&mut [0; 1]);
        })),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let alone = Alone::before(app, "");
    let since = alone.served.processor_time();
    let bearer = alone.bearer();
    let block = block(&fields("/slow", &bearer));
    let mut client = alone.frames();
    for stream in (1..20_000).step_by(2) {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        client.send(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    }
    let fate = client.fate(u32::MAX);
    assert!(matches!(fate, CALM_DOWN | Fate::Closed), "{fate:?}");
    let slow = |alone: &Alone| {
        let received = alone.app.received();
        received
            .iter()
            .filter(|one| one.target() == "/slow")
            .count()
    };
    assert!(slow(&alone) < 2_000, "{} reached the app", slow(&alone));
    alone.still_good(32, since, 5);
    // One that waits until its requests were heard escapes the library, and not us. Meanwhile others
    // are served.
    let mut client = alone.frames();
    let mut streams = (1..).step_by(2);
    let ended = (0..40).any(|_| {
        let batch: Vec<u32> = streams.by_ref().take(50).collect();
        for stream in &batch {
            client.send(HEADERS, END_STREAM | END_HEADERS, *stream, &block);
        }
        client.send(PING, 0, 0, &[0; 8]);
        let answered =
            std::iter::from_fn(|| client.next()).find(|frame| matches!(frame.kind, PING | GOAWAY));
        for stream in &batch {
            client.send(RST_STREAM, 0, *stream, &8u32.to_be_bytes());
        }
        alone.good();
        answered.is_none_or(|frame| frame.kind == GOAWAY)
    });
    assert!(ended, "2000 requests taken back, and nobody minds");
    alone.still_good(32, since, 10);
}

#[test]
fn f07_frames_that_make_the_server_reset() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    let block = block(&with(&fields("/x", &bearer), ":method", "POST"));
    let mut client = Frames::connect(stage.usher.address);
    // A window that grows by nothing is an error of its stream (RFC 9113 §6.9).
    for stream in (1..20_000).step_by(2) {
        client.send(HEADERS, END_HEADERS, stream, &block);
        client.send(WINDOW_UPDATE, 0, stream, &[0; 4]);
    }
    let fate = client.fate(u32::MAX);
    assert!(matches!(fate, Fate::GoAway(1..) | Fate::Closed), "{fate:?}");
    assert_eq!(stage.app.count(), 0);
    good(&stage);
}

#[test]
fn f08_header_block_without_end() {
    let alone = Alone::new("");
    let since = alone.served.processor_time();
    let filler = block(&[("x-filler", &"a".repeat(8_000))]);
    let mut client = alone.frames();
    client.send(HEADERS, END_STREAM, 1, &filler);
    for _ in 0..5_000 {
        client.send(CONTINUATION, 0, 1, &filler);
    }
    assert_eq!(client.fate(1), CALM_DOWN);
    // Nor one in empty pieces.
    let mut client = alone.frames();
    client.send(HEADERS, END_STREAM, 1, &[]);
    for _ in 0..50_000 {
        client.send(CONTINUATION, 0, 1, &[]);
    }
    assert_eq!(client.fate(1), CALM_DOWN);
    // Nothing was forwarded, kept, or worked on: the row asks for less than a second of a processor.
    let targets: Vec<_> = alone
        .app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert!(
        targets.iter().all(|target| target == "/good"),
        "{targets:?}"
    );
    alone.still_good(16, since, 1);
}

#[test]
fn f09_small_block_that_unpacks_to_a_large_one() {
    let alone = Alone::new("timeouts: { idle: 1s, keep_alive: 2s }\n");
    let bearer = alone.bearer();
    let since = alone.served.processor_time();
    // One field of 4 KiB into the dynamic table, and then a byte for each copy (RFC 7541 §6.1).
    let mut bomb = block(&fields("/x", &bearer));
    let mut indexed = block(&[("x-large", &"a".repeat(3_900))]);
    indexed[0] = 0x40;
    bomb.extend_from_slice(&indexed);
    bomb.extend_from_slice(&[0xbe; 4_000]);
    let mut client = alone.frames();
    // Answers have no room either.
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in (1..200).step_by(2) {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &bomb);
    }
    // Unpacked they would be 1.5 GB: the first one is too large for the limit of all heads, and ends the
    // connection, whose window says nothing of how long it may stay.
    assert_eq!(client.fate(1), CALM_DOWN);
    client.finish();
    assert!(client.is_closed());
    // One stream whose answer has no room is ended after `timeouts.idle`.
    let mut client = alone.frames();
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.head(1, END_STREAM, &fields("/good", &bearer));
    assert_eq!(client.fate(1), Fate::Answered(200));
    let begun = Instant::now();
    assert!(matches!(
        client.fate(1),
        Fate::Reset(8) | Fate::GoAway(_) | Fate::Closed
    ));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // A cookie in empty crumbs is one field, and counts as all of them.
    let mut crumbs = block(&fields("/x", &bearer));
    crumbs.extend_from_slice(&block(&[("cookie", "")]).repeat(1_500));
    let mut client = alone.frames();
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &crumbs);
    assert_eq!(client.fate(1), Fate::Answered(431));
    alone.still_good(32, since, 3);
}

#[test]
fn f10_flood_of_empty_data() {
    let alone = Alone::new("");
    let bearer = alone.bearer();
    let since = alone.served.processor_time();
    let mut client = alone.frames();
    client.head(1, 0, &with(&fields("/x", &bearer), ":method", "POST"));
    let frame: Vec<u8> = [0, 0, 0, DATA, 0, 0, 0, 0, 1].repeat(10_000);
    for _ in 0..100 {
        client.raw(&frame);
    }
    client.send(DATA, END_STREAM, 1, b"end");
    // Nine million bytes that say nothing: the connection is closed, and nothing of them was kept.
    assert_eq!(client.fate(1), CALM_DOWN);
    alone.still_good(16, since, 2);
}

#[test]
fn f11_floods_of_settings_pings_and_priorities() {
    let alone = Alone::new("");
    let since = alone.served.processor_time();
    // What has to be answered is read no faster than the answers are: a client that reads none of them
    // can soon send no more, and holds up nobody but itself.
    for (kind, payload) in [(SETTINGS, &[][..]), (PING, &[0; 8])] {
        let length = u8::try_from(payload.len()).unwrap();
        let frame = [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat();
        let mut socket = TcpStream::connect(alone.served.address).unwrap();
        let brief = Some(Duration::from_millis(500));
        socket.set_write_timeout(brief).unwrap();
        socket.write_all(PREFACE).unwrap();
        socket
            .write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
            .unwrap();
        let flood = frame.repeat(1_000);
        let mut sent = 0;
        while let Ok(count) = socket.write(&flood) {
            sent += count;
            assert!(sent < 64 << 20, "{sent} bytes of {kind} were taken");
        }
        // A hundred thousand, and most of them wait in the kernel.
        assert!(sent > 100_000 * frame.len(), "{sent} bytes of {kind}");
        alone.still_good(16, since, 8);
        // Closed it is anyway, once a client says nothing more for `keep_alive`: that is G01.
    }
    // What needs no answer is skipped, for a microsecond each, and nothing of it is kept.
    let since = alone.served.processor_time();
    let mut client = alone.frames();
    let frame = [0, 0, 5, PRIORITY, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1];
    let flood = frame.repeat(10_000);
    for _ in 0..10 {
        client.raw(&flood);
    }
    client.head(5, END_STREAM, &fields("/good", &alone.bearer()));
    assert_eq!(client.fate(5), Fate::Answered(200));
    alone.still_good(16, since, 2);
}

#[test]
fn f12_window_that_stays_shut() {
    let app = App::with(|received| match received.target() {
        "/large" => Answer::Bytes(answer("200 OK", "", &"a".repeat(1 << 20))),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let stage = Stage::before(app, "timeouts: { idle: 1s }");
    let bearer = bearer(&stage);
    let mut client = Frames::connect(stage.usher.address);
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.head(1, END_STREAM, &fields("/large", &bearer));
    assert_eq!(client.fate(1), Fate::Answered(200));
    let begun = Instant::now();
    // Pings show that somebody is there, not that they read.
    let reset = loop {
        client.send(PING, 0, 0, &[0; 8]);
        match client.next() {
            Some(frame) if frame.kind == RST_STREAM => break true,
            Some(_) => {}
            None => break false,
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(begun.elapsed() < Duration::from_secs(8), "still open");
    };
    assert!(reset || begun.elapsed() < Duration::from_secs(8));
    eventually("nothing is under way", || {
        (stage.usher.metric("usher_requests_in_flight") == 0.0).then_some(())
    });
    good(&stage);
}

/// Frames that are none, or stand where none of their kind may. Each ends its connection alone.
#[test]
fn f13_odd_frames_settings_and_prefaces() {
    let stage = Stage::new("");
    let bearer = bearer(&stage);
    let plain = block(&fields("/x", &bearer));
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let connection_ends: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on no stream", frame(DATA, 0, 1, b"x")),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        (
            "DATA padded by more than it has",
            [
                frame(HEADERS, END_HEADERS, 1, &plain),
                frame(DATA, 8, 1, &[9, 0]),
            ]
            .concat(),
        ),
        ("HEADERS on stream 0", frame(HEADERS, 5, 0, &plain)),
        ("HEADERS on an even stream", frame(HEADERS, 5, 2, &plain)),
        (
            "HEADERS on a lower stream",
            [frame(HEADERS, 5, 5, &plain), frame(HEADERS, 5, 3, &plain)].concat(),
        ),
        (
            "HEADERS padded by more than it has",
            frame(HEADERS, 5 | 8, 1, &[200, 0]),
        ),
        (
            "PRIORITY of 4 bytes on stream 0",
            frame(PRIORITY, 0, 0, &[0; 5]),
        ),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        (
            "RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 7, &[0; 4]),
        ),
        (
            "RST_STREAM of 3 bytes",
            [
                frame(HEADERS, END_HEADERS, 1, &plain),
                frame(RST_STREAM, 0, 1, &[0; 3]),
            ]
            .concat(),
        ),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        (
            "SETTINGS acknowledged with a payload",
            frame(SETTINGS, 1, 0, &[0; 6]),
        ),
        (
            "ENABLE_PUSH of 2",
            frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
        ),
        (
            "a window beyond 2^31-1",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "frames beyond 2^24-1",
            frame(SETTINGS, 0, 0, &[0, 5, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("PUSH_PROMISE of a client", frame(5, 4, 1, &[0, 0, 0, 2])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "WINDOW_UPDATE by 0 for the connection",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        (
            "WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        (
            "WINDOW_UPDATE beyond 2^31-1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        ),
        (
            "WINDOW_UPDATE of an idle stream",
            frame(WINDOW_UPDATE, 0, 9, &[0, 0, 0, 1]),
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, 4, 1, &plain)),
        (
            "CONTINUATION of another stream",
            [
                frame(HEADERS, 1, 1, &plain),
                frame(CONTINUATION, 4, 3, &plain),
            ]
            .concat(),
        ),
        (
            "PING within a header block",
            [frame(HEADERS, 1, 1, &plain), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "an unknown frame within a header block",
            [frame(HEADERS, 1, 1, &plain), frame(0x16, 0, 0, &[0; 8])].concat(),
        ),
        (
            "a frame that is too long",
            frame(HEADERS, 5, 1, &[0; 20_000]),
        ),
        (
            "an index that is none",
            frame(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0x0f]),
        ),
        ("index 0", frame(HEADERS, 5, 1, &[0x80])),
        (
            "a table larger than agreed",
            frame(HEADERS, 5, 1, &[0x3f, 0xff, 0xff, 0xff, 0x07]),
        ),
        (
            "Huffman's code padded with zeros",
            frame(HEADERS, 5, 1, &[0, 0x81, 0x00, 0x81, 0x00]),
        ),
        ("a string cut short", frame(HEADERS, 5, 1, &[0, 0x7f, 0x01])),
    ];
    for (name, bytes) in &connection_ends {
        let mut client = Frames::connect(stage.usher.address);
        client.raw(bytes);
        // A frame that needs more is followed by the end.
        client.finish();
        let fate = client.fate(u32::MAX);
        assert!(
            matches!(fate, Fate::GoAway(1..) | Fate::Closed),
            "{name}: {fate:?}"
        );
    }
    assert_eq!(connection_ends.len(), 35);
    let reached: Vec<_> = stage
        .app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert!(
        reached.len() <= 1,
        "the one before a stream that is too low: {reached:?}"
    );
    // Frames of kinds that nobody knows are skipped (RFC 9113 §4.1).
    let mut client = Frames::connect(stage.usher.address);
    client.raw(&frame(0xee, 0xff, 0, &[1, 2, 3]));
    client.raw(&frame(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]));
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &plain);
    assert_eq!(client.fate(1), Fate::Answered(200));
    // A preface that is almost one.
    for junk in [
        "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = stage.usher.connect();
        client.send(junk);
        client.finish();
        assert!(client.is_closed(), "{junk:?}");
    }
    good(&stage);
}

#[test]
fn f14_upgrade_to_h2c() {
    let stage = Stage::new("");
    for upgrade in [
        "h2c",
        "H2C",
        "h2c, websocket",
        "websocket, h2c",
        "\"h2c\"",
        "h2",
    ] {
        let lines = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        );
        let (_, received) = stage.passes(stage.get("/x", &lines));
        assert_eq!(received.header("http2-settings"), None);
        if upgrade
            .to_ascii_lowercase()
            .split(", ")
            .any(|one| one == "h2c")
        {
            assert_eq!(received.header("upgrade"), None, "{upgrade}");
        }
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn f15_tunnel_that_opens_before_the_app_agrees() {
    // The app that says no gets nothing of what came behind, and it is judged as what it is.
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let bearer = format!("Authorization: Bearer {}\r\n", issuer.token("alice"));
    let mut client = usher.connect();
    client.send(head("GET", "/ws", &format!("{bearer}{UPGRADE}")) + &head("GET", "/admin", ""));
    assert_eq!(
        client.reply().unwrap().status,
        200,
        "the app did not switch"
    );
    assert_eq!(
        client.reply().unwrap().status,
        401,
        "and the next one is judged"
    );
    let targets: Vec<_> = recorder.whole().into_iter().map(|one| one.target).collect();
    assert_eq!(targets, ["/ws"]);
    // The app that hesitates gets it only once it has agreed.
    let (agree, agrees) = mpsc::channel::<()>();
    let (early, seen) = mpsc::channel::<bool>();
    let both = std::sync::Mutex::new(Some((agrees, early)));
    let app = App::with(move |received| match received.header("upgrade") {
        None => Answer::Bytes(answer("200 OK", "", "hello")),
        Some(_) => {
            let (agrees, early) = both.lock().unwrap().take().unwrap();
            Answer::Own(Box::new(move |mut stream| {
                let brief = Some(Duration::from_millis(300));
                stream.set_read_timeout(brief).unwrap();
                early
                    .send(matches!(stream.read(&mut [0; 9]), Ok(1..)))
                    .unwrap();
                agrees.recv().unwrap();
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.read(&mut [0; 9]);
            }))
        }
    });
    let stage = Stage::before(app, "");
    let mut client = stage.usher.connect();
    client.send(stage.get("/ws", UPGRADE) + "early");
    assert!(!seen.recv().unwrap(), "bytes before the 101");
    agree.send(()).unwrap();
    assert_eq!(client.reply().unwrap().status, 101);
    stage.good();
}

#[test]
fn f16_app_that_only_seems_to_agree() {
    for told in [
        "101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n\r\n",
        "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "101 Switching Protocols\r\n\r\n",
    ] {
        let app = App::with(move |received| match received.header("upgrade") {
            None => Answer::Bytes(answer("200 OK", "", "hello")),
            Some(_) => Answer::Last(format!("HTTP/1.1 {told}").into_bytes()),
        });
        let stage = Stage::before(app, "");
        assert_eq!(
            stage.usher.raw(stage.get("/ws", UPGRADE)).status,
            502,
            "{told}"
        );
        stage.good();
    }
    // Whether the app has understood the handshake is the client's to tell (RFC 6455 §4.1): it gets what
    // it needs for that, as it came.
    let app = App::with(|received| match received.header("upgrade") {
        None => Answer::Bytes(answer("200 OK", "", "hello")),
        Some(_) => Answer::Last(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
                .to_vec(),
        ),
    });
    let stage = Stage::before(app, "");
    let reply = stage.usher.raw(stage.get("/ws", UPGRADE));
    assert_eq!(reply.status, 101);
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    );
    stage.good();
    // A 200 is an answer, and what the client sends then is a request.
    let stage = Stage::new("");
    let mut client = stage.usher.connect();
    client.send(stage.get("/ws", &format!("{UPGRADE}Upgrade-Insecure-Requests: 1\r\n")));
    assert_eq!(client.reply().unwrap().status, 200);
    client.send(head("GET", "/tunnelled", ""));
    assert_eq!(client.reply().unwrap().status, 401);
    stage.good();
}

#[test]
fn f17_upgrade_without_a_token_in_its_place() {
    let stage = Stage::new("");
    let protocol = format!(
        "{UPGRADE}Sec-WebSocket-Protocol: bearer, {}\r\n",
        stage.token
    );
    let query = format!("/ws?access_token={}", stage.token);
    for bytes in [
        head("GET", "/ws", UPGRADE),
        head("GET", "/ws", &protocol),
        head("GET", &query, UPGRADE),
    ] {
        stage.refuses(bytes, &[401]);
    }
    // Where they are wanted they count, and do not reach the app.
    let stage = Stage::new(
        "tokens: { from: [authorization, websocket_protocol, { query: access_token }] }",
    );
    let protocol = format!(
        "{UPGRADE}Sec-WebSocket-Protocol: chat, bearer, {}\r\n",
        stage.token
    );
    let query = format!("/ws?a=b&access_token={}", stage.token);
    for bytes in [head("GET", "/ws", &protocol), head("GET", &query, UPGRADE)] {
        let (_, received) = stage.passes(bytes);
        assert!(!received.head.contains(&stage.token), "{}", received.head);
        assert_eq!(received.header("x-user-id"), Some("alice"));
    }
}

#[test]
fn f18_socket_that_outlives_its_token() {
    let app = App::with(|received| match received.header("upgrade") {
        None => Answer::Bytes(answer("200 OK", "", "hello")),
        Some(_) => Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"\x81\x02hi").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        })),
    });
    let routes = "routes: [{ path: /long/**, outlive_token: true }]";
    let stage = Stage::before(app, routes);
    let ends = now() + 2;
    let short = stage.issuer.token_with("alice", json!({ "exp": ends }));
    let open = |target: &str| {
        let mut client = stage.usher.connect();
        let lines = format!("Authorization: Bearer {short}\r\n{UPGRADE}");
        client.send(head("GET", target, &lines));
        assert_eq!(client.reply().unwrap().status, 101, "{target}");
        client
    };
    let (ending, staying) = (open("/ws"), open("/long/ws"));
    let begun = Instant::now();
    let mut piece = [0; 4096];
    while matches!(ending.stream().read(&mut piece), Ok(1..)) {
        assert!(begun.elapsed() < Duration::from_secs(6), "still open");
    }
    assert!(now() >= ends, "it was ended before its time");
    // Nothing of that is an accident of the app's: where the configuration says so a socket stays open.
    // One whose token is revoked ends in any case, which tests/revocation/streams.rs shows.
    let later = Instant::now();
    while later.elapsed() < Duration::from_secs(1) {
        assert!(matches!(staying.stream().read(&mut piece), Ok(1..)));
    }
    stage.good();
}

#[test]
fn f19_cross_site_socket_with_a_cookie() {
    let stage = Stage::new("tokens: { from: [{ cookie: session }] }");
    let cookie = format!("{UPGRADE}Cookie: session={}\r\n", stage.token);
    for origin in [
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
        "Origin: http://app.test.evil\r\n",
        "Origin: http://app.test\r\nOrigin: http://evil.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "",
    ] {
        let mut client = stage.usher.connect();
        client.send(head("GET", "/ws", &format!("{cookie}{origin}")));
        let status = client.reply().unwrap().status;
        assert!([400, 403].contains(&status), "{origin}: {status}");
    }
    assert_eq!(stage.app.count(), 0);
    let same = head(
        "GET",
        "/ws",
        &format!("{cookie}Origin: http://app.test\r\n"),
    );
    assert_eq!(stage.usher.raw(same).status, 200);
}

#[test]
fn f20_connect_in_every_form() {
    let stage = Stage::routed();
    for target in ["internal.test:22", "app.test:80", "/public/x", "*"] {
        stage.refuses(head("CONNECT", target, &stage.bearer()), &[400, 405]);
    }
    let bearer = bearer(&stage);
    for authority in ["internal.test:22", "app.test"] {
        let fields = [
            (":method", "CONNECT"),
            (":authority", authority),
            ("authorization", &bearer),
        ];
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, 0, &fields);
        assert_eq!(client.fate(1), Fate::Answered(405));
    }
    // Other protocols than WebSocket by RFC 8441 neither.
    for protocol in ["connect-udp", "connect-tcp", "h2c"] {
        let mut asked = with(&fields("/x", &bearer), ":method", "CONNECT");
        asked.insert(1, (":protocol", protocol));
        let mut client = Frames::connect(stage.usher.address);
        client.head(1, 0, &asked);
        assert_eq!(client.fate(1), Fate::Answered(405), "{protocol}");
    }
    assert!(
        stage
            .app
            .received()
            .iter()
            .all(|one| one.target() == "/good")
    );
    stage.good();
}

#[test]
fn f21_version_that_was_not_agreed_on() {
    let (app, authority, issuer) = (App::start(), Authority::new(), Issuer::new());
    let pair = authority.server("a", &["a.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}\n",
        pair.yaml()
    );
    let usher = Usher::start(&app, &issuer, &listen);
    let lines = format!("Authorization: Bearer {}\r\n", issuer.token("alice"));
    for agreed in [&b"http/1.1"[..], b"h2", b""] {
        let mut config = (*tls::client(&authority.root, None)).clone();
        if !agreed.is_empty() {
            config.alpn_protocols = vec![agreed.to_vec()];
        }
        let config = std::sync::Arc::new(config);
        // The preface where the other version was agreed on, and the other way round.
        let preface = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        let plain = head("GET", "/x", &lines).into_bytes();
        for bytes in [preface, plain, b"\x16\x03\x01garbage".to_vec()] {
            let session = tls::connect(usher.address, "a.test", &config).unwrap();
            let mut client = Client::over_tls(session);
            client.send(&bytes);
            client.send(b"\0\0\0\0\0\0");
            let brief = Some(Duration::from_millis(300));
            client.stream().set_read_timeout(brief).unwrap();
            // What was agreed on changes nothing: each kind is served or closed as what it is.
            let said = client.rest();
            let wanted = match bytes.first() {
                Some(b'P') => "\0\0",
                Some(b'G') => "HTTP/1.1 200 ",
                _ => "HTTP/1.1 400 ",
            };
            assert!(said.starts_with(wanted), "{agreed:?}: {said:?}");
        }
    }
    // In the clear: TLS to a port without it, HTTP/1.1 to an app that speaks HTTP/2 alone.
    let mut raw = TcpStream::connect(usher.address).unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    let _ = raw.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1"), "an alert, and closed");
    let to_http2 = Usher::before(Http2App::echo(1).address, &issuer, "");
    assert_eq!(to_http2.get("/x", &issuer.token("alice")).status, 502);
    let config = tls::client(&authority.root, None);
    let mut client = Client::over_tls(tls::connect(usher.address, "a.test", &config).unwrap());
    client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    assert_eq!(client.reply().unwrap().status, 200);
    // All of that came to four good requests of HTTP/1.1, and nothing else reached the app.
    let targets: Vec<_> = app
        .received()
        .iter()
        .map(|one| one.line().to_owned())
        .collect();
    assert_eq!(targets, ["GET /x HTTP/1.1"; 4]);
    client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    assert!(client.reply().unwrap().status == 200);
}
