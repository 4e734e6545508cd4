//! Sends spans to a collector: OTLP over HTTP, as JSON.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::cause::chain;
use crate::config;

use super::span::{self, Ended};
use super::{Message, Metrics, Resource};

/// What is sent as `User-Agent`.
const AGENT: &str = concat!("usher/", env!("CARGO_PKG_VERSION"));

/// Answers of collectors say little.
const ANSWER: usize = 64 * 1024;

/// How long a collector is left alone that did not take a message: spans wait in the queue
/// meanwhile. After the last, the message is dropped.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Sends what the [`super::Tracer`] takes; runs beside all requests.
#[derive(Debug)]
pub struct Exporter {
    waiting: mpsc::Receiver<Message>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    resource: Resource,
    batch: usize,
    every: Duration,
    timeout: Duration,
    metrics: Metrics,
    /// Whether the last message was lost: told once, and not with each.
    failing: bool,
}

/// Why a message was not taken.
enum Untaken {
    /// Later it may be.
    Now(String),
    /// It never will.
    Ever(String),
}

impl Exporter {
    pub(super) fn new(
        settings: &config::Traces,
        roots: RootCertStore,
        waiting: mpsc::Receiver<Message>,
        metrics: Metrics,
    ) -> Result<Self, String> {
        let endpoint = settings.endpoint.parse();
        Ok(Self {
            waiting,
            client: client(roots, settings.timeout)?,
            endpoint: endpoint.map_err(|error| format!("traces.endpoint: {error}"))?,
            resource: Resource {
                service: settings.service.as_str().into(),
                instance: uuid::Uuid::new_v4().to_string().into(),
            },
            batch: settings.batch,
            every: settings.every,
            timeout: settings.timeout,
            metrics,
            failing: false,
        })
    }

    /// Sends until nobody can add a span any more.
    pub async fn run(mut self) {
        let mut spans = Vec::new();
        loop {
            let more = self.gather(&mut spans).await;
            if !spans.is_empty() {
                self.send(&spans).await;
                spans.clear();
            }
            match more {
                More::Perhaps => {}
                More::Asked(tell) => {
                    // Whoever asked may have stopped waiting.
                    let _ = tell.send(());
                }
                More::Never => return,
            }
        }
    }

    /// Waits until there are enough spans, or the first of them has waited long enough.
    async fn gather(&mut self, spans: &mut Vec<Ended>) -> More {
        let mut until = None;
        while spans.len() < self.batch {
            let message = match until {
                None => self.waiting.recv().await,
                Some(until) => match tokio::time::timeout_at(until, self.waiting.recv()).await {
                    Ok(message) => message,
                    Err(_) => return More::Perhaps,
                },
            };
            match message {
                Some(Message::Ended(ended)) => {
                    until.get_or_insert_with(|| Instant::now() + self.every);
                    spans.push(*ended);
                }
                Some(Message::Flush(tell)) => return More::Asked(tell),
                None => return More::Never,
            }
        }
        More::Perhaps
    }

    /// Sends a message, more than once if need be.
    async fn send(&mut self, spans: &[Ended]) {
        let message = Bytes::from(span::message(&self.resource, spans));
        let count = spans.len() as u64;
        let mut pauses = PAUSES.iter();
        let why = loop {
            let answered = tokio::time::timeout(self.timeout, self.post(message.clone())).await;
            let late = || Err(Untaken::Now("no answer within traces.timeout".to_owned()));
            match answered.unwrap_or_else(|_| late()) {
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    self.metrics.exported.inc_by(count - rejected);
                    self.metrics.refused.inc_by(rejected);
                    self.recovered();
                    return;
                }
                Err(Untaken::Ever(why)) => break why,
                Err(Untaken::Now(why)) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => break why,
                },
            }
        };
        self.metrics.refused.inc_by(count);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(endpoint = %self.endpoint, why, "spans are lost: the collector does not take them");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(endpoint = %self.endpoint, "the collector takes spans again");
        }
    }

    /// Sends a message once; tells how many of its spans the collector did not want.
    async fn post(&self, message: Bytes) -> Result<u64, Untaken> {
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let answered = self.client.request(request).await;
        let (head, body) = answered
            .map_err(|error| Untaken::Now(chain(&error)))?
            .into_parts();
        let why = format!("answered with {}", head.status);
        match head.status {
            status if status.is_success() => {}
            // Those that the protocol says are worth another try.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => return Err(Untaken::Now(why)),
            _ => return Err(Untaken::Ever(why)),
        }
        // Spans that were taken are not sent again because the answer cannot be read.
        let body = Limited::new(body, ANSWER).collect().await;
        Ok(body.map_or(0, |body| rejected(&body.to_bytes())))
    }
}

/// What follows what was gathered.
enum More {
    Perhaps,
    Asked(oneshot::Sender<()>),
    Never,
}

fn client(
    roots: RootCertStore,
    timeout: Duration,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(timeout));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    // A kept connection would often be found closed, and messages are seconds apart.
    Ok(Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector))
}

/// How many spans the collector says that it did not take.
fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    // 64 bits are text; some send a number all the same.
    let text = rejected.as_str().and_then(|text| text.parse().ok());
    text.or(rejected.as_u64()).unwrap_or(0)
}
