//! Counters and histograms, their handles resolved at start.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::denial::{Denial, Reason};

use super::record::Outcome;

/// What is counted about requests and connections.
#[derive(Debug)]
pub struct Metrics {
    routes: Vec<RouteMetrics>,
    requests: Family<RequestLabels, Counter>,
    seconds: Seconds,
    /// Requests under way.
    pub in_flight: Gauge,
    /// Client connections.
    pub connections: ConnectionMetrics,
    lines_lost: Counter,
    protocols: [Counter; 4],
}

/// What a request was spoken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
    /// A WebSocket, or another protocol that the app has switched to, over either.
    Tunnel,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Grpc, Self::Tunnel];

    /// The name in metrics.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tunnel => "tunnel",
        }
    }
}

/// What is counted about client connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed at once since `limits.connections` was reached.
    pub refused: Counter,
    /// Connections closed since a time of `timeouts` was over.
    pub timed_out: Counter,
    /// Connections that ended with something that is not HTTP.
    pub broken: Counter,
    /// Open connections.
    pub open: Gauge,
    /// Connections that speak HTTP/2.
    pub http2: Counter,
    /// Requests under way on them.
    pub streams: Gauge,
    /// The same by listener.
    listeners: Family<ListenerLabels, Gauge>,
    /// Connections closed since no usable PROXY header came.
    proxy_failures: Family<CauseLabels, Counter>,
    /// Connections closed since their TLS handshake failed.
    handshake_failures: Family<CauseLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabels {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    pub(super) cause: &'static str,
}

/// The handles that most requests need.
#[derive(Debug)]
struct RouteMetrics {
    name: String,
    forwarded: Counter,
    answered: Counter,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    outcome: &'static str,
    reason: &'static str,
}

/// How long requests take, by route.
type Seconds = Family<Vec<(&'static str, String)>, Histogram, fn() -> Histogram>;

/// Seconds; from what a cached answer takes to what a client waits for.
const BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0,
];

impl Metrics {
    pub(super) fn new(routes: &[String], registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Seconds::new_with_constructor(|| Histogram::new(BUCKETS));
        let in_flight = Gauge::default();
        let connections = ConnectionMetrics::default();
        let lines_lost = Counter::default();
        registry.register(
            "requests",
            "Requests by route, outcome (forwarded, answered, denied) and reason of the denial",
            requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From a request's head to the end of its answer",
            seconds.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests under way",
            in_flight.clone(),
        );
        registry.register(
            "access_lines_lost",
            "Access lines dropped since the reader was too slow",
            lines_lost.clone(),
        );
        connections.register(registry);
        let protocols = Family::<ProtocolLabels, Counter>::default();
        registry.register(
            "protocol_requests",
            "Requests by what they were spoken in (http1, http2, grpc, tunnel)",
            protocols.clone(),
        );
        Self {
            routes: Vec::new(),
            requests,
            seconds,
            in_flight,
            connections,
            lines_lost,
            protocols: Protocol::ALL.map(|protocol| {
                let labels = ProtocolLabels {
                    protocol: protocol.id(),
                };
                protocols.get_or_create_owned(&labels)
            }),
        }
        .for_routes(routes)
    }

    /// Counts a request by what it was spoken in.
    pub fn spoken(&self, protocol: Protocol) {
        if let Some(counter) = self.protocols.get(protocol as usize) {
            counter.inc();
        }
    }

    /// The same numbers, with handles for these routes.
    pub(super) fn for_routes(&self, routes: &[String]) -> Self {
        let route = |name: &String| RouteMetrics::new(name, &self.requests, &self.seconds);
        Self {
            routes: routes.iter().map(route).collect(),
            requests: self.requests.clone(),
            seconds: self.seconds.clone(),
            in_flight: self.in_flight.clone(),
            connections: self.connections.clone(),
            lines_lost: self.lines_lost.clone(),
            protocols: self.protocols.clone(),
        }
    }

    pub(super) fn lines_lost(&self) -> Counter {
        self.lines_lost.clone()
    }

    /// Counts a request that came to its end.
    pub(super) fn finish(
        &self,
        route: Option<usize>,
        outcome: Outcome,
        denial: Option<&Denial>,
        seconds: f64,
    ) {
        let route = route.and_then(|index| self.routes.get(index));
        match (outcome, route) {
            (Outcome::Forwarded, Some(route)) => route.forwarded.inc(),
            (Outcome::Answered, Some(route)) => route.answered.inc(),
            _ => self.deny(
                route,
                denial.map_or(Reason::Internal, |denial| denial.reason),
            ),
        };
        if let Some(route) = route {
            route.seconds.observe(seconds);
        }
    }

    fn deny(&self, route: Option<&RouteMetrics>, reason: Reason) -> u64 {
        let labels = RequestLabels {
            route: route.map_or_else(String::new, |route| route.name.clone()),
            outcome: Outcome::Denied.id(),
            reason: reason.id(),
        };
        self.requests.get_or_create(&labels).inc()
    }
}

impl RouteMetrics {
    fn new(name: &str, requests: &Family<RequestLabels, Counter>, seconds: &Seconds) -> Self {
        let counter = |outcome: Outcome| {
            requests.get_or_create_owned(&RequestLabels {
                route: name.to_owned(),
                outcome: outcome.id(),
                reason: "",
            })
        };
        Self {
            name: name.to_owned(),
            forwarded: counter(Outcome::Forwarded),
            answered: counter(Outcome::Answered),
            seconds: seconds.get_or_create_owned(&vec![("route", name.to_owned())]),
        }
    }
}

impl ConnectionMetrics {
    /// The open connections of one listener.
    pub fn listener(&self, name: String) -> Gauge {
        let labels = ListenerLabels { listener: name };
        self.listeners.get_or_create_owned(&labels)
    }

    /// Counts a connection that was closed since no usable PROXY header came.
    pub fn no_proxy_header(&self, cause: &'static str) {
        self.proxy_failures
            .get_or_create_owned(&CauseLabels { cause })
            .inc();
    }

    /// Counts a connection that was closed since its TLS handshake failed.
    pub fn no_handshake(&self, cause: &'static str) {
        self.handshake_failures
            .get_or_create_owned(&CauseLabels { cause })
            .inc();
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("connections");
        // What never happened counts 0: a counter that appears only with the first failure hides it
        // from whoever computes rates.
        for cause in ["peer", "malformed", "unsupported", "ended"] {
            self.proxy_failures
                .get_or_create_owned(&CauseLabels { cause });
        }
        for cause in [
            "ended",
            "late",
            "certificate_missing",
            "certificate_refused",
            "protocol",
            "incompatible",
            "alert",
            "malformed",
        ] {
            self.handshake_failures
                .get_or_create_owned(&CauseLabels { cause });
        }
        registry.register(
            "accepted",
            "Client connections accepted",
            self.accepted.clone(),
        );
        registry.register(
            "refused",
            "Client connections closed at once since limits.connections or limits.connections_per_client was reached",
            self.refused.clone(),
        );
        registry.register(
            "timed_out",
            "Client connections closed since a time of `timeouts` was over",
            self.timed_out.clone(),
        );
        registry.register(
            "broken",
            "Client connections that ended with something that is not HTTP",
            self.broken.clone(),
        );
        registry.register("open", "Open client connections", self.open.clone());
        registry.register(
            "http2",
            "Client connections that spoke HTTP/2",
            self.http2.clone(),
        );
        registry.register(
            "http2_streams",
            "Requests under way on HTTP/2 connections",
            self.streams.clone(),
        );
        registry.register(
            "listener_open",
            "Open client connections by listener",
            self.listeners.clone(),
        );
        registry.register(
            "proxy_header_failures",
            "Client connections closed since no usable PROXY header came, by cause",
            self.proxy_failures.clone(),
        );
        registry.register(
            "handshake_failures",
            "Client connections closed since their TLS handshake failed, by cause",
            self.handshake_failures.clone(),
        );
    }
}
