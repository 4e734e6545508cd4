//! The contract's words for what is refused; the reason goes to log and metrics.

use http::StatusCode;
use serde_json::json;

use crate::denial::{Denial, Reason};

use super::super::Answer;

/// A refusal with the contract's code.
pub(super) fn refused(status: StatusCode, error: &str, code: &str, denial: Denial) -> Answer {
    let error = json!(error);
    let body = format!(r#"{{"error":{error},"code":"auth/{code}"}}"#);
    Answer::refused(status, body, denial)
}

/// A login that came too early.
pub(super) fn limited(seconds: u32) -> Box<Answer> {
    let denial = Denial::new(Reason::RateLimited, "issued_tokens.rate_limit is reached");
    Box::new(refused(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many attempts, please try again shortly",
        "rate-limited",
        denial.retry_after(seconds),
    ))
}

/// A page of somebody else's.
pub(super) fn foreign_page(denial: Denial) -> Box<Answer> {
    Box::new(refused(
        StatusCode::FORBIDDEN,
        "Origin not allowed",
        "origin-not-allowed",
        denial,
    ))
}

/// A body that is not said to be JSON.
pub(super) fn no_json() -> Box<Answer> {
    let denial = Denial::new(Reason::MediaTypeRefused, "the body is not application/json");
    Box::new(refused(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Content-Type must be application/json",
        "unsupported-media-type",
        denial,
    ))
}

/// A project that nobody has configured.
pub(super) fn no_project() -> Box<Answer> {
    let denial = Denial::new(Reason::ProjectUnknown, "the path names no project");
    Box::new(refused(
        StatusCode::NOT_FOUND,
        "Project not found",
        "project-not-found",
        denial,
    ))
}

/// A body that could not be read whole.
pub(super) fn unread(denial: Denial) -> Box<Answer> {
    let status = denial.status();
    if status != StatusCode::PAYLOAD_TOO_LARGE {
        return Box::new(Answer::denied(denial));
    }
    Box::new(refused(
        status,
        "Request body too large",
        "body-too-large",
        denial,
    ))
}

/// Data that cannot be stored; `why` names the field.
pub(super) fn invalid(why: &str) -> Answer {
    let denial = Denial::because(Reason::UserRefused, why);
    refused(StatusCode::BAD_REQUEST, why, "validation-failed", denial)
}

/// Something on our side.
pub(super) fn broken(details: &str, denial: Denial) -> Answer {
    let details = json!(details);
    let body = format!(
        r#"{{"error":"Internal server error","code":"auth/server-error","details":{details}}}"#
    );
    Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, body, denial)
}

/// The database cannot be asked.
pub(super) fn unavailable() -> Answer {
    broken(
        "The accounts cannot be asked now",
        Denial::new(Reason::UsersUnavailable, "the accounts cannot be asked"),
    )
}
