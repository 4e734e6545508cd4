//! OpenID Connect Back-Channel Logout 1.0: what is a logout token, and what is not.

use serde_json::{Value, json};

use super::stage::{Stage, dies};
use crate::common::issuer::now;
use crate::common::{Issuer, Reply, Usher, eventually};

const PATH: &str = "endpoints: { backchannel_logout: /auth/logout }\n";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The claims of a logout token; `null` takes one away.
fn claims(issuer: &Issuer, more: Value) -> serde_json::Map<String, Value> {
    let mut all = json!({
        "iat": now(), "exp": now() + 120, "jti": "l1", "events": { EVENT: {} },
        "email": null, "name": null,
    });
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    let sub = all["sub"].clone();
    issuer.claims(sub.as_str().unwrap_or("u"), all)
}

fn token(issuer: &Issuer, more: Value) -> String {
    issuer.sign(&claims(issuer, more))
}

fn post(usher: &Usher, body: &str) -> Reply {
    usher.raw(format!(
        "POST /auth/logout HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn told(usher: &Usher, token: &str) -> Reply {
    post(usher, &format!("logout_token={token}"))
}

#[test]
fn a_session_ends_and_no_other() {
    let stage = Stage::new();
    let (usher, other) = (stage.usher(PATH), stage.usher(""));
    let session = |sid: &str| stage.issuer.token_with("u", json!({ "sid": sid }));
    let (dead, alive) = (session("a"), session("b"));
    assert_eq!(other.get("/", &dead).status, 200);
    let reply = told(
        &usher,
        &token(&stage.issuer, json!({ "sub": "u", "sid": "a" })),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    dies(&other, &dead);
    assert_eq!(usher.get("/", &dead).status, 401);
    assert_eq!(usher.get("/", &alive).status, 200);
}

#[test]
fn without_a_session_all_of_the_users_end() {
    let stage = Stage::new();
    let usher = stage.usher(PATH);
    let (dead, alive) = (stage.issuer.token("u"), stage.issuer.token("v"));
    // The type that the specification recommends.
    let claims = serde_json::Value::Object(claims(&stage.issuer, json!({ "sub": "u" })));
    let signer = crate::common::Signer::of(&stage.issuer);
    let typed = signer.seal(
        r#"{"alg":"ES256","kid":"k1","typ":"logout+jwt"}"#,
        claims.to_string(),
    );
    assert_eq!(told(&usher, &typed).status, 200);
    assert_eq!(usher.get("/", &dead).status, 401);
    assert_eq!(usher.get("/", &alive).status, 200);
}

/// Sent again later, it ends no login since.
#[test]
fn a_replay_ends_nothing_newer() {
    let stage = Stage::new();
    let usher = stage.usher(PATH);
    let old = token(&stage.issuer, json!({ "sub": "u", "iat": now() - 60 }));
    assert_eq!(told(&usher, &old).status, 200);
    let fresh = stage.issuer.token_with("u", json!({ "iat": now() - 30 }));
    assert_eq!(usher.get("/", &fresh).status, 200);
    assert_eq!(told(&usher, &old).status, 200);
    assert_eq!(usher.get("/", &fresh).status, 200);
}

#[test]
fn what_is_no_logout_token_is_refused() {
    let stage = Stage::new();
    let usher = stage.usher(PATH);
    let (issuer, alive) = (&stage.issuer, stage.issuer.token("u"));
    let wrong = [
        json!({ "events": null }),
        json!({ "events": {} }),
        json!({ "events": { EVENT: true } }),
        json!({ "events": EVENT }),
        json!({ "nonce": "n" }),
        json!({ "iat": null }),
        json!({ "exp": null }),
        json!({ "exp": now() - 1 }),
        json!({ "jti": null }),
        json!({ "jti": 7 }),
        json!({ "aud": "other" }),
        json!({ "iss": "https://evil.test/" }),
        json!({ "sid": 7 }),
        json!({ "sid": "" }),
        json!({ "iat": now() + 600 }),
    ];
    for more in wrong {
        let mut all = json!({ "sub": "u" });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        let reply = told(&usher, &token(issuer, all));
        assert_eq!(reply.status, 400, "{more}");
        assert_eq!(reply.body, r#"{"error":"invalid_request"}"#);
    }
    let mut nobody = claims(issuer, json!({}));
    nobody.remove("sub");
    assert_eq!(told(&usher, &issuer.sign(&nobody)).status, 400);
    // An access token, an ID token, and another's signature.
    assert_eq!(told(&usher, &alive).status, 400);
    let forged = token(&Issuer::new(), json!({ "sub": "u" }));
    assert_eq!(told(&usher, &forged).status, 400);
    let good = token(issuer, json!({ "sub": "v" }));
    for body in [
        String::new(),
        "logout_token=".to_owned(),
        format!("logout_token={good}&logout_token={good}"),
        format!("token={good}"),
        format!("logout_token={}", "x".repeat(40_000)),
    ] {
        assert_eq!(
            post(&usher, &body).status,
            400,
            "{}",
            &body[..body.len().min(40)]
        );
    }
    assert_eq!(usher.get_as_nobody("/auth/logout").status, 405);
    assert_eq!(usher.get("/", &alive).status, 200, "nobody was logged out");
    // A logout token opens nothing.
    assert_eq!(
        stage.redis(&["XLEN", "usher:revocations"]),
        redis::Value::Int(0)
    );
}

#[test]
fn the_client_it_is_meant_for_can_be_another_than_the_tokens() {
    let stage = Stage::new();
    let usher = stage.usher(
        "endpoints: { backchannel_logout: { path: /auth/logout, audiences: [client-7] } }\n",
    );
    let to = |aud: &str| token(&stage.issuer, json!({ "sub": "u", "aud": aud }));
    assert_eq!(told(&usher, &to(Issuer::AUDIENCE)).status, 400);
    assert_eq!(told(&usher, &to("client-7")).status, 200);
}

#[test]
fn a_logout_that_cannot_be_stored_is_503() {
    let mut stage = Stage::new();
    let usher = stage.usher(PATH);
    stage.redis.kill();
    let reply = told(&usher, &token(&stage.issuer, json!({ "sub": "u" })));
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(
        usher.line("/auth/logout")["reason"],
        "revocations_unavailable"
    );
}

#[test]
fn a_key_that_is_revoked_logs_nobody_out() {
    let stage = Stage::new();
    let usher = stage.usher(PATH);
    stage.revoke(&["--kid", "k1"]);
    dies(&usher, &stage.issuer.token("u"));
    assert_eq!(
        told(&usher, &token(&stage.issuer, json!({ "sub": "u" }))).status,
        400
    );
}

#[test]
fn it_needs_revocation() {
    let stage = Stage::new();
    let yaml = format!("upstream: http://127.0.0.1:1\n{}{PATH}", stage.issuers());
    let problems = usher::config::parse(&yaml, "usher.yaml", &|_| None).unwrap_err();
    assert!(
        problems[0].to_string().contains("needs `revocation`"),
        "{problems:?}"
    );
}

#[test]
fn slow_clients_keep_nobody_from_logging_out() {
    let stage = Stage::new();
    let usher = stage.usher(PATH);
    let head = "POST /auth/logout HTTP/1.1\r\nHost: app.test\r\n\
        Content-Type: application/x-www-form-urlencoded\r\n";
    let slow: Vec<_> = (0..70)
        .map(|_| {
            let mut client = usher.connect();
            client.send(format!(
                "{head}Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
            ));
            // Whoever hears that is being read.
            assert_eq!(client.reply().unwrap().status, 100);
            client.send("logout_token=");
            client
        })
        .collect();
    let reply = told(&usher, &token(&stage.issuer, json!({ "sub": "u" })));
    assert_eq!(reply.status, 200, "{}", reply.body);
    drop(slow);
    let mut client = usher.connect();
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\nnone\r\n"));
    assert_eq!(client.reply().unwrap().status, 400);
    eventually("the fault is the client's framing", || {
        let lines = usher.lines();
        lines
            .iter()
            .any(|line| line["reason"] == "bad_framing")
            .then_some(())
    });
}
