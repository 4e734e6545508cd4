//! Refresh tokens: rotation, reuse, expiry, cookies, sweeping.

use serde_json::{Value, json};

use super::stage::{RENEW, SIGN_OUT, Stage, claims, has_code, post, post_with, renew};
use crate::common::{Reply, eventually};

#[track_caller]
fn next(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    body["refreshToken"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_that_is_used_is_replaced_and_its_copy_ends_all() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let ada = stage.login(&usher, "ada", json!({}));
        let other = stage.login(&usher, "ada", json!({}));
        let second = next(&renew(&usher, &ada.refresh));
        assert_ne!(second, ada.refresh);
        assert_eq!(claims(&second)["sub"], ada.id());
        // For a moment it leads to the same successor: an answer may have been lost.
        stage.clock.advance(29);
        assert_eq!(next(&renew(&usher, &ada.refresh)), second);
        stage.clock.advance(1);
        has_code(&renew(&usher, &ada.refresh), 401, "token-reuse-detected");
        has_code(&renew(&usher, &second), 403, "refresh-token-invalid");
        assert_eq!(
            renew(&usher, &other.refresh).status,
            200,
            "another login is another family"
        );
        assert_eq!(
            usher.metric("usher_account_refreshes_total{outcome=\"reused\"}"),
            1.0
        );
    });
}

#[test]
fn only_the_last_token_before_has_grace() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let first = stage.login(&usher, "ada", json!({})).refresh;
        let second = next(&renew(&usher, &first));
        let third = next(&renew(&usher, &second));
        let reply = renew(&usher, &first);
        has_code(&reply, 401, "token-reuse-detected");
        assert!(reply.header("www-authenticate").is_some());
        assert!(
            reply
                .header("set-cookie")
                .unwrap()
                .starts_with("__Host-usher-refresh=; Max-Age=0;")
        );
        has_code(&renew(&usher, &third), 403, "refresh-token-invalid");
    });
}

#[test]
fn tokens_end_by_the_clock_and_are_swept() {
    Stage::each(|stage| {
        let usher = stage.usher_with("", "", "");
        let first = stage.login(&usher, "ada", json!({})).refresh;
        stage.clock.advance(2_591_999);
        let second = next(&renew(&usher, &first));
        stage.clock.advance(1);
        has_code(&renew(&usher, &first), 403, "invalid-refresh-token");
        assert_eq!(
            renew(&usher, &second).status,
            200,
            "the successor has a life of its own"
        );
        assert_eq!(stage.number("SELECT count(*) FROM usher_refresh_tokens"), 3);
        drop(usher);
        // The sweeper looks when it starts, and by the minute.
        let usher = stage.usher();
        eventually("what is over is deleted", || {
            (stage.number("SELECT count(*) FROM usher_refresh_tokens") == 2).then_some(())
        });
        eventually("it is counted", || {
            (usher.metric("usher_account_tokens_swept_total") == 1.0).then_some(())
        });
    });
}

#[test]
fn cookies_are_as_the_settings_say() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({}));
    assert!(
        ada.cookie.starts_with("__Host-usher-refresh="),
        "{}",
        ada.cookie
    );
    assert!(
        ada.cookie.ends_with("HttpOnly; Secure; SameSite=Lax"),
        "{}",
        ada.cookie
    );
    // Who keeps the token in the cookie gets the next one there, and not where scripts read.
    let cookie = format!("Cookie: __Host-usher-refresh={}\r\n", ada.refresh);
    let reply = post_with(&usher, RENEW, "", &cookie);
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("refreshToken"), "{}", reply.body);
    let set = reply.header("set-cookie").unwrap();
    let (next, _) = set
        .strip_prefix("__Host-usher-refresh=")
        .unwrap()
        .split_once(';')
        .unwrap();
    assert_ne!(next, ada.refresh);
    assert_eq!(renew(&usher, next).status, 200);

    let tokens = ", cookie: { name: r, secure: false, same_site: strict, domain: example.com }";
    let usher = stage.usher_with("", tokens, "");
    let cookie = stage.login(&usher, "ada", json!({})).cookie;
    assert!(
        cookie.starts_with("r=") && cookie.contains("; Domain=example.com; Path=/; "),
        "{cookie}"
    );
    assert!(
        cookie.ends_with("GMT; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
}

#[test]
fn signing_out_ends_the_whole_login_and_no_other() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let one = stage.login(&usher, "ada", json!({})).refresh;
        let other = stage.login(&usher, "ada", json!({})).refresh;
        let two = next(&renew(&usher, &one));
        assert_eq!(
            post(&usher, SIGN_OUT, &json!({ "refreshToken": one })).status,
            204
        );
        has_code(&renew(&usher, &two), 403, "refresh-token-invalid");
        assert_eq!(renew(&usher, &other).status, 200);
    });
}

#[test]
fn only_hashes_of_tokens_are_kept() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({ "secureMetadata": { "k": "v" } }));
    let next = next(&renew(&usher, &ada.refresh));
    drop(usher);
    let mut stored = Vec::new();
    for end in ["", "-wal"] {
        let path = format!("{}{end}", stage.file().display());
        stored.extend(std::fs::read(path).unwrap_or_default());
    }
    let holds = |text: &str| {
        stored
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(holds(ada.id()));
    for token in [&ada.refresh, &next, &ada.access] {
        assert!(!holds(token));
        let said = claims(token);
        if let Some(jti) = said["jti"].as_str() {
            assert!(!holds(jti), "who reads the database can make no token");
        }
    }
}

/// Without rotation a token is good until it ends.
#[test]
fn without_rotation_nothing_is_replaced() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", ", rotate: false", "");
    let ada = stage.login(&usher, "ada", json!({}));
    for _ in 0..3 {
        stage.clock.advance(60);
        let reply = renew(&usher, &ada.refresh);
        assert_eq!(reply.status, 200);
        assert!(!reply.body.contains("refreshToken") && reply.header("set-cookie").is_none());
    }
}
