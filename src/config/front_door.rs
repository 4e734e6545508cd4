//! The front doors beside the proxy's own: other proxies ask usher, and it tells them.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderName, header};

use super::TokenSource;
use crate::headers::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_METHOD, X_FORWARDED_PROTO, X_FORWARDED_URI,
    X_ORIGINAL_METHOD, X_ORIGINAL_URI, X_ORIGINAL_URL,
};

/// A path where another proxy asks about the requests it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// The exact path; with [`Dialect::Envoy`] what stands before the request's own. Whatever
    /// [`Self::holds`] belongs to it.
    pub path: String,
    /// The words in which the proxy describes a request.
    pub dialect: Dialect,
    /// How long the proxy may keep a yes, in whole seconds; nothing: not at all.
    pub cache: Duration,
}

impl ForwardAuth {
    /// Whether a target, or a path, is here: at the path or below it. Envoy puts a client's target
    /// behind the path as it came, also one that does not begin with a slash.
    pub fn holds(&self, target: &[u8]) -> bool {
        let rest = target.strip_prefix(self.path.as_bytes());
        rest.is_some_and(|rest| {
            self.dialect == Dialect::Envoy
                || matches!(rest.first(), None | Some(b'/' | b'?' | b'#'))
        })
    }

    /// What a yes that is kept depends on: every place of a token, and every header that describes
    /// the request. A token in the query is part of the target. `pages`: the origin of a page too.
    ///
    /// With a cookie a page's origin and more decide, but no yes is kept that has one in its
    /// question, so that a question with one never finds any.
    pub fn vary(&self, from: &[TokenSource], pages: bool) -> String {
        let mut names: Vec<HeaderName> = Vec::new();
        for source in from {
            match source {
                TokenSource::Authorization => names.push(header::AUTHORIZATION),
                TokenSource::Cookie(_) => names.push(header::COOKIE),
                TokenSource::Header(name) => names.push(name.clone()),
                TokenSource::WebsocketProtocol => names.push(header::SEC_WEBSOCKET_PROTOCOL),
                TokenSource::Query(_) => {}
            }
        }
        names.extend(pages.then_some(header::ORIGIN));
        names.extend_from_slice(self.dialect.words());
        let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
        names.join(", ")
    }
}

/// The words in which a proxy describes a request. Never guessed: a header that one proxy sets
/// is one that a client may send through another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// nginx's `auth_request`, with `X-Original-Method` and `X-Original-URI`.
    Nginx,
    /// The Kubernetes controller ingress-nginx, with `X-Original-Method` and `X-Original-URL`.
    IngressNginx,
    /// Traefik's `forwardAuth`, with `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto`, `-For`.
    Traefik,
    /// Caddy's `forward_auth`, with the same.
    Caddy,
    /// HAProxy with the script of `examples/haproxy`, with the same.
    Haproxy,
    /// Envoy's `ext_authz` over HTTP: the request's own method, `Host`, and path after a prefix.
    Envoy,
}

/// `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto` and `-For`.
static FORWARDED: [HeaderName; 5] = [
    X_FORWARDED_METHOD,
    X_FORWARDED_URI,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    X_FORWARDED_FOR,
];
static NGINX: [HeaderName; 5] = [
    header::HOST,
    X_ORIGINAL_METHOD,
    X_ORIGINAL_URI,
    X_FORWARDED_PROTO,
    X_FORWARDED_FOR,
];
static INGRESS_NGINX: [HeaderName; 3] = [X_ORIGINAL_METHOD, X_ORIGINAL_URL, X_FORWARDED_FOR];
static ENVOY: [HeaderName; 3] = [header::HOST, X_FORWARDED_PROTO, X_FORWARDED_FOR];

impl Dialect {
    /// The headers that describe a request; each can change the verdict.
    pub fn words(self) -> &'static [HeaderName] {
        match self {
            Self::Nginx => &NGINX,
            Self::IngressNginx => &INGRESS_NGINX,
            Self::Traefik | Self::Caddy | Self::Haproxy => &FORWARDED,
            Self::Envoy => &ENVOY,
        }
    }

    /// Whether it is nginx's `auth_request` that asks.
    pub const fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::IngressNginx)
    }

    /// Whether usher can answer a preflight in the app's place: such a proxy takes 200 alone for a
    /// yes, and gives any other status to its client. The others take each 2xx for one, and browsers
    /// nothing else for an answer.
    pub const fn gives_204_to_clients(self) -> bool {
        matches!(self, Self::Haproxy | Self::Envoy)
    }
}

/// Where Envoy asks by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtAuthz {
    /// The address of the listener.
    pub listen: SocketAddr,
}
