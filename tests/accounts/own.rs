//! usher accepts the tokens that it mints: on routes that name the project, and nowhere else.

use serde_json::json;

use super::stage::{ACCESS, LoggedIn, REFRESH, Stage, login, renew};
use crate::common::{Reply, Signer, Usher, eventually};

const ROUTES: &str = "routes: [{ path: /feed/**, projects: [acme] }, { path: /strict/**, projects: acme, \
    suspended: deny }, { path: /bare/**, projects: bare }]\n";

fn get(usher: &Usher, path: &str, token: &str) -> Reply {
    usher.get(path, token)
}

#[test]
fn access_tokens_open_the_routes_of_their_project_alone() {
    Stage::each(|stage| {
        let usher = stage.usher_with(
            "",
            "",
            &format!(
                "{ROUTES}endpoints: {{ verify: {{ path: /verify, user_id: id, username: id }} }}\n"
            ),
        );
        let ada = stage.login(&usher, "ada", json!({}));
        assert_eq!(get(&usher, "/feed/1", &ada.access).status, 200);
        let received = stage.app.last();
        assert_eq!(received.header("x-user-id"), Some(ada.id()));
        assert_eq!(received.header("authorization"), None);
        for path in ["/", "/bare/1", "/elsewhere"] {
            assert_eq!(get(&usher, path, &ada.access).status, 403, "{path}");
        }
        assert_eq!(usher.line("/bare/1")["reason"], "project_refused");
        assert_eq!(get(&usher, "/verify", &ada.access).status, 401);
        // Other issuers' tokens are none of a project's business.
        let token = stage.issuer.token("alice");
        for path in ["/feed/1", "/", "/verify"] {
            assert_eq!(get(&usher, path, &token).status, 200, "{path}");
        }
        // By the clock.
        stage.clock.advance(1800);
        assert_eq!(get(&usher, "/feed/1", &ada.access).status, 401);
    });
}

#[test]
fn a_refresh_token_opens_nothing() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", ROUTES);
    let ada = stage.login(&usher, "ada", json!({}));
    assert_eq!(get(&usher, "/feed/1", &ada.refresh).status, 401);
    let claims = |token: &str| super::stage::claims(token).to_string();
    // Nor does one whose payload is signed with the other key.
    let forged = Signer::new("HS256", REFRESH.as_bytes()).token(claims(&ada.access));
    assert_eq!(get(&usher, "/feed/1", &forged).status, 401);
    let made = Signer::new("HS256", ACCESS.as_bytes()).token(claims(&ada.refresh));
    assert_eq!(renew(&usher, &made).status, 403);
    // Not even where one key makes both.
    assert_eq!(get(&usher, "/feed/1", &made).status, 401);
    assert_eq!(stage.app.count(), 0);
}

#[test]
fn the_cookie_of_a_refresh_token_never_reaches_the_app() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", &format!("{ROUTES}tokens: {{ pass: true }}\n"));
    let ada = stage.login(&usher, "ada", json!({}));
    let (name, _) = ada.cookie.split_once('=').unwrap();
    let lines = format!("Cookie: a=b; {name}={}; c=d\r\n", ada.refresh);
    assert_eq!(usher.get_with("/feed/1", &ada.access, &lines).status, 200);
    let received = stage.app.last();
    assert_eq!(received.header("cookie"), Some("a=b; c=d"));
    assert!(received.header("authorization").is_some(), "as `pass` says");
}

#[test]
fn a_key_pair_signs_and_its_public_half_is_published() {
    let stage = Stage::sqlite();
    let keys: Vec<_> = ["access", "refresh"]
        .map(|name| {
            let path = stage.folder.path().join(name);
            let pem = usher::identify::mint::generate_es256().unwrap();
            std::fs::write(&path, pem.expose()).unwrap();
            path.display().to_string()
        })
        .into();
    let yaml = stage
        .yaml("", "", ROUTES)
        .replace(
            &format!("secret: {ACCESS}"),
            &format!("key_file: {}", keys[0]),
        )
        .replace(
            &format!("secret: {REFRESH}"),
            &format!("key_file: {}", keys[1]),
        );
    let usher = Usher::configured(&yaml);
    let ada = LoggedIn::of(&login(&usher, &stage.vouch("ada", json!({}))));
    assert_eq!(get(&usher, "/feed/1", &ada.access).status, 200);
    assert_eq!(get(&usher, "/feed/1", &ada.refresh).status, 401);
    assert_eq!(renew(&usher, &ada.refresh).status, 200);
    let set = usher.get_as_nobody("/.well-known/jwks.json");
    assert_eq!(set.status, 200);
    assert_eq!(set.header("cache-control"), Some("public, max-age=300"));
    let set: serde_json::Value = serde_json::from_str(&set.body).unwrap();
    let [key] = set["keys"].as_array().unwrap().as_slice() else {
        panic!("one key, that of access tokens: {set}");
    };
    assert_eq!(
        (&key["kty"], &key["use"], &key["d"]),
        (&json!("EC"), &json!("sig"), &json!(null))
    );
    let header = ada.access.split('.').next().unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&crate::common::forge::decode(header)).unwrap();
    assert_eq!(
        (&header["kid"], &header["alg"]),
        (&key["kid"], &json!("ES256"))
    );

    // Somebody else verifies with nothing but the set.
    let path = stage.folder.path().join("set.json");
    std::fs::write(&path, set.to_string()).unwrap();
    let other = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{{ issuer: replyke.com, audiences: [replyke.com], \
         algorithms: [ES256], jwks_file: {} }}]\n",
        stage.app.address,
        path.display()
    ));
    assert_eq!(get(&other, "/", &ada.access).status, 200);
    // With a shared secret there is nothing to publish, and the path is the app's.
    let shared = stage.usher();
    assert_eq!(
        shared
            .get("/.well-known/jwks.json", &stage.issuer.token("alice"))
            .body,
        "hello"
    );
}

#[test]
fn the_suspended_and_the_deleted_are_refused_where_that_is_said() {
    Stage::each(|stage| {
        let usher = stage.usher_with("", ", standing: { fresh: 10s, max_stale: 20s }", ROUTES);
        let ada = stage.login(&usher, "ada", json!({}));
        let now = usher::clock::Clock::Manual(stage.clock.clone()).now() * 1000;
        for _ in 0..5 {
            assert_eq!(get(&usher, "/strict/1", &ada.access).status, 200);
        }
        assert_eq!(
            usher.metric("usher_account_standing_lookups_total"),
            1.0,
            "it is remembered"
        );
        stage.sql(&format!(
            "INSERT INTO usher_suspensions (id, user_id, reason, start_at, end_at) \
             VALUES ('s', '{}', 'spam', {now}, {})",
            ada.id(),
            now + 60_000
        ));
        assert_eq!(
            get(&usher, "/strict/1", &ada.access).status,
            200,
            "not known yet"
        );
        stage.clock.advance(10);
        let refused = get(&usher, "/strict/2", &ada.access);
        assert_eq!(
            (refused.status, refused.body.as_str()),
            (403, r#"{"error":"forbidden"}"#)
        );
        assert_eq!(usher.line("/strict/2")["reason"], "account_suspended");
        assert_eq!(
            get(&usher, "/feed/1", &ada.access).status,
            200,
            "that route lets them pass"
        );
        // A suspended user can still log in, and is told.
        let again = stage.login(&usher, "ada", json!({}));
        let date = |millis| usher::accounts::render_date(millis);
        assert_eq!(
            again.user["suspensions"],
            json!([{ "reason": "spam", "startDate": date(now), "endDate": date(now + 60_000) }])
        );
        stage.clock.advance(50);
        assert_eq!(
            get(&usher, "/strict/1", &ada.access).status,
            200,
            "it is over"
        );
        assert_eq!(
            stage.login(&usher, "ada", json!({})).user["suspensions"],
            json!([])
        );
        stage.sql("DELETE FROM usher_users");
        stage.clock.advance(10);
        assert_eq!(get(&usher, "/strict/3", &ada.access).status, 403);
        assert_eq!(usher.line("/strict/3")["reason"], "user_unknown");
    });
}

#[test]
fn while_nobody_can_be_asked_the_last_answer_holds_for_a_while() {
    let mut stage = Stage::postgres();
    let usher = stage.usher_with("", ", standing: { fresh: 10s, max_stale: 20s }", ROUTES);
    let ada = stage.login(&usher, "ada", json!({}));
    assert_eq!(get(&usher, "/strict/1", &ada.access).status, 200);
    stage.postgres.as_mut().unwrap().postgres.kill();
    stage.clock.advance(19);
    assert_eq!(get(&usher, "/strict/1", &ada.access).status, 200);
    stage.clock.advance(1);
    assert_eq!(get(&usher, "/strict/2", &ada.access).status, 503);
    assert_eq!(usher.line("/strict/2")["reason"], "users_unavailable");
    assert_eq!(
        get(&usher, "/feed/1", &ada.access).status,
        200,
        "this one asks nobody"
    );
    stage.postgres.as_mut().unwrap().restart();
    eventually("it answers again", || {
        (get(&usher, "/strict/1", &ada.access).status == 200).then_some(())
    });
}

#[test]
fn who_logs_in_is_made_known_to_the_provisioner() {
    Stage::each(|stage| {
        let users = format!(
            "users: {{ directory: \"sqlite:{}\", provisioner: direct }}\n{ROUTES}",
            stage.folder.path().join("users.db").display()
        );
        let usher = stage.usher_with("", ", provision: true", &users);
        let ada = stage.login(
            &usher,
            "ada",
            json!({ "email": "a@example.com", "name": "Ada" }),
        );
        let directory = rusqlite::Connection::open(stage.folder.path().join("users.db")).unwrap();
        let row = || {
            directory.query_row("SELECT id, email, name, issuer FROM users", [], |row| {
                Ok([
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                ])
            })
        };
        assert_eq!(
            row().unwrap(),
            [ada.id(), "a@example.com", "Ada", "accounts"]
        );
        assert_eq!(get(&usher, "/feed/1", &ada.access).status, 200);
        assert_eq!(
            usher.metric("usher_user_lookups_total{outcome=\"missing\"}"),
            1.0
        );
    });
}

#[test]
fn a_user_whom_the_provisioner_did_not_take_is_told_to_try_again() {
    let stage = Stage::sqlite();
    let users = format!(
        "users: {{ directory: \"sqlite:{}\", provisioner: \"redis://127.0.0.1:9\" }}\n",
        stage.folder.path().join("users.db").display()
    );
    let usher = stage.usher_with("", ", provision: true", &users);
    let jwt = stage.vouch("ada", json!({ "email": "a@example.com" }));
    for _ in 0..2 {
        let reply = login(&usher, &jwt);
        super::stage::has_code(&reply, 500, "server-error");
        assert!(
            reply.body.contains("could not be provisioned"),
            "{}",
            reply.body
        );
    }
    assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 1);
}
