//! Every door asks what is revoked: endpoints, other proxies, and external users.

use serde_json::{Value, json};

use super::stage::{Stage, dies, ready};
use crate::accounts::stage::{ACCESS, CUSTOMER, REFRESH, request};
use crate::common::issuer::now;
use crate::common::{Usher, eventually};

#[test]
fn verify_and_other_proxies_hear_of_it() {
    let stage = Stage::new();
    let usher = stage.usher(
        "endpoints: { verify: { path: /verify, user_id: sub, username: name } }\n\
         trusted_proxies: [127.0.0.1]\nforward_auth: { path: /_usher/auth, dialect: nginx }\n",
    );
    let token = stage.issuer.token("dead");
    let asked = || {
        usher.raw(format!(
            "GET /_usher/auth HTTP/1.1\r\nHost: app.test\r\nX-Original-Method: GET\r\n\
             X-Original-URI: /page\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
    };
    assert_eq!(asked().status, 200);
    assert_eq!(usher.get("/verify", &token).status, 200);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &token);
    assert_eq!(usher.get("/verify", &token).status, 401);
    assert_eq!(asked().status, 401);
}

/// A login of an external user, and what it is answered.
fn login(usher: &Usher, issued: i64) -> Value {
    let claims = json!({ "sub": "u", "iss": "acme", "exp": issued + 300, "userData": {} });
    let jwt = CUSTOMER.token(claims.to_string());
    let body = json!({ "userJwt": jwt }).to_string();
    let reply = usher.raw(request("/acme/auth/verify-external-user", &body, ""));
    serde_json::from_str(&reply.body).unwrap()
}

#[test]
fn refresh_tokens_and_access_tokens_of_external_users_die_with_their_user() {
    let stage = Stage::new();
    let file = stage.folder.path().join("accounts.db");
    let key = json!(CUSTOMER.public_pem());
    let more = format!(
        "accounts: \"sqlite:{}\"\nprojects: [{{ id: acme, public_key: {key} }}]\n\
         issued_tokens: {{ access: {{ secret: {ACCESS} }}, refresh: {{ secret: {REFRESH} }}, rotate: false, rate_limit: off }}\n\
         routes: [{{ path: /acme-app/**, projects: [acme] }}]\n",
        file.display()
    );
    stage.write_config(&more);
    let usher = stage.usher(&more);
    let first = login(&usher, now());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (access, refresh) = (text(&first["accessToken"]), text(&first["refreshToken"]));
    let renew = || {
        let body = json!({ "refreshToken": refresh }).to_string();
        usher.raw(request("/acme/auth/request-new-access-token", &body, ""))
    };
    assert_eq!(usher.get("/acme-app/x", &access).status, 200);
    assert_eq!(renew().status, 200);
    let user = text(&first["user"]["id"]);
    stage.revoke(&["--issuer", "accounts", "--subject", &user]);
    eventually("the access token is refused", || {
        (usher.get("/acme-app/x", &access).status == 401).then_some(())
    });
    let reply = renew();
    assert_eq!(reply.status, 403, "{}", reply.body);
    assert!(
        reply.body.contains("invalid-refresh-token"),
        "{}",
        reply.body
    );
}

#[test]
fn a_refresh_token_can_be_revoked_by_itself() {
    let stage = Stage::new();
    let file = stage.folder.path().join("accounts.db");
    let key = json!(CUSTOMER.public_pem());
    let more = format!(
        "accounts: \"sqlite:{}\"\nprojects: [{{ id: acme, public_key: {key} }}]\n\
         issued_tokens: {{ access: {{ secret: {ACCESS} }}, refresh: {{ secret: {REFRESH} }}, rotate: false, rate_limit: off }}\n",
        file.display()
    );
    stage.write_config(&more);
    let usher = Usher::configured(&stage.yaml(&more));
    ready(&usher);
    let refresh = login(&usher, now())["refreshToken"]
        .as_str()
        .unwrap()
        .to_owned();
    stage.revoke(&["--token", &refresh]);
    let body = json!({ "refreshToken": refresh }).to_string();
    eventually("the refresh token is refused", || {
        let reply = usher.raw(request("/acme/auth/request-new-access-token", &body, ""));
        (reply.status == 403).then_some(())
    });
}
