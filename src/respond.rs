//! Answers: the body type of everything that leaves, and the one place where a denial
//! becomes a response.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::body::{BodyError, Frame};
use crate::denial::{Challenge, Denial, Reason};
use crate::fields::Fields;
use crate::head::Head;
use crate::telemetry::Record;
use crate::upstream::{Answer, AnswerBody, Tunnel};

/// What every JSON answer of our own says about itself.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An answer, ours or the app's.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The fields, less those that say where the body ends: whoever writes it says that.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// What the connection becomes once this is sent, if it is a 101.
    pub tunnel: Option<Box<Tunnel>>,
}

/// The body of an answer, with the record that is written when it ends.
#[derive(Debug)]
pub struct Body {
    content: Content,
    record: Option<Record>,
}

#[derive(Debug)]
enum Content {
    Own(Bytes),
    App(AnswerBody),
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self {
            status: answer.status,
            fields: answer.fields,
            body: Body {
                content: Content::App(answer.body),
                record: None,
            },
            tunnel: answer.tunnel,
        }
    }
}

impl Body {
    fn own(bytes: Bytes) -> Self {
        Self {
            content: Content::Own(bytes),
            record: None,
        }
    }

    /// Attaches the record: it is written when this body has been sent, or given up.
    pub fn record(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// How many bytes are left, where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Own(bytes) => Some(bytes.len() as u64),
            Content::App(body) => body.length(),
        }
    }

    /// All of it, if it is there.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let whole = match &mut self.content {
            Content::Own(bytes) => Some(std::mem::take(bytes)),
            Content::App(body) => body.take_whole(),
        }?;
        if let Some(record) = &mut self.record {
            record.sent(whole.len());
        }
        Some(whole)
    }

    /// Goes on with what of the request is still to be sent, while nobody takes the answer.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Content::App(body) = &mut self.content {
            body.poll_upload(cx);
        }
    }

    /// The next piece; `None` at its end.
    ///
    /// # Errors
    /// [`BodyError`] when it ends before its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, BodyError>> {
        if let Some(whole) = self.take_whole() {
            let frame = (!whole.is_empty()).then_some(Frame::Data(whole));
            return Poll::Ready(Ok(frame));
        }
        let Content::App(body) = &mut self.content else {
            return Poll::Ready(Ok(None));
        };
        let frame = ready!(body.poll_frame(cx));
        if let Some(record) = &mut self.record {
            match &frame {
                Ok(Some(Frame::Data(data))) => record.sent(data.len()),
                Ok(_) => {}
                Err(error) => record.cut(error),
            }
        }
        Poll::Ready(frame)
    }
}

/// An answer of our own in JSON.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = empty(status);
    response.body = Body::own(body.into());
    response.fields.append(&header::CONTENT_TYPE, &JSON);
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    Response {
        status,
        fields: Fields::default(),
        body: Body::own(Bytes::new()),
        tunnel: None,
    }
}

/// The answer to a denied request on a proxied route.
///
/// The body names the class of the denial and never its cause; the cause is in the log.
pub fn denial(denial: &Denial) -> Response {
    let mut response = json(denial.status(), class(denial));
    explain(denial, &mut response.fields);
    // What was not read of the request is not read any more: its bytes must never be
    // taken for the next request.
    if matches!(denial.reason, Reason::RequestTimeout | Reason::BadFraming) {
        let close = HeaderValue::from_static("close");
        response.fields.insert(&header::CONNECTION, &close);
    }
    response
}

/// Whether a request is a call of gRPC, which reads its status in fields of its own.
pub fn is_grpc(head: &Head) -> bool {
    let kind = || head.fields.get(&header::CONTENT_TYPE);
    // gRPC is spoken over HTTP/2 alone, and every call is a POST.
    head.version == Version::HTTP_2
        && head.method == Method::POST
        && kind().is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// A denial as gRPC says it: 200, and no message before the status ("Trailers-Only" in the
/// protocol's description).
pub fn grpc_denial(denial: &Denial) -> Response {
    let mut response = self::denial(denial);
    response.status = StatusCode::OK;
    response.body = Body::own(Bytes::new());
    let (code, message) = grpc_status(denial.status());
    let fields = &mut response.fields;
    fields.insert(
        &header::CONTENT_TYPE,
        &HeaderValue::from_static("application/grpc"),
    );
    fields.append(&GRPC_STATUS, &HeaderValue::from_static(code));
    fields.append(&GRPC_MESSAGE, &HeaderValue::from_static(message));
    response
}

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status code of gRPC that comes nearest, and what it is called.
fn grpc_status(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::UNAUTHORIZED => ("16", "unauthenticated"),
        StatusCode::FORBIDDEN => ("7", "permission denied"),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ("8", "resource exhausted"),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => ("14", "unavailable"),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => ("4", "deadline exceeded"),
        status if status.is_client_error() => ("3", "invalid argument"),
        _ => ("13", "internal"),
    }
}

/// Sets the header fields that go with a denial, whichever body the contract asks for.
pub fn explain(denial: &Denial, fields: &mut Fields) {
    let challenge = match denial.reason.challenge() {
        Challenge::None => None,
        // RFC 6750 §3 wants a parameter, and no error where there is no token.
        Challenge::Bare => Some("Bearer realm=\"app\""),
        Challenge::InvalidRequest => Some("Bearer error=\"invalid_request\""),
        Challenge::InvalidToken => Some("Bearer error=\"invalid_token\""),
        Challenge::InsufficientScope => Some("Bearer error=\"insufficient_scope\""),
    };
    if let Some(challenge) = challenge {
        let challenge = HeaderValue::from_static(challenge);
        fields.insert(&header::WWW_AUTHENTICATE, &challenge);
    }
    if let Some(seconds) = denial.retry_after {
        fields.insert(&header::RETRY_AFTER, &HeaderValue::from(seconds));
    }
    if denial.reason == Reason::MethodRefused && !fields.contains(&header::ALLOW) {
        const ALL: HeaderValue =
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        fields.append(&header::ALLOW, &ALL);
    }
    fields.insert(
        &header::CACHE_CONTROL,
        &HeaderValue::from_static("no-store"),
    );
}

fn class(denial: &Denial) -> &'static str {
    match (denial.status(), denial.reason.challenge()) {
        (StatusCode::UNAUTHORIZED, Challenge::Bare) => r#"{"error":"unauthorized"}"#,
        (_, Challenge::InvalidToken) => r#"{"error":"invalid_token"}"#,
        (_, Challenge::InvalidRequest) => r#"{"error":"invalid_request"}"#,
        (_, Challenge::InsufficientScope) => r#"{"error":"insufficient_scope"}"#,
        (StatusCode::BAD_REQUEST, _) => r#"{"error":"bad_request"}"#,
        (StatusCode::FORBIDDEN, _) => r#"{"error":"forbidden"}"#,
        (StatusCode::NOT_FOUND, _) => r#"{"error":"not_found"}"#,
        (StatusCode::PAYLOAD_TOO_LARGE, _) => r#"{"error":"body_too_large"}"#,
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => r#"{"error":"unsupported_media_type"}"#,
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
pub fn add_to_list(fields: &mut Fields, name: &HeaderName, member: &'static str) {
    if !fields.lists(name, member) {
        fields.append(name, &HeaderValue::from_static(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_tells_its_class_and_not_its_cause() {
        let denied = Denial::new(Reason::SignatureRefused, "key 7 of idp said no");
        let response = denial(&denied);
        assert_eq!(response.status, 401);
        assert_eq!(
            response.fields.get(&header::WWW_AUTHENTICATE),
            Some(&b"Bearer error=\"invalid_token\""[..])
        );
        let Content::Own(body) = &response.body.content else {
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
