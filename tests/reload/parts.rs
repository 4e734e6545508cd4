//! What has not changed is taken over; what has is built before anything is swapped.

use std::collections::BTreeSet;

use serde_json::json;

use super::stage::{Stage, ask};
use crate::common::{App, Issuer, KeyServer, Mood, Peers, eventually, exness};

/// An issuer whose keys are fetched.
fn fetched(name: &str, server: &KeyServer, more: &str) -> String {
    format!(
        "{{ name: {name}, issuer: \"https://{name}.test/\", audiences: [app], algorithms: [ES256], \
         jwks_uri: \"{}\"{more} }}",
        server.jwks_uri()
    )
}

fn token(issuer: &Issuer, name: &str) -> String {
    issuer.token_with("alice", json!({ "iss": format!("https://{name}.test/") }))
}

#[test]
fn keys_are_fetched_once_and_those_of_new_issuers_before_they_are_needed() {
    let (one, two) = (Issuer::with_kid("one"), Issuer::with_kid("two"));
    let (first, second) = (KeyServer::start(one.jwks()), KeyServer::start(two.jwks()));
    let issuers = [fetched("one", &first, "")];
    let stage = Stage::with(App::start(), Issuer::new(), &issuers, "");
    eventually("ready", || {
        (stage.admin("/readyz").status == 200).then_some(())
    });
    let mut client = stage.connect();
    assert_eq!(ask(&mut client, "/a", &token(&one, "one")).status, 200);
    for turn in 0..5 {
        // What a token must look like changes, and where its keys are does not.
        let more = format!(", leeway: {{ exp: {turn}s }}");
        stage.write_with(&[fetched("one", &first, &more)], "");
        stage.reload();
        assert_eq!(ask(&mut client, "/a", &token(&one, "one")).status, 200);
    }
    assert_eq!(first.fetches().len(), 1);
    stage.write_with(
        &[fetched("one", &first, ""), fetched("two", &second, "")],
        "",
    );
    stage.reload();
    assert_eq!(stage.admin("/readyz").status, 200);
    assert_eq!(ask(&mut client, "/a", &token(&two, "two")).status, 200);
    assert_eq!((first.fetches().len(), second.fetches().len()), (1, 1));
}

#[test]
fn an_issuer_that_cannot_be_reached_does_not_make_usher_unready() {
    let (one, two) = (Issuer::with_kid("one"), Issuer::with_kid("two"));
    let (first, second) = (KeyServer::start(one.jwks()), KeyServer::start(two.jwks()));
    let stage = Stage::with(
        App::start(),
        Issuer::new(),
        &[fetched("one", &first, "")],
        "",
    );
    eventually("ready", || {
        (stage.admin("/readyz").status == 200).then_some(())
    });
    second.set_mood(Mood::Bytes(
        b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ));
    stage.write_with(
        &[fetched("one", &first, ""), fetched("two", &second, "")],
        "",
    );
    stage.fail();
    let events = stage.events("the configuration cannot be used");
    let problem = events[0]["problem"].as_str().unwrap();
    assert!(problem.contains("issuer `two`: no keys: "), "{problem}");
    assert_eq!(stage.admin("/readyz").status, 200);
    let mut client = stage.connect();
    assert_eq!(ask(&mut client, "/a", &token(&one, "one")).status, 200);
    assert_eq!(ask(&mut client, "/a", &token(&two, "two")).status, 401);
    // Where readiness does not wait for its keys, nobody else does either.
    let optional = fetched("two", &second, ", required: false");
    stage.write_with(&[fetched("one", &first, ""), optional], "");
    stage.reload();
    assert_eq!(stage.admin("/readyz").status, 200);
    assert_eq!(ask(&mut client, "/a", &token(&two, "two")).status, 503);
    second.set_mood(Mood::Good);
    eventually("its keys", || {
        (ask(&mut client, "/a", &token(&two, "two")).status == 200).then_some(())
    });
}

/// usher's connections to PostgreSQL and Redis.
fn connections(peers: &Peers) -> (BTreeSet<i32>, BTreeSet<String>) {
    let postgres = peers.wait(async {
        let client = peers.house.postgres.connect().await;
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'usher'";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    });
    let listed: String = peers.wait(peers.house.redis.run(&["CLIENT", "LIST"]));
    let ours = listed.lines().filter(|line| {
        // Not this one, and not the engine's.
        line.contains("lib-name=redis-rs")
            && !line.contains("cmd=client")
            && !line.contains("cmd=xreadgroup")
    });
    let id = |line: &str| line.split(' ').next().unwrap().to_owned();
    (postgres, ours.map(id).collect())
}

#[test]
fn a_reload_leaves_redis_and_postgresql_alone() {
    let peers = Peers::with_engine();
    let users = peers.users("");
    let (app, issuer) = (App::start(), Issuer::new());
    let stage = Stage::with(app, issuer, &[exness::issuer()], &users);
    let mut client = stage.connect();
    let known = exness::token("u1", "u1@example.com");
    assert_eq!(ask(&mut client, "/a", &known).status, 200);
    let before = connections(&peers);
    assert!(!before.0.is_empty(), "{before:?}");
    let lookups = stage.metric("usher_user_lookups_total{outcome=\"found\"}");
    for turn in 0..5 {
        stage.write_with(
            &[exness::issuer()],
            &format!("{users}\nheaders: {{ X-User-Id: id, X-Turn{turn}: email }}"),
        );
        stage.reload();
        assert_eq!(ask(&mut client, "/a", &known).status, 200);
        assert_eq!(
            stage.app.last().header(&format!("x-turn{turn}")),
            Some("u1@example.com")
        );
    }
    let now = stage.metric("usher_user_lookups_total{outcome=\"found\"}");
    assert_eq!(now, lookups, "who is known is still known");
    assert_eq!(connections(&peers).0, before.0);
    assert!(connections(&peers).1.is_superset(&before.1));
    // And who is not is created as ever.
    let new = exness::token("u2", "u2@example.com");
    assert_eq!(ask(&mut client, "/a", &new).status, 200);
    assert_eq!(peers.asked_for("u2"), 1);
}

#[test]
fn other_users_are_asked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let users = |name: &str, provisioner: &str| {
        let file = folder.path().join(name);
        format!(
            "users: {{ directory: \"sqlite:{}\", provisioner: {provisioner} }}\n\
             headers: {{ X-Row: user.email }}",
            file.display()
        )
    };
    let stage = Stage::start(&users("one.db", "direct"));
    let token = stage.issuer.token("alice");
    let mut client = stage.connect();
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    assert_eq!(stage.app.last().header("x-row"), Some("alice@example.com"));
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    // Known there, and here nobody is.
    stage.write(&users("two.db", "none"));
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 403);
    stage.write(&users("one.db", "none"));
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    // No users at all, and then some for the first time.
    stage.write("");
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    assert_eq!(stage.app.last().header("x-row"), None);
    stage.write(&users("two.db", "none"));
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 403);
}

#[test]
fn connections_to_the_app_stay_unless_the_way_there_has_changed() {
    let stage = Stage::start("");
    let token = stage.issuer.token("alice");
    let mut client = stage.connect();
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    stage.write("headers: { X-User-Id: id }");
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    assert_eq!(stage.app.connections(), 1);
    assert_eq!(stage.metric("usher_upstream_idle_connections"), 1.0);
    let text = stage.text(&[stage.issuer.yaml()], "");
    let other = App::start();
    let moved = text.replace(&stage.app.address.to_string(), &other.address.to_string());
    std::fs::write(stage.file(), moved).unwrap();
    stage.reload();
    assert_eq!(
        stage.metric("usher_upstream_idle_connections"),
        0.0,
        "closed"
    );
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    assert_eq!((stage.app.connections(), other.connections()), (1, 1));
}
