//! What streams ends when its token does, unless the route says otherwise.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::app::{Answer, Received};
use crate::common::http2::{Http2, Http2App, request};
use crate::common::issuer::now;
use crate::common::{App, Client, Issuer, Usher};

/// How long the tokens of these tests live.
const LIFE: Duration = Duration::from_secs(2);

const LENIENT: &str = "routes: [{ path: /long/**, outlive_token: true }]";

/// A token that soon expires.
fn soon(issuer: &Issuer) -> String {
    let seconds = i64::try_from(LIFE.as_secs()).unwrap();
    issuer.token_with("alice", json!({ "exp": now() + seconds }))
}

fn answer_for_ever(received: &Received) -> Answer {
    let kind = match received.target() {
        target if target.contains("events") => "text/event-stream",
        _ => "application/octet-stream",
    };
    Answer::Own(Box::new(move |mut stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        // Until usher has had enough, or the test is over.
        for _ in 0..200 {
            if stream.write_all(b"8\r\ndata: 1\n\r\n").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }))
}

/// How long an answer goes on, up to twice the life of a token.
fn lasts(usher: &Usher, target: &str, token: &str) -> Duration {
    let mut client = Client::connect(usher.address);
    let begun = Instant::now();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    let mut stream = client.stream();
    let mut piece = [0; 4096];
    while begun.elapsed() < LIFE * 2 && !matches!(stream.read(&mut piece), Ok(0) | Err(_)) {}
    begun.elapsed()
}

#[test]
fn events_end_with_their_token_and_files_do_not() {
    let (app, issuer) = (App::with(answer_for_ever), Issuer::new());
    let usher = Usher::start(&app, &issuer, LENIENT);
    std::thread::scope(|scope| {
        let ask = |target: &'static str| {
            let (usher, token) = (&usher, soon(&issuer));
            scope.spawn(move || lasts(usher, target, &token))
        };
        let (events, file, long) = (ask("/events"), ask("/file"), ask("/long/events"));
        let events = events.join().unwrap();
        assert!(events < LIFE + Duration::from_millis(900), "{events:?}");
        assert!(events > LIFE - Duration::from_millis(1100), "{events:?}");
        assert!(file.join().unwrap() >= LIFE * 2);
        assert!(long.join().unwrap() >= LIFE * 2);
    });
    assert_eq!(usher.line("/events")["cut"], "the token has expired");
}

#[test]
fn calls_end_with_their_token() {
    let (app, issuer) = (Http2App::echo(100), Issuer::new());
    let yaml = format!(
        "upstream: h2c://{}\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    );
    let usher = Usher::configured(&yaml);
    let client = Http2::connect(usher.address);
    let call = request(http::Method::POST, "/a.B/C", &soon(&issuer));
    let call = call
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let begun = Instant::now();
    let (answer, _open) = client.start(call, false);
    let ended = client.runtime.block_on(async {
        let mut body = answer.await.unwrap().into_body();
        body.data().await
    });
    assert!(ended.expect("an end").is_err(), "it must not look whole");
    assert!(begun.elapsed() < LIFE + Duration::from_millis(900));
}

/// A WebSocket whose app sends frames of a size for ever.
fn websocket(usher: &Usher, target: &str, token: &str) -> TcpStream {
    let client = Client::connect(usher.address);
    let mut stream = client.stream().try_clone().unwrap();
    let ask = format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream
}

fn app_of_frames() -> App {
    App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            let mut frame = vec![0x82, 126];
            frame.extend(1000u16.to_be_bytes());
            frame.extend(vec![0x88; 1000]);
            // Each frame comes in two pieces, with time between them.
            loop {
                for piece in [&frame[..501], &frame[501..]] {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }))
    })
}

#[test]
fn a_websocket_is_told_between_two_frames() {
    let (app, issuer) = (app_of_frames(), Issuer::new());
    let usher = Usher::start(&app, &issuer, LENIENT);
    let begun = Instant::now();
    let mut stream = websocket(&usher, "/socket", &soon(&issuer));
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    assert!(
        begun.elapsed() < LIFE + Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    let goodbye = b"\x88\x0f\x03\xf0token expired";
    let frames = came.strip_suffix(goodbye).expect("a Close frame with 1008");
    assert_eq!(frames.len() % 1004, 0, "whole frames before it");
    assert!(frames.len() > 1004);
}

#[test]
fn a_websocket_may_outlive_its_token_where_the_route_says_so() {
    let (app, issuer) = (app_of_frames(), Issuer::new());
    let usher = Usher::start(&app, &issuer, LENIENT);
    let begun = Instant::now();
    let mut stream = websocket(&usher, "/long/socket", &soon(&issuer));
    let mut piece = [0; 4096];
    while begun.elapsed() < LIFE * 2 {
        assert_ne!(stream.read(&mut piece).unwrap(), 0);
    }
}

#[test]
fn another_protocol_is_closed_when_its_token_expires() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            let mut piece = [0; 100];
            while matches!(stream.read(&mut piece), Ok(1..)) {}
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = soon(&issuer);
    let begun = Instant::now();
    let mut client = usher.connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 101);
    let mut rest = Vec::new();
    let _ = client.stream().read_to_end(&mut rest);
    assert!(rest.is_empty() && begun.elapsed() < LIFE + Duration::from_millis(900));
}
