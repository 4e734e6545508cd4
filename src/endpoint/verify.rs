//! `GET /api/auth/verify`: is this token good, and whose is it?
//!
//! The contract is that of the service which clients call at this path today; a 401 carries
//! a challenge besides (RFC 6750), and what cannot be told is 503, never 401.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use serde_json::Value;

use crate::config::VerifyEndpoint;
use crate::denial::{Denial, Reason};
use crate::gate::Own;
use crate::head::RequestHead;
use crate::identify::{Identify, fingerprint};
use crate::identity::{Identity, Kept, Slot};

use super::Answer;

const MISSING: &str = r#"{"error":"missing authorization header"}"#;
const FORMAT: &str = r#"{"error":"invalid authorization header format"}"#;
const INVALID: &str = r#"{"error":"invalid or expired token"}"#;
const UNAVAILABLE: &str = r#"{"error":"service temporarily unavailable"}"#;

/// Where the claims of the answer are kept.
#[derive(Clone, Copy, Debug)]
pub struct Claims {
    user_id: Slot,
    username: Slot,
}

impl Claims {
    pub(super) fn new(settings: &VerifyEndpoint, kept: &mut Kept) -> Self {
        Self {
            user_id: kept.slot(&settings.user_id),
            username: kept.slot(&settings.username),
        }
    }
}

/// The endpoint.
pub(super) struct Verify {
    claims: Claims,
    identify: Arc<Identify>,
    own: Option<Own>,
}

impl Verify {
    pub(super) fn new(claims: Claims, identify: Arc<Identify>, own: Option<Own>) -> Self {
        Self {
            claims,
            identify,
            own,
        }
    }

    pub(super) async fn answer(&self, head: &RequestHead<'_>) -> Answer {
        if head.method != Method::GET {
            return Answer::wrong_method("GET");
        }
        let token = match bearer(head) {
            Ok(token) => token,
            Err((body, denial)) => return Answer::refused(StatusCode::UNAUTHORIZED, body, denial),
        };
        let identified = self.identify.identify(token, head.certificate).await;
        let identified = identified.and_then(|verified| {
            // What we minted is for routes that name its project.
            let own = self.own.as_ref();
            let kept_out = own.map(|own| own.keep_out(&verified.identity));
            kept_out.transpose().map(|_| verified)
        });
        match identified.map_err(|denial| denial.of_token(fingerprint(token))) {
            Ok(verified) => self.describe(&verified.identity).about(verified),
            Err(denial) if denial.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Answer::refused(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, denial)
            }
            Err(denial) => Answer::refused(StatusCode::UNAUTHORIZED, INVALID, denial),
        }
    }

    /// `user_id` keeps the type that the claim has; `username` is a string or there is no answer.
    fn describe(&self, identity: &Identity) -> Answer {
        let user_id = identity
            .claim(self.claims.user_id)
            .filter(|value| !value.is_null());
        let username = identity.claim(self.claims.username).and_then(Value::as_str);
        let (Some(user_id), Some(username)) = (user_id, username) else {
            let denial = Denial::new(Reason::ClaimRefused, "the token has no user_id or username");
            return Answer::refused(StatusCode::UNAUTHORIZED, INVALID, denial);
        };
        let username = Value::from(username);
        Answer::good(format!(
            r#"{{"valid":true,"user_id":{user_id},"username":{username}}}"#
        ))
    }
}

/// The token, or the contract's words for why there is none.
fn bearer<'a>(head: &RequestHead<'a>) -> Result<&'a str, (&'static str, Denial)> {
    let value = head
        .fields
        .single(&header::AUTHORIZATION)
        .map_err(|_| {
            (
                FORMAT,
                Denial::new(Reason::SchemeRefused, "two Authorization headers"),
            )
        })?
        .unwrap_or_default();
    if value.is_empty() {
        return Err((
            MISSING,
            Denial::new(Reason::TokenMissing, "no Authorization header"),
        ));
    }
    let token = value
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .ok_or((
            FORMAT,
            Denial::new(Reason::SchemeRefused, "not a bearer token"),
        ))?
        .1;
    std::str::from_utf8(token).map_err(|_| {
        (
            INVALID,
            Denial::new(Reason::TokenMalformed, "the token is not ASCII"),
        )
    })
}
