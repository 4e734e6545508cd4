//! Bodies on their way through: streamed, never collected, and never waited for without end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::edge::Edge;

use super::pool::{Connection, Pool};
use super::wire::{WireBody, WireError};

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// Nothing came for `timeouts.idle`.
    TimedOut,
    /// The connection that it came on failed.
    Broken(hyper::Error),
    /// The app's connection failed, or what came on it was no body.
    Wire(WireError),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => f.write_str("nothing came for timeouts.idle"),
            Self::Broken(error) => write!(f, "{error}"),
            Self::Wire(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TimedOut => None,
            Self::Broken(error) => Some(error),
            Self::Wire(error) => Some(error),
        }
    }
}

impl From<WireError> for BodyError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Late => Self::TimedOut,
            error => Self::Wire(error),
        }
    }
}

/// The body error behind a failed exchange, if that is what failed it.
pub(super) fn cause(error: &hyper::Error) -> Option<&BodyError> {
    std::error::Error::source(error)?.downcast_ref()
}

/// How a request body comes along, so that waiting for the answer starts at its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pieces: AtomicU64,
    /// Whether the next piece is the client's to send; how long it may take, `Timed` knows.
    awaited: AtomicBool,
}

impl Progress {
    pub(super) fn count(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    pub(super) fn awaits_client(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }
}

/// The client's body on its way to the app.
#[derive(Debug)]
pub struct RequestBody(Option<Box<Upload>>);

#[derive(Debug)]
struct Upload {
    body: Timed,
    progress: Arc<Progress>,
    edge: Arc<Edge>,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self(None)
    }

    pub(super) fn new(
        body: Incoming,
        idle: Duration,
        edge: &Arc<Edge>,
    ) -> (Self, Option<Arc<Progress>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let progress = Arc::new(Progress::default());
        let upload = Upload {
            body: Timed::new(body, idle),
            progress: progress.clone(),
            edge: edge.clone(),
        };
        (Self(Some(Box::new(upload))), Some(progress))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(upload) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = upload.body.poll(cx);
        let progress = &upload.progress;
        progress
            .awaited
            .store(frame.is_pending(), Ordering::Relaxed);
        let frame = ready!(frame);
        progress.pieces.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame.map(|frame| frame.map(|frame| without_identity(frame, &upload.edge))))
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|upload| upload.body.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |upload| {
            upload.body.body.size_hint()
        })
    }
}

/// Trailers are header fields too, to an app that merges them: the same names may not pass.
fn without_identity(frame: Frame<Bytes>, edge: &Edge) -> Frame<Bytes> {
    match frame.into_trailers() {
        Err(data) => data,
        Ok(mut trailers) => {
            let gone: Vec<_> = trailers
                .keys()
                .filter(|name| edge.classes().of(name).is_some())
                .cloned()
                .collect();
            for name in gone {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
    }
}

/// The app's body on its way to the client. Gives the connection back when it ended well.
#[derive(Debug)]
pub struct AnswerBody(Content);

#[derive(Debug)]
enum Content {
    /// All of it was there with the head.
    Whole(Bytes),
    /// It comes through the lean client.
    Wire(Box<WireBody>, Arc<Pool>),
    /// It comes through hyper's client.
    Hyper(Timed, Option<(Arc<Pool>, Connection)>),
}

impl AnswerBody {
    /// The body of an answer that hyper's client read.
    pub(super) fn new(
        body: Incoming,
        idle: Duration,
        pool: &Arc<Pool>,
        connection: Connection,
    ) -> Self {
        let ended = body.is_end_stream();
        let mut answer = Self(Content::Hyper(
            Timed::new(body, idle),
            Some((pool.clone(), connection)),
        ));
        if ended {
            answer.release();
        }
        answer
    }

    /// A body whose connection belongs to somebody else now.
    pub(super) fn without_connection(body: Incoming, idle: Duration) -> Self {
        Self(Content::Hyper(Timed::new(body, idle), None))
    }

    /// The body of an answer that the lean client read.
    pub(super) fn from_wire(mut body: WireBody, pool: &Arc<Pool>) -> Self {
        if let Some(whole) = body.take_whole() {
            if let Some(wire) = body.release() {
                pool.put_wire(wire);
            }
            return Self(Content::Whole(whole));
        }
        body.begin();
        Self(Content::Wire(Box::new(body), pool.clone()))
    }

    fn release(&mut self) {
        match &mut self.0 {
            Content::Whole(_) => {}
            Content::Wire(body, pool) => {
                if let Some(wire) = body.release() {
                    pool.put_wire(wire);
                }
            }
            Content::Hyper(_, connection) => {
                if let Some((pool, connection)) = connection.take() {
                    pool.put(connection);
                }
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => None,
            Content::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Content::Wire(body, _) => {
                ready!(body.poll(cx)).map(|frame| frame.map_err(BodyError::from))
            }
            Content::Hyper(body, _) => ready!(body.poll(cx)),
        };
        let ended = match &frame {
            None => true,
            Some(Ok(_)) => self.is_end_stream(),
            Some(Err(_)) => false,
        };
        if ended {
            self.release();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Wire(body, _) => body.is_over(),
            Content::Hyper(body, _) => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Wire(body, _) => body.size_hint(),
            Content::Hyper(body, _) => body.body.size_hint(),
        }
    }
}

/// A body and the longest pause that it may make. The timer exists only once a pause was made.
#[derive(Debug)]
struct Timed {
    body: Incoming,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    paused: bool,
}

impl Timed {
    fn new(body: Incoming, idle: Duration) -> Self {
        Self {
            body,
            idle,
            timer: None,
            paused: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.paused = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        if !self.paused {
            timer.as_mut().reset(Instant::now() + self.idle);
            self.paused = true;
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }
}
