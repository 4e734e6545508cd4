//! Somebody wants a new access token, and shows a refresh token: in the cookie, or in the body.

use http::StatusCode;
use serde_json::Value;

use crate::accounts::{Account, Renewal, Renewed, Successor};
use crate::denial::{Denial, Reason};
use crate::identify::cookie_values;

use super::super::Answer;
use super::login::broken;
use super::tokens::{Fresh, Used};
use super::{AccountEndpoints, Asked, words};

/// Cookies of the name that a sign-out looks at.
const MOST_COOKIES: usize = 4;

const NOBODY: &str = r#"{"user":null,"accessToken":null}"#;

/// Where a refresh token was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cookie,
    Body,
}

impl AccountEndpoints {
    pub(super) async fn refresh(&self, asked: &Asked<'_>) -> Answer {
        let metrics = &self.accounts.metrics;
        match self.exchange(asked).await {
            Ok(answer) => answer,
            Err(mut refused) => {
                match refused.denial.as_ref().map(|denial| denial.reason) {
                    Some(Reason::RefreshReused) => {
                        metrics.reused.inc();
                        self.jar.clear(&mut refused.response.fields);
                    }
                    _ if refused.response.status.is_client_error() => {
                        metrics.not_renewed.inc();
                    }
                    // An outage says nothing of the token.
                    _ => {}
                }
                *refused
            }
        }
    }

    async fn exchange(&self, asked: &Asked<'_>) -> Result<Answer, Box<Answer>> {
        let Some((token, place)) = token(asked, self.jar.name())? else {
            return Ok(Answer::good(NOBODY.to_owned()));
        };
        let (used, now) = (self.used(asked, &token)?, self.clock.now());
        let rotation = self.tokens.rotation;
        let renewal = Renewal {
            project: used.project.clone(),
            user: used.user.clone(),
            hash: used.hash.clone(),
            rotation: rotation.map(|_| self.tokens.successor(&used, now)),
            grace: rotation.map_or(0, |rotation| {
                i64::try_from(rotation.grace.as_millis()).unwrap_or(i64::MAX)
            }),
            now: self.clock.now_millis(),
        };
        match self.accounts.renew(renewal).await {
            Ok(Renewed::Good(account, successor)) => {
                self.accounts.metrics.renewed.inc();
                self.renewed(&used, place, &account, successor.as_ref())
            }
            Ok(Renewed::NoUser) => Err(refused(
                "No user found",
                "no-user-found",
                "the user is gone",
            )),
            Ok(Renewed::Unknown) => Err(refused(
                "Refresh token is not valid",
                "refresh-token-invalid",
                "nobody has such a refresh token: it was signed out, or swept",
            )),
            Ok(Renewed::Reused) => Err(reused()),
            Err(_) => Err(Box::new(words::unavailable())),
        }
    }

    fn used(&self, asked: &Asked<'_>, token: &str) -> Result<Used, Box<Answer>> {
        let used = self
            .tokens
            .read(token, self.clock.now())
            .map_err(|denial| {
                let (error, code) = ("Invalid refresh token", "invalid-refresh-token");
                Box::new(words::refused(StatusCode::FORBIDDEN, error, code, denial))
            })?;
        self.not_revoked(&used)?;
        match used.project == asked.project.settings.id {
            true => Ok(used),
            false => Err(refused(
                "Refresh token mismatch",
                "refresh-token-mismatch",
                "the refresh token is of another project",
            )),
        }
    }

    /// A refresh token can be revoked as any other, and so can all of its user's.
    fn not_revoked(&self, used: &Used) -> Result<(), Box<Answer>> {
        let Some(revoked) = &self.revoked else {
            return Ok(());
        };
        if revoked.generation() == 0 {
            let why = "what is revoked is not known yet";
            let denial = Denial::new(Reason::RevocationsUnavailable, why);
            return Err(Box::new(words::broken("Try again in a moment", denial)));
        }
        if !revoked.holds(&used.marks) {
            return Ok(());
        }
        let denial = Denial::new(Reason::TokenRevoked, "the refresh token was revoked");
        let (error, code) = ("Invalid refresh token", "invalid-refresh-token");
        Err(Box::new(words::refused(
            StatusCode::FORBIDDEN,
            error,
            code,
            denial,
        )))
    }

    fn renewed(
        &self,
        used: &Used,
        place: Place,
        account: &Account,
        successor: Option<&Successor>,
    ) -> Result<Answer, Box<Answer>> {
        let now = self.clock.now();
        let access = self
            .tokens
            .access(&used.project, &account.id, now)
            .map_err(broken)?;
        let user = serde_json::to_string(account)
            .map_err(|_| broken(Denial::new(Reason::Internal, "an account is no JSON")))?;
        let fresh = successor.map(|kept| self.tokens.succeed(used, kept));
        let fresh = fresh.transpose().map_err(broken)?;
        let shown = match (&fresh, place) {
            // Who keeps tokens in cookies has no use for it in a place that scripts read.
            (Some(Fresh { token, .. }), Place::Body) => format!(r#""refreshToken":"{token}","#),
            _ => String::new(),
        };
        let mut answer = Answer::good(format!(
            r#"{{"success":true,"accessToken":"{access}",{shown}"user":{user}}}"#
        ));
        if let Some(fresh) = &fresh {
            let fields = &mut answer.response.fields;
            self.jar.keep(fields, &fresh.token, now, fresh.ends);
        }
        Ok(answer)
    }
}

/// The token, if there is one; that in the cookie wins. Two cookies are two readings.
pub(super) fn token(
    asked: &Asked<'_>,
    cookie: &str,
) -> Result<Option<(String, Place)>, Box<Answer>> {
    let malformed = |why| {
        let denial = Denial::new(Reason::TokenMalformed, why);
        let (error, code) = ("Invalid refresh token", "invalid-refresh-token");
        Box::new(words::refused(StatusCode::FORBIDDEN, error, code, denial))
    };
    let mut cookies = cookie_values(asked.head.fields, cookie).filter(|value| !value.is_empty());
    if let Some(token) = cookies.next() {
        if cookies.next().is_some() {
            return Err(malformed("its cookie is there twice"));
        }
        let token = str::from_utf8(token).map_err(|_| malformed("its cookie is not text"))?;
        return Ok(Some((token.to_owned(), Place::Cookie)));
    }
    if asked.body.bytes.is_empty() {
        return Ok(None);
    }
    let Ok(Value::Object(mut members)) = serde_json::from_slice(&asked.body.bytes) else {
        return Err(Box::new(words::invalid("The body must be a JSON object")));
    };
    match members.remove("refreshToken") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.is_empty() => Ok(None),
        Some(Value::String(token)) => Ok(Some((token, Place::Body))),
        Some(_) => Err(malformed("`refreshToken` is not text")),
    }
}

/// Every token that a sign-out brings, up to a few.
pub(super) fn tokens(asked: &Asked<'_>, cookie: &str) -> Vec<String> {
    let cookies = cookie_values(asked.head.fields, cookie).take(MOST_COOKIES);
    let cookies = cookies.filter_map(|value| str::from_utf8(value).ok());
    let body: Option<Value> = serde_json::from_slice(&asked.body.bytes).ok();
    let told = body
        .as_ref()
        .and_then(|body| body.get("refreshToken")?.as_str());
    cookies.chain(told).map(str::to_owned).collect()
}

fn refused(error: &str, code: &str, why: &'static str) -> Box<Answer> {
    let denial = Denial::new(Reason::RefreshRefused, why);
    Box::new(words::refused(StatusCode::FORBIDDEN, error, code, denial))
}

fn reused() -> Box<Answer> {
    let denial = Denial::new(
        Reason::RefreshReused,
        "a refresh token was used again after it was replaced: its family is deleted",
    );
    let (error, code) = ("Refresh token was used twice", "token-reuse-detected");
    Box::new(words::refused(
        StatusCode::UNAUTHORIZED,
        error,
        code,
        denial,
    ))
}
