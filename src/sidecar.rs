//! The straight line: what happens to a request, in order. Whoever reads `Worker::handle`
//! and `Worker::answer` has read the product.

use std::pin::pin;
use std::sync::Arc;

use http::Version;

use crate::announced::Announced;
use crate::body::RequestBody;
use crate::caught::caught;
use crate::cors::{Grant, Rules};
use crate::denial::{Denial, Reason};
use crate::edge::{Arrival, Edge, Peer};
use crate::endpoint::{Endpoints, ForwardAuth};
use crate::gate::{Admission, Gate};
use crate::head::{Head, RequestHead};
use crate::hints::Hints;
use crate::respond::{self, Response};
use crate::route::{Routes, Target};
use crate::telemetry::{Outcome, Protocol, Record, Telemetry};
use crate::upstream::{Outgoing, Pool, Upstream};

/// What all workers share.
pub struct Sidecar {
    /// Limits, canonical forms, stripping.
    pub edge: Arc<Edge>,
    /// Where to and what is asked.
    pub routes: Routes,
    /// Who may pass.
    pub gate: Gate,
    /// Our own answers.
    pub endpoints: Endpoints,
    /// Answers to other proxies.
    pub forward_auth: ForwardAuth,
    /// What other proxies set in our place.
    pub announced: Announced,
    /// Cross-origin rules.
    pub cors: Rules,
    /// The way to the app.
    pub upstream: Upstream,
    /// Metrics and the access log.
    pub telemetry: Arc<Telemetry>,
    /// How many requests may be under way, counted until their answers have ended.
    pub max_requests: usize,
    /// Bytes that a request's head may have.
    pub head_bytes: usize,
}

/// One worker's view: what is shared, and its own connections to the app. A reload puts another
/// one in its place: each request is answered by the one that was there when it began.
#[derive(Clone)]
pub struct Worker {
    /// What all workers share.
    pub sidecar: Arc<Sidecar>,
    /// Connections that no other worker uses, by app.
    pub pools: Box<[Arc<Pool>]>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Answers a request, whatever comes: logs, counts, and turns a denial into a response.
    ///
    /// `hints` gets what the app says ahead of its answer.
    ///
    /// The head is boxed, since each step of the line would move it, and futures hold what they
    /// move twice.
    pub async fn handle(
        &self,
        peer: &Peer,
        head: Box<Head>,
        body: RequestBody,
        hints: &Hints,
    ) -> Response {
        let mut record = Record::start(&self.sidecar.telemetry, Some(&head), || peer.to_string());
        let mut grant = Grant::default();
        let (http2, grpc) = (head.version == Version::HTTP_2, respond::is_grpc(&head));
        let passage = self.answer(peer, head, (body, hints), &mut record, &mut grant);
        let answered = caught(pin!(passage)).await;
        let mut response = match answered {
            Ok(response) => response,
            Err(denial) => {
                let mut response = match grpc {
                    true => respond::grpc_denial(&denial),
                    false => respond::denial(&denial),
                };
                grant.apply(&mut response.fields);
                record.denied(denial);
                response
            }
        };
        let spoken = match (&response.tunnel, http2, grpc) {
            (Some(_), ..) => Protocol::Tunnel,
            (None, _, true) => Protocol::Grpc,
            (None, true, false) => Protocol::Http2,
            (None, false, false) => Protocol::Http1,
        };
        self.sidecar.telemetry.metrics().spoken(spoken);
        response.body.record(record);
        response
    }

    /// Answers what cannot be asked: a head that cannot be read, or one without a clear end.
    pub fn refuse(&self, peer: &Peer, head: Option<&Head>, denial: Denial) -> Response {
        let mut record = Record::start(&self.sidecar.telemetry, head, || peer.to_string());
        let mut response = match head.is_some_and(respond::is_grpc) {
            true => respond::grpc_denial(&denial),
            false => respond::denial(&denial),
        };
        record.denied(denial);
        response.body.record(record);
        response
    }

    /// The line itself.
    async fn answer(
        &self,
        peer: &Peer,
        mut head: Box<Head>,
        (body, hints): (RequestBody, &Hints),
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Response, Denial> {
        let sidecar = &*self.sidecar;
        if record.under_way() > sidecar.max_requests {
            return Err(overloaded());
        }

        let arrival = sidecar.edge.receive(peer, &mut head)?;
        record.mark(&mut head.fields, arrival.scheme);
        let request = sidecar.edge.read(peer, &arrival, &head)?;

        let route = sidecar.routes.find(&request)?;
        record.route(route.index);
        *grant = sidecar.cors.grant(route, &request);

        if let Some(mut response) = sidecar.cors.preflight(route, &request) {
            grant.apply(&mut response.fields);
            record.ended(Outcome::Answered, response.status);
            return Ok(response);
        }

        let admission = sidecar.gate.admit(&request, route).await?;
        record.admitted(admission.verified());

        if let Target::ForwardAuth(door) = route.target {
            let question = (arrival, head);
            return Box::pin(sidecar.advise(door, peer, question, record, grant)).await;
        }
        if route.target != Target::Upstream {
            // Boxed, as is everything that most requests do not need: a small future is moved
            // for less.
            let mut answer = Box::pin(sidecar.endpoints.answer(route.target, &request, body)).await;
            grant.apply(&mut answer.response.fields);
            record.admitted(answer.verified.as_ref());
            record.answered(answer.response.status, answer.denial);
            return Ok(answer.response);
        }

        let pool = route.upstream.and_then(|place| self.pools.get(place));
        let pool = pool.ok_or_else(nowhere)?;
        if let Some(prefix) = &route.prefix {
            prefix.apply(&mut head)?;
        }
        let outgoing = Outgoing {
            peer,
            arrival: &arrival,
            edge: &sidecar.edge,
            head,
            body,
            hints,
        };
        let mut answer = sidecar.upstream.send(pool, admission, outgoing).await?;
        grant.apply_to_app(&mut answer.fields);
        record.ended(Outcome::Forwarded, answer.status);
        Ok(answer.into())
    }
}

impl Sidecar {
    /// Decides about a request that another proxy describes: the same steps as on the line, from
    /// where it has arrived up to where it would leave.
    ///
    /// # Errors
    /// Every denial that the request itself would have got.
    pub async fn judge(
        &self,
        peer: &Peer,
        arrival: &Arrival,
        head: &Head,
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Admission, Denial> {
        let request = RequestHead {
            // The proxy's own is not its client's.
            certificate: None,
            ..self.edge.read(peer, arrival, head)?
        };
        record.describes(head, request.client);

        let route = self.routes.find_to_app(&request)?;
        record.route(route.index);
        *grant = self.cors.grant(route, &request);

        let admission = self.gate.admit(&request, route).await?;
        record.admitted(admission.verified());
        Ok(admission)
    }

    /// Answers another proxy, which asks in place of its client.
    async fn advise(
        &self,
        door: usize,
        peer: &Peer,
        (arrival, mut head): (Arrival, Box<Head>),
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Response, Denial> {
        if !self.edge.trusts(peer) {
            return Err(untrusted());
        }
        record.door("forward_auth");
        let described = self.forward_auth.describe(door, &mut head);
        let arrival = described.and_then(|scheme| self.edge.receive_asked(arrival, &head, scheme));
        let decided = match arrival {
            Ok(arrival) => self.judge(peer, &arrival, &head, record, grant).await,
            Err(denial) => Err(denial),
        };
        let response = match &decided {
            Ok(admission) => {
                let mut lines = Vec::new();
                self.upstream.announce(admission, &mut lines);
                let headers = self.announced.headers(&lines);
                self.forward_auth.allow(door, &head, admission, headers)
            }
            Err(denial) => {
                let mut response = self.forward_auth.deny(door, denial);
                grant.apply(&mut response.fields);
                response
            }
        };
        record.answered(response.status, decided.err());
        Ok(response)
    }
}

/// Whoever describes a request decides about it.
pub(crate) fn untrusted() -> Denial {
    Denial::new(
        Reason::ProxyUntrusted,
        "who asks is not among `trusted_proxies`",
    )
}

/// Somebody forwards requests to a usher that is only asked about them.
fn nowhere() -> Denial {
    Denial::new(
        Reason::UpstreamUnreachable,
        "there is no `upstream`: this usher only decides",
    )
}

/// More requests are under way than there may be.
pub(crate) fn overloaded() -> Denial {
    Denial::new(Reason::Overloaded, "limits.requests is reached")
}
