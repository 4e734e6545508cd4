//! Everything that a client can make grow or keep waiting has a bound, and says so.

use std::io::{Read, Write};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::common::app::{Answer, answer, bare};
use crate::common::{App, Client, Issuer, Usher, eventually};

fn ask(method: &str, target: &str, token: &str, lines: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    )
}

#[test]
fn heads_are_bounded_in_bytes_fields_and_target() {
    let (app, issuer) = (App::start(), Issuer::new());
    let limits = "limits: { header_bytes: 8KiB, header_count: 20, target_bytes: 256 }";
    let usher = Usher::start(&app, &issuer, limits);
    let token = issuer.token("alice");
    let fields = |count: usize| -> String { (0..count).map(|n| format!("X-{n}: 1\r\n")).collect() };
    let long = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    let target = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    for (bytes, statuses) in [
        (ask("GET", "/x", &token, &long(9000)), &[431][..]),
        (ask("GET", "/x", &token, &long(100_000)), &[431]),
        (ask("GET", "/x", &token, &long(1 << 20)), &[431]),
        (ask("GET", "/x", &token, &fields(19)), &[431]),
        (ask("GET", "/x", &token, &fields(200)), &[431]),
        (ask("GET", &target(257), &token, ""), &[414]),
        (
            ask("GET", &format!("/x?{}", target(254)), &token, ""),
            &[414],
        ),
        (ask("GET", &target(100_000), &token, ""), &[414, 431]),
    ] {
        usher.refuses(&app, &token, bytes, statuses);
    }
    for bytes in [
        ask("GET", "/x", &token, &long(7000)),
        ask("GET", "/x", &token, &fields(18)),
        ask("GET", &target(256), &token, ""),
    ] {
        assert_eq!(usher.raw(bytes).status, 200);
    }
}

#[test]
fn a_large_head_has_its_words() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let reply = usher.get_with("/large", &token, &format!("X: {}\r\n", "x".repeat(33_000)));
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (431, r#"{"error":"headers_too_large"}"#)
    );
    assert_eq!(usher.line("/large")["reason"], "headers_too_large");
    let reply = usher.get(&format!("/{}", "x".repeat(9000)), &token);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (414, r#"{"error":"target_too_long"}"#)
    );
    assert_eq!(app.count(), 0);
}

#[test]
fn more_headers_than_a_hundred_can_be_allowed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "limits: { header_count: 300 }");
    let fields: String = (0..290).map(|n| format!("X-{n}: 1\r\n")).collect();
    assert_eq!(
        usher.get_with("/x", &issuer.token("alice"), &fields).status,
        200
    );
    assert_eq!(app.last().header("x-289"), Some("1"));
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
}

/// A connection that usher has taken.
fn taken(usher: &Usher, token: &str) -> Client {
    let mut client = usher.connect();
    client.send(ask("GET", "/taken", token, ""));
    assert_eq!(client.reply().unwrap().status, 200);
    client
}

#[test]
fn one_connection_too_many_is_told_so_at_once() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "limits: { connections: 2 }");
    let token = issuer.token("alice");
    let (first, mut second) = (taken(&usher, &token), taken(&usher, &token));
    for _ in 0..3 {
        let mut refused = usher.connect();
        let reply = refused.reply().expect("without having asked for anything");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (503, r#"{"error":"temporarily_unavailable"}"#)
        );
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(refused.is_closed());
    }
    second.send(ask("GET", "/x", &token, ""));
    assert_eq!(second.reply().unwrap().status, 200, "the others go on");
    drop(first);
    eventually("a free place", || {
        let mut client = usher.connect();
        client.send(ask("GET", "/x", &token, ""));
        client.reply().filter(|reply| reply.status == 200)
    });
}

#[test]
fn a_tunnel_takes_a_place_too() {
    let app = App::with(|received| match received.header("upgrade") {
        None => Answer::Bytes(answer("200 OK", "", "hello")),
        Some(_) => Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nopen";
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        })),
    });
    let issuer = Issuer::new();
    // Times at which an idle connection would end: a tunnel is none.
    let settings = "limits: { connections: 1 }\ntimeouts: { keep_alive: 200ms }";
    let usher = Usher::start(&app, &issuer, settings);
    let token = issuer.token("alice");
    let mut tunnel = usher.connect();
    tunnel.send(ask(
        "GET",
        "/ws",
        &token,
        "Connection: upgrade\r\nUpgrade: foo\r\n",
    ));
    tunnel.until("open");
    for _ in 0..20 {
        assert_eq!(usher.connect().reply().unwrap().status, 503);
    }
    drop(tunnel);
    eventually("the tunnel's place", || {
        let mut client = usher.connect();
        client.send(ask("GET", "/x", &token, ""));
        client.reply().filter(|reply| reply.status == 200)
    });
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_closed() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nopen";
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { idle: 300ms }");
    let mut tunnel = usher.connect();
    let lines = "Connection: upgrade\r\nUpgrade: foo\r\n";
    tunnel.send(ask("GET", "/ws", &issuer.token("alice"), lines));
    tunnel.until("open");
    assert!(tunnel.is_closed());
}

const QUICK: &str =
    "timeouts: { header_read: 500ms, keep_alive: 500ms, response: 1s, idle: 500ms }";

#[test]
fn a_client_that_says_nothing_is_closed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, QUICK);
    let mut silent: Vec<_> = (0..50).map(|_| usher.connect()).collect();
    for client in &mut silent {
        assert!(client.is_closed());
    }
    usher.serves(&issuer.token("alice"));
}

#[test]
fn a_head_that_drips_is_closed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, QUICK);
    let token = issuer.token("alice");
    // The first request of a connection, and one after another.
    for mut client in [usher.connect(), taken(&usher, &token)] {
        let drip = Duration::from_millis(50);
        client.stream().set_read_timeout(Some(drip)).unwrap();
        client.send("GET /drip HTTP/1.1\r\nX: ");
        let closed = (0..200).any(|_| {
            client.send("x");
            client.is_closed()
        });
        assert!(closed, "ten seconds of a byte now and then");
    }
    usher.serves(&token);
    assert!(
        app.received()
            .iter()
            .all(|received| received.target() != "/drip")
    );
}

#[test]
fn an_idle_connection_is_closed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let settings = "timeouts: { keep_alive: 300ms }";
    let usher = Usher::start(&app, &issuer, settings);
    let token = issuer.token("alice");
    let mut client = taken(&usher, &token);
    assert!(client.is_closed());
    usher.serves(&token);
}

#[test]
fn a_request_under_way_is_not_idle() {
    let (go_on, may) = mpsc::channel::<()>();
    let may = Mutex::new(Some(may));
    let app = App::with(move |received| match received.target() {
        "/slow" => {
            let may = may.lock().unwrap().take().unwrap();
            Answer::Own(Box::new(move |mut stream| {
                may.recv().unwrap();
                let _ = stream.write_all(&answer("200 OK", "", "late"));
            }))
        }
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let settings = "timeouts: { keep_alive: 200ms }";
    let usher = Usher::start(&app, &issuer, settings);
    let token = issuer.token("alice");
    let mut client = usher.connect();
    client.send(ask("GET", "/slow", &token, ""));
    eventually("the request", || (app.count() == 1).then_some(()));
    // Another connection lives its whole idle time meanwhile.
    assert!(taken(&usher, &token).is_closed());
    go_on.send(()).unwrap();
    assert_eq!(client.reply().unwrap().body, "late");
}

#[test]
fn a_client_that_never_reads_is_closed() {
    let app = App::with(|received| match received.target() {
        "/large" => Answer::Bytes(answer("200 OK", "", &"x".repeat(50 << 20))),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, QUICK);
    let token = issuer.token("alice");
    let mut client = usher.connect();
    client.send(ask("GET", "/large", &token, ""));
    let line = usher.line("/large");
    assert!(line["bytes"].as_u64().unwrap() < 50 << 20, "{line}");
    usher.serves(&token);
    eventually("nothing under way", || {
        let metrics = usher.admin("/metrics").body;
        metrics
            .contains("usher_requests_in_flight 0\n")
            .then_some(())
    });
    drop(client);
}

#[test]
fn one_request_too_many_is_503_at_once() {
    let (go_on, may) = mpsc::channel::<()>();
    let may = Mutex::new(Some(may));
    let app = App::with(move |received| match received.target() {
        "/slow" => {
            let may = may.lock().unwrap().take().unwrap();
            Answer::Own(Box::new(move |mut stream| {
                may.recv().unwrap();
                let _ = stream.write_all(&answer("200 OK", "", "late"));
            }))
        }
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "limits: { requests: 1 }");
    let token = issuer.token("alice");
    let mut slow = usher.connect();
    slow.send(ask("GET", "/slow", &token, ""));
    eventually("the slow request", || (app.count() == 1).then_some(()));
    let reply = usher.get("/x", &token);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (503, r#"{"error":"temporarily_unavailable"}"#)
    );
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(usher.line("/x")["reason"], "overloaded");
    assert_eq!(app.count(), 1);
    go_on.send(()).unwrap();
    assert_eq!(slow.reply().unwrap().body, "late");
    usher.serves(&token);
}

#[test]
fn an_upload_that_stalls_is_ended() {
    let (ended, ends) = mpsc::channel();
    let ended = Mutex::new(ended);
    let app = bare(move |mut stream| {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        ended.lock().unwrap().send(text).unwrap();
    });
    let issuer = Issuer::new();
    let usher = Usher::before(app, &issuer, "timeouts: { response: 20s, idle: 300ms }");
    let token = issuer.token("alice");
    for (lines, body, last) in [
        ("Content-Length: 100\r\n", "hello", "hello"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n",
            "hello\r\n",
        ),
    ] {
        let mut client = usher.connect();
        client.send(ask("POST", "/stall", &token, lines) + body);
        let reply = client.reply().unwrap();
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (408, r#"{"error":"request_timeout"}"#)
        );
        assert!(client.is_closed(), "what comes now is no request");
        let seen = ends.recv_timeout(Duration::from_secs(10)).unwrap();
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.ends_with(last), "never a whole body: {seen}");
    }
    assert_eq!(usher.line("/stall")["reason"], "request_timeout");
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello";
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { idle: 300ms }");
    let mut client = usher.connect();
    client.send(ask("GET", "/stall", &issuer.token("alice"), ""));
    assert!(client.reply().is_none());
    assert!(client.is_closed());
    assert_eq!(
        usher.line("/stall")["cut"],
        "nothing came for timeouts.idle"
    );
}

#[test]
fn a_token_that_is_too_long_is_not_looked_at() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "limits: { token_bytes: 1KiB }");
    let good = issuer.token("alice");
    let long = issuer.token_with("alice", serde_json::json!({ "more": "x".repeat(1024) }));
    usher.refuses(&app, &good, ask("GET", "/long", &long, ""), &[401]);
    assert_eq!(usher.line("/long")["reason"], "token_too_large");
}

/// Each of the admin listener's places is taken by a peer that asks and never reads.
#[test]
fn peers_that_never_read_do_not_keep_probes_waiting_for_ever() {
    let app = App::start();
    let usher = Usher::start(&app, &Issuer::new(), "");
    let asked = "GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n".repeat(20_000);
    let deaf: Vec<_> = (0..64)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&usher.admin.into()).unwrap();
            socket.set_nonblocking(true).unwrap();
            // What does not fit waits for an answer that nobody reads.
            let _ = (&socket).write(asked.as_bytes());
            socket
        })
        .collect();
    let begun = Instant::now();
    let live = loop {
        let mut probe = Client::connect(usher.admin);
        probe.send("GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n");
        match probe.reply() {
            Some(reply) => break reply,
            None => assert!(begun.elapsed() < Duration::from_secs(60), "no answer"),
        }
    };
    assert_eq!(live.status, 200);
    drop(deaf);
}
