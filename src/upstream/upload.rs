//! A request's body on its way to the app.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::body::{BodyError, Frame, RequestBody};
use crate::edge::Edge;

/// The client's body, and the longest pause that it may make.
#[derive(Debug)]
pub(super) struct Upload {
    body: RequestBody,
    edge: Arc<Edge>,
    idle: Duration,
    /// Exists only once a pause was made.
    timer: Option<Pin<Box<Sleep>>>,
    paused: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was taken yet, so the request may still be sent elsewhere.
    Untouched,
    Begun,
    Over,
    /// The app took no more of it.
    GivenUp,
}

impl Upload {
    /// The way of a body to the app; `None` when there is no body.
    pub(super) fn new(body: RequestBody, idle: Duration, edge: &Arc<Edge>) -> Option<Box<Self>> {
        (!body.is_empty()).then(|| {
            Box::new(Self {
                body,
                edge: edge.clone(),
                idle,
                timer: None,
                paused: false,
                state: State::Untouched,
            })
        })
    }

    /// Whether the app is told its end by a last chunk and not by a length.
    pub(super) fn is_chunked(&self) -> bool {
        self.body.length().is_none()
    }

    /// Whether nothing of it was taken.
    pub(super) fn is_untouched(&self) -> bool {
        self.state == State::Untouched
    }

    /// Whether nothing more is to be sent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::GivenUp)
    }

    /// Whether the app got all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.state == State::Over
    }

    /// Nobody takes any more of it.
    pub(super) fn give_up(&mut self) {
        self.state = State::GivenUp;
    }

    /// The next piece.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Poll::Ready(frame) = self.body.poll_frame() {
            self.paused = false;
            self.state = match &frame {
                Some(Ok(Frame::Data(_))) => State::Begun,
                Some(Err(_)) => State::GivenUp,
                Some(Ok(Frame::Trailers(_))) | None => State::Over,
            };
            return Poll::Ready(frame.map(|frame| frame.map(|frame| self.without_identity(frame))));
        }
        let idle = self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if !self.paused {
            timer.as_mut().reset(Instant::now() + idle);
            self.paused = true;
        }
        ready!(timer.as_mut().poll(cx));
        self.state = State::GivenUp;
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }

    /// Trailers are header fields too, to an app that merges them: the same names may not pass.
    fn without_identity(&self, frame: Frame) -> Frame {
        match frame {
            Frame::Trailers(mut fields) => {
                fields.retain(|name, _| self.edge.classes().find(name).is_none());
                Frame::Trailers(fields)
            }
            data @ Frame::Data(_) => data,
        }
    }
}
