//! What the targets share: one configuration, and the ways from bytes to what usher reads.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use tokio::runtime::Runtime;
use usher::config::{self, Config};
use usher::edge::{Edge, Peer};
use usher::head::{Head, Scheme};
use usher::identify::Identify;
use usher::identity::Kept;
use usher::route::Routes;
use usher::wire::request::{self, Limits};

/// The secret that signs the tokens which are fuzzed.
const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";

/// Every source of tokens, a public and a protected part, and a proxy that is trusted.
const YAML: &str = "
upstream: http://127.0.0.1:3000
admin: off
issuers:
  - { name: idp, issuer: 'https://idp.test/', audiences: [app], algorithms: [HS256],
      secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C, claims: { id: sub, roles: realm.roles } }
headers: { X-User-Id: id, X-User-Email: email, X-Roles: roles }
tokens:
  from: [authorization, { cookie: session }, { header: X-Access-Token }, { query: access_token }, websocket_protocol]
  cookie_origins: [https://web.test]
trusted_proxies: [10.0.0.0/8]
routes:
  - { path: [/public/**, /health], access: public }
  - { path: /api/**, host: '*.app.test', methods: [GET, POST] }
  - { path: /files/**, paths: opaque }
  - { path: '/users/*/photo', access: optional }
  - { path: /admin/**, require: { roles: [admin] } }
";

/// usher's parts, as they are made at its start.
pub struct Parts {
    pub config: Config,
    pub routes: Routes,
    pub edge: Edge,
    pub identify: std::sync::Arc<Identify>,
    runtime: Runtime,
}

/// The parts, made once.
pub static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let config = config::parse(YAML, "fuzz.yaml", &|_| None)
        .expect("good")
        .config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let assembled = runtime
        .block_on(usher::assemble(&config, usher::Options::default()))
        .expect("good");
    let edge = Edge::new(
        &config.headers,
        &config.header_exceptions,
        config.trusted_proxies.clone(),
        &config.tokens.from,
        &config.limits,
        "0123456789abcdef",
    );
    Parts {
        routes: Routes::new(&config, &mut Kept::default()),
        edge,
        identify: assembled.identify.clone(),
        runtime,
        config,
    }
});

impl Parts {
    /// Runs a future that has nothing to wait for.
    pub fn now<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A client, or a proxy that is trusted.
pub fn peer(trusted: bool) -> Peer {
    let address = if trusted {
        Ipv4Addr::new(10, 0, 0, 1)
    } else {
        Ipv4Addr::new(192, 0, 2, 1)
    };
    Peer::new(
        Some(SocketAddr::new(IpAddr::V4(address), 40000)),
        Scheme::Http,
    )
}

/// The head in these bytes: as they are, or else as the fields of a plain request.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let limits = Limits {
        bytes: 64 * 1024,
        fields: 200,
    };
    if let Ok(Some((head, _))) = request::read(bytes, limits) {
        return Some(head);
    }
    let whole = [
        b"GET /public/x?a=1 HTTP/1.1\r\nHost: app.test\r\n",
        bytes,
        b"\r\n\r\n",
    ]
    .concat();
    request::read(&whole, limits)
        .ok()
        .flatten()
        .map(|(head, _)| head)
}

/// A token of these two parts, rightly signed.
pub fn seal(header: &[u8], payload: &[u8]) -> String {
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header),
        BASE64URL_NOPAD.encode(payload)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}
