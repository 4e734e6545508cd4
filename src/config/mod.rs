//! The configuration, resolved: every default filled in, every rule checked.
//!
//! A file is read in two steps. `file` mirrors it key by key and refuses what it does not
//! know; `resolve` turns the mirror into [`Config`] and finds every problem it can, each with
//! file, line, key path and what to write instead (`Problem`). Nobody else sees the mirror,
//! and only `lib`, `cli` and constructors see [`Config`]: the rest get the piece they need.

mod file;
mod load;
mod near;
mod problem;
mod read;
mod redis_address;
mod report;
mod resolve;
mod schema;
mod source;
pub mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use ipnet::IpNet;
use serde_json::Value;

pub use self::load::{Loaded, load, parse};
pub use self::problem::{Problem, Severity};
pub use self::schema::schema;
use crate::secret::Secret;

/// Everything usher needs to know to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers connect; at least one.
    pub listeners: Vec<Listen>,
    /// Where `/livez`, `/readyz` and `/metrics` answer; `None` switches it off.
    pub admin: Option<Listen>,
    /// The protected app.
    pub upstream: Upstream,
    /// Who may sign tokens; their `issuer` values differ, at most one has none.
    pub issuers: Vec<Issuer>,
    /// What the app sees, in the order of the file.
    pub headers: Vec<IdentityHeader>,
    /// Identity header names of other proxies that clients may send all the same.
    pub header_exceptions: Vec<HeaderName>,
    /// Who is a user, and who creates them; `None`: nobody is looked up.
    pub users: Option<users::Settings>,
    /// What is done about callers who are not known yet, unless a route says otherwise.
    pub first_sight: users::FirstSight,
    /// The answers of usher's own.
    pub endpoints: Endpoints,
    /// Where tokens are read from and how they are remembered.
    pub tokens: Tokens,
    /// Cross-origin rules of usher's own endpoints.
    pub cors: Cors,
    /// The first match decides; what matches none needs a token.
    pub routes: Vec<Route>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` count; nobody by default.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Bounds on what a client can send or hold open.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// How usher ends.
    pub shutdown: Shutdown,
    /// Events and the access record.
    pub log: Log,
    /// Threads that serve requests; at least 1.
    pub workers: usize,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
}

/// Where the protected app is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Host name or IP address; a literal IPv6 address stands without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Idle connections kept per worker.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle: Duration,
}

/// Who signs tokens, and what a token of theirs must look like.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The configured name, used in logs, metrics and keys; unique.
    pub name: String,
    /// The exact value of `iss`; `None` for tokens that carry no `iss`.
    pub issuer: Option<String>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Who the token must be meant for.
    pub audiences: Audiences,
    /// The algorithms accepted; never empty, never mixing shared secrets with public keys.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the header's `typ`, lower case; an absent `typ` is always accepted.
    pub types: Vec<String>,
    /// Names by which headers and rules call claims, with the claim each stands for.
    /// Always holds `id`, `email`, `name`, `roles` and `scopes`.
    pub claims: Vec<ClaimName>,
    /// Claims that must be present with one of the values (`token_type: access`).
    pub require: Vec<RequiredClaim>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
    /// Seconds by which `exp` may have passed.
    pub exp_leeway: u32,
    /// Seconds by which `nbf` may lie ahead.
    pub nbf_leeway: u32,
    /// Whether `/readyz` waits for this issuer's keys.
    pub required: bool,
}

/// A name for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    /// What headers and rules say, such as `id`.
    pub name: String,
    /// The claim: a top-level member of exactly this name, or else a path with dots.
    pub claim: String,
}

/// A claim and the values it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// The claim, as in [`ClaimName::claim`].
    pub claim: String,
    /// One of these must be equal to it, or be a member of it where it is an array.
    pub values: Vec<Value>,
}

/// Who a token must be meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// `aud` is not looked at: only sound where the issuer serves this app alone.
    Any,
    /// `aud` is one of these, or an array that holds one.
    OneOf(Vec<String>),
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// OpenID Connect discovery under the issuer's URL.
    Discovery {
        /// The URL of `.well-known/openid-configuration`.
        url: String,
        /// Times and sizes of a fetch.
        fetch: Fetch,
    },
    /// A key set at a URL.
    JwksUri {
        /// The URL.
        url: String,
        /// Times and sizes of a fetch.
        fetch: Fetch,
    },
    /// A key set in a file.
    JwksFile(PathBuf),
    /// One public key in a file: PEM (SPKI, PKCS#1, certificate) or DER (SPKI).
    PublicKeyFile(PathBuf),
    /// A shared secret, with where it came from for messages.
    Secret(Secret),
}

/// Bounds of fetching a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Longest time for one fetch.
    pub timeout: Duration,
    /// Largest answer read, in bytes.
    pub max_bytes: usize,
    /// Shortest pause between an attempt and the next one that a request asks for.
    pub cooldown: Duration,
    /// How long a set counts as fresh when the answer does not say.
    pub refresh: Duration,
    /// How long the last good set is used while the issuer cannot be reached.
    pub max_stale: Duration,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// A signature algorithm that usher accepts (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Whether it works with a shared secret.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// One header that the app sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeader {
    /// The header.
    pub name: HeaderName,
    /// What it holds.
    pub value: HeaderSource,
}

/// What an identity header holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// A claim by its name in [`Issuer::claims`], or else a claim itself.
    /// An array is joined by commas.
    Claim(String),
    /// Several claims, joined by commas; those that are missing are left out.
    Joined(Vec<String>),
    /// All claims as base64url JSON.
    AllClaims,
    /// The configured name of the issuer.
    Issuer,
    /// What the directory says about the user.
    User(Column),
}

/// A column of the user's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The id, as it stands in the directory.
    Id,
    /// The e-mail, as it stands in the directory.
    Email,
    /// One of [`users::Table::extra_columns`], by its place.
    Extra(usize),
}

/// The answers of usher's own; none unless the configuration names it.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// `GET /api/auth/verify`.
    pub verify: Option<VerifyEndpoint>,
    /// The exact path of `POST /api/v1/auth/verify-user`.
    pub verify_user: Option<String>,
    /// The exact path of `POST /api/v1/auth/ensure-user`.
    pub ensure_user: Option<String>,
}

/// The endpoint that tells whether a token is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyEndpoint {
    /// The exact path.
    pub path: String,
    /// The claim answered as `user_id`, by name or itself.
    pub user_id: String,
    /// The claim answered as `username`, by name or itself.
    pub username: String,
}

/// Where tokens are read from and how they are remembered.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The first source that is present decides.
    pub from: Vec<TokenSource>,
    /// Whether the app receives the token.
    pub pass: bool,
    /// Largest token, in bytes.
    pub max_bytes: usize,
    /// Origins whose pages may send a cookie's token with unsafe methods, beside the same origin.
    pub cookie_origins: Vec<String>,
    /// The memory for verified tokens, in bytes.
    pub cache_weight: u64,
    /// The longest life of a remembered verdict.
    pub cache_life: Duration,
    /// How long a refusal is remembered.
    pub refused_life: Duration,
    /// How many refusals are remembered.
    pub refused_count: u64,
    /// How many requests may wait for a key that is being fetched.
    pub max_waiters: usize,
    /// How long each of them waits.
    pub key_wait: Duration,
}

/// Where a token is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer <token>` (RFC 6750 §2.1).
    Authorization,
    /// A cookie of this name.
    Cookie(String),
    /// The whole value of this header.
    Header(HeaderName),
    /// A query parameter of this name (RFC 6750 §2.3); it shows up in other people's logs.
    Query(String),
}

/// Cross-origin rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins, such as `https://app.example.com`.
    pub origins: Vec<String>,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
}

/// A match, and what is asked of a request that matches.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name in logs and metrics: given, or else the first pattern.
    pub name: String,
    /// Canonical path patterns; never empty.
    pub paths: Vec<String>,
    /// Exact methods; empty: all.
    pub methods: Vec<Method>,
    /// Lower-case host names, or `*.example.com`; empty: all.
    pub hosts: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// What the identity must have.
    pub require: Require,
    /// Whether `%2F`, `;` and empty segments pass, unchanged and not as separators.
    pub opaque_paths: bool,
    /// Cross-origin handling.
    pub cors: RouteCors,
    /// What is done about callers who are not known yet; `None`: as everywhere.
    pub first_sight: Option<users::FirstSight>,
}

/// Who may pass a route.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everybody; no token is read.
    Public,
    /// Without a token as nobody, with a good token as somebody, with a bad one not at all.
    Optional,
    /// Only with a good token.
    #[default]
    Required,
}

/// What an identity must have; empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    /// One of these roles.
    pub roles: Vec<String>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// Each of these claims, with one of its values.
    pub claims: Vec<RequiredClaim>,
}

impl Require {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.scopes.is_empty() && self.claims.is_empty()
    }
}

/// How cross-origin requests are handled on a proxied route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteCors {
    /// Nothing is done: a preflight is a request like any other.
    #[default]
    Off,
    /// Preflights go to the app, stripped and as nobody.
    Pass,
    /// usher answers preflights and adds the headers for these origins.
    Origins(Vec<String>),
}

/// A peer whose `Forwarded` and `X-Forwarded-*` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Peers with an address in this network.
    Net(IpNet),
    /// Peers on a Unix socket.
    Unix,
}

/// Bounds on what a client can send or hold open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
    /// Bytes that all identity headers may take together.
    pub identity_bytes: usize,
    /// Requests under way at once, over all connections.
    pub requests: usize,
}

/// Bounds on time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request's head to its last.
    pub header_read: Duration,
    /// For a connection to the app.
    pub connect: Duration,
    /// From sending the request to the head of the app's answer.
    pub response: Duration,
    /// Between two pieces of a body, and in a tunnel.
    pub idle: Duration,
    /// Between two requests on a client's connection, and before the first.
    pub keep_alive: Duration,
}

/// How usher ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Between turning unready and taking no more connections, so that load balancers notice.
    pub pause: Duration,
    /// For requests under way, after the pause.
    pub deadline: Duration,
}

/// Events and the access record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The shape of what is written.
    pub format: LogFormat,
    /// The filter, such as `info` or `usher=debug`.
    pub level: String,
    /// Whether each request leaves a line.
    pub access: bool,
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people on a terminal.
    Text,
}
