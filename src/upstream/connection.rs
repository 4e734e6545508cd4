//! A connection to the app, driven from the request's own task: an exchange costs one write and
//! one read, and wakes nobody else.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::body::{BodyError, Frame};
use crate::deadline::Deadline;
use crate::hints::Hints;
use crate::stream::Stream;
use crate::wire::Malformed;
use crate::wire::answer::{self, AnswerHead, Read};
use crate::wire::framing::Framing;
use crate::wire::input::{HeadError, Input};
use crate::wire::output::Output;

use super::upload::Upload;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The connection ended before the first byte of an answer; `unsent` if not a byte of the
    /// request went out either.
    Closed {
        /// Nothing of the request was written.
        unsent: bool,
    },
    /// The connection failed, or ended in the middle.
    Broken(io::Error),
    /// What came is no answer, or one that can be read in two ways.
    Malformed(&'static str),
    /// The app ended this request alone, or the connection with a complaint; says what it said.
    Reset(String),
    /// The request cannot be said in the app's protocol.
    Unspeakable(&'static str),
    /// Nothing came in time.
    Late,
    /// The client's body failed, so the request could not be sent to its end.
    Upload(BodyError),
}

impl std::fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { .. } => f.write_str("the app closed the connection before it answered"),
            Self::Broken(error) => write!(f, "the connection to the app failed: {error}"),
            Self::Malformed(what) => write!(f, "the app's answer is malformed: {what}"),
            Self::Reset(what) => write!(f, "the app gave up: {what}"),
            Self::Unspeakable(what) => f.write_str(what),
            Self::Late => f.write_str("the app did not answer in time"),
            Self::Upload(error) => write!(f, "the client's body: {error}"),
        }
    }
}

/// How far the request's body is.
enum Uploading {
    /// All of it left, or there is none.
    Done,
    /// The app takes no more at the moment.
    Writing,
    /// The next piece is the client's to send, which has a time of its own.
    AwaitsClient,
}

/// A connection to the app.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    input: Input,
    output: Output,
    deadline: Deadline,
    head_limit: usize,
    /// Whether the last answer had no body whatever its fields said: an app that sends one all
    /// the same has perhaps not sent it yet.
    suspect: bool,
    /// Bytes of informational answers that came for the request under way.
    informed: usize,
    /// The sweep of the pool after which it was opened.
    pub(super) born: u32,
}

impl Connection {
    /// Takes over a connection; heads of answers may have `head_limit` bytes.
    pub(super) fn new(stream: Stream, head_limit: usize, born: u32) -> Self {
        Self {
            stream,
            input: Input::default(),
            output: Output::default(),
            deadline: Deadline::default(),
            head_limit,
            suspect: false,
            informed: 0,
            born,
        }
    }

    /// Whether an idle connection can still be used: nothing came on it, not even its end.
    /// Costs no system call unless something came, or there is reason to ask.
    pub(super) fn is_open(&mut self) -> bool {
        self.input.is_empty()
            && self.stream.is_silent()
            && (!self.suspect || self.stream.is_silent_to_the_kernel())
    }

    /// Whether another exchange may follow: not when the app has sent more than it announced.
    pub(super) fn is_clean(&self) -> bool {
        self.input.is_empty() && self.output.is_empty()
    }

    /// Gives back what only an exchange needs.
    pub(super) fn rest(&mut self) {
        self.input.release();
    }

    /// The socket, and what the app sent on it after its head.
    pub(super) fn into_parts(mut self) -> (Stream, BytesMut) {
        (self.stream, std::mem::take(self.input.rest()))
    }

    /// Sends what `write` writes, and the upload, and reads the head of the answer. The answer
    /// may come before the upload has ended, and `hints` before the answer. `to_head`: the method
    /// is HEAD.
    ///
    /// # Errors
    /// [`ExchangeError`]; the connection must not be used again then.
    pub(super) async fn exchange(
        &mut self,
        write: &(impl Fn(&mut Vec<u8>) + ?Sized),
        upload: &mut Option<Box<Upload>>,
        to_head: bool,
        time: Duration,
        hints: &Hints,
    ) -> Result<AnswerHead, ExchangeError> {
        self.informed = 0;
        self.deadline.start(time);
        let mut started = false;
        std::future::poll_fn(|cx| {
            if !started {
                started = true;
                self.poll_start(cx, write)?;
            }
            self.poll_exchange(cx, upload, to_head, time, hints)
        })
        .await
    }

    /// Writes the head, as far as the kernel takes it.
    fn poll_start(
        &mut self,
        cx: &mut Context<'_>,
        write: &(impl Fn(&mut Vec<u8>) + ?Sized),
    ) -> Result<(), ExchangeError> {
        let (output, stream) = (&mut self.output, &mut self.stream);
        match output.poll_start(cx, stream, |head| write(head), Bytes::new(), b"") {
            Poll::Ready(Err(error)) => Err(match sort(error) {
                ExchangeError::Closed { .. } => ExchangeError::Closed { unsent: true },
                error => error,
            }),
            _ => Ok(()),
        }
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Option<Box<Upload>>,
        to_head: bool,
        time: Duration,
        hints: &Hints,
    ) -> Poll<Result<AnswerHead, ExchangeError>> {
        let uploading = self.poll_upload(cx, upload, time);
        match self.poll_answer(cx, to_head, hints) {
            Poll::Ready(answer) => {
                let bodyless = |head: &AnswerHead| to_head || answer::is_bodyless(head.status);
                self.suspect = answer.as_ref().is_ok_and(bodyless);
                return Poll::Ready(answer.map_err(|error| match error {
                    HeadError::Ended { between: true } if self.informed == 0 => {
                        ExchangeError::Closed { unsent: false }
                    }
                    HeadError::Ended { .. } => ExchangeError::Malformed("it ends in its head"),
                    // TLS that ends without a word, which many servers do when they are idle.
                    HeadError::Failed(error)
                        if error.kind() == io::ErrorKind::UnexpectedEof
                            && self.input.is_empty()
                            && self.informed == 0 =>
                    {
                        ExchangeError::Closed { unsent: false }
                    }
                    HeadError::Failed(error) if self.informed > 0 => ExchangeError::Broken(error),
                    HeadError::Failed(error) => sort(error),
                    HeadError::Unreadable(what) => ExchangeError::Malformed(what.0),
                }));
            }
            Poll::Pending => {}
        }
        match uploading {
            // The app may have answered before it stopped reading; that answer is waited for.
            Err(error @ ExchangeError::Upload(_)) => return Poll::Ready(Err(error)),
            Ok(Uploading::AwaitsClient) => return Poll::Pending,
            Err(_) | Ok(Uploading::Done | Uploading::Writing) => {}
        }
        ready!(self.deadline.poll(cx));
        Poll::Ready(Err(ExchangeError::Late))
    }

    /// The head of the answer, past those that precede it.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
        hints: &Hints,
    ) -> Poll<Result<AnswerHead, HeadError<Malformed>>> {
        let limit = self.head_limit;
        let read = |bytes: &[u8]| answer::read(bytes, to_head, limit);
        loop {
            match ready!(self.input.poll_head(cx, &mut self.stream, read))? {
                Read::Final(answer) => return Poll::Ready(Ok(answer)),
                Read::Informational(status, fields, length) => {
                    self.informed += length;
                    if self.informed > limit {
                        let what = Malformed("its informational answers are too many");
                        return Poll::Ready(Err(HeadError::Unreadable(what)));
                    }
                    hints.push(status, fields);
                }
            }
        }
    }

    /// Sends what there is of the body. A connection that takes no more ends the upload, and
    /// tells nobody else: what the app answers is still worth reading.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Option<Box<Upload>>,
        time: Duration,
    ) -> Result<Uploading, ExchangeError> {
        loop {
            match self.output.poll_flush(cx, &mut self.stream) {
                Poll::Pending => return Ok(Uploading::Writing),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    if let Some(upload) = upload {
                        upload.give_up();
                    }
                    self.output = Output::default();
                    return Err(sort(error));
                }
            }
            let Some(sending) = upload.as_mut().filter(|upload| !upload.is_over()) else {
                return Ok(Uploading::Done);
            };
            let frame = match sending.poll_frame(cx) {
                Poll::Pending => return Ok(Uploading::AwaitsClient),
                Poll::Ready(Some(Err(error))) => return Err(ExchangeError::Upload(error)),
                Poll::Ready(Some(Ok(frame))) => Some(frame),
                Poll::Ready(None) => None,
            };
            self.deadline.start(time);
            let chunked = sending.is_chunked();
            let (output, stream) = (&mut self.output, &mut self.stream);
            // What could not be written is found by the next turn, with its error if it has one.
            let _ = output.poll_frame(cx, stream, frame, chunked);
        }
    }

    /// Goes on with an upload while the answer is read already; `false` once it has failed.
    pub(super) fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Option<Box<Upload>>,
        time: Duration,
    ) -> bool {
        self.poll_upload(cx, upload, time).is_ok()
    }

    /// Forgets how long the answer's head took: the body has a time of its own.
    pub(super) fn begin_body(&mut self) {
        self.deadline.stop();
    }

    /// The next piece of an answer's body; `None` at its end. `idle` is the longest pause.
    ///
    /// # Errors
    /// [`BodyError`]; the connection must not be used again then.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        idle: Duration,
    ) -> Poll<Result<Option<Frame>, BodyError>> {
        loop {
            if let Poll::Ready(frame) = framing.poll_frame(self.input.rest()) {
                return Poll::Ready(frame.map_err(BodyError::from));
            }
            match self.input.poll_fill(cx, &mut self.stream) {
                Poll::Ready(Ok(0)) if *framing == Framing::Close => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Ok(0)) => {
                    let cut = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(BodyError::Broken(cut)));
                }
                Poll::Ready(Ok(_)) => self.deadline.stop(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(BodyError::Broken(error))),
                Poll::Pending => {
                    self.deadline.start_if_still(idle);
                    ready!(self.deadline.poll(cx));
                    return Poll::Ready(Err(BodyError::TimedOut));
                }
            }
        }
    }

    /// The whole body, if all of it was read together with the head.
    pub(super) fn take_whole(&mut self, framing: &mut Framing) -> Option<Bytes> {
        let Framing::Length(left) = framing else {
            return None;
        };
        let length = usize::try_from(*left).ok()?;
        let input = self.input.rest();
        let whole = match length {
            0 => Bytes::new(),
            _ if length == input.len() => std::mem::take(input).freeze(),
            _ if length < input.len() => input.split_to(length).freeze(),
            _ => return None,
        };
        *left = 0;
        Some(whole)
    }
}

/// Sorts what a connection fails with: a reset before an answer is like an end.
fn sort(error: io::Error) -> ExchangeError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ExchangeError::Closed { unsent: false }
        }
        _ => ExchangeError::Broken(error),
    }
}
