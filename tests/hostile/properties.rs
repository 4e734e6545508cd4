//! What holds for every head, whoever made it up. `fuzz/` asks the same of any bytes, for longer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use proptest::prelude::*;
use usher::config::{self, Access, Config};
use usher::edge::{Edge, Peer};
use usher::head::{Head, Scheme};
use usher::identify::{Asked, Identify};
use usher::identity::Kept;
use usher::route::Routes;
use usher::wire::request::{self, Limits};

const YAML: &str = "
upstream: http://127.0.0.1:3000
admin: off
issuers: [{ name: idp, issuer: me, audiences: [app], secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C }]
headers: { X-User-Id: id, X-User-Email: email }
tokens: { from: [authorization, { cookie: session }, { header: X-Access-Token }, { query: access_token }, websocket_protocol] }
trusted_proxies: [10.0.0.0/8]
routes: [{ path: [/public/**, /health], access: public }, { path: /files/**, paths: opaque }]
";

struct Parts {
    config: Config,
    edge: Edge,
    routes: Routes,
    identify: std::sync::Arc<Identify>,
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let loaded = config::parse(YAML, "test.yaml", &|_| None);
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let parts = runtime.block_on(usher::assemble(&config, usher::Options::default()));
    let edge = Edge::new(
        &config.headers,
        &config.header_exceptions,
        config.trusted_proxies.clone(),
        &config.tokens.from,
        &config.limits,
        "0123456789abcdef",
    );
    Parts {
        edge,
        routes: Routes::new(&config, &mut Kept::default()),
        identify: parts.unwrap().identify.clone(),
        config,
    }
});

fn peer(trusted: bool) -> Peer {
    let address = match trusted {
        true => Ipv4Addr::new(10, 0, 0, 1),
        false => Ipv4Addr::new(192, 0, 2, 1),
    };
    Peer::new(
        Some(SocketAddr::new(IpAddr::V4(address), 40_000)),
        Scheme::Http,
    )
}

/// A name that matters, in any case, with anything that a name may hold for its dashes.
fn name() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "x-user-id",
        "x-user-email",
        "x-forwarded-user",
        "remote-user",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "connection",
        "keep-alive",
        "authorization",
        "cookie",
        "x-access-token",
        "sec-websocket-protocol",
        "upgrade",
        "origin",
        "te",
        "x-other",
        "client-cert",
    ]);
    let separators = prop::collection::vec(prop::sample::select(b"---_.~!#*".to_vec()), 4);
    (names, separators, any::<u32>()).prop_map(|(name, separators, cases)| {
        let mut separators = separators.into_iter().cycle();
        let spelt = name.bytes().enumerate().map(|(at, byte)| match byte {
            b'-' => separators.next().unwrap_or(b'-'),
            byte if cases >> (at % 32) & 1 == 1 => byte.to_ascii_uppercase(),
            byte => byte,
        });
        spelt.map(char::from).collect()
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,30}",
        "Bearer [a-zA-Z0-9._=-]{0,20}",
        "(a=b; )?session=[a-z.]{0,9}(; session=x)?",
        "(close, )?[Xx]-[Uu]ser-[Ii]d(, x-forwarded-for)?",
        "(chat, )?bearer, [a-z.]{0,9}",
        "(for=)?[0-9.]{1,12}(, ::1)?(;proto=https)?",
    ]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/(public|health|files|admin|%70ublic|PUBLIC)?(/|%2[fF]|;|//|\\.\\./|%2[eE]\\.|[a-z%.]){0,6}",
        "/[a-z/]{0,9}\\?(a=1&)?access(_|%5[fF])token=[a-z.]{0,9}(&access_token=x)?",
    ]
}

fn head() -> impl Strategy<Value = Head> {
    let lines = prop::collection::vec((name(), value()), 0..8);
    (target(), lines).prop_filter_map("it is a head", |(target, lines)| {
        let mut text = format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n");
        for (name, value) in lines {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let limits = Limits {
            bytes: 64 * 1024,
            fields: 100,
        };
        request::read(text.as_bytes(), limits)
            .ok()
            .flatten()
            .map(|(head, _)| head)
    })
}

/// As a lenient app reads a name.
fn folded(name: &[u8]) -> String {
    let dashed = name.iter().map(|byte| match byte {
        letter if letter.is_ascii_alphanumeric() => char::from(letter.to_ascii_lowercase()),
        _ => '-',
    });
    let mut text: String = dashed.collect();
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    text
}

fn asked<'a>(head: &'a Head, query: Option<&'a str>) -> Asked<'a> {
    Asked {
        method: &head.method,
        fields: &head.fields,
        query,
        scheme: "http",
        authority: "app.test",
        upgrade: head.fields.contains(&http::header::UPGRADE),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_token_is_left_when_it_is_taken_out(mut head in head()) {
        let sources = PARTS.identify.sources();
        let query = head.target.query().map(str::to_owned);
        if let Ok(Some(found)) = sources.find(&asked(&head, query.as_deref())) {
            prop_assert!(!found.token.is_empty() && found.token.len() <= PARTS.config.tokens.max_bytes);
        }
        let left = sources.strip(&mut head.fields, query.as_deref());
        let query = left.or(query);
        let again = sources.find(&asked(&head, query.as_deref()));
        prop_assert!(!matches!(again, Ok(Some(_))), "{:?}", head.fields);
    }

    #[test]
    fn no_name_that_folds_to_one_of_ours_passes(mut head in head(), trusted: bool) {
        if PARTS.edge.receive(&peer(trusted), &mut head).is_ok() {
            for (name, _) in head.fields.iter() {
                let name = folded(name);
                let ours = ["x-user-id", "x-user-email", "x-forwarded-user", "remote-user", "client-cert", "connection", "keep-alive"];
                prop_assert!(!ours.contains(&name.as_str()), "{name}");
                let told = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-original-url"];
                prop_assert!(trusted || !told.contains(&name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn what_is_said_of_earlier_hops_comes_out_in_whole_lines(mut head in head(), trusted: bool) {
        let peer = peer(trusted);
        if let Ok(arrival) = PARTS.edge.receive(&peer, &mut head) {
            let mut out = Vec::new();
            let forwarded = arrival.forwarding.take(&mut head.fields);
            forwarded.write(&peer, b"app.test", &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            prop_assert!(text.ends_with("\r\n"));
            for line in text.trim_end_matches("\r\n").split("\r\n") {
                prop_assert!(line.contains(": ") && !line.contains(['\r', '\n']), "{text:?}");
            }
            if !trusted {
                let client = arrival.forwarding.client().map(|ip| ip.to_string());
                prop_assert_eq!(client.as_deref(), Some("192.0.2.1"));
            }
        }
    }

    #[test]
    fn what_is_public_is_public_by_lenient_readings_too(mut head in head()) {
        let peer = peer(false);
        let Ok(arrival) = PARTS.edge.receive(&peer, &mut head) else { return Ok(()) };
        let Ok(request) = PARTS.edge.read(&peer, &arrival, &head) else { return Ok(()) };
        let Ok(route) = PARTS.routes.find(&request) else { return Ok(()) };
        if route.access == Access::Public {
            let raw = head.target.path().to_ascii_lowercase();
            let decoded = raw.replace("%2f", "/").replace("%2e", ".").replace("%5c", "/").replace("%70", "p");
            let under = |place: &str| decoded == place || decoded.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
            prop_assert!(under("/public") || under("/health"), "{raw}");
            prop_assert!(!decoded.split('/').any(|part| part == ".." || part.starts_with("..;")), "{raw}");
        }
    }
}
