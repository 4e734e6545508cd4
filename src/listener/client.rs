//! The client's side of a connection: requests come in, answers go out.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Version, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::body::{BodyError, Frame, RequestBody, Source};
use crate::deadline::Deadline;
use crate::head::Head;
use crate::hints::Hints;
use crate::respond::Response;
use crate::wire::answer::{self, Ending, Form};
use crate::wire::framing::Framing;
use crate::wire::input::{HeadError, Input};
use crate::wire::output::Output;
use crate::wire::request::{self, Limits, Unreadable};

use super::watch::Watched;

/// What a client may send ahead of its answer; beyond it, it waits.
const AHEAD: usize = 16 * 1024;

/// What is read of a body that nobody wants, so that the connection can be kept.
const UNWANTED: u64 = 64 * 1024;

/// How long that is waited for, and a client's own close after ours: its bytes on the way would
/// make the kernel take our answer back (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: Watched,
    input: Input,
    output: Output,
    /// The body of the request under way, until its reader was told of its end.
    inbound: Option<Inbound>,
    /// Whether something comes that nobody will read.
    unread: bool,
    /// Once the client sends nothing any more, until when it may still wait for an answer.
    ended: Option<Box<Deadline>>,
    /// How long that is.
    half_closed: Duration,
    /// Informational answers that are not written yet.
    owed: Vec<u8>,
}

/// A body that the client sends.
#[derive(Debug)]
struct Inbound {
    source: Source,
    framing: Framing,
    /// Whether the client waits for a 100 before it sends anything (RFC 9110 §10.1.1).
    expects: bool,
}

/// What came of looking at what the client sends while it waits for an answer.
#[derive(Debug)]
pub(super) enum Looked {
    /// Nothing, for now.
    Still,
    /// The body's reader was given something.
    Filled,
    /// The client has left.
    Gone,
}

/// What an answer's form depends on, beside the answer.
#[derive(Debug)]
pub(super) struct Asked {
    /// Whether the method is HEAD.
    to_head: bool,
    /// Whether the client speaks HTTP/1.0, which knows no chunks.
    old: bool,
    /// Whether the client reads trailers.
    trailers: bool,
    /// Whether the client wants to go on.
    pub(super) keep: bool,
}

impl Asked {
    /// What a request says of its answer's form.
    pub(super) fn of(head: &Head) -> Self {
        Self {
            to_head: head.method == Method::HEAD,
            old: head.version == Version::HTTP_10,
            trailers: head.fields.lists(&header::TE, "trailers"),
            keep: request::keeps(head),
        }
    }

    /// A head that could not be read.
    pub(super) const NOTHING: Self = Self {
        to_head: false,
        old: false,
        trailers: false,
        keep: false,
    };
}

impl Client {
    /// A connection on which nothing was read yet.
    pub(super) fn new(stream: Watched, half_closed: Duration) -> Self {
        Self {
            stream,
            input: Input::default(),
            output: Output::default(),
            inbound: None,
            unread: false,
            ended: None,
            half_closed,
            owed: Vec::new(),
        }
    }

    /// Gives back what only a request needs.
    pub(super) fn rest(&mut self) {
        self.inbound = None;
        if self.input.is_empty() {
            self.input.release();
        }
    }

    /// Whether nothing of a request has come.
    pub(super) fn is_idle(&self) -> bool {
        self.input.is_empty()
    }

    /// The socket, and what was read of it and not used.
    pub(super) fn into_parts(mut self) -> (Watched, BytesMut) {
        let early = std::mem::take(self.input.rest());
        (self.stream, early)
    }

    /// The next request's head.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: Limits,
    ) -> Poll<Result<Box<Head>, HeadError<Unreadable>>> {
        let read = |bytes: &[u8]| {
            let read = request::read(bytes, limits)?;
            Ok(read.map(|(head, length)| (Box::new(head), length)))
        };
        self.input.poll_head(cx, &mut self.stream, read)
    }

    /// Whether what came is the beginning of HTTP/2 (RFC 9113 §3.4).
    pub(super) fn speaks_http2(&mut self) -> bool {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let came: &[u8] = self.input.rest();
        came.len() >= b"PRI *".len() && (came.starts_with(PREFACE) || PREFACE.starts_with(came))
    }

    /// The target of a head that cannot be read, as far as it came.
    pub(super) fn target(&mut self) -> &[u8] {
        let came = self.input.rest().trim_ascii_start();
        let mut words = came.split(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
        words.nth(1).unwrap_or_default()
    }

    /// What follows cannot be read.
    pub(super) fn give_up(&mut self) {
        self.unread = true;
    }

    /// The body that follows a head; [`Self::look`] reads it.
    pub(super) fn expect_body(&mut self, head: &Head, framing: Framing) -> RequestBody {
        let length = match framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let (body, source) = RequestBody::new(length);
        self.inbound = Some(Inbound {
            source,
            framing,
            expects: head.version == Version::HTTP_11 && head.fields.contains(&header::EXPECT),
        });
        body
    }

    /// Reads a piece of the body if its reader waits for one; where there is no body, looks
    /// whether the client is still there.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Looked {
        let Some(inbound) = &mut self.inbound else {
            return self.look_ahead(cx);
        };
        if !inbound.source.is_asked() {
            return Looked::Still;
        }
        let go_on = std::mem::take(&mut inbound.expects) && self.input.is_empty();
        let (output, stream) = (&mut self.output, &mut self.stream);
        let written = match go_on {
            true => {
                let build = |out: &mut Vec<u8>| out.extend_from_slice(answer::CONTINUE);
                output.poll_start(cx, stream, build, Bytes::new(), b"")
            }
            false => output.poll_flush(cx, stream),
        };
        if matches!(written, Poll::Ready(Err(_))) {
            return Looked::Gone;
        }
        let Poll::Ready(frame) = inbound.poll_frame(cx, &mut self.input, stream) else {
            return Looked::Still;
        };
        let over = frame.is_none();
        // What follows something that cannot be read is nobody's.
        self.unread |= matches!(frame, Some(Err(_)));
        inbound.source.fill(frame);
        if over {
            self.inbound = None;
        }
        Looked::Filled
    }

    /// Writes informational answers as far as the client takes them, ahead of the answer.
    ///
    /// # Errors
    /// When the client has left.
    pub(super) fn inform(&mut self, cx: &mut Context<'_>, hints: &Hints) -> io::Result<()> {
        if hints.is_empty() && self.owed.is_empty() && self.output.is_empty() {
            return Ok(());
        }
        self.owe(hints);
        let (output, stream) = (&mut self.output, &mut self.stream);
        if output.poll_flush(cx, stream)?.is_ready() && !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            let build = |out: &mut Vec<u8>| out.extend_from_slice(&owed);
            if let Poll::Ready(written) = output.poll_start(cx, stream, build, Bytes::new(), b"") {
                written?;
            }
        }
        Ok(())
    }

    /// Takes informational answers, to be written before the answer at the latest.
    pub(super) fn owe(&mut self, hints: &Hints) {
        for hint in hints.take() {
            answer::write_informational(&hint, &mut self.owed);
        }
    }

    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Looked {
        while self.ended.is_none() && self.input.len() < AHEAD {
            match self.input.poll_ahead(cx, &mut self.stream) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(_)) => self.begin_waiting(),
                Poll::Ready(Err(_)) => return Looked::Gone,
                Poll::Pending => break,
            }
        }
        // It may have closed all of its connection, or its direction alone (RFC 9293 §3.6): that
        // shows when something is written, and nobody waits for ever for that.
        let over = |until: &mut Box<Deadline>| until.poll(cx).is_ready();
        match self.ended.as_mut().is_some_and(over) {
            true => Looked::Gone,
            false => Looked::Still,
        }
    }

    /// The client has sent all it will; from now on, or since something was written, it waits.
    fn begin_waiting(&mut self) {
        let until = self.ended.get_or_insert_default();
        until.start(self.half_closed);
    }

    /// Writes an answer; tells whether another request may follow, which `keep` wishes.
    pub(super) async fn answer(
        &mut self,
        mut response: Response,
        asked: &Asked,
        keep: bool,
    ) -> io::Result<bool> {
        let bodyless = asked.to_head || answer::is_bodyless(response.status);
        let ending = match response.body.length() {
            length if bodyless => Ending::None(length.unwrap_or(0)),
            Some(length) => Ending::Length(length),
            None if asked.old => Ending::Close,
            None => Ending::Chunked,
        };
        let form = Form {
            ending,
            keep: keep
                && ending != Ending::Close
                && self.is_rest_short()
                && !response.fields.lists(&header::CONNECTION, "close"),
            old: asked.old,
        };
        if let Some(inbound) = &mut self.inbound {
            // A 100 after the answer has begun would stand in the middle of it.
            inbound.expects = false;
        }
        let whole = response.body.take_whole();
        let over = whole.is_some() || bodyless;
        let data = whole.filter(|_| !bodyless).unwrap_or_default();
        self.write(&response, form, data).await?;
        if !over {
            let mut ended = false;
            poll_fn(|cx| self.poll_body(cx, &mut response, asked, ending, &mut ended)).await?;
        }
        Ok(form.keep)
    }

    /// Writes a 101; what follows is no HTTP.
    pub(super) async fn switch(&mut self, response: Response) -> io::Result<()> {
        let form = Form {
            ending: Ending::None(0),
            keep: true,
            old: false,
        };
        self.write(&response, form, Bytes::new()).await
    }

    /// Writes the head, and the data if there is any yet.
    async fn write(&mut self, response: &Response, form: Form, data: Bytes) -> io::Result<()> {
        let mut data = Some(data);
        poll_fn(|cx| {
            let (output, stream) = (&mut self.output, &mut self.stream);
            // A 100 may still be on its way.
            ready!(output.poll_flush(cx, stream))?;
            let Some(data) = data.take() else {
                return Poll::Ready(Ok(()));
            };
            let owed = std::mem::take(&mut self.owed);
            let head = |out: &mut Vec<u8>| {
                out.extend_from_slice(&owed);
                answer::write(response.status, &response.fields, form, out);
            };
            output.poll_start(cx, stream, head, data, b"")
        })
        .await
    }

    /// Writes the body as it comes, and feeds what is left of the request's.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        asked: &Asked,
        ending: Ending,
        ended: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            let flushed = self.output.poll_flush(cx, &mut self.stream)?;
            if flushed.is_ready() && *ended {
                return Poll::Ready(Ok(()));
            }
            let frame = match flushed {
                Poll::Ready(()) => response.body.poll_frame(cx).map_err(io::Error::other)?,
                Poll::Pending => {
                    // A client that sends before it reads is not made to wait for itself.
                    response.body.poll_upload(cx);
                    Poll::Pending
                }
            };
            let Poll::Ready(frame) = frame else {
                match self.look(cx) {
                    Looked::Filled => continue,
                    Looked::Still => return Poll::Pending,
                    Looked::Gone => {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                }
            };
            if self.ended.is_some() {
                self.begin_waiting();
            }
            *ended = !matches!(frame, Some(Frame::Data(_)));
            // Whoever has not asked for trailers may not know what to do with them
            // (RFC 9110 §6.5.1).
            let frame = frame.filter(|frame| asked.trailers || matches!(frame, Frame::Data(_)));
            // What could not be written is flushed by the next turn.
            let chunked = ending == Ending::Chunked;
            let (output, stream) = (&mut self.output, &mut self.stream);
            if let Poll::Ready(written) = output.poll_frame(cx, stream, frame, chunked) {
                written?;
            }
        }
    }

    /// Whether what is left of the body is worth reading for the sake of the connection.
    fn is_rest_short(&self) -> bool {
        let Some(inbound) = &self.inbound else {
            return true;
        };
        if inbound.expects {
            return false;
        }
        match inbound.framing {
            Framing::Length(left) => left <= UNWANTED || !inbound.source.is_abandoned(),
            _ => true,
        }
    }

    /// Reads what is left of a body that nobody wants any more; tells whether its end was found.
    pub(super) async fn finish_body(&mut self) -> io::Result<bool> {
        let Some(inbound) = &mut self.inbound else {
            return Ok(!self.unread);
        };
        if self.unread {
            return Ok(false);
        }
        let mut read = 0;
        let end = poll_fn(|cx| {
            loop {
                match ready!(inbound.poll_frame(cx, &mut self.input, &mut self.stream)) {
                    Some(Ok(Frame::Data(data))) => read += data.len() as u64,
                    Some(Ok(Frame::Trailers(_))) | None => return Poll::Ready(true),
                    Some(Err(_)) => return Poll::Ready(false),
                }
                if read > UNWANTED {
                    return Poll::Ready(false);
                }
            }
        });
        Ok(Box::pin(tokio::time::timeout(LINGER, end))
            .await
            .unwrap_or(false))
    }

    /// Closes so that the client gets to read the answer: our side first, then what it sends is
    /// thrown away until it closes as well.
    pub(super) async fn leave(&mut self) -> io::Result<()> {
        if self.inbound.is_some() || !self.input.is_empty() || self.unread {
            return Box::pin(self.linger()).await;
        }
        if self.stream.announces_its_end() {
            // A client that takes nothing any more has had its time.
            let _ = Box::pin(tokio::time::timeout(LINGER, self.stream.shutdown())).await;
        }
        Ok(())
    }

    /// Ends our side, and reads what comes until the client ends its own.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut thrown = vec![0; 16 * 1024];
        let closed = async { while matches!(self.stream.read(&mut thrown).await, Ok(1..)) {} };
        // A client that neither closes nor stops has had its time.
        let _ = tokio::time::timeout(LINGER, closed).await;
        Ok(())
    }
}

impl Inbound {
    /// The next piece; `None` at the end.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut Input,
        stream: &mut Watched,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            if let Poll::Ready(frame) = self.framing.poll_frame(input.rest()) {
                return Poll::Ready(frame.map_err(BodyError::from).transpose());
            }
            let error = match ready!(input.poll_fill(cx, stream)) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            return Poll::Ready(Some(Err(BodyError::Broken(error))));
        }
    }
}
