//! The mirror: what a configuration file may say, key by key.
//!
//! Every field may be missing here, so that taking out one wrong value never makes another
//! wrong; `resolve` says what must be there. The comments are the descriptions in the schema.

mod accounts;
mod control;
mod front_door;
mod introspection;
mod issuer;
mod list;
mod listener;
mod revocation;
mod route;
mod tls;
mod traces;
mod upstream;
mod users;
mod value;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use self::accounts::{
    Cookie, IssuedPreset, IssuedToken, IssuedTokens, Project, ProjectLimits, RateLimit, Standing,
    Suspended,
};
pub(super) use self::control::Control;
pub(super) use self::front_door::{ExtAuthz, ForwardAuth, TrustedProxy};
pub(super) use self::introspection::{Introspection, SecretPlace};
pub(super) use self::issuer::{Fetch, Issuer, Leeway};
pub(super) use self::list::{List, Named, ObjectOrList, OneOrMany, TextOr};
pub(super) use self::listener::{Listener, ProxyProtocol};
pub(super) use self::revocation::{Revocation, RevocationStream};
pub(super) use self::route::{Paths, Require, Route};
pub(super) use self::tls::{Certificate, ClientCertificates, Tls};
pub(super) use self::traces::Traces;
pub(super) use self::upstream::Upstream;
pub(super) use self::users::{Directory, MatchBy, Presence, Streams, Users, UsersPreset};
pub(super) use self::value::{Count, Flag, Hidden, Scalar, Share, Size, Time};
use super::LogFormat;

/// usher's configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where callers connect: an address with its port, `unix:/path`, `systemd:NAME`, an object
    /// that says more, or several of these. Default: `0.0.0.0:8080`.
    pub(super) listen: Option<OneOrMany<TextOr<Listener>>>,
    /// Where `/livez`, `/readyz` and `/metrics` answer, or `off`. Default: `127.0.0.1:9901`.
    pub(super) admin: Option<String>,
    /// The protected app, such as `http://127.0.0.1:3000`.
    pub(super) upstream: Option<TextOr<Upstream>>,
    /// Who may sign tokens.
    pub(super) issuers: Option<List<Issuer>>,
    /// What the app sees: header names, each with a claim, a list of claims (joined by commas),
    /// `claims` (all of them, base64url JSON), `issuer` (its name), a column of the user's
    /// row (`user.id`, `user.email`, `user.<column>`), or what a client's certificate says
    /// (`certificate.subject`, `.dns`, `.uri`, `.email`, `.ip`, `.thumbprint`).
    /// Default: `X-User-Id: id`, `X-User-Email: email`, `X-User-Name: name`, or the preset's.
    pub(super) headers: Option<Named<OneOrMany<String>>>,
    /// The headers of another proxy, to which `headers` adds and which it can change.
    pub(super) headers_preset: Option<HeadersPreset>,
    /// Identity headers of other proxies that clients may send all the same.
    pub(super) header_exceptions: Option<List<String>>,
    /// Who is a user, and who creates them on first sight. Default: nobody is looked up.
    pub(super) users: Option<Users>,
    /// Where the accounts of external users are kept: `sqlite:/var/lib/usher/accounts.db`,
    /// `postgres://app@db/accounts`, or an object. Default: there are none.
    pub(super) accounts: Option<TextOr<Directory>>,
    /// Customers whose servers sign for external users.
    pub(super) projects: Option<List<Project>>,
    /// The tokens that external users get.
    pub(super) issued_tokens: Option<IssuedTokens>,
    /// What usher answers itself; nothing unless named.
    pub(super) endpoints: Option<Endpoints>,
    /// Where tokens are read from and how they are remembered.
    pub(super) tokens: Option<Tokens>,
    /// Cross-origin rules of usher's own endpoints.
    pub(super) cors: Option<Cors>,
    /// The first match decides; what matches none needs a token.
    pub(super) routes: Option<List<Route>>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` count, and who may ask: addresses, networks,
    /// `unix`. Default: none.
    pub(super) trusted_proxies: Option<List<TextOr<TrustedProxy>>>,
    /// Where other proxies ask about the requests they have: an object, or several. Default: nowhere.
    pub(super) forward_auth: Option<ObjectOrList<ForwardAuth>>,
    /// Where Envoy asks by gRPC (`ext_authz`): an address, or an object. Default: nowhere.
    pub(super) ext_authz: Option<TextOr<ExtAuthz>>,
    /// Which tokens are revoked before they expire. Default: none.
    pub(super) revocation: Option<Revocation>,
    /// Where revocations can be asked for (`POST /revocations`): `unix:/run/usher/control.sock`, or
    /// an object. Default: nowhere.
    pub(super) control: Option<TextOr<Control>>,
    /// A folder for what outlives a restart, such as fetched keys and what is revoked; it is made
    /// if it is not there. Default: nothing is kept.
    pub(super) state_dir: Option<String>,
    /// Bounds on what a client can send or hold open.
    pub(super) limits: Option<Limits>,
    /// Bounds on time.
    pub(super) timeouts: Option<Timeouts>,
    /// How usher ends.
    pub(super) shutdown: Option<Shutdown>,
    /// Events and the access record.
    pub(super) log: Option<Log>,
    /// Where spans of requests go: a collector that takes OTLP over HTTP, such as
    /// `http://127.0.0.1:4318`, or an object. Default: nowhere.
    pub(super) traces: Option<TextOr<Traces>>,
    /// Threads that serve requests, 1 to 256. Default: the processors usher may use.
    pub(super) workers: Option<Count>,
}

/// The headers of another proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HeadersPreset {
    /// `X-Auth-Request-*` and `X-Forwarded-User`, `-Email`, `-Groups`, `-Preferred-Username`.
    #[serde(rename = "oauth2-proxy")]
    OAuth2Proxy,
    /// `Remote-User`, `Remote-Email`, `Remote-Name`, `Remote-Groups`.
    Authelia,
    /// `Remote-User`.
    RemoteUser,
}

/// What usher answers itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoints {
    /// Tells whether a token is good, and whose it is: the path, or an object.
    pub(super) verify: Option<TextOr<Verify>>,
    /// Tells whether the caller's user exists, after making sure of it: the path, such as
    /// `/api/v1/auth/verify-user`.
    pub(super) verify_user: Option<String>,
    /// Has the caller's user created: the path, such as `/api/v1/auth/ensure-user`.
    pub(super) ensure_user: Option<String>,
    /// Where identity providers tell of logouts (OpenID Connect Back-Channel Logout): the path, or
    /// an object. Needs `revocation`.
    pub(super) backchannel_logout: Option<TextOr<BackchannelLogout>>,
    /// What precedes the paths of external users' endpoints, such as `/api/v5`. Default: nothing.
    pub(super) base_path: Option<String>,
}

/// Tells whether a token is good, and whose it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// The exact path, such as `/api/auth/verify`.
    pub(super) path: Option<String>,
    /// The claim answered as `user_id`. Default: `user_id`.
    pub(super) user_id: Option<String>,
    /// The claim answered as `username`. Default: `username`.
    pub(super) username: Option<String>,
}

/// Where identity providers tell of logouts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackchannelLogout {
    /// The exact path, such as `/auth/backchannel-logout`.
    pub(super) path: Option<String>,
    /// Whom a logout token is meant for: the ids of the clients that the provider knows the app by.
    /// Default: the `audiences` of the issuer.
    pub(super) audiences: Option<OneOrMany<String>>,
}

/// Where tokens are read from and how they are remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    /// The first that is present decides. Default: `[authorization]`.
    pub(super) from: Option<List<Source>>,
    /// Whether the app receives the token. Default: false.
    pub(super) pass: Option<Flag>,
    /// Origins whose pages may send a cookie's token with unsafe methods, beside the same origin.
    pub(super) cookie_origins: Option<List<String>>,
    /// How verified and refused tokens are remembered.
    pub(super) cache: Option<Cache>,
    /// How many requests may wait for a key that is being fetched. Default: 1000.
    pub(super) max_waiters: Option<Count>,
    /// How long each of them waits. Default: 2s.
    pub(super) key_wait: Option<Time>,
}

/// Where a token is read from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// `Authorization: Bearer …`
    Authorization,
    /// A cookie of this name.
    Cookie(String),
    /// The whole value of this header.
    Header(String),
    /// A query parameter of this name; it shows up in other people's logs.
    Query(String),
    /// For WebSockets, `Sec-WebSocket-Protocol: bearer, <token>`: what a page in a browser can send.
    WebsocketProtocol,
}

/// How tokens are remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    /// Memory for verified tokens. Default: 64MiB.
    pub(super) weight: Option<Size>,
    /// The longest life of a remembered verdict. Default: 10m.
    pub(super) max_life: Option<Time>,
    /// How long a refusal is remembered. Default: 10s.
    pub(super) refused_life: Option<Time>,
    /// How many refusals are remembered. Default: 10000.
    pub(super) refused_count: Option<Count>,
}

/// Cross-origin rules.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    /// Exact origins, such as `https://app.example.com`.
    pub(super) origins: Option<List<String>>,
    /// How long a browser may remember a preflight. Default: 10m.
    pub(super) max_age: Option<Time>,
}

/// Bounds on what a client can send or hold open.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Open client connections. Default: 10000.
    pub(super) connections: Option<Count>,
    /// Open connections of one client address, or of one IPv6 /64. Default: no limit of its own.
    pub(super) connections_per_client: Option<Count>,
    /// Size of a request's head. Default: 32KiB.
    pub(super) header_bytes: Option<Size>,
    /// Header fields of a request. Default: 100.
    pub(super) header_count: Option<Count>,
    /// Size of a request's target. Default: 8KiB.
    pub(super) target_bytes: Option<Size>,
    /// Size of a token. Default: 8KiB.
    pub(super) token_bytes: Option<Size>,
    /// What all identity headers may take together. Default: 8KiB.
    pub(super) identity_bytes: Option<Size>,
    /// Requests under way at once. Default: 10000.
    pub(super) requests: Option<Count>,
    /// Requests under way at once on one HTTP/2 connection. Default: 100.
    pub(super) streams: Option<Count>,
}

/// Bounds on time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeouts {
    /// From accepting a connection to its first byte, or to the end of a PROXY header.
    /// Default: `header_read`.
    pub(super) first_byte: Option<Time>,
    /// For a TLS handshake of a client. Default: 10s.
    pub(super) handshake: Option<Time>,
    /// From the first byte of a request's head to its last. Default: 10s.
    pub(super) header_read: Option<Time>,
    /// For a connection to the app. Default: 3s, which survives one lost packet.
    pub(super) connect: Option<Time>,
    /// From sending the request to the head of the app's answer. Default: 60s.
    pub(super) response: Option<Time>,
    /// Between two pieces of a body, and in a tunnel. Default: 90s.
    pub(super) idle: Option<Time>,
    /// Between two requests on a client's connection. Default: 75s.
    pub(super) keep_alive: Option<Time>,
    /// How long a client that has ended its direction still waits for an answer, while nothing of
    /// one comes; `0s`: it has left. Default: 5s.
    pub(super) half_closed: Option<Time>,
}

/// How usher ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    /// Between turning unready and taking no more connections. Default: 5s.
    pub(super) pause: Option<Time>,
    /// For requests under way, after the pause. Default: 30s.
    pub(super) deadline: Option<Time>,
}

/// Events and the access record.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// `json` (the default) or `text`.
    pub(super) format: Option<LogFormat>,
    /// The filter, such as `info` or `usher=debug`. Default: `info`.
    pub(super) level: Option<String>,
    /// Whether each request leaves a line. Default: true.
    pub(super) access: Option<Flag>,
    /// How many lines about denials there are in a second, for each reason; the others are counted,
    /// and one line tells how many they were. Default: 100.
    pub(super) denials_per_second: Option<Count>,
}
