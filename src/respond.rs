//! Answers: the body type of everything that leaves, and the one place where a denial
//! becomes a response.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::activity::Busy;
use crate::denial::{Challenge, Denial, Reason};
use crate::telemetry::Record;
use crate::upstream::{AnswerBody, BodyError};

/// What every JSON answer of our own says about itself.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The body of an answer, with the record that is written when it ends.
#[derive(Debug)]
pub struct Body {
    content: Content,
    record: Option<Record>,
    busy: Option<Busy>,
}

#[derive(Debug)]
enum Content {
    Own(Bytes),
    App(AnswerBody),
}

impl Body {
    /// Attaches the record: it is written when this body has been sent, or given up.
    pub fn record(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// Keeps the connection marked as busy until this body has been sent, or given up.
    pub fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self {
            content: Content::Own(bytes),
            record: None,
            busy: None,
        }
    }
}

impl From<AnswerBody> for Body {
    fn from(body: AnswerBody) -> Self {
        Self {
            content: Content::App(body),
            record: None,
            busy: None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::App(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(Some(frame)), Some(record)) = (&frame, &mut this.record) {
            match frame {
                Ok(frame) => record.sent(frame.data_ref().map_or(0, Bytes::len)),
                Err(error) => record.cut(error),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_empty(),
            Content::App(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::App(body) => body.size_hint(),
        }
    }
}

/// An answer of our own in JSON.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// The answer to a denied request on a proxied route.
///
/// The body names the class of the denial and never its cause; the cause is in the log.
pub fn denial(denial: &Denial) -> Response<Body> {
    let mut response = json(denial.status(), class(denial));
    explain(denial, response.headers_mut());
    // What was not read of the request is not read any more: its bytes must never be
    // taken for the next request.
    if matches!(denial.reason, Reason::RequestTimeout | Reason::BadFraming) {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Sets the header fields that go with a denial, whichever body the contract asks for.
pub fn explain(denial: &Denial, headers: &mut HeaderMap) {
    let challenge = match denial.reason.challenge() {
        Challenge::None => None,
        Challenge::Bare => Some("Bearer"),
        Challenge::InvalidRequest => Some("Bearer error=\"invalid_request\""),
        Challenge::InvalidToken => Some("Bearer error=\"invalid_token\""),
        Challenge::InsufficientScope => Some("Bearer error=\"insufficient_scope\""),
    };
    if let Some(challenge) = challenge {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    if let Some(seconds) = denial.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if denial.reason == Reason::MethodRefused {
        headers
            .entry(header::ALLOW)
            .or_insert(HeaderValue::from_static(
                "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            ));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn class(denial: &Denial) -> &'static str {
    match (denial.status(), denial.reason.challenge()) {
        (StatusCode::UNAUTHORIZED, Challenge::Bare) => r#"{"error":"unauthorized"}"#,
        (_, Challenge::InvalidToken) => r#"{"error":"invalid_token"}"#,
        (_, Challenge::InvalidRequest) => r#"{"error":"invalid_request"}"#,
        (_, Challenge::InsufficientScope) => r#"{"error":"insufficient_scope"}"#,
        (StatusCode::BAD_REQUEST, _) => r#"{"error":"bad_request"}"#,
        (StatusCode::FORBIDDEN, _) => r#"{"error":"forbidden"}"#,
        (StatusCode::METHOD_NOT_ALLOWED, _) => r#"{"error":"method_not_allowed"}"#,
        (StatusCode::REQUEST_TIMEOUT, _) => r#"{"error":"request_timeout"}"#,
        (StatusCode::URI_TOO_LONG, _) => r#"{"error":"target_too_long"}"#,
        (StatusCode::EXPECTATION_FAILED, _) => r#"{"error":"expectation_failed"}"#,
        (StatusCode::TOO_MANY_REQUESTS, _) => r#"{"error":"too_many_requests"}"#,
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _) => r#"{"error":"headers_too_large"}"#,
        (StatusCode::BAD_GATEWAY, _) => r#"{"error":"bad_gateway"}"#,
        (StatusCode::SERVICE_UNAVAILABLE, _) => r#"{"error":"temporarily_unavailable"}"#,
        (StatusCode::GATEWAY_TIMEOUT, _) => r#"{"error":"gateway_timeout"}"#,
        (StatusCode::LOOP_DETECTED, _) => r#"{"error":"loop_detected"}"#,
        _ => r#"{"error":"internal"}"#,
    }
}

/// Adds a member to a list field such as `Vary`, unless it is there.
pub fn add_to_list(headers: &mut HeaderMap, name: HeaderName, member: &'static str) {
    if !crate::headers::lists(headers, &name, member) {
        headers.append(name, HeaderValue::from_static(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_tells_its_class_and_not_its_cause() {
        let denied = Denial::new(Reason::SignatureRefused, "key 7 of idp said no");
        let response = denial(&denied);
        assert_eq!(response.status(), 401);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer error=\"invalid_token\""
        );
        let Content::Own(body) = &response.body().content else {
            panic!("our own body");
        };
        assert_eq!(body, r#"{"error":"invalid_token"}"#);
    }

    #[test]
    fn every_status_has_a_class_of_its_own() {
        for reason in Reason::ALL {
            let text = class(&Denial::new(*reason, ""));
            assert_eq!(
                text.contains("internal"),
                *reason == Reason::Internal,
                "{reason:?}"
            );
        }
    }
}
