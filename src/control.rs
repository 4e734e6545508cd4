//! `POST /revocations` on a listener of its own: what changes things is not for callers.
//!
//! Who may ask is decided by who can connect (a Unix socket's permissions, certificates of
//! clients), and by a token where one is configured. What is asked, and what came of it, is
//! written down as an event.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::accounts::parse_date;
use crate::aside;
use crate::config;
use crate::identity::Thumbprint;
use crate::limit::{Limit, Seldom};
use crate::listener::Door;
use crate::revocation::{Ask, Failure, Revocation, Stored};
use crate::revoked::{Before, Second};
use crate::secret::Secret;
use crate::stream::Stream;

/// Connections at once: an operator, and a few programs.
const MAX_CONNECTIONS: usize = 32;

/// What it is called in the log.
const NAME: &str = "control";

/// The largest body.
const MAX_BODY: usize = 4 << 10;

/// For the whole of a body, and for a TLS handshake.
const PATIENCE: Duration = Duration::from_secs(5);

const MINUTE: Duration = Duration::from_secs(60);

/// The listener.
pub struct Control {
    door: Arc<Door>,
    office: Arc<Office>,
}

/// What all connections share.
struct Office {
    revocation: Arc<Revocation>,
    token: Option<Secret>,
    /// By whether they were admitted.
    limit: Limit<bool>,
}

/// What somebody asks for, as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    issuer: Option<String>,
    jti: Option<String>,
    fingerprint: Option<String>,
    subject: Option<String>,
    session: Option<String>,
    kid: Option<String>,
    everything: bool,
    before: Option<Value>,
}

impl Control {
    /// Behind this door.
    pub fn new(door: Arc<Door>, settings: &config::Control, revocation: Arc<Revocation>) -> Self {
        let office = Office {
            revocation,
            token: settings.token.clone(),
            limit: Limit::new(settings.per_minute, MINUTE, 2),
        };
        Self {
            door,
            office: Arc::new(office),
        }
    }

    /// The door, for its address and certificates.
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let next = || async {
            let place = aside::place(&places).await?;
            let (stream, address) = self.door.next().await?;
            Ok((stream, address, place))
        };
        aside::accept(NAME, next, |(stream, address, place)| {
            let (door, office) = (self.door.clone(), self.office.clone());
            let from = address.map_or("unix".to_owned(), |address| address.to_string());
            Some(async move {
                if let Some(stream) = door.greet(stream, PATIENCE).await {
                    serve(stream, &office, from).await;
                }
                drop(place);
            })
        })
        .await;
    }
}

async fn serve(stream: Stream, office: &Office, mut from: String) {
    if let Some(thumbprint) = stream.certificate().map(Thumbprint::of) {
        from = format!("{from} {thumbprint:?}");
    }
    let from = from.as_str();
    aside::converse(NAME, stream, |request| office.answer(request, from)).await;
}

type Answer = Response<Full<Bytes>>;

impl Office {
    async fn answer(&self, request: Request<Incoming>, from: &str) -> Answer {
        if request.uri().path() != "/revocations" {
            return said(StatusCode::NOT_FOUND, "try POST /revocations");
        }
        if request.method() != Method::POST {
            let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, "try POST");
            let fields = answer.headers_mut();
            fields.insert(header::ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        let admitted = self.admits(&request);
        // Counted apart: whoever has no token keeps nobody from revoking who has one.
        if let Err(seconds) = self.limit.count(admitted) {
            return too_many(from, seconds);
        }
        if !admitted {
            return unknown(from);
        }
        if !is_json(&request) {
            // A page in a browser can send any other kind without asking.
            let wanted = "Content-Type must be application/json";
            return said(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted);
        }
        match read(request).await {
            Ok(ask) => self.revoke(&ask, from).await,
            Err((status, why)) => said(status, &why),
        }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let mut shown = request.headers().get_all(header::AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else {
            return false;
        };
        let shown = shown.as_bytes().split_at_checked(7);
        shown.is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && Secret::new(shown) == *token
        })
    }

    async fn revoke(&self, ask: &Ask, from: &str) -> Answer {
        match self.revocation.store().revoke(ask, 0).await {
            Ok(stored) => {
                tracing::info!(from, ?ask, mark = %stored.entry.mark, "revoked");
                json_of(StatusCode::CREATED, &describe(&stored))
            }
            Err(Failure::Unclear(why)) => said(StatusCode::BAD_REQUEST, &why),
            Err(failure) => {
                tracing::warn!(from, ?ask, %failure, "not certainly revoked");
                let why = match failure {
                    Failure::NotStored(_) => "not revoked: it cannot be stored now",
                    _ => "perhaps not revoked: try again, to revoke twice does no harm",
                };
                let mut answer = said(StatusCode::SERVICE_UNAVAILABLE, why);
                let soon = HeaderValue::from_static("1");
                answer.headers_mut().insert(header::RETRY_AFTER, soon);
                answer
            }
        }
    }
}

fn too_many(from: &str, seconds: u32) -> Answer {
    const WHY: &str = "control.per_minute is reached";
    static TOLD: Seldom = Seldom::new();
    if let Some(times) = TOLD.again() {
        tracing::warn!(from, times, "refused to revoke: {WHY}");
    }
    let mut answer = said(StatusCode::TOO_MANY_REQUESTS, WHY);
    let fields = answer.headers_mut();
    fields.insert(header::RETRY_AFTER, seconds.into());
    answer
}

fn unknown(from: &str) -> Answer {
    static TOLD: Seldom = Seldom::new();
    if let Some(times) = TOLD.again() {
        tracing::warn!(from, times, "refused to revoke: no token, or a wrong one");
    }
    let mut answer = said(StatusCode::UNAUTHORIZED, "show the token of `control`");
    let bearer = HeaderValue::from_static("Bearer realm=\"control\"");
    let fields = answer.headers_mut();
    fields.insert(header::WWW_AUTHENTICATE, bearer);
    answer
}

fn is_json(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn read(request: Request<Incoming>) -> Result<Ask, (StatusCode, String)> {
    let collecting = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match tokio::time::timeout(PATIENCE, collecting).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let why = format!("the body is larger than {MAX_BODY} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Ok(Err(_)) => return Err((StatusCode::BAD_REQUEST, "the body ended early".to_owned())),
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body is late".to_owned())),
    };
    let wanted: Wanted = serde_json::from_slice(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body: {error}")))?;
    let before = match &wanted.before {
        None | Some(Value::Null) => None,
        Some(before) => Some(second(before).ok_or_else(|| {
            let why = "`before` is neither seconds since 1970 nor such as 2027-01-31T12:00:00Z";
            (StatusCode::BAD_REQUEST, why.to_owned())
        })?),
    };
    Ok(Ask {
        issuer: wanted.issuer,
        jti: wanted.jti,
        fingerprint: wanted.fingerprint,
        subject: wanted.subject,
        session: wanted.session,
        kid: wanted.kid,
        everything: wanted.everything,
        before,
        clamp: false,
    })
}

fn second(before: &Value) -> Option<i64> {
    match before {
        Value::String(text) => parse_date(text).map(|millis| millis.div_euclid(1000)),
        number => number.as_i64().filter(|second| *second >= 0),
    }
}

fn describe(stored: &Stored) -> Value {
    let before = match stored.entry.before {
        Before::At(second) => Some(second),
        Before::Always => None,
    };
    let until = match stored.entry.until {
        Second::At(second) => Some(second),
        Second::Never => None,
    };
    json!({
        "revoked": true, "mark": stored.entry.mark.to_string(),
        "issued_before": before, "known_until": until,
    })
}

fn said(status: StatusCode, why: &str) -> Answer {
    json_of(status, &json!({ "revoked": false, "error": why }))
}

fn json_of(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{body}\n")));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
