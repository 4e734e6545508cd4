//! A verdict in Envoy's words.

use std::collections::{BTreeSet, HashMap};

use envoy_types::ext_authz::v3::pb::{
    CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use envoy_types::pb::google::rpc;
use http::{StatusCode, header};
use tonic::Code;

use crate::announced::Announced;
use crate::cors::Grant;
use crate::denial::Denial;
use crate::fields::Fields;
use crate::gate::Admission;
use crate::head::Head;
use crate::headers::{Class, Classes};
use crate::respond;

/// What Envoy is told.
pub(super) struct Verdict {
    code: Code,
    metadata: HashMap<String, Value>,
    http: HttpResponse,
}

/// The names by which a client says who it is, in every spelling that it used.
pub(super) fn client_copies(head: &Head, classes: &Classes) -> BTreeSet<String> {
    let names = head.fields.iter().map(|(name, _)| name);
    names
        .filter(|name| classes.of(name) == Some(Class::Identity))
        .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
        .collect()
}

impl Verdict {
    /// A yes: sets the identity headers that `lines` of a head say, and removes all others.
    pub(super) fn allow(
        admission: &Admission,
        announced: &Announced,
        lines: &[u8],
        forged: BTreeSet<String>,
    ) -> Self {
        let mut answer = OkHttpResponse::default();
        let mut gone = forged;
        for (name, value) in announced.headers(lines) {
            match value {
                Some(value) => {
                    // Envoy removes after it has set.
                    gone.remove(name.as_str());
                    answer.headers.push(set(name.as_str(), value));
                }
                None => drop(gone.insert(name.as_str().to_owned())),
            }
        }
        answer.headers_to_remove = gone.into_iter().collect();
        let mut metadata = HashMap::new();
        if let Some(identity) = admission.identity() {
            metadata.insert("issuer".to_owned(), text(&identity.issuer));
            metadata.insert("subject".to_owned(), text(&identity.id));
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
        let status = response.status;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = response.fields.iter();
        let answer = DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(status.as_u16()),
            }),
            headers: headers
                .map(|(name, value)| set(&shown(name), &shown(value)))
                .collect(),
            body: shown(&response.body.take_whole().unwrap_or_default()),
        };
        Self {
            code: code(status),
            metadata: HashMap::from([("reason".to_owned(), text(denial.reason.id()))]),
            http: HttpResponse::DeniedResponse(answer),
        }
    }

    /// Takes from the request what is there `before` the token was taken out and not `after`.
    pub(super) fn take_token(&mut self, before: &Head, after: &Head) {
        let HttpResponse::OkResponse(answer) = &mut self.http else {
            return;
        };
        let names = |fields: &Fields| -> BTreeSet<String> {
            let names = fields.iter().map(|(name, _)| String::from_utf8_lossy(name));
            names.map(|name| name.to_ascii_lowercase()).collect()
        };
        let (there, left) = (names(&before.fields), names(&after.fields));
        let gone = there.difference(&left).cloned();
        answer.headers_to_remove.extend(gone);
        for (name, between) in [
            (header::COOKIE, "; "),
            (header::SEC_WEBSOCKET_PROTOCOL, ", "),
        ] {
            let value = |head: &Head| {
                let lines = head.fields.get_all(&name).collect::<Vec<_>>();
                lines.join(between.as_bytes())
            };
            let left = value(after);
            if !left.is_empty() && left != value(before) {
                // Envoy takes a verdict's headers from `value` alone, which is text; with `raw_value`
                // they would be empty.
                let left = String::from_utf8_lossy(&left);
                answer.headers.push(set(name.as_str(), &left));
            }
        }
        let keys = |head: &Head| -> BTreeSet<String> {
            let parts = head.target.query().unwrap_or_default().split('&');
            parts
                .map(|part| part.split('=').next().unwrap_or_default().to_owned())
                .collect()
        };
        let (there, left) = (keys(before), keys(after));
        let gone = there.difference(&left).cloned();
        answer.query_parameters_to_remove.extend(gone);
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

/// A header in place of all of its name.
fn set(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
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
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}
