//! The straight line: what happens to a request, in order. Whoever reads `Worker::handle`
//! and `Worker::answer` has read the product.

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::cors::{Grant, Rules};
use crate::denial::Denial;
use crate::drain::Guard;
use crate::edge::{Edge, Peer};
use crate::endpoint::Endpoints;
use crate::gate::Gate;
use crate::respond::{self, Body};
use crate::route::{Routes, Target};
use crate::telemetry::{Outcome, Record, Telemetry};
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
    /// Cross-origin rules.
    pub cors: Rules,
    /// The way to the app.
    pub upstream: Upstream,
    /// Metrics and the access log.
    pub telemetry: Arc<Telemetry>,
    /// How many requests may be under way, counted until their answers have ended.
    pub max_requests: usize,
}

/// One worker's view: what is shared, and its own connections to the app.
#[derive(Clone)]
pub struct Worker {
    /// What all workers share.
    pub sidecar: Arc<Sidecar>,
    /// Connections that no other worker uses.
    pub pool: Arc<Pool>,
}

impl Worker {
    /// Answers a request, whatever comes: logs, counts, and turns a denial into a response.
    pub async fn handle(
        &self,
        peer: &Peer,
        guard: &Guard,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        // Boxed, since each step of the line would move it, and futures hold what they move twice.
        let parts = Box::new(parts);
        let mut record = Record::start(&self.sidecar.telemetry, &parts, || peer.to_string());
        let mut grant = Grant::default();
        let passage = self.answer(peer, guard, parts, body, &mut record, &mut grant);
        let mut response = passage.await.unwrap_or_else(|denial| {
            let mut response = respond::denial(&denial);
            grant.apply(response.headers_mut());
            record.denied(denial);
            response
        });
        response.body_mut().record(record);
        response
    }

    /// The line itself.
    async fn answer(
        &self,
        peer: &Peer,
        guard: &Guard,
        mut parts: Box<Parts>,
        body: Incoming,
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Response<Body>, Denial> {
        let sidecar = &*self.sidecar;
        if record.under_way() > sidecar.max_requests {
            return Err(overloaded());
        }

        let arrival = sidecar.edge.receive(peer, &mut parts)?;
        let head = sidecar.edge.read(&arrival, &parts)?;

        let route = sidecar.routes.find(&head)?;
        record.route(route.index);
        *grant = sidecar.cors.grant(route, &head);

        if let Some(mut response) = sidecar.cors.preflight(route, &head) {
            grant.apply(response.headers_mut());
            record.ended(Outcome::Answered, response.status());
            return Ok(response);
        }

        let admission = sidecar.gate.admit(&head, route).await?;
        record.admitted(admission.verified());

        if route.target != Target::Upstream {
            // Boxed, as is everything that most requests do not need: a small future is moved
            // for less.
            let mut answer = Box::pin(sidecar.endpoints.answer(route.target, &head)).await;
            grant.apply(answer.response.headers_mut());
            record.admitted(answer.verified.as_ref());
            record.answered(answer.response.status(), answer.denial);
            return Ok(answer.response);
        }

        let outgoing = Outgoing {
            peer,
            arrival: &arrival,
            edge: &sidecar.edge,
            parts,
            body,
            guard,
        };
        let mut response = sidecar
            .upstream
            .send(&self.pool, admission, outgoing)
            .await?;
        grant.apply_to_app(response.headers_mut());
        record.ended(Outcome::Forwarded, response.status());
        Ok(response.map(Body::from))
    }
}

fn overloaded() -> Denial {
    Denial::new(
        crate::denial::Reason::Overloaded,
        "limits.requests is reached",
    )
}
