//! The one request error: whose fault it is, why, and what the caller is told.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;

/// A request that is not answered as asked.
///
/// `reason` is what the caller, the metrics and the access log may know; `detail` is for
/// the log alone and never reaches a response body.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The stable id of this refusal.
    pub reason: Reason,
    /// What happened, for whoever reads the log. Never holds a token or a secret.
    pub detail: Cow<'static, str>,
    /// Seconds after which trying again makes sense; sent as `Retry-After`.
    pub retry_after: Option<u32>,
    /// The fingerprint of the token that was refused, for the log.
    pub token: Option<Box<str>>,
}

impl Denial {
    /// A denial with a fixed explanation.
    ///
    /// Cold, so that the compiler lays what leads here aside: what most requests run stays close together.
    #[cold]
    pub const fn new(reason: Reason, detail: &'static str) -> Self {
        Self {
            reason,
            detail: Cow::Borrowed(detail),
            retry_after: reason.retry_after(),
            token: None,
        }
    }

    /// A denial with an explanation made for this request.
    #[cold]
    pub fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: Cow::Owned(detail.into()),
            retry_after: reason.retry_after(),
            token: None,
        }
    }

    /// The same denial with another `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same denial with the fingerprint of the token that it is about.
    #[must_use]
    pub fn of_token(mut self, fingerprint: impl fmt::Display) -> Self {
        self.token = Some(fingerprint.to_string().into());
        self
    }

    /// The status that a proxied request is answered with.
    pub fn status(&self) -> StatusCode {
        self.reason.status()
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.id(), self.detail)
    }
}

/// Whose fault a denial is; it decides the log level and what is worth an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller sent something that cannot be accepted.
    Client,
    /// usher, or what it needs to decide, is not able to.
    Ours,
    /// The protected app did not answer as it should.
    Upstream,
}

impl Fault {
    /// The name used in metrics and logs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Ours => "ours",
            Self::Upstream => "upstream",
        }
    }
}

/// What `WWW-Authenticate` says (RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No challenge: the status is neither 401 nor a lack of rights.
    None,
    /// `Bearer` with the realm alone: no credentials were sent, so no error is named.
    Bare,
    /// `Bearer error="invalid_request"`.
    InvalidRequest,
    /// `Bearer error="invalid_token"`.
    InvalidToken,
    /// `Bearer error="insufficient_scope"`.
    InsufficientScope,
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident = $id:literal, $fault:ident, $status:ident, $challenge:ident; )+) => {
        /// Why a request was denied. The ids are an interface: dashboards and alarms use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $( $(#[doc = $doc])+ $name, )+ }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// The stable snake_case id.
            pub const fn id(self) -> &'static str {
                match self { $( Self::$name => $id, )+ }
            }

            /// Whose fault it is.
            pub const fn fault(self) -> Fault {
                match self { $( Self::$name => Fault::$fault, )+ }
            }

            /// The status on proxied requests; contracts of our own endpoints may say it differently.
            pub const fn status(self) -> StatusCode {
                match self { $( Self::$name => StatusCode::$status, )+ }
            }

            /// The challenge that goes with it.
            pub const fn challenge(self) -> Challenge {
                match self { $( Self::$name => Challenge::$challenge, )+ }
            }

            /// What the reason means, for `--help` and the docs.
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc),+), )+ }
            }
        }
    };
}

reasons! {
    /// What arrived is no HTTP/1.1 request, or one that could be read in two ways.
    RequestMalformed = "request_malformed", Client, BAD_REQUEST, None;
    /// The request target is not one this server can serve.
    BadTarget = "bad_target", Client, BAD_REQUEST, None;
    /// The path can be read in two ways, or holds what no path should hold.
    BadPath = "bad_path", Client, BAD_REQUEST, None;
    /// `Host` is missing, repeated, malformed, or differs from the target's authority.
    BadHost = "bad_host", Client, BAD_REQUEST, None;
    /// The body's framing is one that could be read in two ways.
    BadFraming = "bad_framing", Client, BAD_REQUEST, None;
    /// One token source was sent twice.
    TokenTwice = "token_twice", Client, BAD_REQUEST, InvalidRequest;
    /// The request carries no token, and the route requires one.
    TokenMissing = "token_missing", Client, UNAUTHORIZED, Bare;
    /// The credentials are not a bearer token.
    SchemeRefused = "scheme_refused", Client, UNAUTHORIZED, Bare;
    /// The token is longer than `limits.token_bytes`.
    TokenTooLarge = "token_too_large", Client, UNAUTHORIZED, InvalidToken;
    /// The token is not a well-formed JWS with a JSON object inside.
    TokenMalformed = "token_malformed", Client, UNAUTHORIZED, InvalidToken;
    /// The token's header asks for something that is not supported (`crit`, another `typ`).
    TokenHeaderRefused = "token_header_refused", Client, UNAUTHORIZED, InvalidToken;
    /// The token's algorithm is not in the issuer's list, or does not fit the key.
    AlgorithmRefused = "algorithm_refused", Client, UNAUTHORIZED, InvalidToken;
    /// No configured issuer has the token's `iss`.
    IssuerUnknown = "issuer_unknown", Client, UNAUTHORIZED, InvalidToken;
    /// The issuer has no key with the token's `kid`, as a fetch made since has shown.
    KeyUnknown = "key_unknown", Client, UNAUTHORIZED, InvalidToken;
    /// No key of the issuer verifies the signature.
    SignatureRefused = "signature_refused", Client, UNAUTHORIZED, InvalidToken;
    /// The token's issuer was asked, and says that it is not good.
    TokenInactive = "token_inactive", Client, UNAUTHORIZED, InvalidToken;
    /// The token's `exp` has passed.
    TokenExpired = "token_expired", Client, UNAUTHORIZED, InvalidToken;
    /// The token's `nbf` lies in the future.
    TokenNotYetValid = "token_not_yet_valid", Client, UNAUTHORIZED, InvalidToken;
    /// The token was revoked: itself, or its session, user, key or issuer.
    TokenRevoked = "token_revoked", Client, UNAUTHORIZED, InvalidToken;
    /// The token is not meant for any of the issuer's `audiences`.
    AudienceRefused = "audience_refused", Client, UNAUTHORIZED, InvalidToken;
    /// A claim that must be there is missing, of the wrong type, or has another value.
    ClaimRefused = "claim_refused", Client, UNAUTHORIZED, InvalidToken;
    /// The claim that holds the user's id is missing.
    IdMissing = "id_missing", Client, UNAUTHORIZED, InvalidToken;
    /// The token is bound to a certificate, and whoever sent it has not shown that one.
    CertificateMismatch = "certificate_mismatch", Client, UNAUTHORIZED, InvalidToken;
    /// The user's id, or another claim for a header, is empty, padded, or holds control characters.
    IdentityRefused = "identity_refused", Client, UNAUTHORIZED, InvalidToken;
    /// The identity headers of this token would exceed `limits.identity_bytes`.
    IdentityTooLarge = "identity_too_large", Client, UNAUTHORIZED, InvalidToken;
    /// The identity lacks a role, scope or claim that the route requires.
    InsufficientScope = "insufficient_scope", Client, FORBIDDEN, InsufficientScope;
    /// A cookie's token, or a login, came with an unsafe request from another site.
    CrossSite = "cross_site", Client, FORBIDDEN, None;
    /// A row with the caller's e-mail belongs to another id.
    IdentityConflict = "identity_conflict", Client, FORBIDDEN, None;
    /// The caller has no user, and nobody creates one.
    UserUnknown = "user_unknown", Client, FORBIDDEN, None;
    /// What is said about the caller is something that the directory, or an account, cannot hold.
    UserRefused = "user_refused", Client, FORBIDDEN, None;
    /// Somebody who is not among `trusted_proxies` asks about another's request.
    ProxyUntrusted = "proxy_untrusted", Client, FORBIDDEN, None;
    /// A proxy describes a request in words that are missing, repeated, or none of its dialect, or
    /// asks at another path than the door's.
    DescriptionRefused = "description_refused", Client, BAD_REQUEST, None;
    /// A client sent a header that only usher or proxies set, spelt so that the proxy that asks does
    /// not take it away, and an app may read it all the same.
    HeaderRefused = "header_refused", Client, BAD_REQUEST, None;
    /// The caller asked for their user, or logged in, too often.
    RateLimited = "rate_limited", Client, TOO_MANY_REQUESTS, None;
    /// The token is one of usher's own, and the route does not serve its project.
    ProjectRefused = "project_refused", Client, FORBIDDEN, None;
    /// The external user is suspended, and the route refuses who is.
    AccountSuspended = "account_suspended", Client, FORBIDDEN, None;
    /// An external user logs in to a project that has no public key.
    ProjectKeyMissing = "project_key_missing", Client, FORBIDDEN, None;
    /// No project has the id in the path.
    ProjectUnknown = "project_unknown", Client, NOT_FOUND, None;
    /// The refresh token is of another project or user, or was deleted.
    RefreshRefused = "refresh_refused", Client, FORBIDDEN, None;
    /// The refresh token was replaced before, so somebody has a copy of it.
    RefreshReused = "refresh_reused", Client, UNAUTHORIZED, InvalidToken;
    /// The request's body is larger than usher reads itself.
    BodyTooLarge = "body_too_large", Client, PAYLOAD_TOO_LARGE, None;
    /// The request's body is not said to be JSON.
    MediaTypeRefused = "media_type_refused", Client, UNSUPPORTED_MEDIA_TYPE, None;
    /// The method is not served here.
    MethodRefused = "method_refused", Client, METHOD_NOT_ALLOWED, None;
    /// The request body did not arrive in time.
    RequestTimeout = "request_timeout", Client, REQUEST_TIMEOUT, None;
    /// The request target is longer than `limits.target_bytes`.
    TargetTooLong = "target_too_long", Client, URI_TOO_LONG, None;
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed = "expectation_failed", Client, EXPECTATION_FAILED, None;
    /// The request's header fields exceed `limits.header_bytes` or `limits.header_count`.
    HeadersTooLarge = "headers_too_large", Client, REQUEST_HEADER_FIELDS_TOO_LARGE, None;
    /// The client went away before the answer was ready.
    ClientGone = "client_gone", Client, REQUEST_TIMEOUT, None;
    /// The issuer's keys could not be fetched yet, so nobody can tell whether the token is good.
    KeysUnavailable = "keys_unavailable", Ours, SERVICE_UNAVAILABLE, None;
    /// The token names a key we have not seen, and a fresh set is not here yet.
    KeyPending = "key_pending", Ours, SERVICE_UNAVAILABLE, None;
    /// The token's issuer has to be asked about it, and does not answer.
    IntrospectionUnavailable = "introspection_unavailable", Ours, SERVICE_UNAVAILABLE, None;
    /// What is revoked is not known yet, so nobody can tell whether the token still counts.
    RevocationsUnavailable = "revocations_unavailable", Ours, SERVICE_UNAVAILABLE, None;
    /// The caller's user is being created, and is not there yet.
    UserPending = "user_pending", Ours, SERVICE_UNAVAILABLE, None;
    /// The directory or the provisioner cannot be asked, so nobody can tell who the caller is to us.
    UsersUnavailable = "users_unavailable", Ours, SERVICE_UNAVAILABLE, None;
    /// A limit on concurrent work is reached.
    Overloaded = "overloaded", Ours, SERVICE_UNAVAILABLE, None;
    /// Something in usher went wrong.
    Internal = "internal", Ours, INTERNAL_SERVER_ERROR, None;
    /// The request came through this usher before.
    LoopDetected = "loop_detected", Ours, LOOP_DETECTED, None;
    /// The app cannot be reached.
    UpstreamUnreachable = "upstream_unreachable", Upstream, BAD_GATEWAY, None;
    /// The app's answer is broken, or the connection ended before it.
    UpstreamBroken = "upstream_broken", Upstream, BAD_GATEWAY, None;
    /// The app did not answer in time.
    UpstreamTimeout = "upstream_timeout", Upstream, GATEWAY_TIMEOUT, None;
}

impl Reason {
    /// Seconds for `Retry-After` where nothing better is known; 503 always carries one.
    const fn retry_after(self) -> Option<u32> {
        match self {
            Self::KeysUnavailable | Self::KeyPending => Some(5),
            Self::UserPending
            | Self::UsersUnavailable
            | Self::IntrospectionUnavailable
            | Self::RevocationsUnavailable => Some(2),
            Self::RateLimited => Some(60),
            Self::Overloaded => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_snake_case() {
        let ids: HashSet<_> = Reason::ALL.iter().map(|reason| reason.id()).collect();
        assert_eq!(ids.len(), Reason::ALL.len());
        for id in ids {
            assert!(
                id.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{id}"
            );
        }
    }

    #[test]
    fn status_fits_the_fault() {
        for reason in Reason::ALL {
            let allowed: &[u16] = match reason.fault() {
                Fault::Client => &[400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 429, 431],
                Fault::Ours => &[500, 501, 503, 505, 508],
                Fault::Upstream => &[502, 504],
            };
            assert!(allowed.contains(&reason.status().as_u16()), "{reason:?}");
        }
    }

    #[test]
    fn every_503_says_when_to_come_back_and_every_401_challenges() {
        for reason in Reason::ALL {
            let denial = Denial::new(*reason, "");
            let later = [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            assert_eq!(
                later.contains(&denial.status()),
                denial.retry_after.is_some(),
                "{reason:?}"
            );
            if denial.status() == StatusCode::UNAUTHORIZED {
                assert_ne!(reason.challenge(), Challenge::None, "{reason:?}");
            }
        }
    }
}
