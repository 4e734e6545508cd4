//! Every row of the contract, on both databases.

use serde_json::{Value, json};

use super::stage::{
    CUSTOMER, LOGIN, LoggedIn, RENEW, SIGN_OUT, Stage, claims, has_code, is, login, plain, post,
    post_with, renew,
};
use crate::common::{Signer, Usher};

#[test]
fn sqlite_speaks_the_contract() {
    speaks(Stage::sqlite());
}

#[test]
fn postgres_speaks_the_contract() {
    speaks(Stage::postgres());
}

fn speaks(mut stage: Stage) {
    let usher = stage.replyke();
    refusals(&stage, &usher);
    answers(&stage, &usher);
    renewals(&stage, &usher);
    methods(&usher);
    vanishing(&stage, &usher);
    rates(&stage);
    breaking(&mut stage, &usher);
}

fn refusals(stage: &Stage, usher: &Usher) {
    for body in ["{}", r#"{"userJwt":null}"#, r#"{"userJwt":""}"#, ""] {
        let reply = post_with(usher, LOGIN, body, "");
        is(&reply, 400, "Missing userJwt", "missing-jwt");
    }
    let jwt = stage.vouch("u", json!({}));
    let body = json!({ "userJwt": jwt }).to_string();
    let bare = post_with(usher, "/bare/auth/verify-external-user", &body, "");
    is(&bare, 403, "Missing JWT keys", "missing-keys");
    let other = post_with(usher, "/other/auth/verify-external-user", &body, "");
    is(&other, 404, "Project not found", "project-not-found");

    let claims = json!({ "sub": "u", "iss": "acme", "userData": {} }).to_string();
    let now = crate::common::issuer::now();
    for bad in [
        "junk".to_owned(),
        Signer::new("RS256", b"").token(&claims),
        Signer::new("HS256", CUSTOMER.public_pem().as_bytes()).token(&claims),
        Signer::new("RS512", b"").token(&claims),
        stage.vouch_with("u", json!({}), json!({ "exp": now - 1 })),
        stage.vouch_with("u", json!({}), json!({ "nbf": now + 60 })),
        CUSTOMER.seal(r#"{"alg":"none"}"#, &claims),
        CUSTOMER.seal(r#"{"alg":"RS256","crit":["x"]}"#, &claims),
    ] {
        is(&login(usher, &bad), 403, "Invalid token", "invalid-token");
    }
    is(
        &post(usher, LOGIN, &json!({ "userJwt": 7 })),
        403,
        "Invalid token",
        "invalid-token",
    );
    for iss in [json!("bare"), json!(null), json!(["acme"])] {
        let jwt = stage.vouch_with("u", json!({}), json!({ "iss": iss }));
        is(
            &login(usher, &jwt),
            403,
            "Project ID mismatch",
            "project-mismatch",
        );
    }
    for (sub, data, phrase) in [
        (json!(null), json!({}), "sub is missing"),
        (json!(""), json!({}), "sub must be"),
        (json!("u"), json!(null), "userData must be an object"),
        (json!("u"), json!([]), "userData must be an object"),
        (
            json!("u"),
            json!({ "email": "no" }),
            "userData.email must be",
        ),
        (
            json!("u"),
            json!({ "location": { "type": "Point", "coordinates": [200, 0] } }),
            "longitude",
        ),
        (
            json!("u"),
            json!({ "birthdate": "2999-01-01" }),
            "userData.birthdate must",
        ),
        (
            json!("u"),
            json!({ "bio": "x".repeat(301) }),
            "at most 300 characters",
        ),
    ] {
        let jwt = stage.vouch_with("u", json!({}), json!({ "sub": sub, "userData": data }));
        let reply = login(usher, &jwt);
        has_code(&reply, 400, "validation-failed");
        assert!(reply.body.contains(phrase), "{}", reply.body);
    }
    assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 0);
}

fn answers(stage: &Stage, usher: &Usher) {
    // Neither `exp` nor `aud` is asked for.
    let bare = stage.vouch_with(
        "nobody",
        json!({}),
        json!({ "exp": null, "aud": null, "iat": null }),
    );
    let reply = login(usher, &bare);
    plain(&reply);
    let shown = reply.body.as_str();
    let order = [
        "success",
        "accessToken",
        "refreshToken",
        "user",
        "id",
        "foreignId",
        "role",
        "email",
        "name",
        "username",
        "avatar",
        "bio",
        "location",
        "birthdate",
        "metadata",
        "suspensions",
        "reputation",
        "isVerified",
        "isActive",
        "lastActive",
        "createdAt",
        "updatedAt",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|key| shown.find(&format!("\"{key}\":")).expect(key))
        .collect();
    assert!(places.is_sorted(), "{shown}");
    let first = LoggedIn::of(&reply);
    for null in [
        "email",
        "name",
        "username",
        "avatar",
        "bio",
        "location",
        "birthdate",
    ] {
        assert_eq!(first.user[null], Value::Null, "{null}");
    }
    let user = Value::Object(first.user.clone());
    assert_eq!(user["foreignId"], "nobody");
    assert_eq!(user["role"], "visitor");
    assert_eq!(
        (&user["metadata"], &user["suspensions"]),
        (&json!({}), &json!([]))
    );
    assert_eq!(user["reputation"], 0);
    assert_eq!(
        (&user["isVerified"], &user["isActive"]),
        (&json!(false), &json!(true))
    );
    let now = usher::clock::Clock::Manual(stage.clock.clone()).now();
    let date = usher::accounts::render_date(now * 1000);
    for moment in ["lastActive", "createdAt", "updatedAt"] {
        assert_eq!(user[moment], date.as_str());
    }
    assert!(date.ends_with("Z") && date.len() == "2026-01-01T00:00:00.000Z".len());

    let access = claims(&first.access);
    assert_eq!(
        access,
        json!({ "sub": first.id(), "projectId": "acme", "role": "user", "aud": "replyke.com",
            "iss": "replyke.com", "iat": now, "exp": now + 1800 })
    );
    let refresh = claims(&first.refresh);
    let jti = refresh["jti"].as_str().unwrap();
    assert_eq!(
        refresh,
        json!({ "sub": first.id(), "projectId": "acme", "aud": "replyke.com", "iss": "replyke.com",
            "jti": jti, "iat": now, "exp": now + 2_592_000 })
    );
    let (start, end) = first.cookie.split_once(" Expires=").unwrap();
    assert_eq!(
        start,
        format!(
            "replyke-refresh-jwt={}; Max-Age=2592000; Path=/;",
            first.refresh
        )
    );
    assert!(
        end.ends_with(" GMT; HttpOnly; Secure; SameSite=None"),
        "{end}"
    );

    let full = json!({
        "email": "ada@example.com", "name": "Ada", "username": "ada", "avatar": "https://a.test/a.png",
        "bio": "Counts.", "location": { "type": "Point", "coordinates": [-0.1, 51.5] },
        "birthdate": "1815-12-10", "metadata": { "plan": { "b": 1, "a": [null] } },
        "secureMetadata": { "ssn": "hidden-from-all" }
    });
    let reply = login(usher, &stage.vouch("ada", full.clone()));
    assert!(!reply.body.contains("secureMetadata") && !reply.body.contains("hidden-from-all"));
    let ada = Value::Object(LoggedIn::of(&reply).user);
    for key in [
        "email", "name", "username", "avatar", "bio", "location", "metadata",
    ] {
        assert_eq!(ada[key], full[key]);
    }
    assert_eq!(ada["birthdate"], "1815-12-10T00:00:00.000Z");
    assert_eq!(
        stage.number(
            "SELECT count(*) FROM usher_users WHERE secure_metadata LIKE '%hidden-from-all%'"
        ),
        1
    );
}

fn renewals(stage: &Stage, usher: &Usher) {
    let nothing = r#"{"user":null,"accessToken":null}"#;
    for body in ["", "{}", r#"{"refreshToken":null}"#] {
        let reply = post_with(usher, RENEW, body, "");
        assert_eq!((reply.status, reply.body.as_str()), (200, nothing));
    }
    let ada = stage.login(usher, "ada", json!({}));
    let renewed = renew(usher, &ada.refresh);
    plain(&renewed);
    let body: Value = serde_json::from_str(&renewed.body).unwrap();
    let keys: Vec<_> = ["success", "accessToken", "user"]
        .map(|key| renewed.body.find(&format!("\"{key}\":")).unwrap())
        .into();
    assert!(keys.is_sorted());
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    assert_eq!(body["user"]["foreignId"], "ada");
    assert_eq!(
        claims(body["accessToken"].as_str().unwrap())["sub"],
        ada.id()
    );
    assert_eq!(renewed.header("set-cookie"), None, "nothing is replaced");

    // The cookie wins over the body.
    let cookie = format!("Cookie: a=b; replyke-refresh-jwt={}\r\n", ada.refresh);
    let reply = post_with(usher, RENEW, r#"{"refreshToken":"junk"}"#, &cookie);
    assert_eq!(reply.status, 200);
    let invalid = "Invalid refresh token";
    let twice = format!("{cookie}Cookie: replyke-refresh-jwt=other\r\n");
    is(
        &post_with(usher, RENEW, "", &twice),
        403,
        invalid,
        "invalid-refresh-token",
    );
    is(&renew(usher, "junk"), 403, invalid, "invalid-refresh-token");
    is(
        &renew(usher, &ada.access),
        403,
        invalid,
        "invalid-refresh-token",
    );
    let body = json!({ "refreshToken": ada.refresh });
    let reply = post(usher, "/bare/auth/request-new-access-token", &body);
    is(
        &reply,
        403,
        "Refresh token mismatch",
        "refresh-token-mismatch",
    );

    let leaving = stage.login(usher, "leaving", json!({}));
    stage.sql(
        "DELETE FROM usher_refresh_tokens WHERE user_id IN \
               (SELECT id FROM usher_users WHERE foreign_id = 'leaving')",
    );
    is(
        &renew(usher, &leaving.refresh),
        403,
        "Refresh token is not valid",
        "refresh-token-invalid",
    );
    stage.sql("DELETE FROM usher_users WHERE foreign_id = 'leaving'");
    is(
        &renew(usher, &leaving.refresh),
        403,
        "No user found",
        "no-user-found",
    );

    for body in [
        json!({ "refreshToken": ada.refresh }),
        json!({}),
        json!({ "refreshToken": "junk" }),
    ] {
        let reply = post(usher, SIGN_OUT, &body);
        assert_eq!((reply.status, reply.body.as_str()), (204, ""));
        assert_eq!(
            reply.header("set-cookie"),
            Some(
                "replyke-refresh-jwt=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; \
                  HttpOnly; Secure; SameSite=None"
            )
        );
    }
    is(
        &renew(usher, &ada.refresh),
        403,
        "Refresh token is not valid",
        "refresh-token-invalid",
    );
}

fn methods(usher: &Usher) {
    for path in [LOGIN, RENEW, SIGN_OUT] {
        let reply = usher.get_as_nobody(path);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    }
}

/// The user is gone between the write and the read: a trigger sees to it.
fn vanishing(stage: &Stage, usher: &Usher) {
    let (make, drop) = match stage.postgres {
        Some(_) => (
            "CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN DELETE FROM usher_users WHERE id = NEW.id; RETURN NULL; END'; \
             CREATE TRIGGER vanish AFTER INSERT ON usher_users FOR EACH ROW EXECUTE FUNCTION vanish();",
            "DROP TRIGGER vanish ON usher_users; DROP FUNCTION vanish;",
        ),
        None => (
            "CREATE TRIGGER vanish AFTER INSERT ON usher_users BEGIN \
             DELETE FROM usher_users WHERE id = NEW.id; END;",
            "DROP TRIGGER vanish;",
        ),
    };
    stage.sql(make);
    let reply = login(usher, &stage.vouch("vanishing", json!({})));
    is(
        &reply,
        500,
        "Unexpected error fetching user after login",
        "missing-user",
    );
    stage.sql(drop);
    stage.login(usher, "vanishing", json!({}));
}

fn rates(stage: &Stage) {
    let yaml = stage.yaml("", ", preset: replyke", "");
    let yaml = yaml.replace("rate_limit: off", "rate_limit: { calls: 25 }");
    let usher = Usher::configured(&yaml);
    for _ in 0..25 {
        is(
            &login(&usher, "junk"),
            403,
            "Invalid token",
            "invalid-token",
        );
    }
    let reply = login(&usher, "junk");
    is(
        &reply,
        429,
        "Too many attempts, please try again shortly",
        "rate-limited",
    );
    let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    // It is asked before anything else, and of logins alone.
    has_code(
        &post_with(&usher, LOGIN, "", "Origin: https://evil.test\r\n"),
        429,
        "rate-limited",
    );
    assert_eq!(post(&usher, SIGN_OUT, &json!({})).status, 204);
}

/// Whatever else goes wrong is 500, and says nothing of where and how.
fn breaking(stage: &mut Stage, usher: &Usher) {
    let refresh = &stage.login(usher, "eve", json!({})).refresh;
    match &mut stage.postgres {
        Some(server) => server.postgres.kill(),
        None => stage.sql("ALTER TABLE usher_users RENAME TO elsewhere"),
    }
    let jwt = stage.vouch("ada", json!({}));
    let reply = login(usher, &jwt);
    let body = r#"{"error":"Internal server error","code":"auth/server-error","details":"The accounts cannot be asked now"}"#;
    assert_eq!((reply.status, reply.body.as_str()), (500, body));
    assert!(reply.header("retry-after").is_some());
    let refused = |what: &str| {
        usher.metric(&format!(
            "usher_account_{what}_total{{outcome=\"refused\"}}"
        ))
    };
    let before = (refused("logins"), refused("refreshes"));
    assert_eq!(renew(usher, refresh).status, 500);
    assert_eq!(login(usher, &jwt).status, 500);
    assert_eq!(
        (refused("logins"), refused("refreshes")),
        before,
        "nobody was refused"
    );
    let ready = usher.admin("/readyz").body;
    assert!(
        ready.contains(r#"{"accounts":"cannot be asked"}"#),
        "{ready}"
    );
    match &mut stage.postgres {
        Some(server) => server.restart(),
        None => stage.sql("ALTER TABLE elsewhere RENAME TO usher_users"),
    }
    // The client repeats the call, and gets the same user.
    crate::common::eventually("the accounts answer again", || {
        (login(usher, &jwt).status == 200).then_some(())
    });
    assert_eq!(
        stage.number("SELECT count(*) FROM usher_users WHERE foreign_id = 'ada'"),
        1
    );
}
