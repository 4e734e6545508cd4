//! The straight line: what happens to a request, in order. Whoever reads `Worker::handle`
//! and `Worker::answer` has read the product.

mod advice;

use std::pin::pin;
use std::sync::Arc;

use http::{StatusCode, Version};

use crate::announced::Announced;
use crate::body::RequestBody;
use crate::caught::caught;
use crate::cors::{Grant, Rules};
use crate::denial::{Denial, Reason};
use crate::edge::{self, Edge, Peer};
use crate::endpoint::{Endpoints, ForwardAuth};
use crate::gate::Gate;
use crate::head::Head;
use crate::hints::Hints;
use crate::respond::{self, Response};
use crate::route::{Routes, Target};
use crate::telemetry::{Outcome, Protocol, Record, Telemetry};
use crate::upstream::{Outgoing, Pool, Upstream};

pub use advice::Judgement;

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
        let manner = self.sidecar.manner(&head, grpc);
        let asked = matches!(manner, Manner::Door(_));
        let answered = match manner {
            Manner::Door(door) => {
                let question = (peer, head);
                let advice = self.sidecar.advise(door, question, &mut record, &mut grant);
                caught(pin!(advice)).await
            }
            Manner::Plain | Manner::Grpc => {
                let passage = self.answer(peer, head, (body, hints), &mut record, &mut grant);
                caught(pin!(passage)).await
            }
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(denial) => {
                let mut response = self.sidecar.deny(manner, &denial);
                grant.apply(&mut response.fields);
                record.answered(manner.status(&response, &denial), Some(denial));
                response
            }
        };
        let spoken = match (&response.tunnel, http2, grpc && !asked) {
            (Some(_), ..) => Protocol::Tunnel,
            (None, _, true) => Protocol::Grpc,
            (None, true, false) => Protocol::Http2,
            (None, false, false) => Protocol::Http1,
        };
        self.sidecar.telemetry.metrics().spoken(spoken);
        response.body.record(record);
        response
    }

    /// Answers a request without a clear end.
    pub fn refuse(&self, peer: &Peer, head: &Head, denial: Denial) -> Response {
        let record = Record::start(&self.sidecar.telemetry, Some(head), || peer.to_string());
        let manner = self.sidecar.manner(head, respond::is_grpc(head));
        self.refused(record, manner, denial)
    }

    /// Answers a head that cannot be read; `target` as far as it came.
    pub fn refuse_unread(&self, peer: &Peer, target: &[u8], denial: Denial) -> Response {
        let record = Record::start(&self.sidecar.telemetry, None, || peer.to_string());
        let door = self.sidecar.forward_auth.door(target);
        self.refused(record, door.map_or(Manner::Plain, Manner::Door), denial)
    }

    fn refused(&self, mut record: Record, manner: Manner, denial: Denial) -> Response {
        if let Manner::Door(_) = manner {
            record.door("forward_auth");
        }
        let mut response = self.sidecar.deny(manner, &denial);
        record.answered(manner.status(&response, &denial), Some(denial));
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
            return Ok(sidecar.refuse_respelt(door, record));
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

/// How a refusal is said.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Plain,
    /// 200, with the status in fields of its own.
    Grpc,
    /// As the proxy of this entry of `forward_auth` reads it.
    Door(usize),
}

impl Manner {
    /// The status that is written down: not gRPC's own, which is no other for a refusal.
    fn status(self, response: &Response, denial: &Denial) -> StatusCode {
        match self {
            Self::Grpc => denial.status(),
            Self::Plain | Self::Door(_) => response.status,
        }
    }
}

impl Sidecar {
    /// How a request's refusal is said, whatever is found out about it.
    ///
    /// gRPC says it with 200, which whoever asks about somebody else's request takes for a yes, and
    /// a question's `Content-Type` is the client's. So nobody who asks hears it: not at a door, not
    /// at an endpoint, and where there are doors, nowhere, since a proxy may ask beside them.
    fn manner(&self, head: &Head, grpc: bool) -> Manner {
        if let Some(door) = self
            .forward_auth
            .door(head.target.path_and_query().as_bytes())
        {
            return Manner::Door(door);
        }
        match grpc && !self.forward_auth.is_asked() && !self.is_own(head) {
            true => Manner::Grpc,
            false => Manner::Plain,
        }
    }

    /// Whether a request is for one of our own endpoints.
    fn is_own(&self, head: &Head) -> bool {
        let path = edge::canonical_path(head.target.path());
        path.is_ok_and(|path| self.routes.is_own(&path.text))
    }

    fn deny(&self, manner: Manner, denial: &Denial) -> Response {
        match manner {
            Manner::Plain => respond::denial(denial),
            Manner::Grpc => respond::grpc_denial(denial),
            Manner::Door(door) => self.forward_auth.deny(door, denial),
        }
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
