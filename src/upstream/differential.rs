//! Our client and hyper's read the same answers: whatever ours accepts, hyper's accepts too,
//! with the same status, fields and body. Ours may refuse more.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::net::TcpStream;

use super::body::AnswerBody;
use super::connection::Connection;
use super::pool::Pool;
use crate::body::Frame;
use crate::fields::Fields;
use crate::hints::Hints;

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

fn fields(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    // Beside chunks a length is a lie (RFC 9112 §6.3).
    let chunked = fields.contains(&header::TRANSFER_ENCODING);
    let mut fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
            (name, value.to_vec())
        })
        .filter(|(name, _)| !(chunked && name == "content-length"))
        .filter(|(name, _)| !["connection", "transfer-encoding"].contains(&name.as_str()))
        .collect();
    fields.sort();
    fields
}

async fn ours(address: SocketAddr) -> Read {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut connection = Box::new(Connection::new(stream.into(), 64 * 1024, 0));
    let write = |head: &mut Vec<u8>| head.extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = connection
        .exchange(&write, &mut None, false, TIME, &Hints::default())
        .await;
    let answer = answer.ok()?;
    if answer.status == 101 {
        return None;
    }
    let pool = Arc::new(Pool::new(
        settings().upstreams()[0],
        &settings(),
        super::Metrics::default(),
    ));
    let mut body = AnswerBody::new(connection, answer.framing, answer.keep, TIME, None, &pool);
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await.ok()? {
        if let Frame::Data(data) = frame {
            read.extend_from_slice(&data);
        }
    }
    Some((answer.status.as_u16(), fields(&answer.fields), read))
}

fn settings() -> crate::config::Config {
    let text = "upstream: http://127.0.0.1:9\nissuers: [{ issuer: 'https://i.example/', audiences: [a] }]\n";
    let parsed = crate::config::parse(text, "test", &|_| None);
    parsed
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config
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
        fields(&Fields::from(&parts.headers)),
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
fn what_our_client_accepts_hypers_accepts() {
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
            let ours = ours(address).await;
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
