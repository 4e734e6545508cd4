//! The lean client and hyper's read the same answers: whatever the lean one accepts, hyper's
//! accepts too, with the same status, fields and body. The lean one may refuse more.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::net::TcpStream;

use super::{Wire, WireBody};

const TIME: Duration = Duration::from_secs(5);

/// Status, fields without those of the connection, body; `None` for any failure.
type Read = Option<(u16, Vec<(String, Vec<u8>)>, Vec<u8>)>;

/// An app that reads a request, sends these bytes in pieces of `step`, and closes.
fn app(answer: Vec<u8>, step: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
            for piece in answer.chunks(step) {
                if stream.write_all(piece).is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    // Beside chunks a length is a lie (RFC 9112 §6.3); the lean client takes it away at once.
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let mut fields: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !(chunked && *name == header::CONTENT_LENGTH))
        .filter(|(name, _)| ![header::CONNECTION, header::TRANSFER_ENCODING].contains(name))
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    fields
}

async fn lean(address: SocketAddr) -> Read {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut wire = Box::new(Wire::new(stream, 64 * 1024));
    wire.head()
        .extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = wire.exchange(false, TIME).await.ok()?;
    let mut body = WireBody::new(wire, answer.framing, answer.keep, TIME);
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.poll(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    Some((answer.status.as_u16(), fields(&answer.headers), read))
}

async fn hypers(address: SocketAddr) -> Read {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/")
        .header("host", "a")
        .body(Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.unwrap()).await.ok()?;
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(TIME, body.collect())
        .await
        .ok()?
        .ok()?;
    Some((
        parts.status.as_u16(),
        fields(&parts.headers),
        body.to_bytes().to_vec(),
    ))
}

/// Answers that are mostly right, and wrong in the ways that matter.
fn answers() -> impl Strategy<Value = String> {
    let status = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No",
        "HTTP/1.1 304 Not",
        "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 404",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 101 Up",
    ]);
    let field = prop::sample::select(vec![
        "content-length: 5",
        "Content-Length: 5",
        "content-length: 0",
        "content-length: 7",
        "content-length: +5",
        "content-length: 5, 5",
        "transfer-encoding: chunked",
        "transfer-encoding: Chunked",
        "transfer-encoding: gzip",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: \x0bchunked",
        "connection: close",
        "connection: x-a, keep-alive",
        "x-a: 1",
        "x-a: 2",
        "x-b:",
        "x-c:  spaced  ",
        "x d: e",
        "x-e : f",
        "set-cookie: a=b",
        "x-f: \u{e9}",
    ]);
    let body = prop::sample::select(vec![
        "",
        "hello",
        "hello!!",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhel",
        "g\r\n",
        "0\r\n\r\nextra",
        "FFFFFFFFFFFFFFFFF\r\n",
    ]);
    (status, prop::collection::vec(field, 0..4), body).prop_map(|(status, fields, body)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{status}\r\n{fields}\r\n{body}")
    })
}

#[test]
fn what_the_lean_client_accepts_hypers_accepts() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let accepted = std::cell::Cell::new(0);
    let outcome = runner.run(&(answers(), 1_usize..200), |(answer, step)| {
        let address = app(answer.clone().into_bytes(), step);
        let (ours, theirs) = runtime.block_on(async {
            let ours = lean(address).await;
            (ours, hypers(address).await)
        });
        if ours.is_some() {
            accepted.set(accepted.get() + 1);
            prop_assert_eq!(ours, theirs, "{:?}", answer);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        accepted.get() > 300,
        "only {} were accepted",
        accepted.get()
    );
}
