//! WebSockets through proxies: with a good token they pass, with a cookie none for another site's
//! page, whatever HTTP they come over; and nobody switches to another HTTP behind the proxy.

use std::net::TcpStream;

use serde_json::json;
use tungstenite::Message;

use crate::common::app::{Answer, answer};
use crate::common::http2::{Fate, Frames};
use crate::common::{App, Client, free_port, websocket};

use super::stage::{Door, Stage};

/// Answers WebSockets as one, and everything else with a word.
fn app() -> App {
    App::with(|asked| match asked.header("upgrade") {
        Some(_) => websocket::echo(asked),
        None => Answer::Bytes(answer("200 OK", "", "hello")),
    })
}

const COOKIES: (&str, &str) = (
    "issuers:",
    "tokens: { from: [authorization, { cookie: session }] }\nissuers:",
);

fn holds(stage: &Stage) {
    a_good_token_opens_one(stage);
    no_page_of_another_site_opens_one(stage);
    http2_is_not_switched_to(stage);
}

fn a_good_token_opens_one(stage: &Stage) {
    let token = stage.token_with("alice", json!({}));
    let mut socket = websocket::open(TcpStream::connect(stage.address).unwrap(), &token);
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    let asked = stage.app.last();
    assert_eq!(asked.header("x-user-id"), Some("alice"), "{}", asked.head);
    assert_eq!(asked.header("authorization"), None);
}

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn no_page_of_another_site_opens_one(stage: &Stage) {
    let token = stage.token_with("alice", json!({}));
    let open = |origin: &str| {
        let before = stage.app.count();
        let lines = format!("{HANDSHAKE}Cookie: session={token}\r\nOrigin: {origin}\r\n");
        let mut client = Client::connect(stage.address);
        client.send(format!("GET /x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"));
        (client.reply().unwrap().status, stage.app.count() - before)
    };
    assert_eq!(open("https://evil.test"), (403, 0), "{:?}", stage.door);
    assert_eq!(open("http://app.test"), (101, 1), "{:?}", stage.door);
}

/// Behind a connection that is HTTP/2 to the app, nobody is asked about anything.
pub(crate) fn http2_is_not_switched_to(stage: &Stage) {
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ] {
        let before = stage.app.count();
        stage.ask("GET", "/x", &format!("{lines}{}", stage.bearer("alice")));
        for received in &stage.app.received()[before..] {
            for upgrade in received.all("upgrade") {
                assert!(!upgrade.contains("h2c"), "{:?}: {lines}", stage.door);
            }
            assert!(
                received.all("http2-settings").is_empty(),
                "{:?}",
                stage.door
            );
        }
    }
}

/// The same over HTTP/2 (RFC 8441), where a client says neither `Upgrade` nor a key.
fn over_http2(stage: &Stage, port: u16) {
    let token = stage.token_with("alice", json!({}));
    let open = |origin: &str| {
        let before = stage.app.count();
        let mut frames = Frames::connect(([127, 0, 0, 1], port).into());
        let cookie = format!("session={token}");
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/x"),
            (":authority", "app.test"),
            ("sec-websocket-version", "13"),
            ("origin", origin),
            ("cookie", &cookie),
        ];
        frames.head(1, 0, &fields);
        (frames.fate(1), stage.app.count() - before)
    };
    let refused = (Fate::Answered(403), 0);
    assert_eq!(open("https://evil.test"), refused, "{:?}", stage.door);
    assert_eq!(
        open("http://app.test"),
        (Fate::Answered(200), 1),
        "{:?}",
        stage.door
    );
}

#[test]
fn nginx() {
    holds(&Stage::before(app(), Door::Nginx, &[COOKIES]));
}

#[test]
fn haproxy() {
    let port = free_port();
    let bind = format!("bind 127.0.0.1:8000\n    bind 127.0.0.1:{port} proto h2");
    let stage = Stage::before(
        app(),
        Door::Haproxy,
        &[COOKIES, ("bind 127.0.0.1:8000", &bind)],
    );
    holds(&stage);
    over_http2(&stage, port);
}

#[test]
fn caddy() {
    holds(&Stage::before(app(), Door::Caddy, &[COOKIES]));
}

#[test]
fn traefik() {
    holds(&Stage::before(app(), Door::Traefik, &[COOKIES]));
}

/// Envoy tells HTTP/2 by its first bytes.
const ALLOWED: (&str, &str) = (
    "                upgrade_configs:",
    "                http2_protocol_options: { allow_connect: true }\n                upgrade_configs:",
);

#[test]
fn envoy_over_http() {
    let stage = Stage::before(app(), Door::EnvoyHttp, &[COOKIES, ALLOWED]);
    holds(&stage);
    over_http2(&stage, stage.address.port());
}

#[test]
fn envoy_over_grpc() {
    let stage = Stage::before(app(), Door::EnvoyGrpc, &[COOKIES, ALLOWED]);
    holds(&stage);
    over_http2(&stage, stage.address.port());
}
