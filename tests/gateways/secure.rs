//! Proxies that ask over TLS, and HTTP/2 within: what usher refuses is a refusal to them, whatever
//! content type their client names.

use crate::common::authority::Authority;
use crate::common::eventually;

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
