//! `POST /api/v1/auth/ensure-user`: every row of the contract's table, over the wire.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use usher::config::Algorithm;

use crate::common::cut::Cut;
use crate::common::exness::{self, ENSURE, VERIFY, is, post, post_with, sign, start_post, token};
use crate::common::{App, Peers, Usher, eventually};
use crate::users::engine::Habits;

const ENSURED: &str = r#"{"success":true,"message":"User ensured in Engine and DBStorage"}"#;
const INITIATED: &str = r#"{"success":true,"message":"User creation initiated"}"#;
const UNHEARD: &str = r#"{"error":"Failed to ensure user, but request was sent to Engine"}"#;
const UNAVAILABLE: &str = r#"{"error":"Service temporarily unavailable."}"#;
const PAYLOAD: &str = r#"{"error":"Invalid token payload."}"#;
const NO_TOKEN: &str = r#"{"error":"No token provided."}"#;
const INVALID: &str = r#"{"error":"Invalid or expired token."}"#;
const LIMITED: &str = r#"{"error":"Too many requests, please try again later."}"#;

fn usher(peers: &Peers, members: &str) -> Usher {
    exness::usher(&App::start(), peers, members, "")
}

#[test]
fn it_always_sends_a_request_of_its_own() {
    let peers = Peers::with_engine();
    let usher = usher(&peers, "");
    let token = token("u", "u@e");
    assert_eq!(post(&usher, VERIFY, &token).status, 200);
    assert_eq!(peers.asked_for("u"), 1);
    for sent in 2..5 {
        is(&post(&usher, ENSURE, &token), 200, ENSURED);
        assert_eq!(peers.asked_for("u"), sent);
    }
    // Also all at once, and each with an id of its own.
    let mut clients: Vec<_> = (0..10)
        .map(|_| start_post(&usher, ENSURE, &token))
        .collect();
    for client in &mut clients {
        is(&client.reply().expect("answered"), 200, ENSURED);
    }
    let requests = peers.requests();
    let ids: HashSet<_> = requests
        .iter()
        .map(|one| one["requestId"].to_string())
        .collect();
    assert_eq!((requests.len(), ids.len()), (14, 14));
    for (request, fields) in requests.iter().zip(peers.entries()) {
        let id = request["requestId"].as_str().unwrap();
        let text = format!(
            r#"{{"function":"createUser","userId":"u","userEmail":"u@e","requestId":"{id}"}}"#
        );
        assert_eq!(fields, ["message", text.as_str()]);
    }
    assert_eq!(peers.rows(), 1);
}

#[test]
fn a_first_sight_and_an_ensurance_do_not_share_a_request() {
    let peers = Peers::start();
    let usher = usher(&peers, "  wait: 400ms\n");
    let token = token("u", "u@e");
    assert_eq!(post(&usher, VERIFY, &token).status, 404);
    is(&post(&usher, ENSURE, &token), 200, INITIATED);
    assert_eq!(post(&usher, VERIFY, &token).status, 404);
    assert_eq!(
        peers.asked_for("u"),
        2,
        "the first sight's marker still holds"
    );
}

#[test]
fn what_the_engine_says_decides() {
    let peers = Peers::start();
    let usher = usher(&peers, "  wait: 900ms\n");
    for (at, (says, old, body)) in [
        (None, false, ENSURED),
        (Some("user Already Exist"), false, ENSURED),
        (Some("user already exist"), false, INITIATED),
        (Some("somebody else"), false, INITIATED),
        (Some(""), false, INITIATED),
        // Engines that name no request: only our user's id tells that it is ours.
        (None, true, ENSURED),
        (Some("somebody else"), true, INITIATED),
        (Some("user Already Exist"), true, INITIATED),
    ]
    .into_iter()
    .enumerate()
    {
        peers.start_engine(Habits {
            says,
            old,
            ..Habits::default()
        });
        let token = token(&format!("u-{at}"), &format!("{at}@e"));
        let reply = post(&usher, ENSURE, &token);
        assert_eq!(reply.body, body, "{says:?} {old}");
        is(&reply, 200, body);
        peers.stop_engine();
    }
}

#[test]
fn a_reply_is_matched_by_its_correlation_id_too() {
    let peers = Peers::start();
    let usher = usher(&peers, "");
    let answer = |request: &serde_json::Value, reply: serde_json::Value| {
        let mut reply = reply;
        reply["correlationId"] = request["requestId"].clone();
        let text = reply.to_string();
        let words = ["XADD", "stream:exnessReceive", "*", "message", &text];
        let _: String = peers.wait(peers.house.redis.run(&words));
    };
    let mut client = start_post(&usher, ENSURE, &token("u", "u@e"));
    let request = eventually("it is sent", || peers.requests().pop());
    // For somebody else's request, although it names our user: not ours.
    let other = json!({ "requestId": "0d9ab5f1-7c7d-4a4b-8d5e-000000000000" });
    answer(&other, json!({ "function": "createUser", "message": "u" }));
    answer(
        &request,
        json!({ "function": "createUser", "message": "u" }),
    );
    is(&client.reply().expect("answered"), 200, ENSURED);
    assert_eq!(
        usher.metric("usher_user_replies_total{outcome=\"unmatched\"}"),
        1.0
    );
    assert_eq!(
        usher.metric("usher_user_replies_total{outcome=\"matched\"}"),
        1.0
    );
}

#[test]
fn without_a_reply_it_is_initiated_when_the_wait_is_over() {
    let peers = Peers::start();
    let usher = usher(&peers, "  wait: 700ms\n");
    let begun = Instant::now();
    is(&post(&usher, ENSURE, &token("u", "u@e")), 200, INITIATED);
    let took = begun.elapsed().as_millis();
    assert!((700..1500).contains(&took), "{took} ms");
}

#[test]
fn junk_among_the_replies_stops_nobody() {
    let peers = Peers::start();
    peers.start_engine(Habits {
        noisy: true,
        twice: true,
        ..Habits::default()
    });
    let usher = usher(&peers, "");
    is(&post(&usher, ENSURE, &token("u", "u@e")), 200, ENSURED);
    assert_eq!(
        usher.metric("usher_user_replies_total{outcome=\"unreadable\"}"),
        7.0
    );
}

#[test]
fn sent_and_unheard_is_500() {
    let mut peers = Peers::start();
    let usher = usher(&peers, "  wait: 2500ms\n");
    let mut client = start_post(&usher, ENSURE, &token("u", "u@e"));
    eventually("it is sent", || (peers.asked_for("u") == 1).then_some(()));
    peers.house.redis.kill();
    is(&client.reply().expect("answered"), 500, UNHEARD);
    // And what could not be sent at all is 503.
    is(&post(&usher, ENSURE, &token("v", "v@e")), 503, UNAVAILABLE);
}

#[test]
fn what_may_have_been_sent_is_503_and_repeated_under_its_id() {
    let peers = Peers::start();
    let cut = peers.wait(Cut::start(&peers.house.redis.url()));
    let users = peers.users_through(&cut.url(), "  wait: 2500ms\n  ensure_per_minute: 10000\n");
    let usher = Usher::configured(&exness::yaml(&App::start(), &users, ""));
    // The script is loaded by somebody else's request.
    is(&post(&usher, ENSURE, &token("v", "v@e")), 200, INITIATED);
    cut.lose(usize::MAX);
    let token = token("u", "u@e");
    is(&post(&usher, ENSURE, &token), 503, UNAVAILABLE);
    assert_eq!(peers.asked_for("u"), 1, "it is there, and nobody knows");
    cut.lose(0);
    eventually("it is certain", || {
        (post(&usher, ENSURE, &token).status == 200).then_some(())
    });
    assert_eq!(peers.asked_for("u"), 1, "the repeat of the same request");
}

#[test]
fn the_directory_is_not_needed() {
    let mut peers = Peers::start();
    peers.start_engine(Habits {
        no_row: true,
        ..Habits::default()
    });
    peers.house.postgres.kill();
    let usher = usher(&peers, "");
    is(&post(&usher, ENSURE, &token("u", "u@e")), 200, ENSURED);
}

#[test]
fn a_user_who_asks_too_often_is_429() {
    let peers = Peers::with_engine();
    let usher = usher(&peers, "  ensure_per_minute: 3\n");
    let token = token("u", "u@e");
    for _ in 0..3 {
        is(&post(&usher, ENSURE, &token), 200, ENSURED);
    }
    for _ in 0..3 {
        is(&post(&usher, ENSURE, &token), 429, LIMITED);
    }
    assert_eq!(
        peers.asked_for("u"),
        3,
        "who is refused costs the engine nothing"
    );
    // The limit is each user's own, and verify-user has none.
    is(
        &post(&usher, ENSURE, &exness::token("v", "v@e")),
        200,
        ENSURED,
    );
    assert_eq!(post(&usher, VERIFY, &token).status, 200);
}

#[test]
fn beyond_max_waiters_it_is_503_at_once() {
    let peers = Peers::start();
    let usher = usher(&peers, "  wait: 2s\n  max_waiters: 1\n");
    let mut first = start_post(&usher, ENSURE, &token("u", "u@e"));
    eventually("it waits", || {
        (usher.metric("usher_user_waiters") == 1.0).then_some(())
    });
    let begun = Instant::now();
    is(&post(&usher, ENSURE, &token("v", "v@e")), 503, UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(1));
    is(&first.reply().expect("answered"), 200, INITIATED);
    assert_eq!(peers.asked_for("v"), 0);
}

#[test]
fn bad_tokens_and_payloads_are_refused_and_nobody_is_asked() {
    let peers = Peers::start();
    let usher = usher(&peers, "");
    let good = token("u", "u@e");
    for (lines, body) in [
        (String::new(), NO_TOKEN),
        ("Authorization: Bearer\r\n".to_owned(), INVALID),
        (format!("Authorization: Basic {good}\r\n"), INVALID),
        (format!("Authorization: Bearer {good}x\r\n"), INVALID),
        (
            format!("Authorization: Bearer {good}\r\n").repeat(2),
            INVALID,
        ),
    ] {
        is(&post_with(&usher, ENSURE, &lines), 401, body);
    }
    for claims in [
        json!({ "email": "u@e" }),
        json!({ "userId": 5, "email": "u@e" }),
        json!({ "userId": "u" }),
        json!({ "userId": "u", "email": "" }),
        json!({ "userId": "u", "email": 7 }),
    ] {
        is(
            &post(&usher, ENSURE, &sign(&claims, Algorithm::HS512)),
            400,
            PAYLOAD,
        );
    }
    let reply = usher.get(ENSURE, &good);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(peers.requests().len(), 0);
    // The raw token is good here too.
    peers.start_engine(Habits::default());
    let reply = post_with(&usher, ENSURE, &format!("Authorization: {good}\r\n"));
    is(&reply, 200, ENSURED);
}

#[test]
fn browsers_of_other_origins_may_read_it() {
    let peers = Peers::with_engine();
    let cors = "cors: { origins: ['https://web.test'] }\n";
    let usher = exness::usher(&App::start(), &peers, "  ensure_per_minute: 1\n", cors);
    for status in [200, 429] {
        let token = token("u", "u@e");
        let lines = format!("Authorization: Bearer {token}\r\nOrigin: https://web.test\r\n");
        let reply = post_with(&usher, ENSURE, &lines);
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("https://web.test")
        );
        let exposed = reply.header("access-control-expose-headers");
        assert!(exposed.is_some_and(|names| names.contains("retry-after")));
    }
    let preflight = usher.raw(format!(
        "OPTIONS {ENSURE} HTTP/1.1\r\nHost: app.test\r\nOrigin: https://web.test\r\n\
         Access-Control-Request-Method: POST\r\n\r\n"
    ));
    let allowed = preflight.header("access-control-allow-methods");
    assert_eq!((preflight.status, allowed), (204, Some("POST")));
}
