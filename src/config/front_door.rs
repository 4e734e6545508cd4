//! The front doors beside the proxy's own: other proxies ask usher, and it tells them.

use std::net::SocketAddr;
use std::time::Duration;

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

/// Where Envoy asks by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtAuthz {
    /// The address of the listener.
    pub listen: SocketAddr,
}
