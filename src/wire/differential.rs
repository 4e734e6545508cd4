//! We and hyper's server read the same requests: whatever we accept, hyper accepts too, with the
//! same method, target, fields and body. We may refuse more.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::framing::Piece;
use super::request::{self, Limits};
use crate::fields::Fields;

const LIMITS: Limits = Limits {
    bytes: 64 * 1024,
    fields: 100,
};

/// Method, target, fields, body; `None` for any refusal.
type Read = Option<(String, String, Vec<(String, Vec<u8>)>, Vec<u8>)>;

fn fields(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let lower = |name: &[u8]| String::from_utf8(name.to_ascii_lowercase()).unwrap();
    let mut fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (lower(name), value.to_vec()))
        .collect();
    // hyper keeps fields of one name together and the names in no order.
    fields.sort();
    fields
}

fn ours(text: &[u8]) -> Read {
    let (head, length) = request::read(text, LIMITS).ok()??;
    let mut framing = request::framing(&head).ok()?;
    let mut input = BytesMut::from(&text[length..]);
    let mut body = Vec::new();
    loop {
        match framing.take(&mut input).ok()? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(lines) => {
                super::framing::trailers(&lines).ok()?;
                break;
            }
            Piece::Over => break,
            Piece::More => return None,
        }
    }
    let (method, target) = (
        head.method.to_string(),
        head.target.path_and_query().to_owned(),
    );
    Some((method, target, fields(&head.fields), body))
}

async fn hypers(text: Vec<u8>) -> Read {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let read = Arc::new(Mutex::new(None));
    let note = read.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let note = note.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let target = parts.uri.path_and_query();
                let target = target.map_or("", |target| target.as_str());
                let asked = (parts.method.to_string(), target.to_owned());
                let fields = fields(&Fields::from(&parts.headers));
                let read = (asked.0, asked.1, fields, body.to_bytes().to_vec());
                note.lock().unwrap().get_or_insert(read);
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    let ask = async {
        client.write_all(&text).await.unwrap();
        client.shutdown().await.unwrap();
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    let _ = tokio::join!(served, ask);
    read.lock().unwrap().take()
}

/// Requests that are mostly right, and wrong in the ways that matter.
fn requests() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "POST / HTTP/1.1",
        "POST /a/b?c=d HTTP/1.1",
        "PUT http://h/x HTTP/1.1",
        "GET /x HTTP/1.0",
        "OPTIONS * HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/2.0",
        "GET /",
        "\r\nGET / HTTP/1.1",
        "G(T / HTTP/1.1",
    ]);
    let field = prop::sample::select(vec![
        "content-length: 5\r\n",
        "Content-Length: 5\r\n",
        "content-length: 0\r\n",
        "content-length: 7\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: 0x5\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\tchunked\r\n",
        " folded: 1\r\n",
        "x-a: 1\r\n",
        "x-a: 2\n",
        "x-b:\r\n",
        "x-c:  spaced  \r\n",
        "x d: e\r\n",
        "x-f: \u{e9}\r\n",
        "x-g: a\rb\r\n",
        "x-h: a\0b\r\n",
        "host: h\r\n",
    ]);
    let body = prop::sample::select(vec![
        "",
        "hello",
        "hello!!",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhel",
        "05\r\nhello\r\n00\r\n\r\n",
        "g\r\n",
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
    ]);
    (line, prop::collection::vec(field, 0..4), body)
        .prop_map(|(line, fields, body)| format!("{line}\r\n{}\r\n{body}", fields.concat()))
}

#[test]
fn what_we_accept_hyper_accepts() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 6000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let accepted = std::cell::Cell::new(0);
    let outcome = runner.run(&requests(), |text| {
        let Some(ours) = ours(text.as_bytes()) else {
            return Ok(());
        };
        accepted.set(accepted.get() + 1);
        let hypers = runtime.block_on(hypers(text.clone().into_bytes()));
        prop_assert_eq!(Some(ours), hypers, "{:?}", text);
        Ok(())
    });
    outcome.unwrap();
    assert!(
        accepted.get() > 1000,
        "only {} were accepted",
        accepted.get()
    );
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    proptest!(|(text in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..50)| {
        let _ = ours(&text);
        let mut seen = Vec::new();
        for piece in text.chunks(step) {
            seen.extend_from_slice(piece);
            let _ = super::answer::read(&seen, false, 1024);
            let _ = request::read(&seen, LIMITS);
        }
    });
}
