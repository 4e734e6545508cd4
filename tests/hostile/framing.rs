//! E: one request in is one request out, or none.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::grid;
use super::stage::{Recorder, Stage, head, statuses};
use crate::common::app::{Answer, answer, bare};
use crate::common::{App, Issuer, Usher};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn e01_length_beside_chunks() {
    let stage = Stage::new("");
    for (one, other) in [
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "content-length: 4"),
        (
            "Transfer-Encoding: chunked\r\nX: 1",
            "Content-Length: 6\r\nContent-Length: 6",
        ),
    ] {
        let lines = format!("{one}\r\n{other}\r\n");
        stage.closes(stage.post(&lines, "0\r\n\r\nG"), &[400]);
        stage.closes(stage.post(&lines, &format!("0\r\n\r\n{SMUGGLED}")), &[400]);
    }
}

/// Every case of [`grid`]: what the app got reads as one request, to a reader by the letter.
#[test]
fn e02_transfer_encoding_in_disguise() {
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let token = issuer.token("alice");
    let cases = grid::cases(&token);
    assert!(cases.len() > 3400, "{}", cases.len());
    let (mut let_in, mut refused) = (0, 0);
    for case in &cases {
        let mut client = usher.connect();
        client.send(&case.bytes);
        let got = statuses(&mut client);
        case.check(&got);
        match got.first() {
            Some(200) => let_in += 1,
            _ => refused += 1,
        }
        usher.serves(&token);
    }
    assert!(
        let_in > 100 && refused > 1000,
        "{let_in} let in, {refused} refused"
    );
    let whole = recorder.whole();
    let of = |target: &str| {
        whole
            .iter()
            .filter(|message| message.target == target)
            .count()
    };
    assert_eq!(of("/good"), cases.len());
    assert_eq!(of("/smuggled"), 0);
    assert_eq!(of("/x"), let_in, "one for each answer");
    assert_eq!(whole.len(), of("/good") + of("/x") + of("/marker"));
    grid::h11_agrees(&recorder.connections(), &whole);
    usher.serves(&token);
}

#[test]
fn e03_coding_that_is_not_exactly_chunked() {
    let stage = Stage::new("");
    for coding in [
        "identity, chunked",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        ",chunked",
        "identity",
        "gzip",
        "cow",
        "",
        "\"chunked\"",
        "chunked;q=1",
        "chunked chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
    ] {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        stage.closes(stage.post(&lines, "5\r\nhello\r\n0\r\n\r\n"), &[400, 501]);
    }
    for good in ["chunked", "Chunked", "CHUNKED", "\tchunked "] {
        let lines = format!("Transfer-Encoding: {good}\r\n");
        let (_, received) = stage.passes(stage.post(&lines, "5\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(received.body, b"hello", "{good}");
    }
}

#[test]
fn e04_length_that_is_no_number() {
    let stage = Stage::new("");
    for length in [
        "+5",
        "-1",
        "0x5",
        "5 5",
        "5,5",
        "5,6",
        "",
        " ",
        "5.0",
        "5e0",
        "five",
        "05\0",
        "\u{665}",
        "18446744073709551616",
        "99999999999999999999999999",
        "5\r\nContent-Length: 5",
        "5\r\nContent-Length: 6",
        "5\r\ncontent_length: 6\r\nContent-Length: 6",
    ] {
        let lines = format!("Content-Length: {length}\r\n");
        stage.closes(stage.post(&lines, "hello"), &[400]);
    }
    let (_, received) = stage.passes(stage.post("Content-Length: 0005\r\n", "hello"));
    assert_eq!(received.body, b"hello");
    assert_eq!(
        received
            .header("content-length")
            .unwrap()
            .trim_start_matches('0'),
        "5"
    );
    stage.good();
}

/// Chunked bodies that are none, whole or cut.
#[track_caller]
fn broken_chunks(bodies: &[&str]) {
    let stage = Stage::new("");
    for body in bodies {
        let bytes = stage.post("Transfer-Encoding: chunked\r\n", body);
        stage.closes(bytes, &[400]);
    }
}

#[test]
fn e05_chunk_size_overflows() {
    broken_chunks(&[
        "FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn e06_bare_line_feed_between_chunks() {
    broken_chunks(&[
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
    ]);
}

#[test]
fn e07_chunk_extensions() {
    let stage = Stage::new("");
    let chunked = "Transfer-Encoding: chunked\r\n";
    for body in [
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5;x=\"0\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "1;x=\"\r\nh\r\n4;\"\r\nello\r\n0\r\n\r\n",
    ] {
        let (_, received) = stage.passes(stage.post(chunked, body));
        assert_eq!(received.body, b"hello", "{body:?}");
    }
    let huge = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20));
    stage.closes(stage.post(chunked, &huge), &[400]);
    // And no byte of them reaches the app.
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let bearer = format!(
        "Authorization: Bearer {}\r\n{chunked}",
        issuer.token("alice")
    );
    let body = "5;evil=\"0\r\nhello\r\n0;evil\r\n\r\n";
    assert_eq!(usher.raw(head("POST", "/x", &bearer) + body).status, 200);
    let bytes = recorder.connections().concat();
    assert!(!bytes.windows(4).any(|window| window == b"evil"));
    assert_eq!(recorder.whole()[0].body, b"hello");
    usher.serves(&issuer.token("alice"));
}

#[test]
fn e08_chunks_in_http_1_0() {
    let stage = Stage::new("");
    let bytes = stage
        .post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")
        .replace("HTTP/1.1", "HTTP/1.0");
    stage.closes(&bytes, &[400]);
    stage.closes(
        bytes.replace("chunked\r\n", "chunked\r\nConnection: keep-alive\r\n"),
        &[400],
    );
    stage.closes(
        bytes.replace("chunked\r\n", "chunked\r\nContent-Length: 5\r\n"),
        &[400],
    );
}

/// Heads that are refused with 400, the connection closed.
#[track_caller]
fn broken_heads(lines: &[&str]) {
    let stage = Stage::new("");
    for lines in lines {
        stage.closes(stage.post(lines, "0\r\n\r\n"), &[400]);
    }
}

#[test]
fn e09_folded_lines() {
    broken_heads(&[
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\r\n \r\n",
    ]);
}

#[test]
fn e10_space_before_the_colon() {
    broken_heads(&[
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\tTransfer-Encoding: chunked\r\n",
        "Content-Length : 5\r\n",
    ]);
}

#[test]
fn e11_bare_line_feeds_in_a_head() {
    let stage = Stage::new("");
    let good = stage.post("Content-Length: 5\r\n", "hello");
    stage.passes(&good);
    for bad in [
        good.replace("\r\n", "\n"),
        good.replace("app.test\r\n", "app.test\n"),
        good.replace("\r\n\r\n", "\r\n\n"),
        good.replace("\r\n\r\n", "\n\r\n"),
        good.replace("Host", "X: X\nTransfer-Encoding: chunked\r\nHost"),
        good.replace("HTTP/1.1\r\n", "HTTP/1.1\n"),
    ] {
        stage.closes(bad, &[400]);
    }
}

#[test]
fn e12_control_characters_in_a_head() {
    broken_heads(&[
        "X: a\rb\r\n",
        "X: a\r\rb: c\r\n",
        "X: a\0b\r\n",
        "X: a\x0bb\r\n",
        "X: a\x0cb\r\n",
        "X: \x7f\r\n",
        "X: \x01\r\n",
        "X\0: a\r\n",
        "X\x0b: a\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
    ]);
}

#[test]
fn e13_empty_lines_first() {
    let stage = Stage::new("limits: { header_bytes: 8KiB, target_bytes: 1KiB }");
    let good = stage.get("/x", "");
    stage.passes(format!("\r\n\r\n{good}"));
    let before = stage.app.count();
    let mut client = stage.usher.connect();
    client.send("\r\n".repeat(10_000));
    client.send(&good);
    client.finish();
    assert!(client.is_closed());
    assert_eq!(stage.app.count(), before);
    stage.good();
}

#[test]
fn e14_unread_body_after_an_early_no() {
    let stage = Stage::new("");
    let smuggled = stage.get("/smuggled", "");
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (lines, body) in [
        (format!("Content-Length: {}\r\n", smuggled.len()), &smuggled),
        (
            format!("Content-Length: {}\r\n", smuggled.len() + 60),
            &smuggled,
        ),
        ("Transfer-Encoding: chunked\r\n".to_owned(), &chunk),
    ] {
        let refused = head(
            "POST",
            "/x",
            &format!("Authorization: Bearer bad\r\n{lines}"),
        );
        // The body at once, and after the answer.
        for (first, second) in [
            (format!("{refused}{body}"), ""),
            (refused.clone(), body.as_str()),
        ] {
            let before = stage.app.count();
            let mut client = stage.usher.connect();
            client.send(first);
            assert_eq!(client.reply().unwrap().status, 401);
            client.send(second);
            client.finish();
            assert_eq!(client.rest(), "", "one answer and no more");
            assert_eq!(stage.app.count(), before);
            stage.good();
        }
    }
}

#[test]
fn e15_expectation_and_a_body_withheld() {
    let stage = Stage::new("");
    let lines = "Authorization: Bearer bad\r\nExpect: 100-continue\r\nContent-Length: 60\r\n";
    let before = stage.app.count();
    let mut client = stage.usher.connect();
    client.send(head("POST", "/x", lines));
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 401, "and no 100 before it");
    assert_eq!(reply.header("connection"), Some("close"));
    client.send(stage.get("/smuggled", ""));
    assert!(client.reply().is_none());
    assert_eq!(stage.app.count(), before);
    stage.good();
}

#[test]
fn e16_odd_expectations() {
    let stage = Stage::new("");
    for expect in [
        "100-continue, x",
        "foo",
        "",
        "100 continue",
        "x 100-continue",
        "100-continue\r\nExpect: 100-continue",
    ] {
        let bytes = stage.post(&format!("Expect: {expect}\r\nContent-Length: 0\r\n"), "");
        stage.refuses(bytes, &[417]);
    }
    let (_, received) = stage.passes(stage.get("/x", "Expect: 100-CONTINUE\r\n"));
    assert_eq!(received.header("expect"), None);
    stage.good();
}

/// An app that answers a whole head at once, reads on, and keeps its connections.
fn hasty() -> (std::net::SocketAddr, mpsc::Receiver<String>) {
    let (heard, hears) = mpsc::channel();
    let heard = std::sync::Mutex::new(heard);
    let address = bare(move |mut stream| {
        let (mut seen, mut piece, mut answered) = (Vec::new(), [0; 4096], 0);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
            let heads = seen.windows(4).filter(|bytes| bytes == b"\r\n\r\n").count();
            for _ in answered..heads {
                let _ = stream.write_all(&answer("413 Too Large", "", "early"));
            }
            answered = heads;
        }
        let _ = heard
            .lock()
            .unwrap()
            .send(String::from_utf8_lossy(&seen).into_owned());
    });
    (address, hears)
}

#[test]
fn e17_app_answers_early_and_its_connection_is_reused() {
    let ((address, hears), issuer) = (hasty(), Issuer::new());
    let usher = Usher::before(address, &issuer, "workers: 1");
    let mut alice = usher.connect();
    let lines = format!(
        "Authorization: Bearer {}\r\nContent-Length: 20\r\n",
        issuer.token("alice")
    );
    alice.send(head("POST", "/alice", &lines) + "0123456789");
    assert_eq!(alice.reply().unwrap().status, 413);
    assert_eq!(usher.get("/bob", &issuer.token("bob")).body, "early");
    alice.send("abcdefghij");
    drop(alice);
    assert_eq!(usher.get("/bob", &issuer.token("bob")).body, "early");
    drop(usher);
    let mut connections = 0;
    while let Ok(seen) = hears.recv_timeout(Duration::from_secs(2)) {
        // Bob's request never stands where alice's body was to go on.
        let unfinished = seen.contains("0123456789") && !seen.contains("0123456789abcdefghij");
        assert!(!(unfinished && seen.contains("/bob")), "{seen}");
        connections += 1;
    }
    assert!(connections >= 2);
}

#[test]
fn e18_hostile_answers_of_the_app() {
    const BODY: Option<&str> = Some("hello");
    let table: Vec<(String, Option<&str>)> = [
        ("200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", BODY),
        ("200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", None),
        ("200 OK\r\ncontent-length: -5\r\n\r\nhello", None),
        ("200 OK\r\ncontent-length: 5, 6\r\n\r\nhello", None),
        ("200 OK\r\ntransfer-encoding: gzip, identity\r\n\r\nhello", None),
        ("200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", BODY),
        ("204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Some("")),
        ("304 Not Modified\r\ncontent-length: 5\r\n\r\nevil!", Some("")),
        ("101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n", None),
        ("101 Switching Protocols\r\n\r\n", None),
        ("099 Odd\r\n\r\n", None),
        ("200 OK\r\nX: a\0b\r\n\r\n", None),
        ("200 OK\r\nX : a\r\n\r\nhello", None),
    ]
    .map(|(text, wanted)| (format!("HTTP/1.1 {text}"), wanted))
    .into_iter()
    .chain([
        ("<html>hello</html>".to_owned(), None),
        ("HTTP/0.9 200 OK\r\n\r\n".to_owned(), None),
        ("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20_000), None),
    ])
    .collect();
    let answers: Vec<String> = table.iter().map(|(text, _)| text.clone()).collect();
    let app = App::with(move |received| {
        match received.target().trim_start_matches('/').parse::<usize>() {
            Ok(number) => Answer::Last(answers[number].clone().into_bytes()),
            Err(_) => Answer::Bytes(answer("200 OK", "", "hello")),
        }
    });
    let stage = Stage::before(app, "workers: 1");
    for (number, (text, wanted)) in table.iter().enumerate() {
        let shown = &text[..text.len().min(120)];
        let mut client = stage.usher.connect();
        client.send(stage.get(&format!("/{number}"), ""));
        let mut reply = client.reply().unwrap();
        let mut hints = 0;
        while reply.status == 103 {
            hints += 1;
            reply = client.reply().unwrap();
        }
        assert!(hints <= 16, "{hints} {shown}");
        match wanted {
            None => assert_eq!(reply.status, 502, "{shown}"),
            Some(body) => assert_eq!(reply.body, *body, "{shown}"),
        }
        client.send(stage.get("/next", ""));
        assert_eq!(client.reply().unwrap().body, "hello", "after {shown}");
        stage.good();
    }
    // To HEAD there is no body, whatever the app sends.
    let stage = Stage::before(App::start(), "workers: 1");
    let mut client = stage.usher.connect();
    for _ in 0..3 {
        client.send(head("HEAD", "/x", &stage.bearer()));
        assert_eq!(client.reply_to("HEAD").unwrap().status, 200);
    }
    stage.good();
}

#[test]
fn e19_pipelined_requests() {
    let stage = Stage::new("");
    let (good, none) = (stage.get("/1", ""), head("GET", "/2", ""));
    let upload = stage.post("Content-Length: 5\r\n", "hello");
    let mut client = stage.usher.connect();
    client.send(format!("{good}{none}{upload}{none}{good}"));
    let statuses: Vec<_> = (0..5).map(|_| client.reply().unwrap().status).collect();
    assert_eq!(statuses, [200, 401, 200, 401, 200]);
    let targets: Vec<_> = stage
        .app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert_eq!(targets, ["/1", "/x", "/1"]);
    stage.good();
}

#[test]
fn e20_body_where_none_is_usual() {
    let stage = Stage::new("");
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "FOO"] {
        for (lines, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let mut client = stage.usher.connect();
            client.send(head(method, "/x", &format!("{}{lines}", stage.bearer())) + body);
            assert_eq!(client.reply_to(method).unwrap().status, 200, "{method}");
            assert_eq!(stage.app.last().body, b"hello", "{method} {lines}");
            client.send(stage.get("/next", ""));
            assert_eq!(client.reply().unwrap().status, 200);
        }
    }
    stage.good();
}

#[test]
fn e21_truncated_body() {
    let stage = Stage::new("");
    for (lines, body) in [
        ("Content-Length: 100\r\n", "0123456789"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        let before = stage.app.count();
        let mut client = stage.usher.connect();
        client.send(stage.post(lines, body));
        client.finish();
        let status = client.reply().map(|reply| reply.status);
        assert!(matches!(status, None | Some(400 | 408)), "{status:?}");
        stage.good();
        assert_eq!(
            stage.app.count(),
            before + 1,
            "the app never has a whole request"
        );
    }
}

#[test]
fn e22_host_missing_twice_or_odd() {
    let stage = Stage::routed();
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: a:99999\r\n",
        "Host: a:b\r\n",
        "Host:\r\n",
        "Host: :80\r\n",
        "Host: a/b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: [::1\r\n",
        "Host: a\u{e9}\r\n",
        "Host: a:80:80\r\n",
        "Host: a:-1\r\n",
        "Host: a:+80\r\n",
        "Host: a: 80\r\n",
    ] {
        for target in ["/x", "/public/x"] {
            let bytes = format!("GET {target} HTTP/1.1\r\n{hosts}{}\r\n", stage.bearer());
            stage.refuses(bytes, &[400]);
        }
    }
}

#[test]
fn e23_odd_request_lines() {
    let stage = Stage::new("");
    for first in [
        "GET  /x HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x\tHTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /x HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /x HTTP/1.2",
        "GET /x HTTP/2.0",
        "GET /x http/1.1",
        "GET /x HTTP/1",
        "GET /x HTTP/1.10",
        "GET /x",
        " GET /x HTTP/1.1",
        "GET",
        "G(T /x HTTP/1.1",
        "GET /x HTTP/1.1\0",
        "GET\u{a0}/x HTTP/1.1",
        "GET /x XTTP/1.1",
    ] {
        let bytes = format!("{first}\r\nHost: app.test\r\n{}\r\n", stage.bearer());
        stage.closes(bytes, &[400, 505]);
    }
}

#[test]
fn e24_space_that_is_none_before_chunked() {
    let stage = Stage::new("");
    for raw in [
        &b"\xa0chunked"[..],
        b"\xc2\xa0chunked",
        b"chunked\xa0",
        b"\xefchunked",
        b"chun\xffked",
    ] {
        for length in ["Content-Length: 5\r\n", ""] {
            let whole = stage.post(
                &format!("{length}Transfer-Encoding: @\r\n"),
                "5\r\nhello\r\n0\r\n\r\n",
            );
            let (before, after) = whole.split_once('@').unwrap();
            stage.closes(
                [before.as_bytes(), raw, after.as_bytes()].concat(),
                &[400, 501],
            );
        }
    }
}

#[test]
fn e25_names_that_are_none() {
    broken_heads(&[
        "\u{e9}: a\r\n",
        ": no name\r\n",
        "no colon\r\n",
        "X Y: a\r\n",
        "(X): a\r\n",
        "X[]: a\r\n",
        "\"X\": a\r\n",
        "X/Y: a\r\n",
        "X@: a\r\n",
    ]);
    let stage = Stage::new("");
    stage.refuses(
        stage.get("/x", &format!("{}: a\r\n", "x".repeat(64 << 10))),
        &[431],
    );
    let raw = [
        stage.get("/x", "X").trim_end().as_bytes(),
        b"\xff: a\r\n\r\n",
    ]
    .concat();
    stage.closes(raw, &[400]);
}

#[test]
fn e26_line_breaks_in_what_usher_builds() {
    let stage = Stage::new("cors: { origins: ['https://page.test'] }");
    for target in [
        "/x%0d%0aX-Injected:%201",
        "/%0aX-Injected:1",
        "/x?a=%0d%0aX-Injected:%201",
    ] {
        for origin in [
            "https://page.test",
            "https://page.test%0d%0aX-Injected: 1",
            "x%0aX-Injected: 1",
        ] {
            let lines = format!("Origin: {origin}\r\n");
            for method in ["GET", "OPTIONS", "TRACE"] {
                let reply = stage.usher.raw(head(method, target, &lines));
                assert!(reply.status >= 400, "{target}");
                assert_eq!(reply.all("x-injected"), [""; 0], "{}", reply.head);
                assert!(
                    !reply.head.contains("%0") && !reply.body.contains("njected"),
                    "{}",
                    reply.head
                );
            }
        }
    }
    stage.good();
}

/// Answers the first request of each connection and drops the second.
fn forgetful() -> App {
    let known = std::sync::Mutex::new(std::collections::HashSet::new());
    App::with(
        move |received| match known.lock().unwrap().insert(received.connection) {
            true => Answer::Bytes(answer("200 OK", "", "hello")),
            false => Answer::Last(Vec::new()),
        },
    )
}

#[test]
fn e27_request_that_is_sent_twice() {
    for (method, lines, again) in [
        ("GET", "X-User-Id: root\r\n", true),
        ("POST", "Content-Length: 0\r\n", false),
        ("DELETE", "", false),
        ("PUT", "Content-Length: 5\r\n", false),
    ] {
        let stage = Stage::before(forgetful(), "workers: 1");
        stage.good();
        let body = if lines.contains('5') { "hello" } else { "" };
        let reply = stage
            .usher
            .raw(head(method, "/x", &format!("{}{lines}", stage.bearer())) + body);
        assert_eq!(reply.status == 200, again, "{method}");
        let sent: Vec<_> = stage
            .app
            .received()
            .into_iter()
            .filter(|one| one.target() == "/x")
            .collect();
        assert_eq!(sent.len(), if again { 2 } else { 1 }, "{method}");
        for one in &sent {
            assert_eq!(one.head, sent[0].head);
            assert_eq!(one.folded("x-user-id"), ["x-user-id: alice"]);
        }
        // The app drops every second request of a connection; a good one is answered all the same.
        stage.good();
    }
}
