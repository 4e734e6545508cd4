//! HTTP/2 on the same port: many requests on one connection, each judged like any other, and
//! nothing that HTTP/1.1 would read in two ways.

use std::collections::HashSet;
use std::io::Write;
use std::process::Command;
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method};

use crate::common::app::{Answer, answer};
use crate::common::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, GOAWAY, HEADERS, Http2, PING,
    RST_STREAM, block, get, request,
};
use crate::common::{App, Issuer, Usher, eventually};

fn setup(more: &str) -> (App, Issuer, Usher) {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, more);
    (app, issuer, usher)
}

/// The fields of a good request, as bare frames have them.
fn fields<'a>(path: &'a str, bearer: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app.test"),
        (":path", path),
        ("authorization", bearer),
    ]
}

fn bearer(issuer: &Issuer) -> String {
    format!("Bearer {}", issuer.token("alice"))
}

#[test]
fn a_request_is_one_like_any_other() {
    let (app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let mut asked = get("/hello?a=b", &issuer.token("alice"));
    asked
        .headers_mut()
        .insert("x-user-id", HeaderValue::from_static("forged"));
    let answered = client.ask(asked).unwrap();
    assert_eq!((answered.status, &answered.body[..]), (200, &b"hello"[..]));
    assert_eq!(answered.header("content-length"), Some("5"));
    assert!(answered.header("date").is_some());
    let received = app.last();
    assert_eq!(received.line(), "GET /hello?a=b HTTP/1.1");
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("x-user-id"), Some("alice"));
    assert_eq!(received.header("x-forwarded-host"), Some("app.test"));
    assert_eq!(received.header("authorization"), None);
    assert_eq!(usher.line("/hello")["outcome"], "forwarded");
    let refused = client.ask(get("/", "nonsense")).unwrap();
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    assert_eq!(refused.header("connection"), None);
    assert_eq!(app.count(), 1);
    let metrics = usher.admin("/metrics").body;
    assert!(
        metrics.contains("usher_connections_http2_total 1"),
        "{metrics}"
    );
}

#[test]
fn many_requests_share_a_connection_and_nothing_else() {
    const AT_ONCE: usize = 50;
    let together = Arc::new(Barrier::new(AT_ONCE));
    let app = App::with(move |received| {
        // Only when all of them are there does any of them get its answer.
        together.wait();
        let id = received.header("x-user-id").unwrap();
        Answer::Bytes(answer("200 OK", "", id))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let users: Vec<_> = (0..AT_ONCE).map(|number| format!("u{number}")).collect();
    for _ in 0..3 {
        let answers: Vec<_> = users
            .iter()
            .map(|user| client.start(get("/", &issuer.token(user)), true).0)
            .collect();
        for (user, answer) in users.iter().zip(answers) {
            let answered = client.runtime.block_on(http2::read(answer)).unwrap();
            assert_eq!(String::from_utf8(answered.body).unwrap(), *user);
        }
    }
    let metrics = usher.admin("/metrics").body;
    assert!(
        metrics.contains("usher_connections_accepted_total 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("usher_connections_http2_streams 0\n"),
        "{metrics}"
    );
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let app = App::with(|received| {
        let told = received.trailers.lines().next().unwrap_or_default();
        let chunk = String::from_utf8_lossy(&received.body);
        let text = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{chunk}\r\n0\r\nx-sum: 7\r\nx-told: {told}\r\n\r\n",
            chunk.len()
        );
        Answer::Bytes(text.into_bytes())
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let large = Bytes::from("0123456789".repeat(500_000));
    let asked = request(Method::POST, "/", &issuer.token("alice"));
    let asked = asked.header("te", "trailers").body(()).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-last", HeaderValue::from_static("yes"));
    trailers.insert("x-user-id", HeaderValue::from_static("forged"));
    let answered = client.upload(asked, large.clone(), Some(trailers)).unwrap();
    assert!(
        answered.body == large,
        "{} bytes came back",
        answered.body.len()
    );
    let trailers = answered.trailers.expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
    assert_eq!(trailers["x-told"], "x-last: yes");
    let received = app.last();
    assert_eq!(received.header("transfer-encoding"), Some("chunked"));
    assert_eq!(received.trailers, "x-last: yes\n");
    // A length that was told is told on.
    let asked = request(Method::POST, "/", &issuer.token("alice"));
    let asked = asked.header("content-length", "3").body(()).unwrap();
    client.upload(asked, Bytes::from("abc"), None).unwrap();
    assert_eq!(app.last().header("content-length"), Some("3"));
    assert_eq!(app.last().body, b"abc");
}

#[test]
fn answers_without_a_body_have_none() {
    let app = App::with(|received| {
        Answer::Bytes(match received.target() {
            "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec(),
        })
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let cases = [
        (Method::GET, "/204", 204, None),
        (Method::GET, "/304", 304, Some("9")),
        (Method::HEAD, "/", 200, Some("9")),
    ];
    for (method, target, status, length) in cases {
        let asked = request(method, target, &token).body(()).unwrap();
        let answered = client.ask(asked).unwrap();
        assert_eq!((answered.status, answered.body.len()), (status, 0));
        assert_eq!(answered.header("content-length"), length, "{target}");
    }
}

#[test]
fn a_body_is_asked_for_once_the_request_is_admitted() {
    let (app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let asked = |token: &str| {
        let asked = request(Method::POST, "/", token).header("expect", "100-continue");
        asked.body(()).unwrap()
    };
    let (answer, mut stream) = client.start(asked(&issuer.token("alice")), false);
    let answered = client.runtime.block_on(async {
        let mut answer = answer;
        let go_on = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
        let go_on = go_on.expect("an informational answer").unwrap();
        assert_eq!(go_on.status(), 100);
        http2::write(&mut stream, Bytes::from("body"), true)
            .await
            .unwrap();
        http2::read(answer).await.unwrap()
    });
    assert_eq!((answered.status, &app.last().body[..]), (200, &b"body"[..]));
    let (answer, _stream) = client.start(asked("nonsense"), false);
    let refused = client.runtime.block_on(http2::read(answer)).unwrap();
    assert_eq!(refused.status, 401);
}

#[test]
fn crumbs_of_a_cookie_are_one_field() {
    let (app, issuer, usher) = setup("tokens: { from: [{ cookie: token }, authorization] }");
    let client = Http2::connect(usher.address);
    let asked = http::Request::get("http://app.test/")
        .header("cookie", "a=1")
        .header("cookie", format!("token={}", issuer.token("alice")))
        .header("cookie", "b=2");
    assert_eq!(client.ask(asked.body(()).unwrap()).unwrap().status, 200);
    assert_eq!(app.last().header("cookie"), Some("a=1; b=2"));
    let twice = request(Method::GET, "/", &issuer.token("alice"));
    let twice = twice.header("authorization", format!("Bearer {}", issuer.token("bob")));
    assert_eq!(client.ask(twice.body(()).unwrap()).unwrap().status, 400);
    assert_eq!(app.count(), 1);
}

#[test]
fn nothing_is_read_in_two_ways() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    let good = fields("/", &bearer);
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let put = |name: &str, value: &'static str| {
        let mut fields = good.clone();
        fields
            .iter_mut()
            .filter(|(given, _)| *given == name)
            .for_each(|field| field.1 = value);
        fields
    };
    // PROTOCOL_ERROR, for the stream or for the whole connection.
    let protocol = None;
    let cases = [
        // What belongs to a connection of HTTP/1.1 (RFC 9113 §8.2.2).
        (with(&[("connection", "x")]), protocol),
        (with(&[("transfer-encoding", "chunked")]), protocol),
        (with(&[("upgrade", "h2c")]), protocol),
        (with(&[("keep-alive", "1")]), protocol),
        (with(&[("te", "gzip")]), protocol),
        // Line ends, and names that are none.
        (with(&[("x-a", "b\r\nx-user-id: mallory")]), protocol),
        (with(&[("x-a\r\nx-user-id", "mallory")]), protocol),
        (with(&[("X-Upper", "a")]), protocol),
        (put(":path", "/\r\nx-user-id: mallory"), protocol),
        (put(":method", "GET / HTTP/1.1\r\nx: y"), protocol),
        (put(":authority", "a b"), protocol),
        // Pseudo-header fields: twice, late, unknown, of an answer.
        (with(&[(":path", "/other")]), protocol),
        (with(&[(":status", "200")]), protocol),
        // Two names of one host.
        (with(&[("host", "other.test")]), Some(400)),
        (put(":authority", "user@app.test"), Some(400)),
        (put(":scheme", "ftp"), Some(400)),
        (put(":path", "*"), Some(400)),
        (put(":path", "/a/../b"), Some(400)),
        (put(":method", "TRACE"), Some(405)),
    ];
    for (fields, wanted) in cases {
        let mut client = Frames::connect(usher.address);
        client.head(1, END_STREAM, &fields);
        let fate = client.fate(1);
        match wanted {
            Some(status) => assert_eq!(fate, Fate::Answered(status), "{fields:?}"),
            None => assert!(
                matches!(fate, Fate::Reset(1) | Fate::GoAway(1)),
                "{fate:?} {fields:?}"
            ),
        }
        assert_eq!(app.count(), 0, "{:?}", &fields);
    }
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &good);
    assert_eq!(client.fate(1), Fate::Answered(200));
}

#[test]
fn tunnels_are_not_made_for_those_who_ask_with_connect() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    let connect = [
        (":method", "CONNECT"),
        (":authority", "internal.test:22"),
        ("authorization", &bearer),
    ];
    let mut client = Frames::connect(usher.address);
    client.head(1, 0, &connect);
    assert_eq!(client.fate(1), Fate::Answered(405));
    assert_eq!(app.connections(), 0);
}

#[test]
fn a_length_that_is_not_kept_never_looks_whole() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    for (length, data) in [("0", "x"), ("3", "xxxx"), ("5", "x")] {
        let mut fields = fields("/", &bearer);
        fields[0] = (":method", "POST");
        fields.push(("content-length", length));
        let mut client = Frames::connect(usher.address);
        client.head(1, 0, &fields);
        client.send(DATA, END_STREAM, 1, data.as_bytes());
        assert_eq!(client.fate(1), Fate::Reset(1), "{length}");
    }
    let mut twice = fields("/", &bearer);
    twice.extend([("content-length", "1"), ("content-length", "1")]);
    let mut client = Frames::connect(usher.address);
    client.head(1, 0, &twice);
    assert_ne!(client.fate(1), Fate::Answered(200));
    assert_eq!(app.count(), 0);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn frames_out_of_order_end_the_connection() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    let good = block(&fields("/", &bearer));
    type Script<'a> = Box<dyn Fn(&mut Frames) + 'a>;
    let scripts: [(&str, Script<'_>); 8] = [
        (
            "data on no stream",
            Box::new(|client| client.send(DATA, 0, 1, b"x")),
        ),
        (
            "an even stream",
            Box::new(|client| client.send(HEADERS, 5, 2, &good)),
        ),
        (
            "stream 0",
            Box::new(|client| client.send(HEADERS, 5, 0, &good)),
        ),
        (
            "a frame among header blocks",
            Box::new(|client| {
                client.send(HEADERS, END_STREAM, 1, &good);
                client.send(PING, 0, 0, &[0; 8]);
            }),
        ),
        (
            "a continuation of nothing",
            Box::new(|client| client.send(CONTINUATION, END_HEADERS, 1, &good)),
        ),
        (
            "a ping of 7 bytes",
            Box::new(|client| client.send(PING, 0, 0, &[0; 7])),
        ),
        (
            "an index that is none",
            Box::new(|client| client.send(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0x0f])),
        ),
        (
            "a frame that is too long",
            Box::new(|client| client.send(HEADERS, 5, 1, &[0; 20_000])),
        ),
    ];
    for (name, script) in scripts {
        let mut client = Frames::connect(usher.address);
        script(&mut client);
        let fate = client.fate(u32::MAX);
        assert!(
            matches!(fate, Fate::GoAway(1..) | Fate::Closed),
            "{name}: {fate:?}"
        );
    }
    assert_eq!(app.count(), 0);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn heads_are_bounded() {
    let more = "limits: { header_bytes: 8KiB, target_bytes: 1KiB, header_count: 20 }";
    let (app, issuer, usher) = setup(more);
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let long = request(Method::GET, &format!("/{}", "a".repeat(2000)), &token);
    assert_eq!(client.ask(long.body(()).unwrap()).unwrap().status, 414);
    let many = (0..30).fold(request(Method::GET, "/", &token), |asked, number| {
        asked.header(format!("x-{number}"), "a")
    });
    assert_eq!(client.ask(many.body(()).unwrap()).unwrap().status, 431);
    let large = request(Method::GET, "/", &token).header("x-a", "a".repeat(12_000));
    assert_eq!(client.ask(large.body(()).unwrap()).unwrap().status, 431);
    assert_eq!(app.count(), 0);
    assert_eq!(client.ask(get("/", &token)).unwrap().status, 200);
}

#[test]
fn a_header_block_without_end_is_cut_off() {
    let (_app, issuer, usher) = setup("");
    let mut client = Frames::connect(usher.address);
    let filler = block(&[("x-filler", &"a".repeat(8_000))]);
    client.send(HEADERS, END_STREAM, 1, &filler);
    for _ in 0..1_000 {
        client.send(CONTINUATION, 0, 1, &filler);
    }
    let fate = client.fate(1);
    assert!(matches!(fate, Fate::GoAway(_) | Fate::Closed), "{fate:?}");
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn requests_that_are_always_taken_back_end_the_connection() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    let fields = fields("/", &bearer);
    let mut client = Frames::connect(usher.address);
    for stream in (1..20_000).step_by(2) {
        client.head(stream, END_STREAM, &fields);
        client.send(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    }
    let fate = client.fate(u32::MAX);
    assert!(matches!(fate, Fate::GoAway(11) | Fate::Closed), "{fate:?}");
    assert!(app.count() < 2_000, "{} reached the app", app.count());
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn streams_are_bounded_and_one_too_many_is_refused() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let app = App::with(move |_| {
        let _ = wait.lock().unwrap().recv();
        Answer::Bytes(answer("200 OK", "", "hello"))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "limits: { streams: 2 }");
    let bearer = bearer(&issuer);
    let mut client = Frames::connect(usher.address);
    for stream in [1, 3, 5] {
        client.head(stream, END_STREAM, &fields("/", &bearer));
    }
    // REFUSED_STREAM: it was not heard, and may be sent again (RFC 9113 §8.7).
    assert_eq!(client.fate(5), Fate::Reset(7));
    drop(release);
    assert_eq!(client.fate(1), Fate::Answered(200));
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let app = App::with(|_| Answer::Bytes(answer("200 OK", "", &"a".repeat(1 << 20))));
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { idle: 1s }");
    let bearer = bearer(&issuer);
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &fields("/", &bearer));
    let begun = Instant::now();
    assert_eq!(client.fate(1), Fate::Answered(200));
    // Pings show that somebody is there, not that they read.
    let fate = loop {
        client.send(PING, 0, 0, &[0; 8]);
        match client.next() {
            Some(frame) if frame.kind == RST_STREAM => break Some(frame.payload),
            Some(_) => {}
            None => break None,
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(begun.elapsed() < Duration::from_secs(8), "it is still open");
    };
    assert_eq!(fate, Some(8u32.to_be_bytes().to_vec()));
    assert!(usher.line("/").is_object(), "it has its line");
}

#[test]
fn an_idle_connection_is_told_goodbye() {
    let (_app, issuer, usher) = setup("timeouts: { keep_alive: 1s }");
    let bearer = bearer(&issuer);
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &fields("/", &bearer));
    assert_eq!(client.fate(1), Fate::Answered(200));
    assert_eq!(client.fate(3), Fate::GoAway(0));
    while client.next().is_some() {}
}

#[test]
fn a_request_that_is_taken_back_is_not_waited_for() {
    let (gone, seen) = mpsc::channel();
    let app = App::with(move |received| match received.target() {
        "/slow" => {
            let gone = gone.clone();
            Answer::Own(Box::new(move |mut stream| {
                let mut byte = [0];
                let end = std::io::Read::read(&mut stream, &mut byte);
                let _ = gone.send(matches!(end, Ok(0) | Err(_)));
            }))
        }
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let (answer, mut stream) = client.start(get("/slow", &token), true);
    eventually("the app", || (app.count() == 1).then_some(()));
    stream.send_reset(Reason::CANCEL);
    drop((answer, stream));
    assert!(seen.recv_timeout(Duration::from_secs(5)).unwrap());
    assert_eq!(usher.line("/slow")["reason"], "client_gone");
    assert_eq!(client.ask(get("/", &token)).unwrap().status, 200);
}

#[test]
fn an_answer_cut_short_is_cut_short_for_the_client() {
    let app = App::with(|_| {
        Answer::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".to_vec())
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let error = client.ask(get("/", &issuer.token("alice"))).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn the_end_of_usher_lets_streams_finish() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let app = App::with(move |received| {
        if received.target() == "/slow" {
            let _ = gone.lock().unwrap().recv();
        }
        Answer::Bytes(answer("200 OK", "", "hello"))
    });
    let issuer = Issuer::new();
    let mut usher = Usher::start(&app, &issuer, "");
    let bearer = bearer(&issuer);
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &fields("/slow", &bearer));
    eventually("the slow request", || (app.count() == 1).then_some(()));
    usher.stop();
    let goodbye = std::iter::from_fn(|| client.next()).find(|frame| frame.kind == GOAWAY);
    assert_eq!(goodbye.unwrap().payload[4..8], [0; 4]);
    go.send(()).unwrap();
    assert_eq!(client.fate(1), Fate::Answered(200));
    while client.next().is_some() {}
    usher.ended();
}

#[test]
fn denials_of_calls_are_in_grpc_s_words() {
    let (app, issuer, usher) = setup("routes: [{ path: /admin/**, require: { roles: [admin] } }]");
    let client = Http2::connect(usher.address);
    let call = |path: &str, token: &str| {
        let call = request(Method::POST, path, token).header("te", "trailers");
        let call = call.header("content-type", "application/grpc+proto");
        client
            .upload(call.body(()).unwrap(), Bytes::from_static(&[0; 5]), None)
            .unwrap()
    };
    let said = |answered: &http2::Answered| {
        assert_eq!(answered.header("content-type"), Some("application/grpc"));
        assert!(answered.body.is_empty());
        (
            answered.status,
            answered.header("grpc-status").unwrap().to_owned(),
        )
    };
    assert_eq!(said(&call("/a.B/C", "nonsense")), (200, "16".to_owned()));
    assert_eq!(
        said(&call("/admin/x", &issuer.token("alice"))),
        (200, "7".to_owned())
    );
    assert_eq!(app.count(), 0);
    let line = usher.line("/a.B/C");
    assert_eq!(
        (&line["status"], &line["outcome"]),
        (&401.into(), &"denied".into())
    );
}

#[test]
fn http_1_on_the_same_port_is_what_it_was() {
    let (app, issuer, usher) = setup("");
    for text in [
        "PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/3.0\r\n\r\n",
    ] {
        assert_eq!(usher.raw(text).status, 400, "{text}");
    }
    // The preface is one at the beginning only.
    let mut client = usher.connect();
    let token = issuer.token("alice");
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    client.send(http2::PREFACE);
    assert_eq!(client.reply().unwrap().status, 400);
    assert_eq!(app.count(), 1);
    // One that comes in pieces is one as well.
    let mut stream = std::net::TcpStream::connect(usher.address).unwrap();
    for byte in http2::PREFACE {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut first = [0; 9];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(first[3], 4, "settings");
}

#[test]
fn curl_speaks_it() {
    let (app, issuer, usher) = setup("");
    let token = issuer.token("alice");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http2-prior-knowledge"])
        .args(["--write-out", " %{http_version} %{http_code}"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--data", "some text"])
        .arg(format!("http://{}/a", usher.address))
        .output()
        .expect("curl runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello 2 200",
        "{output:?}"
    );
    assert_eq!(app.last().body, b"some text");
    let paths: HashSet<_> = app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert_eq!(paths, HashSet::from(["/a".to_owned()]));
}

/// Asks for another protocol on a stream (RFC 8441).
fn connect(client: &Http2, protocol: &'static str, token: &str) -> http::Request<()> {
    eventually("the server's settings", || {
        client
            .send
            .is_extended_connect_protocol_enabled()
            .then_some(())
    });
    let mut asked = request(Method::CONNECT, "/socket?a=b", token)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap();
    let protocol = h2::ext::Protocol::from_static(protocol);
    asked.extensions_mut().insert(protocol);
    asked
}

#[test]
fn a_websocket_needs_no_connection_of_its_own() {
    let app = App::with(|received| match received.header("upgrade") {
        Some("websocket") => Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                        sec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            let mut piece = [0; 100];
            while let Ok(count @ 1..) = std::io::Read::read(&mut stream, &mut piece) {
                let _ = stream.write_all(&piece[..count]);
            }
            let _ = stream.write_all(b"goodbye");
        })),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let (answer, mut stream) = client.start(connect(&client, "websocket", &token), false);
    client.runtime.block_on(async {
        let (head, mut body) = answer.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["sec-websocket-protocol"], "chat");
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
        for number in 0..20 {
            let message = Bytes::from(format!("frame {number}"));
            http2::write(&mut stream, message.clone(), false)
                .await
                .unwrap();
            let back = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(back.len()).unwrap();
            assert_eq!(back, message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "goodbye");
        // The end may come as a frame without data.
        while let Some(data) = body.data().await {
            assert!(data.unwrap().is_empty());
        }
    });
    let received = app.last();
    assert_eq!(received.line(), "GET /socket?a=b HTTP/1.1");
    assert_eq!(received.header("x-user-id"), Some("alice"));
    assert_eq!(received.header("connection"), Some("upgrade"));
    assert_eq!(received.header("sec-websocket-key").unwrap().len(), 24);
    assert_eq!(client.ask(get("/", &token)).unwrap().status, 200);
}

#[test]
fn a_websocket_is_judged_like_any_request() {
    let (app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let ask = |protocol, token: &str| {
        let (answer, _open) = client.start(connect(&client, protocol, token), false);
        client.runtime.block_on(http2::read(answer)).unwrap().status
    };
    assert_eq!(ask("websocket", "nonsense"), 401);
    assert_eq!(ask("connect-udp", &token), 405);
    assert_eq!(app.count(), 0);
    // An app that does not agree answers as it likes.
    assert_eq!(ask("websocket", &token), 200);
    assert_eq!(client.ask(get("/", &token)).unwrap().status, 200);
}

#[test]
fn a_websockets_length_is_no_body_to_the_app() {
    let (app, issuer, usher) = setup("");
    let bearer = bearer(&issuer);
    let mut asked = fields("/socket", &bearer);
    asked[0] = (":method", "CONNECT");
    asked.insert(1, (":protocol", "websocket"));
    asked.push(("content-length", "400"));
    let mut client = Frames::connect(usher.address);
    client.head(1, 0, &asked);
    assert_eq!(client.fate(1), Fate::Answered(200), "as the app says");
    let received = app.last();
    assert_eq!(received.header("content-length"), None);
    assert_eq!(received.header("upgrade"), Some("websocket"));
    // What comes next on the app's connection is a request of its own.
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
    assert_eq!(app.last().target(), "/");
    // A length without a body never leaves, however it is sent.
    let mut asked = fields("/", &bearer);
    asked.push(("content-length", "5"));
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &asked);
    assert_ne!(client.fate(1), Fate::Answered(200));
    assert_eq!(app.count(), 2);
}

#[test]
fn a_client_that_hears_no_goodbye_is_left() {
    let (_app, issuer, usher) = setup("timeouts: { keep_alive: 1s }");
    let bearer = bearer(&issuer);
    let mut client = Frames::connect(usher.address);
    client.head(1, END_STREAM, &fields("/", &bearer));
    assert_eq!(client.fate(1), Fate::Answered(200));
    // No PING is answered here, so that no last GOAWAY comes.
    let begun = Instant::now();
    while client.next().is_some() {}
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    eventually("no connection is left", || {
        (usher.metric("usher_connections_open") == 0.0).then_some(())
    });
}
