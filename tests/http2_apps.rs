//! Apps that speak HTTP/2 (`upstream: h2c://…`): gRPC through and through, and HTTP/1.1 clients
//! that need not know.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method};

use crate::common::http2::{self, Http2, Http2App, get, request};
use crate::common::{Issuer, Usher, eventually};

fn before(app: SocketAddr, issuer: &Issuer, more: &str) -> Usher {
    Usher::configured(&format!(
        "upstream: h2c://{app}\nissuers: [{}]\n{more}",
        issuer.yaml()
    ))
}

fn setup(more: &str) -> (Http2App, Issuer, Usher) {
    let (app, issuer) = (Http2App::echo(100), Issuer::new());
    let usher = before(app.address, &issuer, more);
    (app, issuer, usher)
}

fn call(token: &str) -> http::Request<()> {
    let call = request(Method::POST, "/a.B/C", token)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "5S")
        .header("te", "trailers");
    call.body(()).unwrap()
}

#[test]
fn a_call_passes_with_its_deadline_its_trailers_and_its_status() {
    let (app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let mut call = call(&issuer.token("alice"));
    let forged = HeaderValue::from_static("forged");
    call.headers_mut().insert("x-user-id", forged.clone());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-last", HeaderValue::from_static("yes"));
    trailers.insert("x-user-id", forged);
    let answered = client
        .upload(call, Bytes::from_static(b"\0\0\0\0\x01a"), Some(trailers))
        .unwrap();
    assert_eq!(answered.status, 200);
    assert_eq!(answered.header("content-type"), Some("application/grpc"));
    assert_eq!(answered.body, b"\0\0\0\0\x01a");
    let trailers = answered.trailers.expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-last"], "yes");
    assert!(!trailers.contains_key("x-user-id"), "not even as a trailer");
    let head = app.last();
    assert_eq!(head.uri.to_string(), "http://app.test/a.B/C");
    assert_eq!(head.headers["grpc-timeout"], "5S");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["x-user-id"], "alice");
    assert_eq!(head.headers.get_all("x-user-id").iter().count(), 1);
    assert!(!head.headers.contains_key("authorization"));
    assert!(!head.headers.contains_key("connection"));
}

#[test]
fn messages_pass_both_ways_as_they_come() {
    let (_app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let (answer, mut stream) = client.start(call(&issuer.token("alice")), false);
    client.runtime.block_on(async {
        let (head, mut body) = answer.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        for number in 0..20 {
            let message = Bytes::from(format!("message {number}"));
            http2::write(&mut stream, message.clone(), false)
                .await
                .unwrap();
            let back = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(back.len()).unwrap();
            assert_eq!(back, message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    });
}

#[test]
fn a_client_of_http_1_need_not_know() {
    // Each worker has a connection of its own, and a client may come to any of them.
    let (app, issuer, usher) = setup("workers: 1");
    let token = issuer.token("alice");
    let reply = usher.get("/plain", &token);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    assert_eq!(reply.header("content-length"), Some("5"));
    let mut client = usher.connect();
    for _ in 0..3 {
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nTE: trailers\r\n\
             Connection: TE\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        ));
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, "abcde"));
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 1, "one for all");
    assert_eq!(app.last().headers["x-user-id"], "alice");
    assert!(!app.last().headers.contains_key("transfer-encoding"));
}

#[test]
fn large_bodies_pass_both_ways() {
    let (_app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let large = Bytes::from("0123456789".repeat(1_000_000));
    let answered = client
        .upload(call(&issuer.token("alice")), large.clone(), None)
        .unwrap();
    assert!(
        answered.body == large,
        "{} bytes came back",
        answered.body.len()
    );
}

#[test]
fn an_app_that_takes_few_at_once_gets_more_connections() {
    let (app, issuer) = (Http2App::echo(2), Issuer::new());
    let usher = before(app.address, &issuer, "workers: 1");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    // The first tells what the app takes.
    client.ask(get("/plain", &token)).unwrap();
    let mut open = Vec::new();
    for number in 0..6 {
        let (answer, stream) = client.start(call(&token), false);
        let answer = client.runtime.block_on(answer).unwrap();
        open.push((answer, stream));
        eventually("the call", || (app.count() == 2 + number).then_some(()));
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 3);
}

#[test]
fn what_goes_wrong_has_the_same_status_as_ever() {
    let (app, issuer, usher) = setup("timeouts: { response: 1s }");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    assert_eq!(client.ask(get("/reset", &token)).unwrap().status, 502);
    assert_eq!(usher.line("/reset")["reason"], "upstream_broken");
    assert_eq!(client.ask(get("/never", &token)).unwrap().status, 504);
    let cut = client.ask(get("/cut", &token)).unwrap_err();
    assert_eq!(cut.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(client.ask(get("/plain", &token)).unwrap().status, 200);
    assert_eq!(app.connections.load(Ordering::SeqCst), 2, "one was silent");
    let nobody = before(
        format!("127.0.0.1:{}", crate::common::free_port())
            .parse()
            .unwrap(),
        &issuer,
        "",
    );
    assert_eq!(nobody.get("/", &token).status, 502);
    // A call is told in gRPC's words.
    let client = Http2::connect(nobody.address);
    let answered = client.ask(call(&token)).unwrap();
    assert_eq!(
        (answered.status, answered.header("grpc-status")),
        (200, Some("14"))
    );
}

#[test]
fn an_app_that_speaks_http_1_is_502() {
    let (app, issuer) = (crate::common::App::start(), Issuer::new());
    let usher = before(app.address, &issuer, "timeouts: { response: 2s }");
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 502);
}

#[test]
fn a_call_that_is_taken_back_is_taken_back_from_the_app() {
    let (app, issuer, usher) = setup("");
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    let (answer, mut stream) = client.start(get("/never", &token), true);
    eventually("the call", || (app.count() == 1).then_some(()));
    stream.send_reset(Reason::CANCEL);
    drop((answer, stream));
    assert_eq!(usher.line("/never")["reason"], "client_gone");
    assert_eq!(client.ask(get("/plain", &token)).unwrap().status, 200);
}

#[test]
fn a_client_that_reads_nothing_holds_up_nobody_else() {
    let (app, issuer) = (Http2App::echo(100), Issuer::new());
    let usher = before(app.address, &issuer, "workers: 1");
    let token = issuer.token("alice");
    let large = Bytes::from("0123456789".repeat(100_000));
    let mut held = Vec::new();
    for number in 0..4 {
        // Each by itself: uploads on one connection share what it has room for.
        let slow = Http2::connect(usher.address);
        let (answer, mut stream) = slow.start(call(&token), false);
        let body = large.clone();
        // They send as far as there is room, and read nothing of what comes back.
        slow.runtime.spawn(async move {
            let _ = http2::write(&mut stream, body, true).await;
            std::future::pending::<()>().await;
        });
        held.push((slow, answer));
        eventually("the call", || (app.count() == number + 1).then_some(()));
    }
    // Of each answer the app may send this much that nobody reads: together more than the 64 KiB
    // that a connection has room for unless somebody sees to it (RFC 9113 §6.9.2).
    eventually("answers that wait", || {
        (app.sent.load(Ordering::SeqCst) > 4 * 100_000).then_some(())
    });
    let quick = Http2::connect(usher.address);
    let answered = quick.upload(call(&token), large.clone(), None).unwrap();
    assert!(answered.body == large);
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_on_which_nobody_answers_is_used_no_more() {
    let (app, issuer) = (Http2App::echo(100), Issuer::new());
    let usher = before(
        app.address,
        &issuer,
        "workers: 1\ntimeouts: { response: 1s }",
    );
    let client = Http2::connect(usher.address);
    let token = issuer.token("alice");
    assert_eq!(client.ask(get("/never", &token)).unwrap().status, 504);
    assert_eq!(client.ask(get("/plain", &token)).unwrap().status, 200);
    assert_eq!(app.connections.load(Ordering::SeqCst), 2);
}
