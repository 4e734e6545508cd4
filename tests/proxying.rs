//! An authenticated request reaches the app, and the app sees who it is; bodies stream both
//! ways, and what goes wrong behind usher has a status of its own.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};

use crate::common::app::{Answer, answer, bare};
use crate::common::{App, Issuer, Usher, eventually};

const LARGE: usize = 50 << 20;

fn ask(method: &str, target: &str, token: &str, lines: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    )
}

#[test]
fn the_app_sees_who_is_calling() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let reply = usher.get("/hello?a=b", &token);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    let received = app.last();
    assert_eq!(received.line(), "GET /hello?a=b HTTP/1.1");
    assert_eq!(received.header("x-user-id"), Some("alice"));
    assert_eq!(received.header("x-user-email"), Some("alice@example.com"));
    assert_eq!(received.header("x-user-name"), Some("Alice"));
    assert_eq!(received.header("authorization"), None);
    let line = usher.line("/hello");
    assert_eq!(line["user"], "alice");
    assert_eq!(line["outcome"], "forwarded");
}

#[test]
fn nobody_gets_in_without_a_token() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let reply = usher.get_as_nobody("/");
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.header("www-authenticate"),
        Some(r#"Bearer realm="app""#)
    );
    assert_eq!(app.count(), 0);
    assert_eq!(usher.line("/")["reason"], "token_missing");
}

#[test]
fn answers_stream_before_they_end() {
    let (go_on, may) = mpsc::channel::<()>();
    let may = Mutex::new(Some(may));
    let app = App::with(move |_| {
        let may = may.lock().unwrap().take().unwrap();
        Answer::Own(Box::new(move |mut stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for event in ["7\r\ndata: 1\r\n", "7\r\ndata: 2\r\n", "7\r\ndata: 3\r\n"] {
                stream.write_all(event.as_bytes()).unwrap();
                may.recv().unwrap();
            }
            stream.write_all(b"0\r\n\r\n").unwrap();
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    client.send(ask("GET", "/events", &issuer.token("alice"), ""));
    // The app goes on only after the client has seen what came before.
    for event in ["data: 1", "data: 2", "data: 3"] {
        client.until(event);
        go_on.send(()).unwrap();
    }
    client.until("0\r\n\r\n");
    assert_eq!(usher.line("/events")["bytes"], 21);
}

#[test]
fn uploads_stream_before_they_end() {
    let (seen, sees) = mpsc::channel();
    let seen = Mutex::new(seen);
    let app = bare(move |mut stream| {
        let (mut text, mut piece) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
            let now = String::from_utf8_lossy(&text).into_owned();
            if now.ends_with("0\r\n\r\n") {
                stream.write_all(&answer("200 OK", "", "done")).unwrap();
            }
            seen.lock().unwrap().send(now).unwrap();
        }
    });
    let issuer = Issuer::new();
    let usher = Usher::before(app, &issuer, "");
    let mut client = usher.connect();
    client.send(ask(
        "POST",
        "/up",
        &issuer.token("alice"),
        "Transfer-Encoding: chunked\r\n",
    ));
    for (chunk, word) in [
        ("3\r\none\r\n", "one"),
        ("3\r\ntwo\r\n", "two"),
        ("5\r\nthree\r\n", "three"),
    ] {
        client.send(chunk);
        eventually(word, || {
            sees.try_recv().ok().filter(|text| text.contains(word))
        });
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().unwrap().body, "done");
}

#[test]
fn an_answer_and_an_upload_go_on_together() {
    let app = bare(move |mut stream| {
        let (mut text, mut piece) = (Vec::new(), [0; 1024]);
        let mut begun = false;
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
            let now = String::from_utf8_lossy(&text).into_owned();
            let Some((_, body)) = now.split_once("\r\n\r\n") else {
                continue;
            };
            if !begun {
                begun = true;
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
            }
            // What came, as it came; its last chunk is the answer's.
            stream.write_all(body.as_bytes()).unwrap();
            match body.ends_with("0\r\n\r\n") {
                true => (text, begun) = (Vec::new(), false),
                false => text.truncate(text.len() - body.len()),
            }
        }
    });
    let issuer = Issuer::new();
    let usher = Usher::before(app, &issuer, "workers: 1");
    let mut client = usher.connect();
    let lines = "Transfer-Encoding: chunked\r\n";
    for _ in 0..2 {
        client.send(ask("POST", "/both", &issuer.token("alice"), lines));
        client.send("5\r\nbegin\r\n");
        client.until("begin\r\n");
        for number in 100..110 {
            client.send(format!("3\r\n{number}\r\n"));
            client.until(&format!("3\r\n{number}\r\n"));
        }
        client.send("0\r\n\r\n");
        client.until("0\r\n\r\n");
    }
    assert_eq!(usher.metric("usher_upstream_connects_total"), 1.0);
}

/// The app answers before it has read the request; its answer holds no 100.
#[test]
fn nothing_stands_within_an_answer_that_comes_early() {
    let app = bare(move |mut stream| {
        let head = "HTTP/1.1 503 Busy\r\ncontent-length: 8\r\n\r\nbusy";
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        stream.write_all(b"BUSY").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let issuer = Issuer::new();
    let usher = Usher::before(app, &issuer, "");
    let mut client = usher.connect();
    let lines = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    client.send(ask("PUT", "/x", &issuer.token("alice"), lines));
    let mut reply = client.reply().unwrap();
    if reply.status == 100 {
        reply = client.reply().unwrap();
    }
    assert_eq!((reply.status, reply.body.as_str()), (503, "busyBUSY"));
}

#[test]
fn continue_is_said_once_the_request_is_admitted() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    let lines = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    client.send(ask("PUT", "/x", &issuer.token("alice"), lines));
    assert_eq!(client.reply().unwrap().status, 100);
    assert_eq!(app.count(), 0);
    client.send("hello");
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(app.last().body, b"hello");
}

#[test]
fn trailers_pass_both_ways() {
    let app = App::with(|_| {
        let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: X-Sum\r\n\r\n\
            5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
        Answer::Bytes(text.into())
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-Check\r\nTE: trailers, gzip\r\n";
    let mut client = usher.connect();
    client.send(ask("POST", "/x", &token, lines));
    client.send("5\r\nhello\r\n0\r\nX-Check: 1\r\n\r\n");
    let text = client.until("\r\n\r\n").to_ascii_lowercase();
    assert!(text.contains("trailer: x-sum"), "{text}");
    let body = client.until("\r\n\r\n").to_ascii_lowercase();
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
    let received = app.last();
    assert_eq!(received.trailers, "X-Check: 1\n");
    assert_eq!(received.header("te"), Some("trailers"));
    assert_eq!(received.header("connection"), Some("te"));
    // A client that does not ask for trailers gets none, and the body is whole.
    let mut client = usher.connect();
    client.send(ask("GET", "/x", &token, ""));
    client.until("\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn answers_without_a_body_have_none() {
    let app = App::with(|received| {
        let text = match received.target() {
            "/204" => "HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
            "/0" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        };
        Answer::Bytes(text.into())
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "workers: 1");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    for (method, target, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("GET", "/0", 200, Some("0")),
        ("HEAD", "/head", 200, Some("5")),
        ("HEAD", "/chunked", 200, None),
        ("HEAD", "/204", 204, None),
    ] {
        client.send(ask(method, target, &token, ""));
        let reply = client.reply_to(method).unwrap();
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(reply.header("content-length"), length, "{method} {target}");
    }
    assert_eq!(app.connections(), 1, "no answer cost a connection");
    // A denial says the length of what GET would get.
    client.send("HEAD /x HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let reply = client.reply_to("HEAD").unwrap();
    assert_eq!(
        (reply.status, reply.header("content-length")),
        (401, Some("24"))
    );
    client.send(ask("HEAD", "/head", &token, ""));
    assert_eq!(client.reply_to("HEAD").unwrap().status, 200);
}

#[test]
fn large_bodies_pass_both_ways() {
    let app = App::with(|received| {
        let length = received.body.len();
        assert_eq!(received.body, vec![b'x'; LARGE]);
        Answer::Bytes(answer("200 OK", "", &"y".repeat(length)))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    let length = format!("Content-Length: {LARGE}\r\n");
    client.send(ask("POST", "/large", &issuer.token("alice"), &length));
    client.send(vec![b'x'; LARGE]);
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.body == "y".repeat(LARGE));
    assert_eq!(usher.line("/large")["bytes"], LARGE);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "workers: 1");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    for _ in 0..10 {
        client.send(ask("POST", "/x", &token, "Content-Length: 5\r\n"));
        client.send("hello");
        assert_eq!(client.reply().unwrap().status, 200);
        assert_eq!(usher.get("/y", &token).status, 200);
    }
    assert_eq!((app.count(), app.connections()), (20, 1));
    client.send(ask("GET", "/x", &token, "Connection: close\r\n"));
    assert_eq!(client.reply().unwrap().status, 200);
    assert!(client.is_closed());
    assert_eq!(app.connections(), 1);
}

/// Answers the first request of each connection, and closes at the second.
fn forgetful() -> App {
    let known = Mutex::new(HashSet::new());
    App::with(move |received| {
        let first = known.lock().unwrap().insert(received.connection);
        match first {
            true => Answer::Bytes(answer("200 OK", "", "")),
            false => Answer::Last(Vec::new()),
        }
    })
}

#[test]
fn a_safe_request_on_a_dead_connection_is_sent_once_more() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let (app, issuer) = (forgetful(), Issuer::new());
        let usher = Usher::start(&app, &issuer, "workers: 1");
        let token = issuer.token("alice");
        let mut client = usher.connect();
        for _ in 0..2 {
            client.send(ask(method, "/x", &token, "X-User-Id: root\r\n"));
            assert_eq!(client.reply_to(method).unwrap().status, 200, "{method}");
        }
        let received = app.received();
        let connections: Vec<_> = received.iter().map(|r| r.connection).collect();
        assert_eq!(connections, [0, 0, 1], "{method}");
        assert_eq!(received[1].head, received[2].head);
        assert_eq!(received[2].header("x-user-id"), Some("alice"));
    }
}

#[test]
fn a_request_that_may_have_acted_is_never_sent_twice() {
    for (method, lines) in [
        ("POST", "Content-Length: 5\r\n"),
        ("POST", "Content-Length: 0\r\n"),
        ("PUT", "Content-Length: 5\r\n"),
        ("DELETE", "Content-Length: 0\r\n"),
        ("FOO", "Content-Length: 0\r\n"),
        ("GET", "Content-Length: 5\r\n"),
    ] {
        let (app, issuer) = (forgetful(), Issuer::new());
        let usher = Usher::start(&app, &issuer, "workers: 1");
        let token = issuer.token("alice");
        let body = if lines.contains('5') { "hello" } else { "" };
        let request = ask(method, "/x", &token, lines) + body;
        assert_eq!(usher.raw(&request).status, 200, "{method} {lines}");
        let reply = usher.raw(&request);
        assert_eq!(reply.status, 502, "{method} {lines}");
        assert_eq!(app.count(), 2, "{method} {lines}");
        usher.serves(&token);
    }
}

#[test]
fn a_new_connection_that_fails_is_not_tried_again() {
    let app = App::with(|_| Answer::Last(Vec::new()));
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    assert_eq!(usher.get("/x", &issuer.token("alice")).status, 502);
    assert_eq!(app.count(), 1);
    assert_eq!(usher.line("/x")["reason"], "upstream_broken");
}

#[test]
fn an_app_that_is_away_is_502() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let issuer = Issuer::new();
    let usher = Usher::before(address, &issuer, "");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    for _ in 0..2 {
        client.send(ask("GET", "/x", &token, ""));
        let reply = client.reply().unwrap();
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (502, r#"{"error":"bad_gateway"}"#)
        );
    }
    assert_eq!(usher.line("/x")["reason"], "upstream_unreachable");
    // Who may not pass does not learn that the app is away.
    assert_eq!(usher.get_as_nobody("/y").status, 401);
}

#[test]
fn an_app_that_is_slow_is_504() {
    let app = App::with(|received| match received.target() {
        "/slow" => Answer::Own(Box::new(|mut stream| {
            let _ = stream.read(&mut [0; 1]);
        })),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { response: 500ms }");
    let token = issuer.token("alice");
    for request in [
        ask("GET", "/slow", &token, ""),
        ask("POST", "/slow", &token, "Content-Length: 5\r\n") + "hello",
    ] {
        let mut client = usher.connect();
        client.send(request);
        let reply = client.reply().unwrap();
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (504, r#"{"error":"gateway_timeout"}"#)
        );
        client.send(ask("GET", "/x", &token, ""));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(app.count(), 4, "nothing is sent twice");
    assert_eq!(usher.line("/slow")["reason"], "upstream_timeout");
}

#[test]
fn a_client_that_pauses_in_its_upload_is_not_the_apps_fault() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "timeouts: { response: 500ms, idle: 20s }");
    let mut client = usher.connect();
    client.send(ask(
        "POST",
        "/x",
        &issuer.token("alice"),
        "Content-Length: 5\r\n",
    ));
    client.send("he");
    // Longer than the app may take to answer, shorter than the client may pause.
    let waited = client
        .stream()
        .set_read_timeout(Some(std::time::Duration::from_millis(1500)));
    waited.unwrap();
    assert!(
        client.reply().is_none(),
        "no answer before the request is whole"
    );
    let patient = client
        .stream()
        .set_read_timeout(Some(std::time::Duration::from_secs(10)));
    patient.unwrap();
    client.send("llo");
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(app.last().body, b"hello");
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Switches protocols as `head` says and then repeats every byte.
fn echoing(head: &'static str) -> App {
    App::with(move |received| {
        if received.header("upgrade").is_none() {
            return Answer::Bytes(answer("200 OK", "", "hello"));
        }
        Answer::Own(Box::new(move |mut stream| {
            let _ = stream.write_all(head.as_bytes());
            let mut piece = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                if stream.write_all(&piece[..count]).is_err() {
                    return;
                }
            }
        }))
    })
}

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Inner: 1\r\n\r\n";

#[test]
fn upgrades_become_tunnels() {
    let (app, issuer) = (echoing(SWITCHED), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    // What is sent at once waits until the app has agreed.
    client.send(ask("GET", "/ws", &token, UPGRADE) + "early ");
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 101);
    assert_eq!(
        reply
            .header("upgrade")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("websocket")
    );
    assert_eq!(
        reply
            .header("connection")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("upgrade")
    );
    assert_eq!(
        reply.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    client.until("early ");
    for text in ["hello", "\0\u{1}GET / HTTP/1.1\r\n\r\n"] {
        client.send(text);
        client.until(text);
    }
    let received = app.last();
    assert_eq!(received.header("upgrade"), Some("websocket"));
    assert_eq!(received.header("connection"), Some("upgrade"));
    assert_eq!(received.header("x-user-id"), Some("alice"));
    // Either end ends both.
    client.finish();
    assert!(client.is_closed());
    assert_eq!(app.count(), 1);
    assert_eq!(usher.line("/ws")["status"], 101);
    usher.serves(&token);
}

#[test]
fn the_app_chooses_among_the_protocols_that_the_client_offers() {
    let (app, issuer) = (echoing(SWITCHED), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    client.send(ask(
        "GET",
        "/ws",
        &token,
        "Connection: upgrade\r\nUpgrade: newer, websocket\r\n",
    ));
    let reply = client.reply().unwrap();
    assert_eq!(
        (reply.status, reply.header("upgrade")),
        (101, Some("WebSocket"))
    );
    client.send("hello");
    client.until("hello");
}

#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, other\r\n\r\n",
    ] {
        let (app, issuer) = (echoing(head), Issuer::new());
        let usher = Usher::start(&app, &issuer, "");
        let token = issuer.token("alice");
        let mut client = usher.connect();
        client.send(ask("GET", "/ws", &token, UPGRADE));
        assert_eq!(client.reply().unwrap().status, 502, "{head}");
        assert_eq!(usher.line("/ws")["reason"], "upstream_broken");
        usher.serves(&token);
    }
}

#[test]
fn after_a_refused_upgrade_bytes_are_requests_again() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    let second = "GET /admin HTTP/1.1\r\nHost: app.test\r\n\r\n";
    client.send(ask("GET", "/ws", &token, UPGRADE) + second);
    assert_eq!(
        client.reply().unwrap().status,
        200,
        "the app did not switch"
    );
    assert_eq!(
        client.reply().unwrap().status,
        401,
        "and the next is judged"
    );
    assert_eq!(app.count(), 1);
}

#[test]
fn an_upgrade_to_h2c_is_ignored() {
    let (app, issuer) = (echoing(SWITCHED), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c"] {
        let lines = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        );
        let reply = usher.get_with("/x", &token, &lines);
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
        let received = app.last();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(received.header(name), None, "{name} of {upgrade}");
        }
    }
}

#[test]
fn an_upgrade_with_a_body_or_another_method_is_none() {
    let (app, issuer) = (echoing(SWITCHED), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let lines = format!("{UPGRADE}Content-Length: 5\r\n");
    for method in ["GET", "POST"] {
        let reply = usher.raw(ask(method, "/ws", &token, &lines) + "hello");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, "hello"),
            "{method}"
        );
        assert_eq!(app.last().header("upgrade"), None);
    }
    usher.refuses(&app, &token, ask("GET", "/ws", "garbage", UPGRADE), &[401]);
}
