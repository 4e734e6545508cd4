//! OpenID Connect Back-Channel Logout 1.0: an identity provider tells that somebody has logged
//! out, and their tokens are revoked everywhere.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode;
use tokio::sync::Semaphore;

use crate::body::RequestBody;
use crate::config::{Audiences, LogoutEndpoint};
use crate::denial::{Denial, Reason};
use crate::head::RequestHead;
use crate::identify::{Identify, Logout as LoggedOut, fingerprint};
use crate::respond;
use crate::revocation::{Ask, Failure, Revocation};

use super::Answer;
use super::body::{Bodies, SMALL};

/// Logouts that are verified and stored at once.
const AT_ONCE: usize = 64;

/// The endpoint.
pub(super) struct Logout {
    identify: Arc<Identify>,
    revocation: Arc<Revocation>,
    audiences: Option<Audiences>,
    bodies: Bodies,
    places: Semaphore,
}

impl Logout {
    pub(super) fn new(
        settings: &LogoutEndpoint,
        identify: Arc<Identify>,
        revocation: Arc<Revocation>,
    ) -> Self {
        Self {
            identify,
            revocation,
            audiences: settings.audiences.clone(),
            // A form with one token and what else somebody sends along.
            bodies: Bodies::new(SMALL, Semaphore::new(0), "a logout has at most 32 KiB"),
            places: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) async fn answer(&self, head: &RequestHead<'_>, body: RequestBody) -> Answer {
        if head.method != Method::POST {
            return Answer::wrong_method("POST");
        }
        match self.log_out(body).await {
            Ok(()) => {
                let mut response = respond::empty(StatusCode::OK);
                let no_store = HeaderValue::from_static("no-store");
                response.fields.insert(&header::CACHE_CONTROL, &no_store);
                Answer {
                    response,
                    denial: None,
                    verified: None,
                }
            }
            Err(denial) if denial.status() == StatusCode::SERVICE_UNAVAILABLE => {
                refused(StatusCode::SERVICE_UNAVAILABLE, denial)
            }
            // §2.8: whatever is wrong with the request is 400.
            Err(denial) => refused(StatusCode::BAD_REQUEST, denial),
        }
    }

    async fn log_out(&self, body: RequestBody) -> Result<(), Denial> {
        let body = self.bodies.read(body, false).await?;
        // Only now, so that nobody keeps others from logging out who has nothing to say.
        let full = |_| Denial::new(Reason::Overloaded, "too many logouts at once");
        let _place = self.places.try_acquire().map_err(full)?;
        let token = token(&body.bytes)?;
        let told = self.identify.logout(&token, self.audiences.as_ref()).await;
        let told = told.map_err(|denial| denial.of_token(fingerprint(&token)))?;
        let stored = self.revocation.store().revoke(&ask(&told), 0).await;
        match stored {
            Ok(stored) => {
                let (issuer, mark) = (&told.issuer, stored.entry.mark);
                tracing::info!(%issuer, %mark, session = told.session.is_some(), "logged out");
                Ok(())
            }
            Err(Failure::Unclear(why)) => Err(Denial::because(Reason::ClaimRefused, why)),
            Err(failure) => Err(Denial::because(
                Reason::RevocationsUnavailable,
                failure.to_string(),
            )),
        }
    }
}

/// A session, or else all of the user's tokens up to when the issuer said so: a logout token that
/// somebody sends again ends no later login.
fn ask(told: &LoggedOut) -> Ask {
    Ask {
        issuer: Some(told.issuer.to_string()),
        session: told.session.clone(),
        subject: told.user.as_deref().map(str::to_owned),
        before: told.user.as_ref().map(|_| told.issued),
        // The issuer's clock may run ahead of Redis.
        clamp: true,
        ..Ask::default()
    }
}

/// The one `logout_token` of a form (§2.5).
fn token(body: &[u8]) -> Result<String, Denial> {
    let malformed = |detail| Denial::new(Reason::TokenMalformed, detail);
    let mut values = body
        .split(|byte| *byte == b'&')
        .filter_map(|pair| pair.strip_prefix(b"logout_token="));
    let value = values
        .next()
        .ok_or(malformed("the form has no `logout_token`"))?;
    if values.next().is_some() {
        return Err(malformed("the form has two `logout_token`s"));
    }
    let decoded = percent_decode(value).decode_utf8();
    decoded
        .map(|text| text.trim().to_owned())
        .map_err(|_| malformed("the `logout_token` is not text"))
}

fn refused(status: StatusCode, denial: Denial) -> Answer {
    let error = match status {
        StatusCode::BAD_REQUEST => r#"{"error":"invalid_request"}"#,
        _ => r#"{"error":"temporarily_unavailable"}"#,
    };
    let mut answer = Answer::refused(status, error, denial);
    let no_store = HeaderValue::from_static("no-store");
    let fields = &mut answer.response.fields;
    fields.insert(&header::CACHE_CONTROL, &no_store);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_one_token() {
        assert_eq!(token(b"a=b&logout_token=x.y%2Ez&c").unwrap(), "x.y.z");
        for form in [
            &b""[..],
            b"logout_token",
            b"xlogout_token=a",
            b"logout_token=a&logout_token=a",
            b"logout_token=%ff",
        ] {
            assert!(token(form).is_err(), "{form:?}");
        }
    }
}
