//! `GET /api/auth/verify`: what the service at this path answers today, byte by byte.

use serde_json::{Map, Value, json};
use usher::config::Algorithm;
use usher::identify::mint::SigningKey;
use usher::secret::Secret;

use crate::common::issuer::now;
use crate::common::{App, Issuer, Reply, Usher};

const PATH: &str = "/api/auth/verify";
const SECRET: &str = "a-shared-secret-of-more-than-32-bytes";
const CONFIG: &str = "
endpoints: { verify: /api/auth/verify }
issuers:
  - name: vega
    issuer: vega
    secret: a-shared-secret-of-more-than-32-bytes
    audiences: any
    algorithms: [HS256]
    claims: { id: user_id, name: username }
    require: { token_type: access }
";

const MISSING: &str = r#"{"error":"missing authorization header"}"#;
const FORMAT: &str = r#"{"error":"invalid authorization header format"}"#;
const INVALID: &str = r#"{"error":"invalid or expired token"}"#;

fn usher(app: &App, more: &str) -> Usher {
    Usher::configured(&format!("upstream: http://{}\n{CONFIG}{more}", app.address))
}

fn sign(secret: &str, algorithm: Algorithm, more: Value) -> String {
    let mut claims = json!({
        "user_id": 123, "username": "john_doe", "role": "Standard", "token_type": "access",
        "iss": "vega", "sub": "john_doe", "iat": now(), "exp": now() + 3600,
    });
    let claims: &mut Map<String, Value> = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        claims.insert(name.clone(), value.clone());
        if value == "absent" {
            claims.remove(name);
        }
    }
    let key = SigningKey::from_secret(&Secret::new(secret), algorithm).unwrap();
    key.mint(claims, None, Some("JWT")).unwrap()
}

fn token(more: Value) -> String {
    sign(SECRET, Algorithm::HS256, more)
}

fn ask(usher: &Usher, lines: &str) -> Reply {
    usher.raw(format!(
        "GET {PATH} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
    ))
}

fn ask_with(usher: &Usher, token: &str) -> Reply {
    ask(usher, &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn a_good_token_is_described() {
    let app = App::start();
    let usher = usher(&app, "");
    for (user_id, shown) in [
        (json!(123), "123"),
        (json!(9_007_199_254_740_992_u64), "9007199254740992"),
        (json!("u-123"), "\"u-123\""),
        (json!("123"), "\"123\""),
    ] {
        let reply = ask_with(&usher, &token(json!({ "user_id": user_id })));
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.body,
            format!(r#"{{"valid":true,"user_id":{shown},"username":"john_doe"}}"#)
        );
        let content_type = reply.header("content-type");
        assert_eq!(content_type, Some("application/json; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("www-authenticate"), None);
    }
    let reply = ask_with(&usher, &token(json!({ "username": "j\"\\\u{e9}" })));
    assert_eq!(
        reply.body,
        r#"{"valid":true,"user_id":123,"username":"j\"\\é"}"#
    );
    let line = usher.line(PATH);
    assert_eq!(
        (&line["outcome"], &line["route"]),
        (&"answered".into(), &"verify".into())
    );
    assert_eq!(app.count(), 0);
}

#[test]
fn every_refusal_has_its_words() {
    let app = App::start();
    let usher = usher(&app, "");
    let good = token(json!({}));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let tampered = format!("{}x", &good[..good.len() - 1]);
    let other_secret = sign(&"x".repeat(32), Algorithm::HS256, json!({}));
    let other_algorithm = sign(
        &"a-shared-secret-of-more-than-32-bytes".repeat(2),
        Algorithm::HS512,
        json!({}),
    );
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let table: Vec<(String, &str)> = vec![
        (String::new(), MISSING),
        ("Authorization:\r\n".into(), MISSING),
        ("Authorization:   \r\n".into(), MISSING),
        ("Authorization: Bearer\r\n".into(), FORMAT),
        ("Authorization: Bearer \r\n".into(), FORMAT),
        ("Authorization: x\r\n".into(), FORMAT),
        (format!("Authorization: {good}\r\n"), FORMAT),
        (format!("Authorization: Basic {good}\r\n"), FORMAT),
        (format!("Authorization: Bearer:{good}\r\n"), FORMAT),
        (format!("Authorization: Bearer\t{good}\r\n"), FORMAT),
        (format!("Authorization: Token {good}\r\n"), FORMAT),
        (format!("{}{}", bearer(&good), bearer(&good)), FORMAT),
        (format!("Authorization: Bearer  {good}\r\n"), INVALID),
        (format!("Authorization: Bearer {good} x\r\n"), INVALID),
        (bearer("garbage"), INVALID),
        (bearer("a.b.c"), INVALID),
        (bearer("\u{e9}"), INVALID),
        (bearer(&tampered), INVALID),
        (bearer(&other_secret), INVALID),
        (bearer(&other_algorithm), INVALID),
        (bearer(&none), INVALID),
        (bearer(&"x".repeat(9000)), INVALID),
        (bearer(&token(json!({ "exp": now() - 1 }))), INVALID),
        (bearer(&token(json!({ "exp": "absent" }))), INVALID),
        (bearer(&token(json!({ "nbf": now() + 600 }))), INVALID),
        (bearer(&token(json!({ "iss": "other" }))), INVALID),
        (bearer(&token(json!({ "iss": "absent" }))), INVALID),
        (bearer(&token(json!({ "token_type": "refresh" }))), INVALID),
        (bearer(&token(json!({ "token_type": "absent" }))), INVALID),
        (bearer(&token(json!({ "user_id": "absent" }))), INVALID),
        (bearer(&token(json!({ "user_id": null }))), INVALID),
        (bearer(&token(json!({ "username": "absent" }))), INVALID),
        (bearer(&token(json!({ "username": 7 }))), INVALID),
    ];
    for (lines, body) in table {
        let reply = ask(&usher, &lines);
        assert_eq!((reply.status, reply.body.as_str()), (401, body), "{lines}");
        let content_type = reply.header("content-type");
        assert_eq!(content_type, Some("application/json; charset=utf-8"));
        let challenge = reply.header("www-authenticate").unwrap();
        let wanted = match body == INVALID {
            true => "Bearer error=\"invalid_token\"",
            false => r#"Bearer realm="app""#,
        };
        assert_eq!(challenge, wanted, "{lines}");
        assert_eq!(ask_with(&usher, &good).status, 200);
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn the_scheme_is_compared_without_regard_to_case() {
    let app = App::start();
    let usher = usher(&app, "");
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let lines = format!("authorization: {scheme} {}\r\n", token(json!({})));
        assert_eq!(ask(&usher, &lines).status, 200);
    }
}

#[test]
fn only_get_is_served() {
    let app = App::start();
    let usher = usher(&app, "");
    let good = token(json!({}));
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "get"] {
        let mut client = usher.connect();
        client.send(format!(
            "{method} {PATH} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {good}\r\nContent-Length: 0\r\n\r\n"
        ));
        let reply = client.reply_to(method).unwrap();
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET"));
        if method == "HEAD" {
            assert_eq!(reply.header("content-length"), Some("30"));
        }
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn the_query_and_a_body_are_ignored() {
    let app = App::start();
    let usher = usher(&app, "");
    let good = token(json!({}));
    let reply = usher.raw(format!(
        "GET {PATH}?a=b HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {good}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert_eq!(reply.status, 200);
    assert_eq!(app.count(), 0);
}

#[test]
fn an_endpoint_that_is_not_named_is_the_apps() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    assert_eq!(
        usher.get_as_nobody(PATH).body,
        r#"{"error":"unauthorized"}"#
    );
    assert_eq!(usher.get(PATH, &issuer.token("alice")).body, "hello");
}

#[test]
fn path_and_claims_are_settings() {
    let (app, issuer) = (App::start(), Issuer::new());
    let more = "endpoints: { verify: { path: /me, user_id: id, username: tenant.name } }";
    let usher = Usher::start(&app, &issuer, more);
    let token = issuer.token_with("alice", json!({ "tenant": { "name": "acme" } }));
    let reply = usher.get("/me", &token);
    assert_eq!(
        reply.body,
        r#"{"valid":true,"user_id":"alice","username":"acme"}"#
    );
    assert_eq!(usher.get("/me", &issuer.token("alice")).status, 401);
    assert_eq!(app.count(), 0);
}

#[test]
fn what_cannot_be_told_is_not_the_tokens_fault() {
    let app = App::start();
    // Nobody listens at the address of the keys.
    let issuer = Issuer::new();
    let usher = Usher::configured(&format!(
        "upstream: http://{}\nendpoints: {{ verify: {PATH} }}\nissuers:\n  - {{ name: idp, \
         issuer: '{}', audiences: [{}], algorithms: [ES256], jwks_uri: 'http://127.0.0.1:9/keys' }}",
        app.address,
        Issuer::NAME,
        Issuer::AUDIENCE
    ));
    let reply = usher.get(PATH, &issuer.token("alice"));
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.body, r#"{"error":"service temporarily unavailable"}"#);
    assert_eq!(reply.header("www-authenticate"), None);
}
