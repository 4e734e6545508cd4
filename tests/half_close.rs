//! A client that has said all it will still hears the answer.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::common::app::{Answer, answer};
use crate::common::{App, Client, Issuer, Usher, eventually};

/// An app that answers when the test says so.
fn patient() -> (App, mpsc::Sender<()>) {
    let (go, may) = mpsc::channel::<()>();
    let may = Arc::new(Mutex::new(may));
    let app = App::with(move |received| {
        if received.target() != "/slow" {
            return Answer::Bytes(answer("200 OK", "", "hello"));
        }
        let may = may.clone();
        Answer::Own(Box::new(move |mut stream| {
            let told = may.lock().unwrap().recv();
            if told.is_ok() {
                let close = "Connection: close\r\n";
                let _ = stream.write_all(&answer("200 OK", close, "late"));
            }
            let _ = stream.read(&mut [0]);
        }))
    });
    (app, go)
}

fn head(method: &str, path: &str, token: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

#[test]
fn a_whole_request_is_answered_after_the_client_has_ended_its_direction() {
    let (app, go) = patient();
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let body = "Content-Length: 4\r\n";
    for request in [
        head("GET", "/slow", &token, ""),
        head("POST", "/slow", &token, body) + "body",
    ] {
        let before = app.count();
        let mut client = usher.connect();
        client.send(request);
        client.finish();
        eventually("the request", || (app.count() > before).then_some(()));
        // It has been noticed by now that nothing more comes.
        std::thread::sleep(Duration::from_millis(100));
        go.send(()).unwrap();
        assert_eq!(client.reply().expect("an answer").body, "late");
        assert!(client.is_closed());
    }
    // Several, one after the other, all sent before the end.
    let mut client = usher.connect();
    client.send(head("GET", "/a", &token, "").repeat(3));
    client.finish();
    for _ in 0..3 {
        assert_eq!(client.reply().expect("an answer").body, "hello");
    }
    assert!(client.is_closed());
}

#[test]
fn who_waits_in_vain_is_left_after_a_while() {
    let (app, _go) = patient();
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { half_closed: 1s }");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    client.send(head("GET", "/slow", &token, ""));
    eventually("the request", || (app.count() == 1).then_some(()));
    let since = Instant::now();
    client.finish();
    assert_eq!(usher.line("/slow")["reason"], "client_gone");
    assert!(
        since.elapsed() >= Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    assert!(client.is_closed());
}

#[test]
fn with_no_patience_the_end_of_a_direction_is_the_end() {
    let (app, _go) = patient();
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { half_closed: 0s }");
    let mut client = usher.connect();
    client.send(head("GET", "/slow", &issuer.token("alice"), ""));
    eventually("the request", || (app.count() == 1).then_some(()));
    let since = Instant::now();
    client.finish();
    assert_eq!(usher.line("/slow")["reason"], "client_gone");
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn an_answer_that_streams_goes_on_for_who_has_ended_its_direction() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            // Longer in all than anybody waits for one piece.
            for _ in 0..8 {
                stream.write_all(b"5\r\npiece\r\n").unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
            stream.write_all(b"0\r\n\r\n").unwrap();
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "timeouts: { half_closed: 1s }");
    let mut client = usher.connect();
    client.send(head("GET", "/stream", &issuer.token("alice"), ""));
    client.finish();
    assert_eq!(client.reply().expect("an answer").body, "piece".repeat(8));
}

const SWITCH: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n";
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

fn tunnel(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> (Usher, Client) {
    let serve = Arc::new(serve);
    let app = App::with(move |_| {
        let serve = serve.clone();
        Answer::Own(Box::new(move |mut stream| {
            stream.write_all(SWITCHED).unwrap();
            serve(stream);
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    client.send(head("GET", "/ws", &issuer.token("alice"), SWITCH));
    assert_eq!(client.reply().unwrap().status, 101);
    (usher, client)
}

#[test]
fn a_tunnel_passes_the_end_of_the_clients_direction_and_not_more() {
    let (_usher, mut client) = tunnel(|mut stream| {
        let mut all = String::new();
        // Ends with the client's direction, and only then the app speaks.
        stream.read_to_string(&mut all).unwrap();
        stream.write_all(format!("heard {all}").as_bytes()).unwrap();
    });
    client.send("everything");
    client.finish();
    assert_eq!(client.rest(), "heard everything");
}

#[test]
fn a_tunnel_passes_the_end_of_the_apps_direction_and_not_more() {
    let (tell, told) = mpsc::channel::<String>();
    let tell = Mutex::new(tell);
    let (_usher, mut client) = tunnel(move |mut stream| {
        stream.write_all(b"all I say").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        tell.lock().unwrap().send(all).unwrap();
    });
    // To its end, and the other direction is open still.
    assert_eq!(client.rest(), "all I say");
    client.send("and all of mine");
    client.finish();
    let heard = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(heard, "and all of mine");
}
