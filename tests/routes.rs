//! The first route that matches decides; what matches none needs a token.

use serde_json::json;

use crate::common::{App, Issuer, Usher};

const ROUTES: &str = "
tokens: { from: [authorization, { header: X-Token }, { cookie: session }, { query: access_token }] }
routes:
  - { path: /public/**, access: public }
  - { path: /optional/**, access: optional }
  - { path: /roles/**, require: { roles: [admin, owner] } }
  - { path: /scopes/**, require: { scopes: [read, write] } }
  - { path: /claims/**, require: { claims: { tenant: [acme, 7], verified: true } } }
  - { path: /all/**, require: { roles: admin, scopes: read } }
  - { path: /items/special, access: public }
  - { path: /items/*, methods: [GET, HEAD], access: public }
  - { path: /items/**, require: { roles: admin } }
";

fn ask(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}

#[test]
fn public_routes_read_no_token_and_forward_none() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    for lines in [
        format!("Authorization: Bearer {token}\r\n"),
        "Authorization: Bearer garbage\r\n".to_owned(),
        "Authorization: bearer a b c\r\n".to_owned(),
        "X-Token: garbage\r\nX-Token: twice\r\n".to_owned(),
    ] {
        let target = "/public/x?a=1&access_token=t&b=2";
        let lines = format!("{lines}Cookie: a=1; session=garbage; b=2\r\n");
        assert_eq!(usher.raw(ask(target, &lines)).status, 200, "{lines}");
        let received = app.last();
        assert_eq!(received.header("authorization"), None);
        assert_eq!(received.header("x-token"), None);
        assert_eq!(received.target(), "/public/x?a=1&b=2");
        assert_eq!(received.header("x-user-id"), None);
        let cookie = received.header("cookie").unwrap();
        assert!(cookie.contains("a=1") && cookie.contains("b=2"));
        assert!(!cookie.contains("session"));
    }
    usher.raw(ask("/public/x", "Authorization: Basic dTpw\r\n"));
    assert_eq!(app.last().header("authorization"), Some("Basic dTpw"));
}

#[test]
fn optional_routes_know_somebody_or_nobody_but_no_bad_token() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    assert_eq!(usher.get_as_nobody("/optional/x").status, 200);
    assert_eq!(app.last().header("x-user-id"), None);
    assert_eq!(usher.get("/optional/x", &token).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    let expired = issuer.token_with("alice", json!({ "exp": 1 }));
    for lines in [
        format!("Authorization: Bearer {expired}\r\n"),
        "Authorization: Bearer garbage\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Basic dTpw\r\n".to_owned(),
        format!("Authorization: Bearer garbage\r\nX-Token: {token}\r\n"),
        "X-Token: garbage\r\n".to_owned(),
        "Cookie: session=garbage\r\n".to_owned(),
    ] {
        let reply = usher.refuses(&app, &token, ask("/optional/x", &lines), &[401]);
        assert!(reply.header("www-authenticate").is_some());
    }
}

#[test]
fn one_source_twice_is_a_bad_request() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    for (target, lines) in [
        (
            "/x",
            format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        ),
        ("/x", format!("X-Token: {token}\r\nX-Token: {token}\r\n")),
        (
            "/x",
            format!("Cookie: session={token}; session={token}\r\n"),
        ),
        (
            "/x",
            format!("Cookie: session={token}\r\nCookie: session={token}\r\n"),
        ),
        ("/x?access_token=a&access_token=b", String::new()),
    ] {
        let reply = usher.refuses(&app, &token, ask(target, &lines), &[400]);
        assert_eq!(reply.body, r#"{"error":"invalid_request"}"#);
    }
}

#[test]
fn every_source_identifies_and_is_stripped() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    for (target, lines) in [
        (
            "/x".to_owned(),
            format!("Authorization: Bearer {token}\r\n"),
        ),
        (
            "/x".to_owned(),
            format!("authorization: bEARER {token}\r\n"),
        ),
        ("/x".to_owned(), format!("X-Token: {token}\r\n")),
        ("/x".to_owned(), format!("Cookie: session={token}\r\n")),
        (format!("/x?access_token={token}"), String::new()),
    ] {
        assert_eq!(usher.raw(ask(&target, &lines)).status, 200, "{lines}");
        let received = app.last();
        assert_eq!(received.header("x-user-id"), Some("alice"));
        assert_eq!(received.target(), "/x");
        assert!(!received.head.contains(&token), "{}", received.head);
    }
    let usher = Usher::start(&app, &issuer, "tokens: { pass: true }");
    usher.get("/x", &token);
    let passed = format!("Bearer {token}");
    assert_eq!(app.last().header("authorization"), Some(passed.as_str()));
}

#[test]
fn what_a_route_requires_is_asked_by_exact_membership() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let good = issuer.token("alice");
    let table = [
        ("/roles/x", json!({ "roles": ["user", "admin"] }), true),
        ("/roles/x", json!({ "roles": ["owner"] }), true),
        ("/roles/x", json!({ "roles": "admin" }), true),
        ("/roles/x", json!({ "roles": ["administrator"] }), false),
        ("/roles/x", json!({ "roles": ["Admin"] }), false),
        ("/roles/x", json!({ "roles": "user,admin" }), false),
        ("/roles/x", json!({ "roles": ["user admin"] }), false),
        ("/roles/x", json!({ "roles": { "admin": true } }), false),
        ("/roles/x", json!({ "roles": [] }), false),
        ("/roles/x", json!({}), false),
        ("/scopes/x", json!({ "scope": "read write" }), true),
        ("/scopes/x", json!({ "scope": "write other read" }), true),
        ("/scopes/x", json!({ "scope": ["read", "write"] }), true),
        ("/scopes/x", json!({ "scope": "read" }), false),
        ("/scopes/x", json!({ "scope": "read,write" }), false),
        ("/scopes/x", json!({ "scope": ["read write"] }), false),
        ("/scopes/x", json!({}), false),
        (
            "/claims/x",
            json!({ "tenant": "acme", "verified": true }),
            true,
        ),
        (
            "/claims/x",
            json!({ "tenant": 7, "verified": [true] }),
            true,
        ),
        (
            "/claims/x",
            json!({ "tenant": "7", "verified": true }),
            false,
        ),
        (
            "/claims/x",
            json!({ "tenant": "acme", "verified": "true" }),
            false,
        ),
        ("/claims/x", json!({ "tenant": "acme" }), false),
        ("/all/x", json!({ "roles": "admin", "scope": "read" }), true),
        ("/all/x", json!({ "roles": "admin" }), false),
        ("/all/x", json!({ "scope": "read" }), false),
    ];
    for (target, claims, passes) in table {
        let token = issuer.token_with("alice", claims.clone());
        let bytes = ask(target, &format!("Authorization: Bearer {token}\r\n"));
        if passes {
            assert_eq!(usher.raw(bytes).status, 200, "{target} {claims}");
            assert_eq!(app.last().target(), target);
            continue;
        }
        let reply = usher.refuses(&app, &good, bytes, &[403]);
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"insufficient_scope\""),
            "{target} {claims}"
        );
        assert_eq!(reply.body, r#"{"error":"insufficient_scope"}"#);
    }
    // Who is not known is not told that rights are lacking.
    let reply = usher.refuses(&app, &good, ask("/roles/x", ""), &[401]);
    assert_eq!(
        reply.header("www-authenticate"),
        Some(r#"Bearer realm="app""#)
    );
}

#[test]
fn the_first_match_decides() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let (plain, admin) = (
        issuer.token("alice"),
        issuer.token_with("root", json!({ "roles": ["admin"] })),
    );
    let post = |target: &str, token: &str| {
        usher.raw(format!(
            "POST {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    assert_eq!(post("/items/special", "garbage").status, 200);
    assert_eq!(usher.get_as_nobody("/items/1").status, 200);
    assert_eq!(usher.get_as_nobody("/items/1/more").status, 401);
    assert_eq!(usher.get("/items/1/more", &plain).status, 403);
    assert_eq!(post("/items/1", &plain).status, 403);
    assert_eq!(post("/items/1", &admin).status, 200);
    assert_eq!(usher.line("/items/special")["route"], "/items/special");
}

#[test]
fn what_matches_nothing_needs_a_token() {
    let (app, issuer) = (App::start(), Issuer::new());
    let token = issuer.token("alice");
    for more in [ROUTES, ""] {
        let usher = Usher::start(&app, &issuer, more);
        for target in ["/", "/unknown", "/unknown/public/x", "/publi", "/itemsx"] {
            let reply = usher.refuses(&app, &token, ask(target, ""), &[401]);
            assert_eq!(
                reply.header("www-authenticate"),
                Some(r#"Bearer realm="app""#)
            );
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.body, r#"{"error":"unauthorized"}"#);
            assert_eq!(usher.get(target, &token).status, 200);
        }
        assert_eq!(usher.line("/unknown")["route"], "default");
    }
}
