//! Envoy asks by gRPC: `envoy.service.auth.v3.Authorization/Check`, on a listener of its own.
//!
//! `question` turns what Envoy says into a head and a peer, the sidecar judges it as it would on
//! the line, and `verdict` puts the outcome into Envoy's words.

mod question;
mod verdict;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use http::StatusCode;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;

use crate::aside;
use crate::caught::caught;
use crate::cors::Grant;
use crate::denial::Denial;
use crate::drain::Guard;
use crate::edge::Peer;
use crate::head::Scheme;
use crate::limit::Seldom;
use crate::sidecar::{Judgement, Sidecar, overloaded, untrusted};
use crate::telemetry::Record;

use question::Question;
use verdict::Verdict;

/// Connections of trusted proxies at once; Envoy opens one for each of its threads.
const MAX_CONNECTIONS: usize = 1024;

/// Connections of everybody else at once: enough to be told.
const MAX_STRANGERS: usize = 16;

/// How long they may stay.
const STRANGERS_STAY: Duration = Duration::from_secs(5);

/// Questions at once on one connection; `limits.requests` bounds all of them together.
const MAX_STREAMS: u32 = 1024;

/// Bytes of a question's own headers, which gRPC needs few of.
const QUESTION_HEADERS: u32 = 16 * 1024;

/// What a question may hold beside the request's head: addresses, certificates, labels.
const BESIDE_HEAD: usize = 64 * 1024;

/// How often an idle connection is asked whether anybody is there, and how long it may be silent.
const PING: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(10);

/// The listener.
pub struct ExtAuthz {
    listener: TcpListener,
    /// What decides; a reload swaps it.
    sidecar: Arc<ArcSwap<Sidecar>>,
}

impl ExtAuthz {
    /// Serves on a bound listener.
    pub fn new(listener: TcpListener, sidecar: Arc<ArcSwap<Sidecar>>) -> Self {
        Self { listener, sidecar }
    }

    /// The real address.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped; connections that are there then finish when `guard` says so.
    pub async fn run(self, guard: Guard) {
        let known = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        let next = || self.listener.accept();
        aside::accept("ext_authz", next, |(stream, address)| {
            let peer = Peer::new(Some(address), Scheme::Http);
            let sidecar = self.sidecar.load();
            let trusted = sidecar.edge.trusts(&peer);
            let places = if trusted { &known } else { &strangers };
            let Ok(place) = places.clone().try_acquire_owned() else {
                static FULL: Seldom = Seldom::new();
                if let Some(times) = FULL.again() {
                    tracing::warn!(client = %peer, times, "an ext_authz connection is one too many");
                }
                return None;
            };
            let checks = Checks {
                sidecar: self.sidecar.clone(),
                peer,
            };
            // A head may come as text and in bytes.
            let max_bytes = 2 * sidecar.head_bytes + BESIDE_HEAD;
            let served = serve(stream, checks, max_bytes, guard.clone());
            Some(async move {
                match trusted {
                    true => served.await,
                    // Whoever takes longer to be told does not want to know.
                    false => drop(tokio::time::timeout(STRANGERS_STAY, served).await),
                }
                drop(place);
            })
        })
        .await;
    }
}

/// Serves one connection until either side ends it.
async fn serve(stream: TcpStream, checks: Checks, max_bytes: usize, mut guard: Guard) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let client = checks.peer.to_string();
    let service = AuthorizationServer::new(checks.clone()).max_decoding_message_size(max_bytes);
    let service = InterceptedService::new(service, checks);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(QUESTION_HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = guard.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client, "an ext_authz connection ended");
    }
}

/// Answers the questions of one connection.
#[derive(Clone)]
struct Checks {
    sidecar: Arc<ArcSwap<Sidecar>>,
    peer: Peer,
}

/// Looks who asks before anything of the question is read.
impl Interceptor for Checks {
    fn call(&mut self, asked: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        let sidecar = self.sidecar.load();
        if sidecar.edge.trusts(&self.peer) {
            return Ok(asked);
        }
        let mut record = Record::start(&sidecar.telemetry, None, || self.peer.to_string());
        record.door("ext_authz");
        record.denied(untrusted());
        let why = "who asks is not among trusted_proxies";
        Err(tonic::Status::permission_denied(why))
    }
}

#[tonic::async_trait]
impl Authorization for Checks {
    async fn check(
        &self,
        asked: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let sidecar = self.sidecar.load_full();
        let question = Question::read(asked.into_inner());
        let head = question.as_ref().ok().map(|question| &question.head);
        let mut record = Record::start(&sidecar.telemetry, head, || self.peer.to_string());
        record.door("ext_authz");
        let mut grant = Grant::default();
        let judged = judge(&sidecar, question, &mut record, &mut grant);
        let judged = caught(pin!(judged)).await;
        let verdict = judged.unwrap_or_else(|denial| {
            let verdict = Verdict::deny(&denial, &grant);
            record.denied(denial);
            verdict
        });
        Ok(tonic::Response::new(verdict.into_answer()))
    }
}

/// A yes, or why not.
async fn judge(
    sidecar: &Sidecar,
    question: Result<Question, Denial>,
    record: &mut Record,
    grant: &mut Grant,
) -> Result<Verdict, Denial> {
    if record.under_way() > sidecar.max_requests {
        return Err(overloaded());
    }
    let Question { mut head, peer } = question?;
    let came = head.clone();
    let arrival = sidecar.edge.receive_described(&peer, &mut head)?;
    record.describes(&head, arrival.forwarding.client());
    let judged = sidecar.judge((&peer, &arrival, &head), true, record, grant);
    let (verdict, status) = match judged.await? {
        Judgement::Answer(response) => {
            let status = response.status;
            (Verdict::answer(*response, None), status)
        }
        Judgement::Pass(admission) => {
            sidecar.upstream.take_token(&mut head);
            let announced = &sidecar.announced;
            let said = announced.said(&sidecar.upstream, &admission);
            let told = (&said, announced.missing(&said));
            let verdict = Verdict::allow(&admission, told, (&came, &head), grant);
            (verdict, StatusCode::OK)
        }
    };
    record.answered(status, None);
    Ok(verdict)
}

/// For `fuzz/`: the head and the peer of a question. The bytes are method, path, host, scheme and address, each
/// on a line, and then header lines.
#[cfg(feature = "fuzzing")]
pub fn fuzz(bytes: &[u8]) -> Option<(crate::head::Head, Peer)> {
    use envoy_types::ext_authz::v3::pb::Address;
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::service::auth::v3::attribute_context as context;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut text = || String::from_utf8(lines.next()?.to_vec()).ok();
    let (method, path, host, scheme) = (text()?, text()?, text()?, text()?);
    let socket = core::SocketAddress {
        address: text()?,
        ..core::SocketAddress::default()
    };
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some(core::HeaderValue {
            key: String::from_utf8(line[..colon].to_vec()).ok()?,
            raw_value: line[colon + 1..].to_vec(),
            ..core::HeaderValue::default()
        })
    };
    let headers = lines.filter_map(header).collect();
    let http = context::HttpRequest {
        method,
        path,
        host,
        scheme,
        header_map: Some(core::HeaderMap { headers }),
        ..context::HttpRequest::default()
    };
    let address = core::Address {
        address: Some(Address::SocketAddress(socket)),
    };
    let asked = CheckRequest {
        attributes: Some(
            envoy_types::pb::envoy::service::auth::v3::AttributeContext {
                source: Some(context::Peer {
                    address: Some(address),
                    ..context::Peer::default()
                }),
                request: Some(context::Request {
                    http: Some(http),
                    ..context::Request::default()
                }),
                ..Default::default()
            },
        ),
    };
    let Question { head, peer } = Question::read(asked).ok()?;
    Some((head, peer))
}
