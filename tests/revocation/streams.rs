//! What is open when its token is revoked ends at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::stage::{Stage, ready};
use crate::common::app::{Answer, Received};
use crate::common::http2::{Http2, Http2App, request};
use crate::common::{App, Client, Usher, eventually};

/// Beyond the milliseconds that it takes: a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// Routes whose streams may outlive their tokens: being revoked is another matter.
const LENIENT: &str = "routes: [{ path: /long/**, outlive_token: true }]\n";

fn answer_for_ever(received: &Received) -> Answer {
    let (kind, pause) = match received.target() {
        // Nothing comes after the first event.
        target if target.contains("still") => ("text/event-stream", 3_600_000),
        target if target.contains("events") => ("text/event-stream", 20),
        _ => ("application/octet-stream", 20),
    };
    Answer::Own(Box::new(move |mut stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.set_read_timeout(Some(Duration::from_millis(pause)));
        // Until usher has had enough.
        while !matches!(stream.read(&mut [0; 100]), Ok(0)) {
            if stream.write_all(b"8\r\ndata: 1\n\r\n").is_err() {
                return;
            }
        }
    }))
}

/// An answer that goes on; the first piece is there.
fn open(usher: &Usher, target: &str, token: &str) -> TcpStream {
    let mut client = Client::connect(usher.address);
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    let mut stream = client.stream().try_clone().unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"data: 1\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        came.push(byte[0]);
    }
    stream
}

/// How long something goes on.
fn lasts(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(SOON * 2)).unwrap();
    let mut piece = [0; 4096];
    while begun.elapsed() < SOON * 2 && !matches!(stream.read(&mut piece), Ok(0) | Err(_)) {}
    begun.elapsed()
}

#[test]
fn events_and_files_end_whatever_the_route_says_of_expiry() {
    let stage = Stage::with(App::with(answer_for_ever));
    let usher = stage.usher(LENIENT);
    let (dead, alive) = (stage.issuer.token("dead"), stage.issuer.token("alive"));
    let mut streams: Vec<_> = ["/events", "/still", "/file", "/long/events"]
        .into_iter()
        .map(|target| (target, open(&usher, target, &dead)))
        .collect();
    let mut other = open(&usher, "/events", &alive);
    stage.revoke(&["--subject", "dead"]);
    for (target, stream) in &mut streams {
        let took = lasts(stream);
        assert!(took < SOON, "{target}: {took:?}");
    }
    assert_eq!(usher.line("/still")["cut"], "the token was revoked");
    // Another user's goes on.
    other.set_read_timeout(Some(SOON)).unwrap();
    for _ in 0..20 {
        assert_ne!(other.read(&mut [0; 64]).unwrap(), 0);
    }
}

#[test]
fn calls_end() {
    let app = Http2App::echo(100);
    let stage = Stage::new();
    let yaml = stage.yaml("").replace(
        &format!("http://{}", stage.app.address),
        &format!("h2c://{}", app.address),
    );
    let usher = Usher::configured(&yaml);
    ready(&usher);
    let client = Http2::connect(usher.address);
    let call = request(http::Method::POST, "/a.B/C", &stage.issuer.token("dead"));
    let call = call
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (answer, _open) = client.start(call, false);
    let mut body = client
        .runtime
        .block_on(async { answer.await.unwrap().into_body() });
    stage.revoke(&["--subject", "dead"]);
    let ended = client.runtime.block_on(async {
        let data = body.data();
        tokio::time::timeout(SOON, data).await.expect("no end")
    });
    assert!(ended.expect("an end").is_err(), "it must not look whole");
}

/// An app that says one thing, and then nothing.
fn quiet_app() -> App {
    App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&[0x82, 1, b'x']);
            while matches!(stream.read(&mut [0; 100]), Ok(1..)) {}
        }))
    })
}

fn websocket(usher: &Usher, target: &str, token: &str) -> TcpStream {
    let client = Client::connect(usher.address);
    let mut stream = client.stream().try_clone().unwrap();
    let ask = format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut came = Vec::new();
    while !came.ends_with(&[0x82, 1, b'x']) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        came.push(byte[0]);
    }
    assert!(came.starts_with(b"HTTP/1.1 101"));
    stream
}

#[test]
fn a_websocket_is_told_and_closed() {
    let stage = Stage::with(quiet_app());
    let usher = stage.usher(LENIENT);
    for target in ["/socket", "/long/socket"] {
        let claims = serde_json::json!({ "for": target });
        let token = stage.issuer.token_with("dead", claims);
        let mut socket = websocket(&usher, target, &token);
        socket.set_read_timeout(Some(SOON)).unwrap();
        stage.revoke(&["--token", &token]);
        let begun = Instant::now();
        let mut came = vec![0; 17];
        socket.read_exact(&mut came).unwrap();
        assert_eq!(came, b"\x88\x0f\x03\xf0token revoked");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty() && begun.elapsed() < SOON, "{rest:?}");
    }
}

#[test]
fn a_held_request_dies_while_it_waits() {
    let stage = Stage::new();
    let database = stage.folder.path().join("users.db");
    let usher = stage.usher(&format!(
        "users: {{ directory: \"sqlite:{}\", wait: 30s, provisioner: \"{}\" }}\n",
        database.display(),
        stage.redis.url()
    ));
    let mut client = usher.connect();
    let token = stage.issuer.token("new");
    client.send(format!(
        "GET /held HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    eventually("a request that waits", || {
        (usher.metric("usher_user_waiters") > 0.0).then_some(())
    });
    let begun = Instant::now();
    stage.revoke(&["--subject", "new"]);
    let reply = client.reply().expect("an answer");
    assert_eq!(reply.status, 401);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(usher.line("/held")["reason"], "token_revoked");
    assert_eq!(stage.app.count(), 0);
}
