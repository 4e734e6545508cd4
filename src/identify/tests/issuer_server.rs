//! An issuer's HTTP server that answers as a test tells it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Sleep;

/// How the server answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// This document; with an `ETag`, `If-None-Match` is understood.
    Document {
        body: String,
        etag: Option<&'static str>,
    },
    /// This status and nothing else; a redirect leads to the same server.
    Status(u16),
    /// Nothing, ever.
    Hang,
    /// One byte now and then.
    Drip,
    /// A hundred megabytes.
    Huge,
}

impl Answer {
    pub(super) fn document(body: impl Into<String>) -> Self {
        Self::Document {
            body: body.into(),
            etag: None,
        }
    }
}

#[derive(Clone)]
pub(super) struct IssuerServer {
    pub(super) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    discovery: Arc<Mutex<String>>,
    fetches: Arc<AtomicUsize>,
    not_modified: Arc<AtomicUsize>,
}

impl IssuerServer {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(answer)),
            discovery: Arc::default(),
            fetches: Arc::default(),
            not_modified: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| server.answer(request));
                    let connection = http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn set(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    pub(super) fn set_discovery(&self, document: String) {
        *self.discovery.lock() = document;
    }

    /// How many times the key set was asked for.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn not_modified(&self) -> usize {
        self.not_modified.load(Ordering::SeqCst)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        assert!(!request.headers().contains_key("authorization"));
        assert!(!request.headers().contains_key("cookie"));
        if request.uri().path() == "/discovery" {
            return Ok(whole(200, self.discovery.lock().clone()));
        }
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().clone();
        Ok(match answer {
            Answer::Document { body, etag } => self.document(&request, body, etag),
            Answer::Status(status) => {
                let mut response = whole(status, String::new());
                let location = self.url("/elsewhere").parse().unwrap();
                response.headers_mut().insert("location", location);
                response
            }
            Answer::Hang => std::future::pending().await,
            Answer::Drip => stream(1, 10_000, Duration::from_millis(20)),
            Answer::Huge => stream(64 * 1024, 1600, Duration::ZERO),
        })
    }

    fn document(
        &self,
        request: &Request<Incoming>,
        body: String,
        etag: Option<&'static str>,
    ) -> Response<BoxBody<Bytes, Infallible>> {
        let Some(etag) = etag else {
            return whole(200, body);
        };
        let known = request.headers().get("if-none-match");
        let mut response = if known.is_some_and(|known| known == etag) {
            self.not_modified.fetch_add(1, Ordering::SeqCst);
            whole(304, String::new())
        } else {
            whole(200, body)
        };
        response.headers_mut().insert("etag", etag.parse().unwrap());
        response
    }
}

fn whole(status: u16, body: String) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::from(body).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn stream(piece: usize, left: usize, pause: Duration) -> Response<BoxBody<Bytes, Infallible>> {
    let pieces = Pieces {
        piece,
        left,
        pause,
        wait: Box::pin(tokio::time::sleep(pause)),
    };
    Response::new(pieces.boxed())
}

/// A body in pieces of blanks, with a pause before each.
struct Pieces {
    piece: usize,
    left: usize,
    pause: Duration,
    wait: Pin<Box<Sleep>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.wait.as_mut().poll(context));
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.wait = Box::pin(tokio::time::sleep(self.pause));
        let piece = Bytes::from(vec![b' '; self.piece]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
