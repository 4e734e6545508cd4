//! What another proxy may do with a request that it describes: the steps of the line, from where the
//! request has arrived up to where it would leave.

use crate::cors::Grant;
use crate::denial::Denial;
use crate::edge::{Arrival, Peer};
use crate::gate::Admission;
use crate::head::{Head, RequestHead};
use crate::respond::Response;
use crate::telemetry::Record;

use super::{Sidecar, overloaded, untrusted};

/// What another proxy may do with a request.
#[derive(Debug)]
pub enum Judgement {
    /// Forward it.
    Pass(Admission),
    /// Give its client this answer.
    Answer(Box<Response>),
}

impl Sidecar {
    /// Answers another proxy, which asks in place of its client.
    pub(super) async fn advise(
        &self,
        door: usize,
        (peer, mut head): (&Peer, Box<Head>),
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Response, Denial> {
        record.door("forward_auth");
        record.route(self.routes.door(door));
        if record.under_way() > self.max_requests {
            return Err(overloaded());
        }
        let question = self.edge.receive(peer, &mut head)?;
        if !question.forwarding.is_trusted() {
            return Err(untrusted());
        }
        record.mark(&mut head.fields, question.scheme);

        let scheme = self.forward_auth.describe(door, &mut head)?;
        record.describes(&head, question.forwarding.client());
        let arrival = self.edge.receive_asked(question, &head, scheme)?;

        let preflights = self.forward_auth.answers_preflights(door);
        let described = (peer, &arrival, &*head);
        let response = match self.judge(described, preflights, record, grant).await? {
            Judgement::Pass(admission) => {
                let mut said = self.announced.said(&self.upstream, &admission);
                self.announced.empty_others(&mut said);
                let mut response = self.forward_auth.allow(door, &head, &admission, said);
                grant.apply_to_app(&mut response.fields);
                response
            }
            Judgement::Answer(response) => *response,
        };
        record.answered(response.status, None);
        Ok(response)
    }

    /// Answers what is a door's path once it is read, and was not recognised as it came: a question
    /// spells it as it is configured.
    pub(super) fn refuse_respelt(&self, door: usize, record: &mut Record) -> Response {
        record.door("forward_auth");
        let denial = self.forward_auth.misplaced(door);
        let response = self.forward_auth.deny(door, &denial);
        record.answered(response.status, Some(denial));
        response
    }

    /// Decides about a request that another proxy describes. A preflight is answered if `preflights`
    /// says that the proxy can pass that on.
    ///
    /// # Errors
    /// Every denial that the request itself would have got.
    pub async fn judge(
        &self,
        (peer, arrival, head): (&Peer, &Arrival, &Head),
        preflights: bool,
        record: &mut Record,
        grant: &mut Grant,
    ) -> Result<Judgement, Denial> {
        let request = RequestHead {
            // The proxy's own is not its client's.
            certificate: None,
            ..self.edge.read(peer, arrival, head)?
        };

        let route = self.routes.find_to_app(&request)?;
        record.route(route.index);
        *grant = self.cors.grant(route, &request);

        let preflight = || self.cors.preflight(route, &request);
        if let Some(mut response) = preflights.then(preflight).flatten() {
            grant.apply(&mut response.fields);
            return Ok(Judgement::Answer(Box::new(response)));
        }

        let admission = self.gate.admit(&request, route).await?;
        record.admitted(admission.verified());
        Ok(Judgement::Pass(admission))
    }
}
