//! One request as a span, and many as a message of OTLP.
//!
//! Names are those of OpenTelemetry's conventions for HTTP; numbers of 64 bits are text, as the
//! JSON form of the protocol has it.

use data_encoding::HEXLOWER;
use http::{Method, StatusCode, Version};
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::head::{Scheme, Target};

use super::Resource;
use super::context::Context;

/// `SPAN_KIND_SERVER`: somebody asked, and waits.
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A request under way, as its trace knows it.
#[derive(Debug)]
pub(in crate::telemetry) struct Span {
    context: Context,
    parent: Option<[u8; 8]>,
    state: Option<Box<str>>,
    began: i64,
    scheme: Option<Scheme>,
}

/// A request that has ended, with what its span tells.
#[derive(Debug)]
pub(in crate::telemetry) struct Ended {
    pub(in crate::telemetry) span: Box<Span>,
    pub(in crate::telemetry) asked: Option<(Method, Target)>,
    pub(in crate::telemetry) version: Option<Version>,
    pub(in crate::telemetry) host: Option<Box<[u8]>>,
    pub(in crate::telemetry) client: String,
    pub(in crate::telemetry) door: Option<&'static str>,
    pub(in crate::telemetry) status: StatusCode,
    pub(in crate::telemetry) outcome: &'static str,
    pub(in crate::telemetry) reason: Option<&'static str>,
    pub(in crate::telemetry) route: Option<String>,
    pub(in crate::telemetry) bytes: u64,
    pub(in crate::telemetry) cut: Option<String>,
    pub(in crate::telemetry) seconds: f64,
}

impl Span {
    pub(super) fn new(
        context: Context,
        parent: Option<Context>,
        state: Option<Box<str>>,
        began: i64,
    ) -> Self {
        Self {
            context,
            parent: parent.map(|parent| parent.span),
            state,
            began,
            scheme: None,
        }
    }

    /// What the request carries from here on: whoever is asked next is asked by this span.
    pub(in crate::telemetry) fn mark(&mut self, fields: &mut Fields, scheme: Scheme) {
        self.scheme = Some(scheme);
        self.context.write(fields, self.parent.is_some());
    }

    /// Whether anybody is told.
    pub(in crate::telemetry) fn is_sampled(&self) -> bool {
        self.context.is_sampled()
    }

    /// The trace's id.
    pub(in crate::telemetry) fn trace(&self) -> String {
        HEXLOWER.encode(&self.context.trace)
    }
}

/// A message for a collector.
pub(super) fn message(resource: &Resource, spans: &[Ended]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let message = json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", &resource.service),
            text("service.version", version),
            text("service.instance.id", &resource.instance),
        ] },
        "scopeSpans": [{
            "scope": { "name": "usher", "version": version },
            "spans": spans.iter().map(|ended| ended.form()).collect::<Vec<_>>(),
        }],
    }] });
    message.to_string().into_bytes()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

impl Ended {
    /// As OTLP has it.
    fn form(&self) -> Value {
        let Span { context, began, .. } = &*self.span;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a request takes less than centuries, and never less than nothing"
        )]
        let took = (self.seconds * 1e9) as u64;
        let began = u64::try_from(*began).unwrap_or(0).saturating_mul(1_000_000);
        let mut form = json!({
            "traceId": HEXLOWER.encode(&context.trace),
            "spanId": HEXLOWER.encode(&context.span),
            "flags": context.flags,
            "name": self.name(),
            "kind": SERVER,
            "startTimeUnixNano": began.to_string(),
            "endTimeUnixNano": began.saturating_add(took).to_string(),
            "attributes": self.attributes(),
        });
        if let Some(parent) = &self.span.parent {
            form["parentSpanId"] = HEXLOWER.encode(parent).into();
        }
        if let Some(state) = &self.span.state {
            form["traceState"] = Value::from(&**state);
        }
        if let Some(cause) = self.failure() {
            form["status"] = json!({ "code": ERROR, "message": cause });
        }
        form
    }

    /// One of few: the path is an attribute.
    fn name(&self) -> String {
        match &self.route {
            Some(route) => format!("{} {route}", self.method()),
            None => self.method().to_owned(),
        }
    }

    /// The method; one that is not known could be anything.
    fn method(&self) -> &str {
        const KNOWN: [Method; 9] = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::CONNECT,
            Method::OPTIONS,
            Method::TRACE,
            Method::PATCH,
        ];
        let method = self.asked.as_ref().map(|(method, _)| method);
        method
            .filter(|method| KNOWN.contains(method))
            .map_or("HTTP", Method::as_str)
    }

    fn attributes(&self) -> Vec<Value> {
        let path = self.asked.as_ref().map(|(_, target)| target.path());
        let host = self.host.as_deref().map(String::from_utf8_lossy);
        let told = [
            (
                "http.request.method",
                self.asked.as_ref().map(|(method, _)| method.as_str()),
            ),
            // Without the query, which may hold a token.
            ("url.path", path),
            ("url.scheme", self.span.scheme.map(Scheme::as_str)),
            ("server.address", host.as_deref()),
            ("client.address", Some(self.client.as_str())),
            ("network.protocol.version", self.version.map(version)),
            ("usher.route", self.route.as_deref()),
            ("usher.outcome", Some(self.outcome)),
            ("usher.reason", self.reason),
            ("usher.door", self.door),
            ("error.type", self.failure()),
        ];
        let mut attributes: Vec<_> = told
            .into_iter()
            .filter_map(|(key, value)| Some(text(key, value?)))
            .collect();
        let status = u64::from(self.status.as_u16());
        attributes.push(number("http.response.status_code", status));
        attributes.push(number("http.response.body.size", self.bytes));
        attributes
    }

    /// What went wrong that is not the caller's doing: those are no errors of a server.
    fn failure(&self) -> Option<&str> {
        if self.cut.is_some() {
            return Some("cut");
        }
        let failed = self.status.is_server_error();
        failed.then(|| self.reason.unwrap_or(self.status.as_str()))
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
