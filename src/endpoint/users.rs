//! `POST /api/v1/auth/verify-user` and `POST /api/v1/auth/ensure-user`: the caller's user
//! exists, or is asked for.
//!
//! Their web client logs its user out on 401, 403 and 404, so what is our own outage must be
//! 503 and never blamed on the token. A body is not needed; one that is sent is not read.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use serde_json::Value;

use crate::denial::{Denial, Reason};
use crate::gate::Own;
use crate::head::RequestHead;
use crate::identify::{Identify, fingerprint};
use crate::identity::{CallerClaims, Identity};
use crate::users::{Caller, Ensured, Users, Verified};

use super::Answer;

const NO_TOKEN: &str = r#"{"error":"No token provided."}"#;
const INVALID: &str = r#"{"error":"Invalid or expired token."}"#;
const PAYLOAD: &str = r#"{"error":"Invalid token payload."}"#;
const UNAVAILABLE: &str = r#"{"error":"Service temporarily unavailable."}"#;
const EXISTS: &str =
    r#"{"success":true,"exists":true,"message":"User verified and exists in database"}"#;
const IN_PROGRESS: &str =
    r#"{"error":"User not found in database and creation is in progress.","exists":false}"#;
const ENSURED: &str = r#"{"success":true,"message":"User ensured in Engine and DBStorage"}"#;
const INITIATED: &str = r#"{"success":true,"message":"User creation initiated"}"#;
const UNHEARD: &str = r#"{"error":"Failed to ensure user, but request was sent to Engine"}"#;
const LIMITED: &str = r#"{"error":"Too many requests, please try again later."}"#;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Does the user exist?
    Verify,
    /// Have the user created.
    Ensure,
}

/// The endpoints.
pub(super) struct UserEndpoints {
    identify: Arc<Identify>,
    users: Arc<Users>,
    claims: CallerClaims,
    own: Option<Own>,
}

impl UserEndpoints {
    pub(super) fn new(
        identify: Arc<Identify>,
        users: Arc<Users>,
        claims: CallerClaims,
        own: Option<Own>,
    ) -> Self {
        Self {
            identify,
            users,
            claims,
            own,
        }
    }

    pub(super) async fn answer(&self, question: Question, head: &RequestHead<'_>) -> Answer {
        if head.method != Method::POST {
            return Answer::wrong_method("POST");
        }
        let token = match token(head) {
            Ok(token) => token,
            Err((body, denial)) => return Answer::refused(StatusCode::UNAUTHORIZED, body, denial),
        };
        let verified = match self.identify.identify(token, head.certificate).await {
            Ok(verified) => verified,
            Err(denial) => return refused(denial.of_token(fingerprint(token))),
        };
        // What we minted is for routes that name its project.
        if let Some(own) = &self.own
            && let Err(denial) = own.keep_out(&verified.identity)
        {
            return refused(denial.of_token(verified.fingerprint));
        }
        let Some(caller) = self.caller(&verified.identity) else {
            return payload("the id or the e-mail is missing, empty, or not a string");
        };
        let answer = match question {
            Question::Verify => verify(self.users.verify_user(&caller).await),
            Question::Ensure => ensure(self.users.ensure_user(&caller).await),
        };
        // Whoever was held all that time may have been revoked in it.
        if let Err(denial) = self.identify.stands(&verified) {
            return refused(denial.of_token(verified.fingerprint));
        }
        answer.about(verified)
    }

    /// The contract wants both claims as strings, and not empty.
    fn caller<'a>(&self, identity: &'a Identity) -> Option<Caller<'a>> {
        let caller = Caller::of(identity, self.claims);
        let id = identity.claim(self.claims.id).and_then(Value::as_str)?;
        let email = caller.email?;
        (!id.is_empty() && !email.is_empty()).then_some(caller)
    }
}

/// The token, with its scheme or without, or the contract's words for why there is none.
fn token<'a>(head: &RequestHead<'a>) -> Result<&'a str, (&'static str, Denial)> {
    let value = head
        .fields
        .single(&header::AUTHORIZATION)
        .map_err(|_| {
            (
                INVALID,
                Denial::new(Reason::SchemeRefused, "two Authorization headers"),
            )
        })?
        .unwrap_or_default();
    if value.is_empty() {
        return Err((
            NO_TOKEN,
            Denial::new(Reason::TokenMissing, "no Authorization header"),
        ));
    }
    let token = match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        _ => value,
    };
    std::str::from_utf8(token).map_err(|_| {
        (
            INVALID,
            Denial::new(Reason::TokenMalformed, "the token is not ASCII"),
        )
    })
}

fn refused(denial: Denial) -> Answer {
    match denial.reason {
        // The token is good; what it says of its user is not.
        Reason::IdMissing | Reason::IdentityRefused | Reason::IdentityTooLarge => {
            Answer::refused(StatusCode::BAD_REQUEST, PAYLOAD, denial)
        }
        _ if denial.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Answer::refused(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, denial)
        }
        _ => Answer::refused(StatusCode::UNAUTHORIZED, INVALID, denial),
    }
}

fn payload(why: &'static str) -> Answer {
    Answer::refused(
        StatusCode::BAD_REQUEST,
        PAYLOAD,
        Denial::new(Reason::UserRefused, why),
    )
}

fn unavailable(reason: Reason, why: &'static str) -> Answer {
    Answer::refused(
        StatusCode::SERVICE_UNAVAILABLE,
        UNAVAILABLE,
        Denial::new(reason, why),
    )
}

fn verify(verified: Verified) -> Answer {
    match verified {
        Verified::Exists(_) => Answer::good(EXISTS.to_owned()),
        Verified::InProgress => {
            // The contract has no Retry-After here: its client does not ask again by itself.
            let mut denial = Denial::new(Reason::UserPending, "no row after `users.wait`");
            denial.retry_after = None;
            Answer::refused(StatusCode::NOT_FOUND, IN_PROGRESS, denial)
        }
        Verified::Unavailable => unavailable(
            Reason::UsersUnavailable,
            "the directory cannot be asked, or the engine was not certainly asked",
        ),
        Verified::Busy => unavailable(Reason::Overloaded, "users.max_waiters is reached"),
        Verified::Refused(why) => payload(why),
    }
}

fn ensure(ensured: Ensured) -> Answer {
    match ensured {
        Ensured::Confirmed => Answer::good(ENSURED.to_owned()),
        Ensured::Initiated => Answer::good(INITIATED.to_owned()),
        Ensured::Unheard => {
            let denial = Denial::new(
                Reason::Internal,
                "the engine was asked, and its replies cannot be read",
            );
            Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, UNHEARD, denial)
        }
        Ensured::Unavailable => unavailable(
            Reason::UsersUnavailable,
            "the engine was not certainly asked",
        ),
        Ensured::Busy => unavailable(Reason::Overloaded, "users.max_waiters is reached"),
        Ensured::Limited(seconds) => {
            let denial = Denial::new(Reason::RateLimited, "users.ensure_per_minute is reached");
            Answer::refused(
                StatusCode::TOO_MANY_REQUESTS,
                LIMITED,
                denial.retry_after(seconds),
            )
        }
        Ensured::Refused(why) => payload(why),
    }
}
