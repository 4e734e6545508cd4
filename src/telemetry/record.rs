//! The record of one request, written when the body of its answer ends.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, StatusCode, Version, header};
use tokio::time::Instant;

use crate::denial::Denial;
use crate::fields::Fields;
use crate::head::{Head, Scheme, Target};
use crate::identify::Verified;

use super::Telemetry;
use super::access::{self, Line};
use super::traces::{Ended, Span};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The app answered.
    Forwarded,
    /// usher answered as one of its endpoints.
    Answered,
    /// The request was denied.
    Denied,
}

impl Outcome {
    /// The name in metrics and logs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Denied => "denied",
        }
    }
}

/// What is known about a request, filled in along the line.
///
/// Dropping it counts the request and writes its line: no request is ever unrecorded, also
/// when the client goes away in the middle.
#[derive(Debug)]
pub struct Record {
    telemetry: Arc<Telemetry>,
    started: Instant,
    route: Option<usize>,
    outcome: Outcome,
    denial: Option<Box<Denial>>,
    /// The requests under way when it began, itself included.
    under_way: usize,
    /// Present when an access line or a span is wanted.
    details: Option<Box<Details>>,
}

/// What only the access line and the span need.
#[derive(Debug)]
struct Details {
    /// Method and target; `None` when the head could not be read.
    asked: Option<(Method, Target)>,
    host: Option<Box<[u8]>>,
    client: String,
    door: Option<&'static str>,
    verified: Option<Arc<Verified>>,
    status: StatusCode,
    bytes: u64,
    cut: Option<String>,
    version: Option<Version>,
    span: Option<Box<Span>>,
}

impl Record {
    /// Starts with the head as it arrived, if it could be read.
    pub fn start(
        telemetry: &Arc<Telemetry>,
        head: Option<&Head>,
        client: impl FnOnce() -> String,
    ) -> Self {
        let before = telemetry.metrics.in_flight.inc();
        let wanted = telemetry.access.is_some() || telemetry.tracer.is_some();
        let details = wanted.then(|| {
            Box::new(Details {
                asked: head.map(|head| (head.method.clone(), head.target.clone())),
                host: head
                    .and_then(|head| head.fields.get(&header::HOST))
                    .map(Box::from),
                client: client(),
                door: None,
                verified: None,
                status: StatusCode::OK,
                bytes: 0,
                cut: None,
                version: head.map(|head| head.version),
                span: span(telemetry, head),
            })
        });
        Self {
            telemetry: telemetry.clone(),
            started: Instant::now(),
            route: None,
            // Until something else is known, the client is gone without an answer.
            outcome: Outcome::Denied,
            denial: None,
            under_way: usize::try_from(before).unwrap_or(0) + 1,
            details,
        }
    }

    /// The requests that were under way when this one began, itself included; it counts until
    /// its answer has ended.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// The route that matched.
    pub fn route(&mut self, index: usize) {
        self.route = Some(index);
    }

    /// Tells whoever is asked next that this request asks; where spans are not exported, what the
    /// client has told them stays.
    pub fn mark(&mut self, fields: &mut Fields, scheme: Scheme) {
        let details = self.details.as_mut();
        if let Some(span) = details.and_then(|details| details.span.as_mut()) {
            span.mark(fields, scheme);
        }
    }

    /// The door that it came through, where that is not the proxy's own.
    pub fn door(&mut self, name: &'static str) {
        if let Some(details) = &mut self.details {
            details.door = Some(name);
        }
    }

    /// The request that it is about, in place of the one that asks about it.
    pub fn describes(&mut self, head: &Head, client: Option<IpAddr>) {
        if let Some(details) = &mut self.details {
            details.asked = Some((head.method.clone(), head.target.clone()));
            details.host = head.fields.get(&header::HOST).map(Box::from);
            if let Some(client) = client {
                details.client = client.to_string();
            }
        }
    }

    /// Who was let through.
    pub fn admitted(&mut self, verified: Option<&Arc<Verified>>) {
        if let Some(details) = &mut self.details {
            details.verified = verified.cloned();
        }
    }

    /// How it ended, as far as the head of the answer tells.
    pub fn ended(&mut self, outcome: Outcome, status: StatusCode) {
        self.outcome = outcome;
        if let Some(details) = &mut self.details {
            details.status = status;
        }
    }

    /// Why it was denied.
    pub fn denied(&mut self, denial: Denial) {
        self.ended(Outcome::Denied, denial.status());
        self.denial = Some(Box::new(denial));
    }

    /// An endpoint answered, with a denial in its own words or without one.
    pub fn answered(&mut self, status: StatusCode, denial: Option<Denial>) {
        match denial {
            Some(denial) => self.denied(denial),
            None => self.outcome = Outcome::Answered,
        }
        self.ended(self.outcome, status);
    }

    /// Bytes of the body went out.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(details) = &mut self.details {
            details.bytes += bytes as u64;
        }
    }

    /// The body broke off.
    pub fn cut(&mut self, error: &dyn std::fmt::Display) {
        if let Some(details) = &mut self.details {
            details.cut = Some(error.to_string());
        }
    }

    fn line<'a>(&'a self, details: &'a Details, seconds: f64) -> Line<'a> {
        let denial = self.denial.as_deref();
        let asked = details.asked.as_ref();
        let identity = details.verified.as_ref().map(|verified| &verified.identity);
        Line {
            time: self.telemetry.clock.now_millis(),
            level: access::level(denial.map(|denial| denial.reason)),
            kind: "access",
            method: asked.map_or("-", |(method, _)| method.as_str()),
            host: details
                .host
                .as_deref()
                .and_then(|host| str::from_utf8(host).ok()),
            path: asked.map_or("-", |(_, target)| target.path()),
            status: details.status.as_u16(),
            outcome: self.outcome.id(),
            reason: denial.map(|denial| denial.reason.id()),
            detail: denial.map(|denial| denial.detail.as_ref()),
            route: self
                .route
                .and_then(|index| self.telemetry.routes.get(index))
                .map(String::as_str),
            issuer: identity.map(|identity| &*identity.issuer),
            user: identity.map(|identity| identity.id()),
            token: match &details.verified {
                Some(verified) => Some(verified.fingerprint.to_string().into()),
                None => denial.and_then(|denial| denial.token.as_deref().map(Cow::Borrowed)),
            },
            trace: details.span.as_ref().map(|span| span.trace()),
            client: &details.client,
            door: details.door,
            bytes: details.bytes,
            cut: details.cut.as_deref(),
            seconds,
        }
    }
}

/// The request's part in its trace, where spans are exported.
fn span(telemetry: &Telemetry, head: Option<&Head>) -> Option<Box<Span>> {
    let tracer = telemetry.tracer.as_ref()?;
    tracer.begin(&head?.fields, telemetry.clock.now_millis())
}

impl Record {
    /// Tells the trace, if anybody listens.
    fn tell(&mut self, seconds: f64) {
        let Some(tracer) = &self.telemetry.tracer else {
            return;
        };
        let Some(mut details) = self.details.take() else {
            return;
        };
        let Some(span) = details.span.take().filter(|span| span.is_sampled()) else {
            return;
        };
        let routes = &self.telemetry.routes;
        tracer.end(Ended {
            span,
            asked: details.asked,
            version: details.version,
            host: details.host,
            client: details.client,
            door: details.door,
            status: details.status,
            outcome: self.outcome.id(),
            reason: self.denial.as_ref().map(|denial| denial.reason.id()),
            route: self.route.and_then(|index| routes.get(index)).cloned(),
            bytes: details.bytes,
            cut: details.cut,
            seconds,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let metrics = &self.telemetry.metrics;
        metrics.in_flight.dec();
        if self.denial.is_none() && self.outcome == Outcome::Denied {
            self.denied(Denial::new(
                crate::denial::Reason::ClientGone,
                "the client left before the answer",
            ));
        }
        let denial = self.denial.as_deref();
        self.telemetry
            .metrics
            .finish(self.route, self.outcome, denial, seconds);
        if let (Some(details), Some(access)) = (&self.details, &self.telemetry.access)
            && denial.is_none_or(|denial| access.tells(denial.reason))
        {
            access.write(&self.line(details, seconds));
        }
        self.tell(seconds);
    }
}
