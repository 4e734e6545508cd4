//! The configuration, resolved: every default filled in, every rule checked.
//!
//! A file is read in two steps. `file` mirrors it key by key and refuses what it does not
//! know; `resolve` turns the mirror into [`Config`] and finds every problem it can, each with
//! file, line, key path and what to write instead (`Problem`). Nobody else sees the mirror,
//! and only `lib`, `cli` and constructors see [`Config`]: the rest get the piece they need.

pub mod accounts;
mod control;
mod file;
mod files;
mod front_door;
mod introspection;
mod issuer;
mod listener;
mod load;
mod near;
mod postgres_url;
mod problem;
mod read;
mod redis_address;
mod report;
mod resolve;
pub mod revocation;
mod route;
mod schema;
mod source;
mod tls;
mod traces;
mod upstream;
pub mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::certificate;

pub use self::control::Control;
pub use self::files::Files;
pub use self::front_door::{Dialect, ExtAuthz, ForwardAuth};
pub use self::introspection::{ClientAuthentication, Introspection};
pub use self::issuer::{Algorithm, Audiences, ClaimName, Fetch, Issuer, KeySource, RequiredClaim};
pub use self::listener::{Listen, Listener, UnixSocket};
pub use self::load::{Attempt, Loaded, attempt, load, parse};
pub use self::postgres_url::{PostgresUrl, Tls as PostgresTls};
pub use self::problem::{Problem, Severity};
pub use self::redis_address::RedisAddress;
pub use self::route::{Access, Prefix, Require, Route, RouteCors};
pub use self::schema::schema;
pub use self::tls::{CertificateFiles, ClientCertificates, ClientTls, ServerTls, TlsVersion};
pub use self::traces::Traces;
pub use self::upstream::{Address, Upstream};

/// Everything usher needs to know to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where callers connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where `/livez`, `/readyz` and `/metrics` answer; `None` switches it off.
    pub admin: Option<SocketAddr>,
    /// The protected app; `None`: usher only decides.
    pub upstream: Option<Upstream>,
    /// Who may sign tokens; their `issuer` values differ, at most one has none.
    pub issuers: Vec<Issuer>,
    /// What the app sees, in the order of the file.
    pub headers: Vec<IdentityHeader>,
    /// Identity header names of other proxies that clients may send all the same.
    pub header_exceptions: Vec<HeaderName>,
    /// Who is a user, and who creates them; `None`: nobody is looked up.
    pub users: Option<users::Settings>,
    /// External users of other platforms; `None`: there are none.
    pub accounts: Option<accounts::Settings>,
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
    /// Peers whose `Forwarded` and `X-Forwarded-*` count, and who may ask; nobody by default.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Where other proxies ask over HTTP.
    pub forward_auth: Vec<ForwardAuth>,
    /// Where Envoy asks by gRPC.
    pub ext_authz: Option<ExtAuthz>,
    /// Which tokens are revoked before they expire; `None`: none.
    pub revocation: Option<revocation::Settings>,
    /// Where revocations can be asked for; `None`: by the command alone.
    pub control: Option<Control>,
    /// What outlives a restart is kept here; `None`: nothing is.
    pub state_dir: Option<PathBuf>,
    /// Bounds on what a client can send or hold open.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// How usher ends.
    pub shutdown: Shutdown,
    /// Events and the access record.
    pub log: Log,
    /// Where spans of requests go; `None`: there are none.
    pub traces: Option<Traces>,
    /// Threads that serve requests; at least 1.
    pub workers: usize,
    /// The files that all of this was read from, as they were.
    pub files: Files,
    /// A name for the text: the first 48 bits of its SHA-256, so that it is exact as a float too.
    pub hash: u64,
}

impl Config {
    /// Every app that requests may go to, each once.
    pub fn upstreams(&self) -> Vec<&Upstream> {
        let of_routes = self
            .routes
            .iter()
            .filter_map(|route| route.upstream.as_ref());
        let mut all: Vec<&Upstream> = Vec::new();
        for upstream in self.upstream.iter().chain(of_routes) {
            if !all.contains(&upstream) {
                all.push(upstream);
            }
        }
        all
    }

    /// Whether usher says on some route which pages may read the app's answers.
    pub fn answers_pages(&self) -> bool {
        let pages = |route: &Route| matches!(route.cors, RouteCors::Origins(_));
        self.routes.iter().any(pages)
    }

    /// The place among [`Self::upstreams`] of the one that `own` says, or else of the global one.
    pub fn place_of(&self, own: Option<&Upstream>) -> Option<usize> {
        let wanted = own.or(self.upstream.as_ref())?;
        self.upstreams().iter().position(|one| *one == wanted)
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
    /// What the client's certificate says.
    Certificate(certificate::Field),
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// `GET /api/auth/verify`.
    pub verify: Option<VerifyEndpoint>,
    /// The exact path of `POST /api/v1/auth/verify-user`.
    pub verify_user: Option<String>,
    /// The exact path of `POST /api/v1/auth/ensure-user`.
    pub ensure_user: Option<String>,
    /// Where identity providers tell of logouts.
    pub backchannel_logout: Option<LogoutEndpoint>,
}

impl Endpoints {
    /// Their paths.
    fn paths(&self) -> Vec<String> {
        let verify = self.verify.as_ref().map(|verify| &verify.path);
        let logout = self.backchannel_logout.as_ref().map(|logout| &logout.path);
        let (verify_user, ensure_user) = (self.verify_user.as_ref(), self.ensure_user.as_ref());
        let all = [verify, verify_user, ensure_user, logout];
        all.into_iter().flatten().cloned().collect()
    }
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

/// Where identity providers tell of logouts (OpenID Connect Back-Channel Logout 1.0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutEndpoint {
    /// The exact path.
    pub path: String,
    /// Whom a logout token is meant for, if not one of the issuer's audiences: the id of a client.
    pub audiences: Option<Audiences>,
}

/// Where tokens are read from and how they are remembered.
#[derive(Clone, Debug, PartialEq)]
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
    /// The one after `bearer` among the protocols that a WebSocket offers.
    WebsocketProtocol,
}

/// Cross-origin rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins, such as `https://app.example.com`.
    pub origins: Vec<String>,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
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
    /// Open connections of one client address; `None`: no limit of its own.
    pub connections_per_client: Option<usize>,
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
    /// Requests under way at once on one HTTP/2 connection.
    pub streams: usize,
}

/// Bounds on time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accepting a connection to the first byte, or to the end of a PROXY header.
    pub first_byte: Duration,
    /// For a TLS handshake of a client.
    pub handshake: Duration,
    /// From the first byte of a request's head to its last.
    pub header_read: Duration,
    /// For a connection to the app.
    pub connect: Duration,
    /// From sending the request to the head of the app's answer.
    pub response: Duration,
    /// Between two pieces of a body, and in a tunnel.
    pub idle: Duration,
    /// Between two requests on a client's connection.
    pub keep_alive: Duration,
    /// How long a client that sends nothing any more still waits for its answer, while none comes.
    pub half_closed: Duration,
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
    /// How many lines about denials there are in a second, for each reason; others are counted.
    pub denials_per_second: u32,
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
