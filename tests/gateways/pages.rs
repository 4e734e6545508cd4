//! Pages of other origins: what a browser may read through each proxy, and who answers its
//! preflights.

use crate::common::Reply;

use super::cases::{get, send};
use super::stage::{Door, Stage};

const ROUTES: (&str, &str) = (
    "routes:\n  - { path: /public/**",
    "cors: { origins: ['https://page.test'] }\nroutes:\n  - { path: /pages/**, cors: ['https://page.test'] }\n  \
     - { path: /own/**, cors: pass }\n  - { path: /public/**",
);

const PAGE: &str = "Origin: https://page.test\r\n";
const EVIL: &str = "Origin: https://evil.test\r\n";

fn preflight(page: &str) -> String {
    format!(
        "{page}Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n"
    )
}

/// Who may read an answer, as its fields say.
#[track_caller]
fn reader(reply: &Reply) -> Option<&str> {
    let reader = reply.header("access-control-allow-origin");
    if reader.is_some() {
        let vary = reply.all("vary").join(",").to_lowercase();
        assert!(vary.contains("origin"), "{}", reply.head);
        assert!(
            reply.header("access-control-expose-headers").is_some(),
            "{}",
            reply.head
        );
    }
    reader
}

/// `preflights`: usher answers them by this proxy. `answers`: it says who may read the app's.
fn holds(door: Door, preflights: bool, answers: bool) {
    let stage = Stage::changed(door, &[ROUTES]);
    let alice = stage.bearer("alice");
    let page = Some("https://page.test");

    // Every refusal can be read, and tells when to come back or what is missing.
    for target in ["/pages/x", "/own/x"] {
        let outcome = get(&stage, target, PAGE);
        outcome.refused(401);
        assert_eq!(
            reader(outcome.reply.as_ref().unwrap()),
            page,
            "{door:?} {target}"
        );
        let outcome = get(&stage, target, EVIL);
        outcome.refused(401);
        assert_eq!(
            reader(outcome.reply.as_ref().unwrap()),
            None,
            "{door:?} {target}"
        );
    }

    let outcome = send(&stage, "OPTIONS", "/pages/x", &preflight(PAGE));
    assert_eq!(outcome.received.len(), 0);
    let reply = outcome.reply.unwrap();
    assert_eq!(reply.status, if preflights { 204 } else { 401 }, "{door:?}");
    if preflights {
        assert_eq!(reply.header("access-control-allow-origin"), page);
        assert_eq!(reply.header("access-control-allow-methods"), Some("PUT"));
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some("authorization")
        );
        assert_eq!(reply.header("access-control-max-age"), Some("600"));
        let reply = send(&stage, "OPTIONS", "/pages/x", &preflight(EVIL))
            .reply
            .unwrap();
        assert_eq!((reply.status, reader(&reply)), (204, None), "{door:?}");
    }
    // Where the app answers them, they reach it as nobody's.
    let outcome = send(&stage, "OPTIONS", "/own/x", &preflight(PAGE));
    super::cases::only(outcome.passed(), "x-user-id", None);

    for (target, lines, wanted) in [
        ("/pages/x", PAGE, page.filter(|_| answers)),
        ("/pages/x", EVIL, None),
        ("/own/x", PAGE, None),
        ("/x", PAGE, None),
    ] {
        let outcome = get(&stage, target, &format!("{lines}{alice}"));
        outcome.passed();
        assert_eq!(
            reader(outcome.reply.as_ref().unwrap()),
            wanted,
            "{door:?} {target} {lines}"
        );
    }
}

#[test]
fn nginx() {
    holds(Door::Nginx, false, true);
}

#[test]
fn haproxy() {
    holds(Door::Haproxy, true, true);
}

#[test]
fn caddy() {
    holds(Door::Caddy, false, false);
}

#[test]
fn traefik() {
    holds(Door::Traefik, false, false);
}

#[test]
fn envoy_over_http() {
    holds(Door::EnvoyHttp, true, true);
}

#[test]
fn envoy_over_grpc() {
    holds(Door::EnvoyGrpc, true, true);
}
