//! The user exists before the app sees them: proxied routes, over the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use usher::clock::{Clock, ManualClock};

use crate::common::app::{Answer, answer};
use crate::common::exness::{self, token};
use crate::common::{App, Issuer, Peers, Reply, Usher, eventually};
use crate::users::engine::Habits;

/// usher with the exness preset, and `more` members of `users` (indented by two).
fn usher(app: &App, peers: &Peers, members: &str, more: &str) -> Usher {
    exness::usher(app, peers, members, more)
}

/// usher in front of `app` for another issuer, with `members` of that issuer.
fn with_issuer(app: &App, issuer: &Issuer, members: &str, users: &str, more: &str) -> Usher {
    let entry = issuer.yaml();
    let entry = entry.trim_end_matches(" }");
    Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{entry}, {members} }}]\n{users}{more}",
        app.address
    ))
}

/// An app that answers with the e-mail in the row of the user it is told of.
fn app_that_looks(peers: &Arc<Peers>) -> App {
    let peers = peers.clone();
    App::with(move |received| {
        let id = received.header("x-user-id").unwrap_or_default();
        let row = peers.email_of(id).unwrap_or("no row".to_owned());
        Answer::Bytes(answer("200 OK", "", &row))
    })
}

#[track_caller]
fn is_denied(usher: &Usher, reply: &Reply, status: u16, path: &str, reason: &str) {
    let error = match status {
        403 => r#"{"error":"forbidden"}"#,
        _ => r#"{"error":"temporarily_unavailable"}"#,
    };
    assert_eq!((reply.status, reply.body.as_str()), (status, error));
    assert_eq!(reply.header("retry-after").is_some(), status == 503);
    assert_eq!(reply.header("www-authenticate"), None);
    assert_eq!(usher.line(path)["reason"], reason);
}

#[test]
fn a_first_request_is_held_until_the_row_is_there() {
    let peers = Arc::new(Peers::start());
    peers.start_engine(Habits {
        row_after: Duration::from_millis(400),
        ..Habits::default()
    });
    let app = app_that_looks(&peers);
    let usher = usher(&app, &peers, "", "");
    let begun = Instant::now();
    let reply = usher.get("/hello", &token("u-1", "ann@e"));
    assert_eq!((reply.status, reply.body.as_str()), (200, "ann@e"));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(app.last().header("x-user-provisioned"), None);
    assert_eq!(peers.asked_for("u-1"), 1);
    assert_eq!(usher.metric("usher_user_wait_seconds_count"), 1.0);
}

#[test]
fn a_held_body_arrives_untouched() {
    let peers = Peers::start();
    peers.start_engine(Habits {
        row_after: Duration::from_millis(300),
        ..Habits::default()
    });
    let app = App::start();
    let usher = usher(&app, &peers, "", "");
    let body: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let mut client = usher.connect();
    let head = |id: &str, framing: &str| {
        let token = token(id, &format!("{id}@e"));
        format!(
            "POST /upload HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
        )
    };
    client.send(head("one", &format!("Content-Length: {}", body.len())));
    client.send(&body);
    assert_eq!(client.reply().expect("answered").status, 200);
    assert!(app.last().body == body);
    client.send(head("two", "Transfer-Encoding: chunked"));
    for piece in body.chunks(7_001) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().expect("answered").status, 200);
    assert!(app.last().body == body);
    assert_eq!(app.count(), 2);
}

#[test]
fn no_row_after_the_wait_is_503_and_the_app_sees_nothing() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 500ms\n", "");
    let begun = Instant::now();
    let reply = usher.get("/hello", &token("u", "u@e"));
    let took = begun.elapsed();
    is_denied(&usher, &reply, 503, "/hello", "user_pending");
    assert!((500..1300).contains(&took.as_millis()), "{took:?}");
    assert_eq!((app.count(), peers.asked_for("u")), (0, 1));
}

#[test]
fn a_reply_without_a_row_lets_nobody_in() {
    let peers = Peers::start();
    peers.start_engine(Habits {
        no_row: true,
        ..Habits::default()
    });
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 600ms\n", "");
    let reply = usher.get("/hello", &token("u", "u@e"));
    is_denied(&usher, &reply, 503, "/hello", "user_pending");
    assert_eq!(app.count(), 0);
}

#[test]
fn in_the_background_the_app_is_told_that_the_user_is_pending() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(&app, &peers, "  first_sight: background\n", "");
    let token = token("u", "u@e");
    let begun = Instant::now();
    assert_eq!(usher.get("/", &token).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "nothing is held");
    assert_eq!(app.last().header("x-user-provisioned"), Some("pending"));
    assert_eq!(app.last().header("x-user-id"), Some("u"));
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(peers.asked_for("u"), 1);
    peers.insert("u", "u@e");
    eventually("the user is known", || {
        assert_eq!(usher.get("/", &token).status, 200);
        app.last()
            .header("x-user-provisioned")
            .is_none()
            .then_some(())
    });
}

#[test]
fn in_the_background_only_what_was_certainly_sent_goes_on() {
    let mut peers = Peers::start();
    peers.insert("known", "known@e");
    let app = App::start();
    let members = "  first_sight: background\n  wait: 1s\n";
    let usher = usher(&app, &peers, members, "");
    peers.house.redis.kill();
    let reply = usher.get("/unsent", &token("u", "u@e"));
    is_denied(&usher, &reply, 503, "/unsent", "users_unavailable");
    assert_eq!(usher.get("/", &token("known", "known@e")).status, 200);
    peers.restart_redis();
    peers.house.postgres.kill();
    // Nobody knows whether this user is new, so nobody is asked for, and nobody passes.
    let reply = usher.get("/blind", &token("v", "v@e"));
    is_denied(&usher, &reply, 503, "/blind", "users_unavailable");
    assert_eq!((peers.requests().len(), app.count()), (0, 1));
}

#[test]
fn a_route_may_say_it_otherwise() {
    let peers = Peers::start();
    let app = App::start();
    let routes = "routes:\n\
        - { path: /wait/**, first_sight: wait }\n\
        - { path: /background/**, first_sight: background }\n\
        - { path: /off/**, first_sight: \"off\" }\n";
    for (default, status) in [("wait", 503), ("background", 200), ("\"off\"", 200)] {
        let members = format!("  wait: 300ms\n  first_sight: {default}\n");
        let usher = usher(&app, &peers, &members, routes);
        let name = default.trim_matches('"');
        let token = token(name, &format!("{name}@e"));
        assert_eq!(usher.get("/off/a", &token).status, 200);
        assert_eq!(app.last().header("x-user-provisioned"), None);
        assert_eq!(app.last().header("x-user-id"), Some(name));
        assert_eq!(peers.asked_for(name), 0, "`off` asks nobody");
        assert_eq!(
            usher.metric("usher_user_lookups_total{outcome=\"missing\"}"),
            0.0
        );
        assert_eq!(usher.get("/background/a", &token).status, 200);
        assert_eq!(app.last().header("x-user-provisioned"), Some("pending"));
        assert_eq!(usher.get("/wait/a", &token).status, 503);
        assert_eq!(usher.get("/other", &token).status, status, "{default}");
    }
}

#[test]
fn a_client_cannot_say_that_it_is_provisioned() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let app = App::start();
    let routes = "routes:\n\
        - { path: /public, access: public }\n\
        - { path: /off, first_sight: \"off\" }\n\
        - { path: /background, first_sight: background }\n";
    let usher = usher(&app, &peers, "", routes);
    let copies =
        "X-User-Provisioned: yes\r\nx_user_provisioned: yes\r\nX-User.Provisioned: yes\r\n";
    for path in ["/public", "/off", "/wait"] {
        assert_eq!(usher.get_with(path, &token("u", "u@e"), copies).status, 200);
        assert_eq!(app.last().folded("x-user-provisioned"), [""; 0], "{path}");
    }
    let reply = usher.get_with("/background", &token("new", "new@e"), copies);
    assert_eq!(reply.status, 200);
    assert_eq!(
        app.last().folded("x-user-provisioned"),
        ["x-user-provisioned: pending"]
    );
}

#[test]
fn public_routes_and_callers_without_a_token_ask_nobody() {
    let peers = Peers::with_engine();
    let app = App::start();
    let routes = "routes:\n\
        - { path: /public, access: public }\n\
        - { path: /optional, access: optional }\n";
    let usher = usher(&app, &peers, "", routes);
    let before = peers.redis_calls();
    let token = token("u", "u@e");
    assert_eq!(usher.get("/public", &token).status, 200);
    assert_eq!(usher.get_as_nobody("/optional").status, 200);
    assert_eq!(usher.get_as_nobody("/").status, 401);
    assert_eq!(usher.get("/", "junk").status, 401);
    assert_eq!(lookups(&usher), 0.0);
    assert_eq!(peers.redis_calls(), before, "invalid tokens ask for nobody");
    assert_eq!(usher.get("/optional", &token).status, 200);
    assert_eq!(peers.asked_for("u"), 1);
}

fn lookups(usher: &Usher) -> f64 {
    ["found", "email_only", "missing", "failed"]
        .iter()
        .map(|outcome| {
            usher.metric(&format!(
                "usher_user_lookups_total{{outcome=\"{outcome}\"}}"
            ))
        })
        .sum()
}

#[test]
fn an_email_that_belongs_to_another_id_is_403_unless_it_may_be_linked() {
    let peers = Peers::with_engine();
    let issuer = Issuer::new();
    let told = |value: serde_json::Value| json!({ "email": "v@e", "email_verified": value });
    let unverified = "link_by_email: true, trust_email: false";
    let cases = [
        ("link_by_email: false", told(json!(true)), false),
        (
            "link_by_email: false, trust_email: true",
            told(json!(true)),
            false,
        ),
        (unverified, json!({ "email": "v@e" }), false),
        (unverified, told(json!(false)), false),
        (unverified, told(json!("true")), false),
        (unverified, told(json!(1)), false),
        (unverified, told(json!(true)), true),
        (
            "link_by_email: true, trust_email: true",
            json!({ "email": "v@e" }),
            true,
        ),
        // The preset believes its one issuer.
        ("required: true", json!({ "email": "v@e" }), true),
    ];
    for (at, (members, claims, linked)) in cases.into_iter().enumerate() {
        let (owner, thief) = (format!("owner-{at}"), format!("thief-{at}"));
        peers.wait(peers.house.postgres.run(r#"DELETE FROM "User""#));
        peers.insert(&owner, "v@e");
        for mode in ["wait", "background"] {
            let app = App::start();
            let users = peers.users(&format!("  first_sight: {mode}\n"));
            let usher = with_issuer(&app, &issuer, members, &users, "");
            let reply = usher.get("/", &issuer.token_with(&thief, claims.clone()));
            if linked {
                assert_eq!(reply.status, 200, "{members} {claims}");
            } else {
                is_denied(&usher, &reply, 403, "/", "identity_conflict");
                assert_eq!(app.count(), 0);
                assert_eq!(peers.email_of(&owner).as_deref(), Some("v@e"));
            }
        }
        let asked = usize::from(linked);
        assert_eq!(peers.asked_for(&thief), asked, "{members} {claims}");
        assert_eq!(peers.asked_for(&owner), 0);
    }
}

#[test]
fn verify_user_makes_nobody_known_by_their_email() {
    let peers = Peers::start();
    peers.insert("owner", "v@e");
    let (app, issuer) = (App::start(), Issuer::new());
    let endpoints = format!("endpoints: {{ verify_user: {} }}\n", exness::VERIFY);
    let users = peers.users("");
    let usher = with_issuer(&app, &issuer, "link_by_email: false", &users, &endpoints);
    let token = issuer.token_with("thief", json!({ "email": "v@e" }));
    assert_eq!(exness::post(&usher, exness::VERIFY, &token).status, 200);
    let reply = usher.get("/", &token);
    is_denied(&usher, &reply, 403, "/", "identity_conflict");
    assert_eq!((app.count(), peers.requests().len()), (0, 0));
}

#[test]
fn a_caller_whom_no_row_can_hold_is_403() {
    let peers = Peers::start();
    let (app, issuer) = (App::start(), Issuer::new());
    let users = peers.users("");
    let more = "headers: { X-User-Id: id }\nlimits: { token_bytes: 64KiB, header_bytes: 128KiB }\n";
    let usher = with_issuer(&app, &issuer, "required: true", &users, more);
    let long = "x".repeat(10 * 1024);
    for (path, claims) in [
        ("/none", json!({ "email": null })),
        ("/empty", json!({ "email": "" })),
        ("/number", json!({ "email": 5 })),
        ("/nul", json!({ "email": "a\0b" })),
        ("/long", json!({ "email": long })),
    ] {
        let reply = usher.get(path, &issuer.token_with("u", claims));
        is_denied(&usher, &reply, 403, path, "user_refused");
    }
    assert_eq!((app.count(), peers.requests().len()), (0, 0));
    // Whoever has a row needs no e-mail.
    peers.insert("u", "u@e");
    let reply = usher.get("/row", &issuer.token_with("u", json!({ "email": null })));
    assert_eq!(reply.status, 200);
}

#[test]
fn nobody_is_made_up_without_a_provisioner() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let app = App::start();
    let users = peers.users("");
    let start = users.find("  provisioner:").unwrap();
    let usher = Usher::configured(&exness::yaml(&app, &users[..start], ""));
    let reply = usher.get("/unknown", &token("v", "v@e"));
    is_denied(&usher, &reply, 403, "/unknown", "user_unknown");
    assert_eq!(usher.get("/known", &token("u", "u@e")).status, 200);
    assert_eq!(app.count(), 1);
}

#[test]
fn headers_may_take_columns_of_the_row_and_ids_a_prefix() {
    let peers = Peers::with_engine();
    let sql = r#"ALTER TABLE "User" ADD "plan" text, ADD "odd name" text;
        INSERT INTO "User" ("userID", "email", "plan", "odd name", "balance")
        VALUES ('idp:alice', 'row@e', 'gold', E'caf\u00e9\r\nX-User-Id: eve', 12.5)"#;
    peers.wait(peers.house.postgres.run(sql));
    let (app, issuer) = (App::start(), Issuer::new());
    let headers = "headers:\n\
        \x20 X-User-Id: user.id\n\
        \x20 X-User-Email: user.email\n\
        \x20 X-Plan: user.plan\n\
        \x20 X-Balance: user.balance\n\
        \x20 X-Odd: user.odd name\n\
        \x20 X-Token-Id: id\n\
        routes: [{ path: /background, first_sight: background }]\n";
    let users = peers.users("");
    let usher = with_issuer(&app, &issuer, "id_prefix: 'idp:'", &users, headers);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
    let received = app.last();
    assert_eq!(received.header("x-user-id"), Some("idp:alice"));
    assert_eq!(received.header("x-user-email"), Some("row@e"));
    assert_eq!(received.header("x-plan"), Some("gold"));
    assert_eq!(received.header("x-balance"), Some("12.5"));
    assert_eq!(received.header("x-token-id"), Some("alice"));
    assert_eq!(
        received.header("x-odd"),
        Some("caf%C3%A9%0D%0AX-User-Id: eve"),
        "what a header cannot hold is escaped"
    );

    // The prefix goes to the engine too, and a column without a value makes no header.
    assert_eq!(usher.get("/", &issuer.token("bob")).status, 200);
    assert_eq!(peers.asked_for("idp:bob"), 1);
    assert_eq!(app.last().header("x-user-id"), Some("idp:bob"));
    assert_eq!(app.last().header("x-plan"), None);

    // Who is pending has no row yet, and the client cannot fill it in.
    peers.stop_engine();
    let claimed = "X-User-Id: idp:alice\r\nX-Plan: gold\r\n";
    let reply = usher.get_with("/background", &issuer.token("eve"), claimed);
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(received.header("x-user-provisioned"), Some("pending"));
    assert_eq!(
        (received.header("x-user-id"), received.header("x-plan")),
        (None, None)
    );
    assert_eq!(received.header("x-token-id"), Some("eve"));
}

#[test]
fn a_known_user_touches_neither_redis_nor_the_directory() {
    let mut peers = Peers::with_engine();
    let app = App::start();
    let usher = usher(&app, &peers, "", "");
    let token = token("u", "u@e");
    let ask = |count: usize| {
        let mut client = usher.connect();
        for _ in 0..count {
            let request = format!(
                "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            client.send(request);
            assert_eq!(client.reply().expect("answered").status, 200);
        }
    };
    ask(1);
    peers.stop_engine();
    eventually("the reader of replies has ended", || {
        let clients: String = peers.wait(peers.house.redis.run(&["CLIENT", "LIST"]));
        (!clients.contains("cmd=xread")).then_some(())
    });
    let (redis, directory) = (peers.redis_calls(), lookups(&usher));
    ask(500);
    assert_eq!(peers.redis_calls(), redis, "Redis was asked");
    assert_eq!(lookups(&usher), directory, "the directory was asked");
    assert_eq!(
        usher.metric("usher_user_wait_seconds_count"),
        1.0,
        "only the first waited"
    );

    for name in ["STOP", "CONT"] {
        peers.house.redis.signal(name);
        peers.house.postgres.signal_all(name);
        let begun = Instant::now();
        ask(100);
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
    }
    peers.house.redis.kill();
    peers.house.postgres.kill();
    ask(100);
}

#[test]
fn a_known_user_is_renewed_and_forgotten_when_the_row_is_gone() {
    let mut peers = Peers::start();
    peers.insert("u", "u@e");
    let clock = ManualClock::new(crate::common::issuer::now());
    let app = App::start();
    let members = "  wait: 300ms\n  presence: { fresh: 5m, max_stale: 24h }\n";
    let yaml = exness::yaml(
        &app,
        &peers.users(members),
        "headers: { X-Balance: user.balance }\n",
    );
    let usher = Usher::with_clock(&yaml, Clock::Manual(clock.clone()));
    let token = token("u", "u@e");
    let ask = || usher.get("/", &token).status;
    assert_eq!(ask(), 200);
    assert_eq!(app.last().header("x-balance"), Some("0"));
    peers.wait(
        peers
            .house
            .postgres
            .run(r#"UPDATE "User" SET "balance" = 7"#),
    );
    clock.advance(299);
    assert_eq!(ask(), 200);
    assert_eq!(lookups(&usher), 1.0, "fresh");
    clock.advance(1);
    eventually("the row is read again", || {
        assert_eq!(ask(), 200, "the request itself is not held");
        (app.last().header("x-balance") == Some("7")).then_some(())
    });
    assert_eq!(lookups(&usher), 2.0, "once");

    // Nobody can be asked: who is known stays so, up to `max_stale`.
    peers.house.postgres.kill();
    for _ in 0..24 {
        clock.advance(3600);
        assert_eq!(ask(), 200);
    }
    clock.advance(1);
    assert_eq!(ask(), 503);
    peers.restart_postgres();
    eventually("the directory answers again", || {
        (ask() == 200).then_some(())
    });

    peers.wait(peers.house.postgres.run(r#"DELETE FROM "User""#));
    assert_eq!(ask(), 200, "known until it is renewed");
    clock.advance(300);
    eventually("the user is forgotten", || (ask() == 503).then_some(()));
    assert_eq!(peers.asked_for("u"), 1, "and asked for again");
}

#[test]
fn many_first_requests_of_one_user_are_one_query_and_one_request() {
    let peers = Peers::start();
    let app = App::start();
    // So many connections at once are more than the app's backlog holds.
    let usher = usher(&app, &peers, "", "timeouts: { connect: 10s }\n");
    let token = token("u", "u@e");
    let mut clients: Vec<_> = (0..200).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
    }
    eventually("all of them wait", || {
        (usher.metric("usher_user_waiters") == 200.0).then_some(())
    });
    eventually("the engine is asked", || {
        (peers.asked_for("u") == 1).then_some(())
    });
    assert_eq!(app.count(), 0);
    peers.insert("u", "u@e");
    for client in &mut clients {
        assert_eq!(client.reply().expect("answered").status, 200);
    }
    assert_eq!(peers.asked_for("u"), 1);
    assert_eq!(
        usher.metric("usher_user_requests_total{outcome=\"sent\"}"),
        1.0
    );
    assert_eq!(
        usher.metric("usher_user_lookups_total{outcome=\"found\"}"),
        1.0
    );
    assert_eq!(usher.metric("usher_user_waiters"), 0.0);
}

#[test]
fn a_client_who_leaves_strands_nobody() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(&app, &peers, "", "");
    let token = token("u", "u@e");
    let request =
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut leaver = usher.connect();
    leaver.send(&request);
    eventually("the engine is asked", || {
        (peers.asked_for("u") == 1).then_some(())
    });
    let mut joiner = usher.connect();
    joiner.send(&request);
    drop(leaver);
    peers.insert("u", "u@e");
    assert_eq!(joiner.reply().expect("answered").status, 200);
    eventually("the place is free again", || {
        (usher.metric("usher_user_waiters") == 0.0).then_some(())
    });
    assert_eq!(peers.asked_for("u"), 1);
}

#[test]
fn beyond_max_waiters_a_new_user_is_503_and_a_known_one_passes() {
    let peers = Peers::start();
    peers.insert("known", "known@e");
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 2s\n  max_waiters: 1\n", "");
    assert_eq!(usher.get("/", &token("known", "known@e")).status, 200);
    let mut first = exness::start_post(&usher, "/first", &token("u", "u@e"));
    eventually("it waits", || {
        (usher.metric("usher_user_waiters") == 1.0).then_some(())
    });
    let reply = usher.get("/second", &token("v", "v@e"));
    is_denied(&usher, &reply, 503, "/second", "overloaded");
    assert_eq!(usher.get("/", &token("known", "known@e")).status, 200);
    peers.insert("u", "u@e");
    assert_eq!(first.reply().expect("answered").status, 200);
}

#[test]
fn an_outage_is_told_by_readyz_and_is_no_reason_to_be_unready() {
    let mut peers = Peers::with_engine();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 1s\n", "");
    let degraded = |usher: &Usher| {
        let reply = usher.admin("/readyz");
        assert_eq!(reply.status, 200, "{}", reply.body);
        let report: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(report["ready"], true);
        let all = report["degraded"].as_array().unwrap();
        let names = all
            .iter()
            .map(|one| one["users"].as_str().unwrap_or("?").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(degraded(&usher), [""; 0]);
    assert_eq!(usher.get("/", &token("u", "u@e")).status, 200);
    assert_eq!(degraded(&usher), [""; 0]);

    peers.house.redis.kill();
    let mut turn = 0;
    let mut another = || {
        turn += 1;
        usher
            .get("/", &token(&format!("u-{turn}"), &format!("{turn}@e")))
            .status
    };
    eventually("the provisioner is degraded", || {
        assert_eq!(another(), 503);
        (degraded(&usher) == ["provisioner"]).then_some(())
    });
    assert_eq!(usher.metric("usher_user_breaker_open"), 1.0);
    peers.house.postgres.kill();
    assert_eq!(another(), 503);
    assert_eq!(degraded(&usher), ["directory", "provisioner"]);
    peers.restart_postgres();
    peers.restart_redis();
    peers.start_engine(Habits::default());
    eventually("all is well again", || {
        another();
        (degraded(&usher).is_empty()).then_some(())
    });
    assert_eq!(usher.metric("usher_user_breaker_open"), 0.0);
}
