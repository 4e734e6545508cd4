//! A verdict in Envoy's words.

use std::collections::{BTreeSet, HashMap};

use envoy_types::ext_authz::v3::pb::{
    CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use http::{HeaderName, StatusCode, header};
use tonic::Code;

use crate::cors::Grant;
use crate::denial::Denial;
use crate::fields::Fields;
use crate::gate::Admission;
use crate::head::Head;
use crate::respond::{self, Response};

/// What Envoy is told.
pub(super) struct Verdict {
    code: Code,
    metadata: HashMap<String, Value>,
    http: HttpResponse,
}

/// What Envoy says itself, to the app or of its connections, in place of what its client may have
/// sent: the one spelling that is its own stays.
const ENVOYS: [&str; 9] = [
    "connection",
    "expect",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-forwarded-for",
    "x-forwarded-proto",
];

impl Verdict {
    /// A yes: sets the identity headers that are `said` and removes the `unsaid`, makes of the request
    /// that `came` the one that would leave from here, and grants pages to read the app's answer.
    pub(super) fn allow<'a>(
        admission: &Admission,
        (said, unsaid): (&Fields, impl Iterator<Item = &'a HeaderName>),
        (came, leaves): (&Head, &Head),
        grant: &Grant,
    ) -> Self {
        let mut answer = OkHttpResponse::default();
        let mut gone = missing(&names(&came.fields), &names(&leaves.fields));
        gone.retain(|name| !ENVOYS.contains(&name.as_str()));
        gone.extend(unsaid.map(|name| name.as_str().to_owned()));
        for (name, value) in said.iter() {
            let name = shown(name);
            // Envoy removes after it has set.
            gone.remove(&name);
            answer.headers.push(set(&name, &shown(value)));
        }
        answer.headers.extend(shortened(came, leaves));
        answer.headers_to_remove = gone.into_iter().collect();
        let gone = missing(&parameters(came), &parameters(leaves));
        answer.query_parameters_to_remove = gone.into_iter().collect();
        let mut readable = Fields::default();
        grant.apply_to_app(&mut readable);
        answer.response_headers_to_add = beside(&readable);
        let mut metadata = HashMap::new();
        if let Some(identity) = admission.identity() {
            metadata.insert("issuer".to_owned(), text(&identity.issuer));
            metadata.insert("subject".to_owned(), text(identity.id()));
        }
        Self {
            code: Code::Ok,
            metadata,
            http: HttpResponse::OkResponse(answer),
        }
    }

    /// A no: the answer that a proxied request would have got.
    pub(super) fn deny(denial: &Denial, grant: &Grant) -> Self {
        let mut response = respond::denial(denial);
        grant.apply(&mut response.fields);
        Self::answer(response, Some(denial))
    }

    /// An answer for the client, in place of the app's.
    pub(super) fn answer(mut response: Response, denial: Option<&Denial>) -> Self {
        let status = response.status;
        let answer = DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(status.as_u16()),
            }),
            headers: in_place(&response.fields),
            body: shown(&response.body.take_whole().unwrap_or_default()),
        };
        let reason = denial.map(|denial| ("reason".to_owned(), text(denial.reason.id())));
        Self {
            code: code(status),
            metadata: reason.into_iter().collect(),
            http: HttpResponse::DeniedResponse(answer),
        }
    }

    /// The message.
    pub(super) fn into_answer(self) -> CheckResponse {
        CheckResponse {
            status: Some(rpc::Status {
                code: self.code.into(),
                ..rpc::Status::default()
            }),
            dynamic_metadata: Some(Struct {
                fields: self.metadata,
            }),
            http_response: Some(self.http),
        }
    }
}

/// The names of all fields, in lower case, in every spelling that the client used.
fn names(fields: &Fields) -> BTreeSet<String> {
    let names = fields.iter().map(|(name, _)| String::from_utf8_lossy(name));
    names.map(|name| name.to_ascii_lowercase()).collect()
}

/// The names of what stands in the query.
fn parameters(head: &Head) -> BTreeSet<String> {
    let parts = head.target.query().unwrap_or_default().split('&');
    let name = |part: &str| part.split('=').next().unwrap_or_default().to_owned();
    parts.map(name).collect()
}

fn missing(before: &BTreeSet<String>, after: &BTreeSet<String>) -> BTreeSet<String> {
    before.difference(after).cloned().collect()
}

/// Fields of which a token was taken out, and something is left.
fn shortened(before: &Head, after: &Head) -> impl Iterator<Item = HeaderValueOption> {
    let lists = [
        // Another scheme's, on a route that asks for no token.
        (header::AUTHORIZATION, ", "),
        (header::COOKIE, "; "),
        (header::SEC_WEBSOCKET_PROTOCOL, ", "),
    ];
    lists.into_iter().filter_map(|(name, between)| {
        let value = |head: &Head| {
            let lines = head.fields.get_all(&name).collect::<Vec<_>>();
            lines.join(between.as_bytes())
        };
        let left = value(after);
        let changed = !left.is_empty() && left != value(before);
        changed.then(|| set(name.as_str(), &String::from_utf8_lossy(&left)))
    })
}

/// The fields of an answer, in place of what Envoy's own answers say.
fn in_place(fields: &Fields) -> Vec<HeaderValueOption> {
    let mut options: Vec<HeaderValueOption> = Vec::new();
    for (name, value) in fields.iter() {
        let first = !options.iter().any(|option| {
            let header = option.header.as_ref();
            header.is_some_and(|header| header.key.as_bytes() == name)
        });
        let how = match first {
            true => HeaderAppendAction::OverwriteIfExistsOrAdd,
            false => HeaderAppendAction::AppendIfExistsOrAdd,
        };
        options.push(option(&shown(name), &shown(value), how));
    }
    options
}

/// Fields for the app's answer: lists get longer, everything else is usher's word.
fn beside(fields: &Fields) -> Vec<HeaderValueOption> {
    let how = |name: &[u8]| match name == header::VARY.as_str().as_bytes() {
        true => HeaderAppendAction::AppendIfExistsOrAdd,
        false => HeaderAppendAction::OverwriteIfExistsOrAdd,
    };
    let options = fields
        .iter()
        .map(|(name, value)| option(&shown(name), &shown(value), how(name)));
    options.collect()
}

/// A header in place of all of its name.
fn set(name: &str, value: &str) -> HeaderValueOption {
    option(name, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

/// As text: Envoy takes a verdict's headers from `value` alone, and `raw_value` would leave them empty.
fn option(name: &str, value: &str, how: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: how.into(),
        ..HeaderValueOption::default()
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

/// The code that says the same as a status; anything but OK denies.
fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        // A preflight's answer is one too.
        StatusCode::FORBIDDEN | StatusCode::NO_CONTENT => Code::PermissionDenied,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}
