//! Nothing that usher writes, at whatever level, holds a token, a cookie or a secret.

use serde_json::json;

use crate::common::app::{Answer, answer};
use crate::common::command::{Running, run, usher};
use crate::common::{App, Client, Issuer, KeyServer, Signer, eventually};

const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Cv5Bn9My2Kl7Jh4Gf";

/// What no output may hold: the whole, and each part that means something by itself.
fn parts(token: &str) -> Vec<String> {
    let mut parts = vec![token.to_owned()];
    parts.extend(
        token
            .split('.')
            .filter(|part| part.len() > 30)
            .map(str::to_owned),
    );
    parts
}

#[test]
fn no_token_cookie_or_secret_is_written_at_any_level() {
    let issuer = Issuer::new();
    let server = KeyServer::start(issuer.jwks());
    let app = App::with(|received| match received.target() {
        "/broken" => Answer::Last(b"HTTP/9.9 what\r\n\r\n".to_vec()),
        "/cut" => Answer::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec()),
        _ => Answer::Bytes(answer(
            "200 OK",
            "set-cookie: app=appcookiesecret0123456789\r\n",
            "hello",
        )),
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("usher.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://{app}\nissuers:\n\
         \x20 - {{ name: idp, issuer: \"{name}\", audiences: [app], algorithms: [ES256], jwks_uri: \"{keys}\", fetch: {{ cooldown: 1s }} }}\n\
         \x20 - {{ name: shared, issuer: shared, audiences: [app], secret_env: SECRET }}\n\
         tokens: {{ from: [authorization, {{ cookie: session }}, {{ header: X-Access-Token }}, {{ query: access_token }}] }}\n\
         endpoints: {{ verify: {{ path: /verify, user_id: id, username: name }} }}\n\
         routes: [{{ path: /admin, require: {{ roles: [admin] }} }}]\n\
         log: {{ level: trace }}\nshutdown: {{ pause: 0s, deadline: 1s }}\n",
        app = app.address,
        name = Issuer::NAME,
        keys = server.jwks_uri(),
    );
    std::fs::write(&config, text).unwrap();
    let mut running = Running::start(
        usher(&["serve", "--config", config.to_str().unwrap()]).env("SECRET", SECRET),
    );
    let (address, admin) = (
        running.address("listening"),
        running.address("admin: /livez /readyz /metrics"),
    );
    eventually("readiness", || {
        (run(&["probe", "ready", "--admin", &admin.to_string()]).0 == 0).then_some(())
    });

    let good = issuer.token("alice");
    let shared = Signer::new("HS256", SECRET.as_bytes());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let tokens = [
        good.clone(),
        shared.token(
            serde_json::Value::Object(issuer.claims("bob", json!({ "iss": "shared" }))).to_string(),
        ),
        Issuer::new().token("forged-signature"),
        Issuer::with_kid("unknown-kid").token("eve"),
        issuer.token_with("expired", json!({ "exp": 1 })),
        issuer.token_with("other-audience", json!({ "aud": "elsewhere" })),
        issuer.token_with("other-issuer", json!({ "iss": "https://elsewhere.test/" })),
        issuer.token_with("control", json!({ "sub": "a\nb" })),
        issuer.token_with("long", json!({ "email": "e".repeat(3000) })),
        issuer.token_with("huge", json!({ "pad": "p".repeat(7000) })),
        format!("{signed}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        format!("{good}!!"),
        "opaque-token-0123456789-abcdefghijklmnopqrstuvwxyz".to_owned(),
    ];
    let cookie = "app-cookie-0123456789-abcdefghijklmnopqrstuvwxyz";
    for token in &tokens {
        let places = [
            ("/".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            (
                "/admin".to_owned(),
                format!("Authorization: Bearer {token}\r\n"),
            ),
            (
                "/verify".to_owned(),
                format!("Authorization: Bearer {token}\r\n"),
            ),
            (
                "/broken".to_owned(),
                format!("Authorization: Bearer {token}\r\n"),
            ),
            (
                "/cut".to_owned(),
                format!("Authorization: Bearer {token}\r\n"),
            ),
            ("/".to_owned(), format!("Authorization: Basic {token}\r\n")),
            (
                "/".to_owned(),
                format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
            ),
            (
                "/".to_owned(),
                format!("Cookie: session={token}; other={cookie}\r\n"),
            ),
            ("/".to_owned(), format!("X-Access-Token: {token}\r\n")),
            (format!("/?access_token={token}&x=1"), String::new()),
            (
                format!("http://a.test/?access_token={token}"),
                String::new(),
            ),
            // Not HTTP: what is logged of it must not quote it.
            (
                format!("/?access_token={token}"),
                format!("Authorization : Bearer {token}\r\n"),
            ),
        ];
        for (target, lines) in places {
            let mut client = Client::connect(address);
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{lines}\r\n"
            ));
            let _ = client.rest();
        }
    }
    running.signal("TERM");
    assert!(running.ended().success());
    let written = eventually("the lines", || {
        let out = running.out();
        (out.lines().count() > 100).then(|| out + &running.err())
    });
    assert!(written.contains("\"level\":\"TRACE\"") || written.contains("\"level\":\"DEBUG\""));
    assert!(written.contains("\"reason\":\"signature_refused\""));
    let mut secrets: Vec<_> = tokens.iter().flat_map(|token| parts(token)).collect();
    secrets.sort();
    secrets.dedup();
    // The header of a token says nothing that is not public.
    let headers: Vec<_> = tokens
        .iter()
        .filter_map(|token| token.split('.').next())
        .collect();
    secrets.retain(|part| !headers.contains(&part.as_str()) || !part.starts_with("ey"));
    secrets.extend([
        SECRET.to_owned(),
        cookie.to_owned(),
        "appcookiesecret0123456789".to_owned(),
    ]);
    assert!(secrets.len() > 20);
    for secret in secrets {
        let found = written.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "{secret} is in {found:?}");
    }
}
