//! The parts of the line, made from a configuration as `usher::bind` makes them, and a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use usher::Options;
use usher::clock::Clock;
use usher::config;
use usher::edge::Peer;
use usher::head::{Head, RequestHead, Target};
use usher::identify::Identify;
use usher::revoked::{Added, Before, Entry, Mark, Revoked, Second};
use usher::sidecar::Sidecar;
use usher::telemetry::Sink;

/// A token of 2023 that is good until 2100; its private key is gone.
pub(crate) const TOKEN: &str = include_str!("token.txt");

/// A cache that keeps the token.
pub(crate) const SEEN: &str = "weight: 1MiB";
/// A cache that keeps nothing.
pub(crate) const NEVER_SEEN: &str = "max_life: 0s";

/// Some day in 2026.
const NOW: i64 = 1_780_000_000;

/// The proxy that asks.
pub(crate) const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Everything but the connections.
pub(crate) struct Made {
    pub(crate) identify: Arc<Identify>,
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) settings: config::Config,
    revoked: Option<Arc<Revoked>>,
}

impl Made {
    /// With this cache and so many routes.
    pub(crate) fn new(cache: &str, routes: usize) -> Self {
        Self::before(9, cache, routes)
    }

    /// Before an app on this port.
    pub(crate) fn before(port: u16, cache: &str, routes: usize) -> Self {
        Self::with(settings(port, cache, routes, ""))
    }

    /// With so many revocations, none of them the token's.
    pub(crate) fn revoking(entries: u32) -> Self {
        let stream = "revocation: { stream: 'file:/nowhere/revoked', capacity: 2000000 }\n";
        let made = Self::with(settings(9, SEEN, 1, stream));
        let revoked = made.revoked.as_ref().expect("it is configured");
        revoked.add((0..entries).map(entry), |added| {
            assert_eq!(added, Added::New)
        });
        revoked.open();
        made
    }

    /// Revokes one more.
    pub(crate) fn revoke(&self, number: u32) {
        let revoked = self.revoked.as_ref().expect("it is configured");
        revoked.add([entry(number)], |added| assert_eq!(added, Added::New));
    }

    fn with(settings: config::Config) -> Self {
        let options = Options {
            clock: Clock::Manual(usher::clock::ManualClock::new(NOW)),
            access: Sink::Stdout,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let parts = runtime
            .block_on(usher::assemble(&settings, options))
            .expect("it is good");
        let revoked = parts.revocation().map(|it| it.revoked().clone());
        let (identify, sidecar) = (parts.identify, parts.sidecar);
        Self {
            identify,
            sidecar,
            settings,
            revoked,
        }
    }

    /// Runs `work` with a request to the last of so many routes, past the edge.
    pub(crate) fn with_head(&self, routes: usize, work: impl FnOnce(&RequestHead<'_>)) {
        let mut request = request();
        request.target = Target::parse(&target(routes - 1)).expect("a target");
        let edge = &self.sidecar.edge;
        let peer = peer();
        let arrival = edge.receive(&peer, &mut request).expect("it is good");
        work(&edge.read(&peer, &arrival, &request).expect("it is good"));
    }
}

/// Marks as scattered as hashes are.
fn entry(number: u32) -> Entry {
    let scattered =
        (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Entry {
        mark: Mark::of_fingerprint(scattered.to_be_bytes()),
        before: Before::Always,
        until: Second::Never,
    }
}

fn settings(port: u16, cache: &str, routes: usize, more: &str) -> config::Config {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/micro/jwks.json");
    let mut text = format!(
        "upstream: http://127.0.0.1:{port}\nadmin: off\nworkers: 1\nlog: {{ access: false }}\n\
         issuers: [{{ issuer: 'https://idp.example.com/', jwks_file: '{keys}', \
         audiences: [app], algorithms: [RS256], max_token_life: any }}]\n{more}\
         headers: {{ X-User-Id: id, X-User-Email: email }}\n\
         tokens: {{ cache: {{ {cache} }} }}\ntrusted_proxies: [{PROXY}]\n\
         forward_auth: {{ dialect: nginx }}\nroutes:\n"
    );
    for place in 0..routes {
        let path = target(place);
        text.push_str(&format!(
            "  - {{ path: '{path}/**', require: {{ roles: [user] }} }}\n"
        ));
    }
    config::parse(&text, "micro", &|_| None)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config
}

/// All routes share their first segments, so that no index spares the search.
fn target(place: usize) -> String {
    format!("/api/v1/area-{place}")
}

/// The text of a browser's request.
pub(crate) fn text() -> String {
    format!(
        "GET {} HTTP/1.1\r\nhost: app.example.com\r\nuser-agent: Mozilla/5.0 (X11; Linux)\r\n\
         accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\naccept-language: en;q=0.8\r\n\
         accept-encoding: gzip, deflate, br\r\nx-request-id: 7b1d1bd6\r\ncookie: theme=dark\r\n\
         authorization: Bearer {}\r\n\r\n",
        target(0),
        TOKEN.trim()
    )
}

/// The text of the question that nginx asks about it.
pub(crate) fn question() -> String {
    let (_, fields) = text()
        .split_once("\r\n")
        .map(|(line, rest)| (line.to_owned(), rest.to_owned()))
        .expect("two lines");
    format!(
        "GET /_usher/auth HTTP/1.1\r\nx-original-method: GET\r\nx-original-uri: {}\r\n\
         x-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: https\r\n{fields}",
        target(0),
    )
}

/// The same, parsed.
pub(crate) fn request() -> Head {
    Head::parse(&text()).expect("it is good")
}

/// The client.
pub(crate) fn peer() -> Peer {
    Peer::from(SocketAddr::from(([203, 0, 113, 7], 50_000)))
}

/// The outcome of a future that has nothing to wait for.
pub(crate) fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}
