//! `/livez`, `/readyz` and `/metrics`, on a listener of their own; read only.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::accounts::Accounts;
use crate::aside;
use crate::identify::{Identify, IssuerState};
use crate::revocation::{self, Revocation};
use crate::telemetry::Telemetry;
use crate::users::Users;

/// Connections to the admin listener at once; probes and scrapers need a handful.
const MAX_CONNECTIONS: usize = 64;

/// What it is called in the log.
const NAME: &str = "admin";

/// Tells whether usher should get traffic.
pub struct Readiness {
    /// A reload swaps it.
    asked: ArcSwap<Asked>,
    draining: AtomicBool,
    /// Whether the file says something else than what usher goes by.
    refused: AtomicBool,
}

/// Who is asked.
struct Asked {
    identify: Arc<Identify>,
    users: Option<Arc<Users>>,
    accounts: Option<Arc<Accounts>>,
    revocation: Option<Arc<Revocation>>,
}

impl Readiness {
    /// Ready once the required issuers have keys, and it is known what is revoked.
    pub fn new(
        identify: Arc<Identify>,
        users: Option<Arc<Users>>,
        accounts: Option<Arc<Accounts>>,
        revocation: Option<Arc<Revocation>>,
    ) -> Self {
        let asked = Asked {
            identify,
            users,
            accounts,
            revocation,
        };
        Self {
            asked: ArcSwap::from_pointee(asked),
            draining: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// Others are asked from now on.
    pub fn change(
        &self,
        identify: Arc<Identify>,
        users: Option<Arc<Users>>,
        accounts: Option<Arc<Accounts>>,
        revocation: Option<Arc<Revocation>>,
    ) {
        self.asked.store(Arc::new(Asked {
            identify,
            users,
            accounts,
            revocation,
        }));
    }

    /// Whether the last reload was refused: usher stays ready, by the configuration it has.
    pub fn reloaded(&self, well: bool) {
        self.refused.store(!well, Ordering::Relaxed);
    }

    /// From now on unready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether usher is ready, and the report that says why.
    pub fn report(&self) -> (bool, Value) {
        let draining = self.draining.load(Ordering::SeqCst);
        let asked = self.asked.load();
        let issuers = asked.identify.ready();
        let without = issuers.iter().filter(|issuer| !issuer.has_keys);
        let missing: Vec<_> = without.clone().map(|issuer| &issuer.name).collect();
        let waiting = without.clone().any(|issuer| issuer.required);
        let revocation = asked.revocation.as_ref().map(|it| it.report());
        let unsure = revocation.as_ref().is_some_and(|it| !it.ready);
        let ready = !draining && !waiting && !unsure;
        let mut degraded = asked.degraded(&issuers, revocation.as_ref());
        if self.refused.load(Ordering::Relaxed) {
            degraded.push(json!({ "configuration": "not reloaded; the log says why" }));
        }
        let mut report = json!({
            "ready": ready,
            "draining": draining,
            "issuers_without_keys": missing,
            "degraded": degraded,
        });
        if let (Some(it), Some(members)) = (revocation, report.as_object_mut()) {
            let shown =
                json!({ "loaded": it.loaded, "entries": it.entries, "stale_seconds": it.stale });
            members.insert("revocation".to_owned(), shown);
        }
        (ready, report)
    }
}

impl Asked {
    /// What does not work as it should, though usher does.
    fn degraded(
        &self,
        issuers: &[IssuerState],
        revocation: Option<&revocation::Report>,
    ) -> Vec<Value> {
        let failing = |issuer: &IssuerState| {
            let error = issuer.last_error.as_ref()?;
            Some(json!({ "issuer": issuer.name, "error": error, "keys_age_seconds": issuer.age }))
        };
        let mut degraded: Vec<_> = issuers.iter().filter_map(failing).collect();
        let users = self.users.iter().flat_map(|users| users.degraded());
        degraded.extend(users.map(|what| json!({ "users": what, "error": "cannot be asked" })));
        let accounts = self
            .accounts
            .iter()
            .filter(|accounts| accounts.is_failing());
        degraded.extend(accounts.map(|_| json!({ "accounts": "cannot be asked" })));
        let unheard = revocation.and_then(|it| it.error.as_ref());
        degraded
            .extend(unheard.map(|error| json!({ "revocation": "is not heard", "error": error })));
        degraded
    }
}

/// The admin listener.
pub struct Admin {
    listener: TcpListener,
    readiness: Arc<Readiness>,
    telemetry: Arc<Telemetry>,
}

impl Admin {
    /// Serves on a bound listener.
    pub fn new(
        listener: TcpListener,
        readiness: Arc<Readiness>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            listener,
            readiness,
            telemetry,
        }
    }

    /// The real address.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let next = || async {
            let place = aside::place(&places).await?;
            let (stream, _) = self.listener.accept().await?;
            Ok((stream, place))
        };
        aside::accept(NAME, next, |(stream, place)| {
            let (readiness, telemetry) = (self.readiness.clone(), self.telemetry.clone());
            Some(async move {
                let answer = |request| ready(answer(&request, &readiness, &telemetry));
                aside::converse(NAME, stream, answer).await;
                drop(place);
            })
        })
        .await;
    }
}

fn answer(
    request: &Request<Incoming>,
    readiness: &Readiness,
    telemetry: &Telemetry,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "read only\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "text/plain", "live\n".to_owned()),
        "/readyz" => {
            let (ready, report) = readiness.report();
            let status = if ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, "application/json", format!("{report}\n"))
        }
        "/metrics" => text(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            telemetry.exposition(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "try /livez, /readyz or /metrics\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
