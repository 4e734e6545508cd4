//! Proxies that ask over TLS, and HTTP/2 within: what usher refuses is a refusal to them, whatever
//! content type their client names.

use crate::common::authority::Authority;
use crate::common::{Client, eventually, free_port, tls};

use super::cases::get;
use super::stage::{Door, Stage};

/// A client's request that usher refuses before it reads the question, with gRPC's content type.
const TRICKS: [(&str, &str); 5] = [
    ("too many fields", ""),
    ("a long target", "?"),
    ("two readings of the scheme", "X_Forwarded_Proto: https\r\n"),
    ("an odd name", "X--User-Id: root\r\n"),
    ("nothing", "X-Nothing: odd\r\n"),
];

fn holds(stage: &Stage) {
    let alice = stage.bearer("alice");
    let outcome = get(stage, "/x", &alice);
    assert_eq!(outcome.passed().header("x-user-id"), Some("alice"));
    let http2 = || {
        stage
            .usher()
            .metric("usher_protocol_requests_total{protocol=\"http2\"}")
    };
    let asked = http2();
    assert!(asked >= 1.0, "{:?} asks over HTTP/2", stage.door);
    for (name, lines) in TRICKS {
        let many: String = (0..120)
            .map(|place| format!("X-Field-{place}: x\r\n"))
            .collect();
        let long = format!("/x?{}", "a".repeat(10_000));
        let (target, lines) = match lines {
            "" => ("/x", many.as_str()),
            "?" => (long.as_str(), ""),
            lines => ("/x", lines),
        };
        let grpc = "Content-Type: application/grpc\r\nTE: trailers\r\n";
        for method in ["GET", "POST"] {
            let length = if method == "POST" {
                "Content-Length: 0\r\n"
            } else {
                ""
            };
            let before = stage.app.count();
            let reply = stage.ask(method, target, &format!("{grpc}{length}{lines}"));
            let status = reply.map_or(0, |reply| reply.status);
            assert!(
                (400..500).contains(&status),
                "{:?} {method} {name}: {status}",
                stage.door
            );
            assert_eq!(
                stage.app.count(),
                before,
                "{:?} {method} {name}",
                stage.door
            );
        }
    }
    eventually("all of it was HTTP/2", || {
        (http2() >= asked + 10.0).then_some(())
    });
}

/// usher within TLS, at the same address.
fn listen(authority: &Authority) -> String {
    let pair = authority.server("usher", &["127.0.0.1"]);
    format!(
        "listen: {{ address: '127.0.0.1:8080', tls: {{ {} }} }}",
        pair.yaml()
    )
}

#[test]
fn traefik() {
    let authority = Authority::new();
    let root = authority.root.display();
    // With the client's method, so that a question may look like a call of gRPC altogether.
    let address = format!(
        "address: https://127.0.0.1:8080/_usher/auth\n        preserveRequestMethod: true\n        \
         tls: {{ ca: '{root}' }}"
    );
    holds(&Stage::changed(
        Door::Traefik,
        &[
            ("listen: 127.0.0.1:8080", &listen(&authority)),
            ("address: http://127.0.0.1:8080/_usher/auth", &address),
        ],
    ));
}

#[test]
fn caddy() {
    let authority = Authority::new();
    let transport = format!(
        "transport http {{\n\t\t\t\ttls_trust_pool file {}\n\t\t\t\tversions 2\n",
        authority.root.display()
    );
    holds(&Stage::changed(
        Door::Caddy,
        &[
            ("listen: 127.0.0.1:8080", &listen(&authority)),
            (
                "forward_auth 127.0.0.1:8080",
                "forward_auth https://127.0.0.1:8080",
            ),
            ("transport http {\n", &transport),
        ],
    ));
}

/// Clients of HAProxy that speak TLS: usher and the app hear of it, whatever HAProxy's Lua makes of a
/// truth (since 3.1, `tune.lua.bool-sample-conversion` says).
#[test]
fn haproxy_tells_of_its_clients_tls() {
    let authority = Authority::new();
    let pair = authority.server("clients", &["app.test"]);
    let both = [&pair.certificate, &pair.key].map(|path| std::fs::read_to_string(path).unwrap());
    let bundle = pair.certificate.with_extension("bundle");
    std::fs::write(&bundle, both.concat()).unwrap();
    let cookies = "tokens: { from: [{ cookie: session }] }\nissuers:";
    for truth in ["txn.f:ssl_fc()", "(txn.f:ssl_fc() == 1)"] {
        let port = free_port();
        let bind = format!(
            "bind 127.0.0.1:8000\n    bind 127.0.0.1:{port} ssl crt {}",
            bundle.display()
        );
        let changes = [
            ("bind 127.0.0.1:8000", bind.as_str()),
            ("txn.f:ssl_fc()", truth),
            ("issuers:", cookies),
        ];
        let stage = Stage::changed(Door::Haproxy, &changes);
        let config = tls::client(&authority.root, None);
        let token = stage.token_with("alice", serde_json::json!({}));
        // A page's origin is compared with the scheme that usher was told.
        let post = |scheme: &str| {
            format!(
                "POST /x HTTP/1.1\r\nHost: app.test\r\nCookie: session={token}\r\n\
                 Origin: {scheme}://app.test\r\nContent-Length: 0\r\n\r\n"
            )
        };
        for (secure, scheme, other) in [(true, "https", "http"), (false, "http", "https")] {
            let connect = || match secure {
                true => {
                    let address = ([127, 0, 0, 1], port).into();
                    Client::over_tls(tls::connect(address, "app.test", &config).unwrap())
                }
                false => Client::connect(stage.address),
            };
            let mut client = connect();
            client.send(post(scheme));
            assert_eq!(client.reply().unwrap().status, 200, "{truth}");
            assert_eq!(stage.app.last().header("x-forwarded-proto"), Some(scheme));
            let mut client = connect();
            client.send(post(other));
            assert_eq!(client.reply().unwrap().status, 403, "{truth}");
        }
    }
}
