//! The app's body on its way to the client.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::body::{BodyError, Frame};
use crate::identify::{End, Validity, Vigil};
use crate::wire::framing::Framing;

use super::connection::Connection;
use super::http2;
use super::pool::Pool;
use super::upload::Upload;

/// The app's body. Gives the connection back when it ended well.
#[derive(Debug)]
pub struct AnswerBody {
    content: Content,
    /// Until when it may go on, if that is bounded.
    bound: Option<Box<Bound>>,
}

/// Until when a body may go on.
#[derive(Debug)]
enum Bound {
    /// It ends by itself then, also while nothing comes.
    Vigil(Vigil),
    /// What still comes then is held back.
    Look(Validity),
}

impl Bound {
    fn has_passed(&self) -> Option<End> {
        match self {
            Self::Vigil(vigil) => vigil.has_passed(),
            Self::Look(validity) => validity.is_revoked().then_some(End::Revoked),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self {
            Self::Vigil(vigil) => vigil.poll(cx),
            Self::Look(_) => Poll::Pending,
        }
    }
}

#[derive(Debug)]
enum Content {
    /// All of it was there with the head.
    Whole(Bytes),
    /// It comes as it comes.
    Streamed(Box<Streamed>),
    /// The same over HTTP/2.
    Http2(Box<http2::Body>),
}

#[derive(Debug)]
struct Streamed {
    /// The connection, until the body has ended.
    connection: Option<Box<Connection>>,
    framing: Framing,
    /// Whether another request may follow.
    keep: bool,
    idle: Duration,
    /// What of the request is still to be sent.
    upload: Option<Box<Upload>>,
    pool: Arc<Pool>,
}

impl From<Content> for AnswerBody {
    fn from(content: Content) -> Self {
        Self {
            content,
            bound: None,
        }
    }
}

impl From<End> for BodyError {
    fn from(end: End) -> Self {
        match end {
            End::Expired => Self::Expired,
            End::Revoked => Self::Revoked,
        }
    }
}

impl AnswerBody {
    /// The body that follows a head on this connection.
    pub(super) fn new(
        mut connection: Box<Connection>,
        mut framing: Framing,
        keep: bool,
        idle: Duration,
        upload: Option<Box<Upload>>,
        pool: &Arc<Pool>,
    ) -> Self {
        let keep = keep
            && upload
                .as_ref()
                .is_none_or(|upload| !upload.is_over() || upload.is_sent());
        let sent = upload.as_ref().is_none_or(|upload| upload.is_over());
        if let Some(whole) = connection.take_whole(&mut framing) {
            // An app that answers before it has read the request wants no more of it.
            if keep && sent && connection.is_clean() {
                pool.put(connection);
            }
            return Self::from(Content::Whole(whole));
        }
        connection.begin_body();
        Self::from(Content::Streamed(Box::new(Streamed {
            connection: Some(connection),
            framing,
            keep,
            idle,
            upload,
            pool: pool.clone(),
        })))
    }

    /// The body of an answer that came over HTTP/2.
    pub(super) fn over_http2(body: http2::Body) -> Self {
        Self::from(match body.is_over() {
            true => Content::Whole(Bytes::new()),
            false => Content::Http2(Box::new(body)),
        })
    }

    /// No body.
    pub(super) fn empty() -> Self {
        Self::from(Content::Whole(Bytes::new()))
    }

    /// Ends with an error when the token does, if it has not ended before: what is endless both
    /// when it expires and when it is revoked, a file when it is revoked. What is there as a whole
    /// has ended already; of all else both questions are asked.
    pub(super) fn end_with(
        &mut self,
        is_endless: impl FnOnce() -> bool,
        validity: impl FnOnce() -> Option<Validity>,
    ) {
        if matches!(self.content, Content::Whole(_)) {
            return;
        }
        let bound = match is_endless() {
            true => validity().map(|validity| Bound::Vigil(validity.watch())),
            false => validity().and_then(Validity::without_end).map(Bound::Look),
        };
        self.bound = bound.map(Box::new);
    }

    /// All of it, if it is there.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.content {
            Content::Whole(bytes) => Some(std::mem::take(bytes)),
            Content::Streamed(_) | Content::Http2(_) => None,
        }
    }

    /// How many bytes are left, where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Streamed(streamed) => match streamed.framing {
                Framing::Length(left) => Some(left),
                _ => None,
            },
            Content::Http2(body) => body.length(),
        }
    }

    /// Goes on with what of the request is still to be sent, while nobody takes the answer.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(bound) = &mut self.bound
            && bound.poll(cx).is_ready()
        {
            // Whoever asks for the next piece hears why there is none.
            self.content = Content::Whole(Bytes::new());
        }
        match &mut self.content {
            Content::Whole(_) => {}
            Content::Streamed(streamed) => streamed.poll_upload(cx),
            Content::Http2(body) => body.poll_upload(cx),
        }
    }

    /// The next piece; `None` at its end.
    ///
    /// # Errors
    /// [`BodyError`] when it ends before its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, BodyError>> {
        if let Some(end) = self.bound.as_ref().and_then(|bound| bound.has_passed()) {
            return Poll::Ready(Err(self.end(end)));
        }
        let frame = self.poll_content(cx);
        if frame.is_pending()
            && let Some(bound) = &mut self.bound
        {
            let end = ready!(bound.poll(cx));
            return Poll::Ready(Err(self.end(end)));
        }
        frame
    }

    /// Lets go of what is still to come.
    fn end(&mut self, end: End) -> BodyError {
        self.content = Content::Whole(Bytes::new());
        self.bound = None;
        end.into()
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, BodyError>> {
        match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(Ok(None)),
            Content::Whole(bytes) => Poll::Ready(Ok(Some(Frame::Data(std::mem::take(bytes))))),
            Content::Streamed(streamed) => streamed.poll_frame(cx),
            Content::Http2(body) => body.poll_frame(cx),
        }
    }
}

impl Streamed {
    fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            self.keep &= connection.go_on(cx, &mut self.upload, self.idle);
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, BodyError>> {
        self.poll_upload(cx);
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(None));
        };
        let piece = ready!(connection.poll_piece(cx, &mut self.framing, self.idle));
        match &piece {
            Ok(Some(_)) if !self.framing.is_over() => {}
            // Nobody asks again after the last piece of a body whose length is known.
            Ok(_) => self.end(),
            Err(_) => self.connection = None,
        }
        Poll::Ready(piece)
    }

    fn end(&mut self) {
        let sent = self.upload.as_ref().is_none_or(|upload| upload.is_sent());
        let connection = self.connection.take();
        let connection = connection.filter(|connection| self.keep && sent && connection.is_clean());
        if let Some(connection) = connection {
            self.pool.put(connection);
        }
    }
}
