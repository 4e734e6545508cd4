//! One request and its answer on an HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Method, Request, StatusCode, header};

use crate::body::{RequestBody, Source};
use crate::deadline::Deadline;
use crate::denial::{self, Denial};
use crate::drain::Guard;
use crate::edge::Peer;
use crate::head::Head;
use crate::hints::Hints;
use crate::respond::Response;
use crate::sidecar::Worker;
use crate::wire::answer::is_bodyless;
use crate::wire::framing::Framing;
use crate::wire::http2::{self, Outbound};
use crate::wire::request;

use super::duplex::Duplex;
use super::message;

/// A stream, as the one who answers sees it.
pub(super) struct Exchange {
    respond: SendResponse<Bytes>,
    inbound: Option<Inbound>,
    /// How long the client may not take what is sent.
    idle: Duration,
    guard: Guard,
}

/// A body that the client sends.
struct Inbound {
    source: Source,
    stream: RecvStream,
    /// Whether the client waits for a 100 before it sends anything (RFC 9110 §10.1.1).
    expects: bool,
}

/// What came of looking at what the client sends.
enum Looked {
    /// Nothing, for now.
    Still,
    /// The body's reader was given something.
    Filled,
    /// The client wants no answer any more.
    Gone,
}

impl Exchange {
    pub(super) fn new(respond: SendResponse<Bytes>, idle: Duration, guard: Guard) -> Self {
        Self {
            respond,
            inbound: None,
            idle,
            guard,
        }
    }

    /// Answers the request; tells whether all of the answer was taken.
    pub(super) async fn run(
        mut self,
        worker: Arc<Worker>,
        peer: &Peer,
        request: Request<RecvStream>,
    ) -> bool {
        let (parts, stream) = request.into_parts();
        let to_head = parts.method == Method::HEAD;
        if message::begins_websocket(&parts) {
            return Box::pin(self.open_websocket(worker, peer, parts, stream)).await;
        }
        let response = match message::head(parts) {
            Ok(head) => self.ask(&worker, peer, head, stream).await,
            Err((head, denial)) => Some(worker.refuse(peer, &head, denial)),
        };
        // What goes on from here does not keep alive what a reload has replaced.
        drop(worker);
        match response {
            Some(response) => self.answer(response, to_head).await,
            None => false,
        }
    }

    /// Lets the line answer a request; `None` when the client gives up before.
    async fn ask(
        &mut self,
        worker: &Worker,
        peer: &Peer,
        head: Box<Head>,
        stream: RecvStream,
    ) -> Option<Response> {
        let body = match self.expect_body(&head, stream) {
            Ok(body) => body,
            Err(denial) => return Some(worker.refuse(peer, &head, denial)),
        };
        let hints = Hints::default();
        self.wait(worker.handle(peer, head, body, &hints), &hints)
            .await
    }

    /// Waits for the line's answer; `None` when the client gives up before.
    async fn wait(
        &mut self,
        handled: impl Future<Output = Response>,
        hints: &Hints,
    ) -> Option<Response> {
        let mut handled = pin!(handled);
        poll_fn(|cx| {
            loop {
                let polled = handled.as_mut().poll(cx);
                for hint in hints.take() {
                    // A client that is gone is noticed below.
                    let _ = self
                        .respond
                        .send_informational(message::informational(&hint));
                }
                if let Poll::Ready(response) = polled {
                    return Poll::Ready(Some(response));
                }
                if self.respond.poll_reset(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match self.look(cx) {
                    Looked::Filled => {}
                    Looked::Still => return Poll::Pending,
                    Looked::Gone => return Poll::Ready(None),
                }
            }
        })
        .await
    }

    /// Asks for a WebSocket, and becomes one if the app agrees (RFC 8441).
    async fn open_websocket(
        mut self,
        worker: Arc<Worker>,
        peer: &Peer,
        parts: Parts,
        stream: RecvStream,
    ) -> bool {
        let asked = message::head(parts).and_then(|mut head| match message::upgrade(&mut head) {
            Ok(()) => Ok(head),
            Err(denial) => Err((head, denial)),
        });
        let hints = Hints::default();
        let mut response = match asked {
            Ok(head) => match self
                .wait(
                    worker.handle(peer, head, RequestBody::empty(), &hints),
                    &hints,
                )
                .await
            {
                Some(response) => response,
                None => return false,
            },
            Err((head, denial)) => worker.refuse(peer, &head, denial),
        };
        drop(worker);
        let Some(tunnel) = response.tunnel.take() else {
            return self.answer(response, false).await;
        };
        let Ok(send) = self
            .respond
            .send_response(message::accept(&response), false)
        else {
            return false;
        };
        let client = Duplex::new(stream, send);
        let joined = tunnel.join(client, BytesMut::new(), &mut self.guard).await;
        if let Err(error) = &joined {
            tracing::debug!(%error, client = %peer, "a WebSocket ended");
        }
        // Until now it was a request under way, which `limits.requests` bounds.
        drop(response);
        joined.is_ok()
    }

    fn expect_body(&mut self, head: &Head, stream: RecvStream) -> Result<RequestBody, Denial> {
        let framing = request::framing(head);
        if stream.is_end_stream() {
            return match framing {
                Ok(Framing::Length(0)) => Ok(RequestBody::empty()),
                _ => Err(Denial::new(
                    denial::Reason::BadFraming,
                    "a length without a body",
                )),
            };
        }
        let length = match framing {
            Ok(Framing::Length(length)) if head.fields.contains(&header::CONTENT_LENGTH) => {
                Some(length)
            }
            Ok(_) => None,
            Err(malformed) => return Err(Denial::new(denial::Reason::BadFraming, malformed.0)),
        };
        let (body, source) = RequestBody::new(length);
        self.inbound = Some(Inbound {
            source,
            stream,
            expects: head.fields.contains(&header::EXPECT),
        });
        Ok(body)
    }

    /// Reads a piece of the body if its reader waits for one.
    fn look(&mut self, cx: &mut Context<'_>) -> Looked {
        let Some(inbound) = &mut self.inbound else {
            return Looked::Still;
        };
        if !inbound.source.is_asked() {
            return Looked::Still;
        }
        if std::mem::take(&mut inbound.expects) {
            let mut go_on = http::Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            if self.respond.send_informational(go_on).is_err() {
                return Looked::Gone;
            }
        }
        let Poll::Ready(frame) = http2::poll_frame(&mut inbound.stream, cx) else {
            return Looked::Still;
        };
        let over = frame.is_none();
        inbound.source.fill(frame);
        if over {
            self.inbound = None;
        }
        Looked::Filled
    }

    /// Sends an answer; tells whether all of it was taken.
    async fn answer(mut self, mut response: Response, to_head: bool) -> bool {
        if let Some(inbound) = &mut self.inbound {
            // A 100 after the answer has begun would stand in the middle of it.
            inbound.expects = false;
        }
        let bodyless = to_head || is_bodyless(response.status);
        let head = message::answer(&response, bodyless);
        let whole = response.body.take_whole();
        let over = bodyless || whole.as_ref().is_some_and(Bytes::is_empty);
        let Ok(stream) = self.respond.send_response(head, over) else {
            return false;
        };
        if over {
            return true;
        }
        let last = whole.is_some();
        let mut outbound = Outbound::new(stream, whole.unwrap_or_default(), last);
        let mut stalled = Deadline::default();
        poll_fn(|cx| self.poll_body(cx, &mut response, &mut outbound, &mut stalled)).await
    }

    /// Sends the body as it comes, and feeds what is left of the request's; tells whether all of
    /// it was taken.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        outbound: &mut Outbound,
        stalled: &mut Deadline,
    ) -> Poll<bool> {
        loop {
            match outbound.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(true)) => return Poll::Ready(true),
                Poll::Ready(Ok(false)) => {
                    stalled.stop();
                    match response.body.poll_frame(cx) {
                        Poll::Ready(Ok(frame)) => match outbound.take(frame) {
                            Ok(false) => continue,
                            Ok(true) => return Poll::Ready(true),
                            Err(_) => return Poll::Ready(false),
                        },
                        Poll::Ready(Err(_)) => {
                            // The answer must not look whole.
                            outbound.stream().send_reset(Reason::INTERNAL_ERROR);
                            return Poll::Ready(true);
                        }
                        Poll::Pending => {}
                    }
                }
                Poll::Pending => {
                    if outbound.has_moved() {
                        stalled.stop();
                    }
                    stalled.start_if_still(self.idle);
                    if stalled.poll(cx).is_ready() {
                        outbound.stream().send_reset(Reason::CANCEL);
                        return Poll::Ready(false);
                    }
                    // A client that sends before it reads is not made to wait for itself.
                    response.body.poll_upload(cx);
                }
            }
            if outbound.stream().poll_reset(cx).is_ready() {
                return Poll::Ready(false);
            }
            match self.look(cx) {
                Looked::Filled => {}
                Looked::Still => return Poll::Pending,
                Looked::Gone => return Poll::Ready(false),
            }
        }
    }
}
