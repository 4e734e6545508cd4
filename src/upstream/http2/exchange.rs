//! One request to an app that speaks HTTP/2, and its answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{HeaderName, Request, StatusCode, Uri, Version, header};

use crate::body::{BodyError, Frame};
use crate::deadline::Deadline;
use crate::fields::Fields;
use crate::head::{Head, Scheme};
use crate::hints::Hints;
use crate::identify::Vigil;
use crate::upstream::connection::ExchangeError;
use crate::upstream::upload::Upload;
use crate::wire::http2::{self, Outbound};

use super::Place;

/// What belongs to a connection of HTTP/1.1 (RFC 9113 §8.2.2), and what `:authority` says instead.
const LEFT_OUT: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    HeaderName::from_static("keep-alive"),
];

/// Informational answers after which an app is not waited for any more; each is as large as a
/// head may be, and none is kept.
const MOST_INFORMATIONAL: usize = 100;

/// A request that was sent as far as its head.
pub(in crate::upstream) struct Exchange {
    answer: ResponseFuture,
    outbound: Option<Outbound>,
    deadline: Deadline,
    place: Place,
}

/// The head of an answer, and its body.
pub(in crate::upstream) struct Answered {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) fields: Fields,
    pub(in crate::upstream) body: Body,
}

/// The body of an answer, and what of the request is still to be sent.
#[derive(Debug)]
pub(in crate::upstream) struct Body {
    stream: RecvStream,
    outbound: Option<Outbound>,
    upload: Option<Box<Upload>>,
    idle: Duration,
    deadline: Deadline,
    length: Option<u64>,
    place: Place,
}

impl Exchange {
    /// Sends a head. `body`: something follows it.
    pub(in crate::upstream) fn start(
        mut place: Place,
        head: &Head,
        body: bool,
    ) -> Result<Self, ExchangeError> {
        let request = request(head, place.scheme)?;
        let sent = place.sender.send_request(request, !body);
        let (answer, stream) = sent.map_err(|error| sort(&error))?;
        Ok(Self {
            answer,
            outbound: body.then(|| Outbound::new(stream, Bytes::new(), false)),
            deadline: Deadline::default(),
            place,
        })
    }

    /// Sends the upload, and waits for the head of the answer, which may come before the upload
    /// has ended. `time`: how long the app may take, `idle`: how long its body may pause.
    pub(in crate::upstream) async fn finish(
        mut self,
        upload: &mut Option<Box<Upload>>,
        time: Duration,
        idle: Duration,
        mut vigil: Option<Vigil>,
        hints: &Hints,
    ) -> Result<Answered, ExchangeError> {
        self.deadline.start(time);
        let mut informed = 0;
        let answer = poll_fn(|cx| {
            let sending = poll_upload(cx, upload, &mut self.outbound);
            if let Err(error) = poll_hints(cx, &mut self.answer, &mut informed, hints) {
                return Poll::Ready(Err(error));
            }
            if let Poll::Ready(answer) = pin!(&mut self.answer).poll(cx) {
                return Poll::Ready(answer.map_err(|error| sort(&error)));
            }
            if let Some(vigil) = &mut vigil
                && let Poll::Ready(end) = vigil.poll(cx)
            {
                return Poll::Ready(Err(ExchangeError::Upload(end.into())));
            }
            match sending {
                Sending::Failed(error) => return Poll::Ready(Err(ExchangeError::Upload(error))),
                Sending::Moved => self.deadline.start(time),
                Sending::AwaitsClient => return Poll::Pending,
                Sending::Still => {}
            }
            self.deadline.poll(cx).map(|()| {
                self.place.complain();
                Err(ExchangeError::Late)
            })
        });
        let (head, stream) = answer.await?.into_parts();
        let length = match stream.is_end_stream() {
            true => Some(0),
            false => told_length(&head.headers),
        };
        Ok(Answered {
            status: head.status,
            fields: Fields::from(&head.headers),
            body: Body {
                stream,
                outbound: self.outbound,
                upload: upload.take(),
                idle,
                deadline: Deadline::default(),
                length,
                place: self.place,
            },
        })
    }
}

/// Passes on what precedes the answer.
fn poll_hints(
    cx: &mut Context<'_>,
    answer: &mut ResponseFuture,
    informed: &mut usize,
    hints: &Hints,
) -> Result<(), ExchangeError> {
    // What fails here fails for the answer too, which tells it.
    while let Poll::Ready(Some(Ok(head))) = answer.poll_informational(cx) {
        *informed += 1;
        if *informed > MOST_INFORMATIONAL {
            let what = "its informational answers are too many";
            return Err(ExchangeError::Malformed(what));
        }
        hints.push(head.status(), Fields::from(head.headers()));
    }
    Ok(())
}

/// A length that the library holds the body to.
fn told_length(fields: &http::HeaderMap) -> Option<u64> {
    let text = fields.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}

impl Body {
    /// Whether there is nothing more to come, on either side.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.stream.is_end_stream() && self.upload.is_none()
    }

    /// How many bytes are left, where that is known.
    pub(in crate::upstream) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Goes on with what of the request is still to be sent.
    pub(in crate::upstream) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Sending::Failed(_) = poll_upload(cx, &mut self.upload, &mut self.outbound) {
            self.upload = None;
        }
    }

    /// The next piece; `None` at its end.
    ///
    /// # Errors
    /// [`BodyError`] when it ends before its end.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame>, BodyError>> {
        self.poll_upload(cx);
        match http2::poll_frame(&mut self.stream, cx) {
            Poll::Ready(frame) => {
                self.deadline.stop();
                if let (Some(left), Some(Ok(Frame::Data(data)))) = (&mut self.length, &frame) {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(frame.transpose())
            }
            Poll::Pending => {
                self.deadline.start_if_still(self.idle);
                let late = self.deadline.poll(cx);
                late.map(|()| {
                    // Perhaps it is this body alone; whoever comes next need not find out.
                    self.place.complain();
                    Err(BodyError::TimedOut)
                })
            }
        }
    }
}

/// How far the request's body is.
enum Sending {
    /// Something was sent.
    Moved,
    /// Nothing is to be sent, or the app takes no more at the moment.
    Still,
    /// The next piece is the client's to send, which has a time of its own.
    AwaitsClient,
    /// The client's body failed: the app is told that it ends here.
    Failed(BodyError),
}

/// Sends what there is of the body. An app that takes no more of it ends the upload and nothing
/// else: what it answers is still worth reading.
fn poll_upload(
    cx: &mut Context<'_>,
    upload: &mut Option<Box<Upload>>,
    outbound: &mut Option<Outbound>,
) -> Sending {
    let mut moved = Sending::Still;
    let (Some(sending), Some(to)) = (upload.as_mut(), outbound.as_mut()) else {
        return moved;
    };
    loop {
        match to.poll_flush(cx) {
            Poll::Pending => return moved,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => {
                sending.give_up();
                *outbound = None;
                return Sending::Still;
            }
        }
        if sending.is_over() {
            return moved;
        }
        let frame = match sending.poll_frame(cx) {
            Poll::Pending => return Sending::AwaitsClient,
            Poll::Ready(Some(Err(error))) => {
                to.stream().send_reset(Reason::CANCEL);
                return Sending::Failed(error);
            }
            Poll::Ready(Some(Ok(frame))) => Some(frame),
            Poll::Ready(None) => None,
        };
        moved = Sending::Moved;
        if to.take(frame).is_err() {
            sending.give_up();
            *outbound = None;
            return moved;
        }
    }
}

/// The head of a request in HTTP/2's form.
fn request(head: &Head, scheme: Scheme) -> Result<Request<()>, ExchangeError> {
    let host = head.fields.get(&header::HOST).unwrap_or_default();
    let uri = Uri::builder()
        .scheme(scheme.as_str())
        .authority(host)
        .path_and_query(head.target.path_and_query())
        .build();
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() =
        uri.map_err(|_| ExchangeError::Unspeakable("the host or the target fits no HTTP/2"))?;
    let fields = request.headers_mut();
    *fields = http2::header_map(&head.fields);
    for name in LEFT_OUT {
        fields.remove(name);
    }
    Ok(request)
}

/// What is left of an exchange tells whether the app can have heard of it (RFC 9113 §8.7).
fn sort(error: &h2::Error) -> ExchangeError {
    let unheard = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    match unheard || error.is_go_away() && error.is_remote() {
        true => ExchangeError::Closed { unsent: unheard },
        false if error.is_io() => ExchangeError::Closed { unsent: false },
        false => ExchangeError::Reset(error.to_string()),
    }
}
