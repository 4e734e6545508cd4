//! One request is one request: no framing that two readers could read differently gets through.
//!
//! Empty lines before the request line are accepted, as RFC 9112 §2.2 asks; bare LF as a line end
//! is not. The app gets the request written anew, with CRLF and one framing, so that there is
//! only one reading of it left.

use std::io::Write as _;

use crate::common::app::{Answer, answer, bare};
use crate::common::{App, Client, Issuer, Usher};

const ROUTES: &str = "
routes:
  - { path: /public/**, access: public }
";

struct Line {
    app: App,
    usher: Usher,
    token: String,
}

fn line() -> Line {
    line_to(App::start())
}

fn line_to(app: App) -> Line {
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    Line { app, usher, token }
}

impl Line {
    fn post(&self, lines: &str, body: &str) -> String {
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n{lines}\r\n{body}",
            self.token
        )
    }

    #[track_caller]
    fn refuses(&self, bytes: impl AsRef<[u8]>) {
        let reply = self
            .usher
            .refuses(&self.app, &self.token, &bytes, &[400, 431, 501, 505]);
        // What follows such a head is nobody's.
        drop(reply);
    }

    /// The app sees one request at most, with one framing, and never the smuggled one.
    #[track_caller]
    fn never_smuggles(&self, bytes: &[u8]) {
        let before = self.app.count();
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let mut client = self.usher.connect();
        client.send(bytes);
        let reply = client
            .reply()
            .unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert!(
            [200, 400, 501].contains(&reply.status),
            "{} {shown:?}",
            reply.status
        );
        assert!(client.is_closed(), "still open after {shown:?}");
        self.usher.serves(&self.token);
        let received = &self.app.received()[before..];
        assert!(received.len() <= 2, "{shown:?}");
        for request in received {
            assert_ne!(request.target(), "/smuggled", "{shown:?}");
            let framings = [
                request.all("content-length"),
                request.all("transfer-encoding"),
            ];
            assert!(framings.concat().len() <= 1, "{shown:?}");
            assert!(request.folded("transfer-encoding").len() <= 1, "{shown:?}");
        }
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn two_framings_are_refused() {
    let line = line();
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n",
        "Transfer-Encoding: chunked\r\nX: 1\r\nContent-Length: 6\r\nContent-Length: 6\r\n",
    ] {
        line.refuses(line.post(lines, "0\r\n\r\nG"));
        line.refuses(line.post(lines, &format!("0\r\n\r\n{SMUGGLED}")));
    }
}

#[test]
fn odd_transfer_encodings_are_never_read_two_ways() {
    let line = line();
    for encoding in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: cow",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked\t",
        "Transfer_Encoding: chunked",
        "Transfer.Encoding: chunked",
        "X-Transfer-Encoding: chunked",
    ] {
        let body = format!("0\r\n\r\n{SMUGGLED}");
        let lines = format!(
            "Content-Length: {}\r\nConnection: close\r\n{encoding}\r\n",
            body.len()
        );
        line.never_smuggles(line.post(&lines, &body).as_bytes());
    }
    for raw in [
        &b"Transfer-Encoding: \xa0chunked"[..],
        b"Transfer-Encoding: chunked\xff",
    ] {
        let mut bytes = line.post("Content-Length: 3\r\nConnection: close\r\n", "");
        bytes.truncate(bytes.len() - 2);
        let bytes = [bytes.as_bytes(), raw, b"\r\n\r\nabc"].concat();
        line.never_smuggles(&bytes);
    }
}

#[test]
fn broken_heads_are_refused() {
    let line = line();
    for lines in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\r\n b\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: a\rb\r\n",
        "X: a\r\rb: c\r\n",
        "X: a\0b\r\n",
        "X: a\x0bb\r\n",
        "X: a\x0cb\r\n",
        "X\0: a\r\n",
        "X Y: a\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "\u{e9}: a\r\n",
        "X: \x7f\r\n",
        "(X): a\r\n",
    ] {
        line.refuses(line.post(lines, ""));
    }
}

#[test]
fn broken_lengths_are_refused() {
    let line = line();
    for length in [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5,6",
        "Content-Length: five",
        "Content-Length: 5.0",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\nX: 1\r\nContent-Length: 5",
    ] {
        line.refuses(line.post(&format!("{length}\r\n"), "hello"));
    }
}

/// Somebody has touched them (RFC 9112 §6.3 lets a recipient refuse).
#[test]
fn repeated_lengths_are_refused_though_they_agree() {
    let line = line();
    for (lines, body) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5,5\r\n", "hello"),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", ""),
        ("Content-Length: 0, 0\r\n", ""),
    ] {
        line.refuses(line.post(lines, body));
    }
}

#[test]
fn codings_that_are_not_understood_are_refused() {
    let line = line();
    for lines in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let before = line.app.count();
        let mut client = line.usher.connect();
        client.send(line.post(lines, "5\r\nhello\r\n0\r\n\r\n"));
        assert_eq!(client.reply().unwrap().status, 400, "{lines}");
        assert!(client.is_closed(), "{lines}");
        line.usher.serves(&line.token);
        assert_eq!(line.app.count(), before + 1, "{lines}");
    }
    assert_eq!(line.usher.line("/x")["reason"], "bad_framing");
}

#[test]
fn broken_chunks_never_become_a_whole_body() {
    let line = line();
    for body in [
        "FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
    ] {
        let before = line.app.count();
        let mut client = line.usher.connect();
        client.send(line.post("Transfer-Encoding: chunked\r\n", body));
        let status = client.reply().map(|reply| reply.status);
        assert_eq!(status, Some(400), "{body:?}");
        assert!(client.is_closed(), "{body:?}");
        line.usher.serves(&line.token);
        assert_eq!(line.app.count(), before + 1, "{body:?}");
    }
}

/// The answer has begun, and so the connection was meant to be kept, when the body breaks.
#[test]
fn after_a_broken_body_nothing_is_a_request() {
    let app = App::with(|_| Answer::Bytes(answer("200 OK", "", "never")));
    let early = bare(|mut stream| {
        let mut piece = [0; 1024];
        let _ = std::io::Read::read(&mut stream, &mut piece);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nback\r\n";
        let _ = stream.write_all(head.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(300));
        let _ = stream.write_all(b"0\r\n\r\n");
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    });
    let issuer = Issuer::new();
    let usher = Usher::before(early, &issuer, "");
    let line = Line {
        token: issuer.token("alice"),
        usher,
        app,
    };
    let mut client = line.usher.connect();
    client.send(line.post("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"));
    client.until("back");
    client.send(format!("X\r\n0\r\n\r\n{SMUGGLED}"));
    let rest = client.rest();
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
}

#[test]
fn chunk_extensions_never_reach_the_app() {
    let line = line();
    for body in [
        "5;a=b\r\nhello\r\n0;c\r\n\r\n".to_owned(),
        "5;x=\"0\r\nhello\r\n0\r\n\r\n".to_owned(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1000)),
    ] {
        let reply = line
            .usher
            .raw(line.post("Transfer-Encoding: chunked\r\n", &body));
        assert_eq!(reply.status, 200);
        assert_eq!(line.app.last().body, b"hello");
    }
    let body = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let before = line.app.count();
    let mut client = line.usher.connect();
    client.send(line.post("Transfer-Encoding: chunked\r\n", &body));
    assert_ne!(client.reply().map(|reply| reply.status), Some(200));
    line.usher.serves(&line.token);
    assert_eq!(line.app.count(), before + 1);
}

#[test]
fn bare_line_feeds_end_no_line_of_a_head() {
    let line = line();
    let good = format!(
        "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\nContent-Length: 5\r\n\r\nhello",
        line.token
    );
    assert_eq!(line.usher.raw(&good).status, 200);
    line.refuses(good.replace("\r\n", "\n"));
    line.refuses(good.replace("app.test\r\n", "app.test\n"));
    line.refuses(good.replace("\r\n\r\n", "\r\n\n"));
    line.refuses(good.replace("Host", "X: y\nTransfer-Encoding: chunked\r\nHost"));
    assert_eq!(line.usher.line("-")["reason"], "request_malformed");
}

#[test]
fn a_broken_head_is_answered_and_told_like_any_other_denial() {
    let line = line();
    let reply = line.usher.raw("GET /x HTTP/1.1\r\nBroken : field\r\n\r\n");
    assert_eq!(reply.status, 400);
    assert_eq!(reply.body, r#"{"error":"bad_request"}"#);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let told = line.usher.line("-");
    assert_eq!(told["reason"], "request_malformed");
    assert_eq!(told["method"], "-");
    assert_eq!(line.usher.metric("usher_connections_broken_total"), 1.0);
}

#[test]
fn empty_lines_before_a_request_are_skipped_within_bounds() {
    let line = line();
    let good = line.post("Content-Length: 0\r\n", "");
    assert_eq!(line.usher.raw(format!("\r\n\r\n{good}")).status, 200);
    let before = line.app.count();
    let mut client = line.usher.connect();
    client.send("\r\n".repeat(100_000));
    client.send(&good);
    client.finish();
    assert!(client.is_closed());
    line.usher.serves(&line.token);
    assert_eq!(line.app.count(), before + 1);
}

#[test]
fn odd_request_lines_are_refused() {
    let line = line();
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
        "GET /x HTTP/11",
        "GET /x",
        " GET /x HTTP/1.1",
        "GET",
        "G(T /x HTTP/1.1",
    ] {
        line.refuses(format!(
            "{first}\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
            line.token
        ));
    }
}

#[test]
fn there_is_exactly_one_good_host() {
    let line = line();
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: app.test\r\nHost: app.test\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: a:99999\r\n",
        "Host: a:b\r\n",
        "Host: a:80:80\r\n",
        "Host:\r\n",
        "Host: :80\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: a\u{e9}\r\n",
        "Host: a\"b\r\n",
    ] {
        for target in ["/x", "/public/x"] {
            let bytes = format!(
                "GET {target} HTTP/1.1\r\n{hosts}Authorization: Bearer {}\r\n\r\n",
                line.token
            );
            let reply = line.usher.refuses(&line.app, &line.token, bytes, &[400]);
            assert!(reply.body.is_empty() || reply.body == r#"{"error":"bad_request"}"#);
        }
    }
}

#[test]
fn expectations_are_met_or_refused() {
    let line = line();
    for expect in [
        "Expect: foo",
        "Expect: 100-continue, x",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect:",
    ] {
        let bytes = line.post(&format!("{expect}\r\nContent-Length: 0\r\n"), "");
        line.usher.refuses(&line.app, &line.token, bytes, &[417]);
    }
    let mut client = line.usher.connect();
    client.send(line.post("Expect: 100-Continue\r\nContent-Length: 5\r\n", ""));
    assert_eq!(client.reply().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.reply().unwrap().status, 200);
    let received = line.app.last();
    assert_eq!(received.body, b"hello");
    assert_eq!(received.header("expect"), None);
}

#[test]
fn a_denied_upload_is_never_asked_for() {
    let line = line();
    let before = line.app.count();
    let mut client = line.usher.connect();
    client.send(
        "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer bad\r\n\
         Expect: 100-continue\r\nContent-Length: 60\r\n\r\n",
    );
    assert_eq!(client.reply().unwrap().status, 401, "and no 100 before it");
    // What comes now is the body or the next request: nobody can tell, so nobody reads it.
    client.send(format!(
        "GET /smuggled HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
        line.token
    ));
    assert!(client.reply().is_none());
    line.usher.serves(&line.token);
    assert_eq!(line.app.count(), before + 1);
}

#[test]
fn an_unread_body_is_never_the_next_request() {
    let line = line();
    let smuggled = format!(
        "GET /smuggled HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
        line.token
    );
    let bad = |framing: &str, body: &str| {
        format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer bad\r\n{framing}\r\n\r\n{body}"
        )
    };
    let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (framing, body) in [
        (format!("Content-Length: {}", smuggled.len()), &smuggled),
        (
            format!("Content-Length: {}", smuggled.len() + 100),
            &smuggled,
        ),
        ("Transfer-Encoding: chunked".to_owned(), &chunks),
    ] {
        let before = line.app.count();
        // At once, and with the body after the answer.
        let mut client = line.usher.connect();
        client.send(bad(&framing, body));
        assert_eq!(client.reply().unwrap().status, 401);
        client.finish();
        assert_eq!(client.rest(), "", "one answer only");
        let mut client = line.usher.connect();
        client.send(bad(&framing, ""));
        assert_eq!(client.reply().unwrap().status, 401);
        client.send(body);
        client.finish();
        assert_eq!(client.rest(), "", "one answer only");
        line.usher.serves(&line.token);
        assert_eq!(line.app.count(), before + 1, "{framing}");
    }
}

#[test]
fn a_denial_reaches_a_client_that_is_still_sending() {
    let line = line();
    let size = 8 << 20;
    let mut client = line.usher.connect();
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer bad\r\nContent-Length: {size}\r\n\r\n"
    ));
    client.send(vec![b'x'; size]);
    assert_eq!(client.reply().map(|reply| reply.status), Some(401));
    let access = line.usher.line("/x");
    assert_eq!(
        (&access["status"], &access["reason"]),
        (&401.into(), &"token_malformed".into())
    );
}

#[test]
fn http_1_0_is_served_and_never_chunked() {
    let line = line_to(App::with(|received| match received.target() {
        "/chunks" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec(),
        ),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    }));
    for target in ["/x", "/chunks"] {
        let mut client = line.usher.connect();
        client.send(format!(
            "GET {target} HTTP/1.0\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
            line.token
        ));
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
        assert_eq!(reply.header("transfer-encoding"), None);
        assert!(client.is_closed());
        assert_eq!(line.app.last().line(), format!("GET {target} HTTP/1.1"));
    }
    line.refuses(format!(
        "POST /x HTTP/1.0\r\nHost: app.test\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        line.token
    ));
}

#[test]
fn pipelined_requests_are_judged_one_by_one() {
    let line = line();
    let good = format!(
        "GET /1 HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
        line.token
    );
    let none = "GET /2 HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let upload = line.post("Content-Length: 5\r\n", "hello");
    let mut client = line.usher.connect();
    client.send(format!("{good}{none}{upload}{none}{good}"));
    let statuses: Vec<_> = (0..5).map(|_| client.reply().unwrap().status).collect();
    assert_eq!(statuses, [200, 401, 200, 401, 200]);
    let seen: Vec<_> = line
        .app
        .received()
        .iter()
        .map(|r| r.target().to_owned())
        .collect();
    assert_eq!(seen, ["/1", "/x", "/1"]);
}

#[test]
fn bodies_of_any_method_arrive_framed() {
    let line = line();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "FOO"] {
        for (framing, body) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let mut client = line.usher.connect();
            client.send(format!(
                "{method} /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n{framing}\r\n\r\n{body}",
                line.token
            ));
            assert_eq!(client.reply_to(method).unwrap().status, 200);
            assert_eq!(line.app.last().body, b"hello", "{method} {framing}");
        }
    }
}

#[test]
fn a_truncated_upload_never_looks_whole() {
    let line = line();
    for (lines, body) in [
        ("Content-Length: 100\r\n", "0123456789"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
    ] {
        let before = line.app.count();
        let mut client = line.usher.connect();
        client.send(line.post(lines, body));
        client.finish();
        let status = client.reply().map(|reply| reply.status);
        assert!(matches!(status, None | Some(400 | 408)), "{status:?}");
        line.usher.serves(&line.token);
        assert_eq!(line.app.count(), before + 1, "{lines} {body:?}");
    }
}

/// What the app answers, and what the client may make of it: a body, or 502 when `None`.
#[test]
fn an_app_that_frames_badly_reaches_nobody_else() {
    let table: &[(&str, Option<&str>)] = &[
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            Some("hello"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            Some("hello"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Some("hello"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Some("hello"),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
            None,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello", None),
        (
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
            Some(""),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello",
            Some(""),
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n",
            None,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", None),
        ("HTTP/1.1 999999 OK\r\n\r\n", None),
        ("HTTP/3.0 200 OK\r\n\r\n", None),
        ("garbage\r\n\r\n", None),
        ("\0\0\0\0\0\0\0\0", None),
        ("<html>hello</html>", None),
    ];
    let bytes: Vec<Vec<u8>> = table
        .iter()
        .map(|(bytes, _)| bytes.as_bytes().to_vec())
        .collect();
    let line = line_to(App::with(move |received| {
        match received.target().trim_start_matches('/').parse::<usize>() {
            Ok(number) => Answer::Last(bytes[number].clone()),
            Err(_) => Answer::Bytes(answer("200 OK", "", "hello")),
        }
    }));
    for (number, (bytes, wanted)) in table.iter().enumerate() {
        let mut client = line.usher.connect();
        let ask = |target: &str| {
            format!(
                "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
                line.token
            )
        };
        client.send(ask(&format!("/{number}")));
        let reply = client.reply().unwrap();
        match wanted {
            None => {
                assert_eq!(reply.status, 502, "{bytes:?}");
                assert_eq!(reply.body, r#"{"error":"bad_gateway"}"#);
            }
            Some(body) => assert_eq!(reply.body, *body, "{bytes:?}"),
        }
        let framings = [reply.all("content-length"), reply.all("transfer-encoding")].concat();
        assert!(framings.len() <= 1, "{}", reply.head);
        client.send(ask("/good"));
        let next = client.reply().expect("the client's connection is sound");
        assert_eq!(
            (next.status, next.body.as_str()),
            (200, "hello"),
            "{bytes:?}"
        );
        line.usher.serves(&line.token);
    }
}

#[test]
fn an_answer_cut_short_is_cut_short_for_the_client() {
    let line = line_to(App::with(|received| match received.target() {
        "/length" => Answer::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello".to_vec()),
        "/chunks" => Answer::Last(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec(),
        ),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    }));
    for target in ["/length", "/chunks"] {
        let mut client = line.usher.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\r\n",
            line.token
        ));
        assert!(client.reply().is_none(), "no whole answer");
        assert!(client.is_closed());
        assert!(line.usher.line(target)["cut"].is_string());
        line.usher.serves(&line.token);
    }
}

#[test]
fn informational_answers_are_not_taken_for_the_answer() {
    let line = line_to(App::with(|received| {
        let flood = match received.target() {
            "/flood" => 10_000,
            _ => 1,
        };
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(flood);
        bytes.extend_from_slice(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(flood));
        bytes.extend_from_slice(&answer("200 OK", "", "hello"));
        Answer::Bytes(bytes)
    }));
    // A flood of them is more than a head may have.
    for (target, hints, status) in [("/one", 1, 200), ("/flood", 16, 502), ("/one", 1, 200)] {
        let mut client = line.usher.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
            line.token
        ));
        for _ in 0..hints {
            assert_eq!(client.reply().unwrap().status, 103, "{target}");
        }
        let reply = client.reply().unwrap();
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.body == "hello", status == 200, "{target}");
    }
}

#[test]
fn an_app_that_answers_early_gives_no_bytes_of_one_client_to_another() {
    use std::io::Write;
    // Answers before it has read the body, and keeps the connection open.
    let early = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = early.local_addr().unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in early.incoming() {
            let (mut stream, heard) = (stream.unwrap(), heard.clone());
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut piece = [0; 1024];
                let mut answered = 0;
                while let Ok(count @ 1..) = std::io::Read::read(&mut stream, &mut piece) {
                    seen.extend_from_slice(&piece[..count]);
                    let heads = seen.windows(4).filter(|w| w == b"\r\n\r\n").count();
                    while answered < heads {
                        answered += 1;
                        let _ = stream.write_all(&answer("413 Too Large", "", "early"));
                    }
                }
                let _ = heard.send(String::from_utf8_lossy(&seen).into_owned());
            });
        }
    });
    let issuer = Issuer::new();
    let usher = Usher::configured(&format!(
        "upstream: http://{address}\nissuers: [{}]\nworkers: 1",
        issuer.yaml()
    ));
    let (alice, bob) = (issuer.token("alice"), issuer.token("bob"));
    let mut first: Client = usher.connect();
    first.send(format!(
        "POST /alice HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {alice}\r\nContent-Length: 20\r\n\r\n0123456789"
    ));
    assert_eq!(first.reply().unwrap().status, 413);
    let reply = usher.get("/bob", &bob);
    assert_eq!((reply.status, reply.body.as_str()), (413, "early"));
    first.send("abcdefghij");
    drop(first);
    assert_eq!(usher.get("/bob", &bob).status, 413);
    drop(usher);
    for seen in hears
        .try_iter()
        .chain(hears.recv_timeout(std::time::Duration::from_secs(5)))
    {
        let mixed = seen.contains("/alice") && seen.contains("/bob");
        assert!(
            !mixed || seen.contains("0123456789abcdefghijGET /bob"),
            "{seen}"
        );
    }
}
