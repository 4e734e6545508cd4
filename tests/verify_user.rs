//! `POST /api/v1/auth/verify-user`: every row of the contract's table, over the wire.

use std::time::{Duration, Instant};

use serde_json::json;
use usher::config::Algorithm;

use crate::common::exness::{self, VERIFY, is, post, post_with, sign, start_post, token};
use crate::common::{App, Peers, Usher, eventually};
use crate::users::engine::Habits;

const EXISTS: &str =
    r#"{"success":true,"exists":true,"message":"User verified and exists in database"}"#;
const IN_PROGRESS: &str =
    r#"{"error":"User not found in database and creation is in progress.","exists":false}"#;
const NO_TOKEN: &str = r#"{"error":"No token provided."}"#;
const INVALID: &str = r#"{"error":"Invalid or expired token."}"#;
const PAYLOAD: &str = r#"{"error":"Invalid token payload."}"#;
const UNAVAILABLE: &str = r#"{"error":"Service temporarily unavailable."}"#;

/// usher with real peers and a short wait.
fn usher(peers: &Peers) -> Usher {
    exness::usher(&App::start(), peers, "  wait: 600ms\n", "")
}

#[test]
fn a_row_with_the_id_or_the_email_exists() {
    let peers = Peers::start();
    let usher = usher(&peers);
    peers.insert("u-1", "ann@example.com");
    for (id, email) in [
        ("u-1", "ann@example.com"),
        ("u-1", "other@example.com"),
        ("u-2", "ann@example.com"),
    ] {
        is(&post(&usher, VERIFY, &token(id, email)), 200, EXISTS);
    }
    assert_eq!(peers.requests().len(), 0, "nobody had to be created");
}

#[test]
fn the_email_is_compared_exactly() {
    let peers = Peers::start();
    let usher = exness::usher(&App::start(), &peers, "  wait: 150ms\n", "");
    peers.insert("u-1", "ann_b@example.com");
    for (at, email) in [
        "Ann_b@example.com",
        "annxb@example.com",
        "ann%",
        "%",
        "ann_b@example.com ",
        "ann_b@example.com.",
        "ann_b+x@example.com",
    ]
    .iter()
    .enumerate()
    {
        let reply = post(&usher, VERIFY, &token(&format!("other-{at}"), email));
        is(&reply, 404, IN_PROGRESS);
    }
}

#[test]
fn the_engine_is_asked_on_first_sight_and_the_row_awaited() {
    let peers = Peers::with_engine();
    let usher = exness::usher(&App::start(), &peers, "", "");
    let token = token("u-1", "ann@example.com");
    is(&post(&usher, VERIFY, &token), 200, EXISTS);
    assert_eq!(peers.email_of("u-1").as_deref(), Some("ann@example.com"));
    is(&post(&usher, VERIFY, &token), 200, EXISTS);
    let requests = peers.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    let id = request["requestId"].as_str().unwrap();
    let text = format!(
        r#"{{"function":"createUser","userId":"u-1","userEmail":"ann@example.com","requestId":"{id}"}}"#
    );
    assert_eq!(peers.entries()[0][1], text, "byte by byte");
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "a UUID v4");
}

#[test]
fn no_row_after_the_wait_is_404() {
    let peers = Peers::start();
    let usher = usher(&peers);
    let begun = Instant::now();
    is(&post(&usher, VERIFY, &token("u", "u@e")), 404, IN_PROGRESS);
    let took = begun.elapsed();
    assert!((600..1500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(peers.asked_for("u"), 1);
    // The marker speaks for the user: nobody is asked for twice.
    is(&post(&usher, VERIFY, &token("u", "u@e")), 404, IN_PROGRESS);
    assert_eq!(peers.asked_for("u"), 1);
    assert_eq!(usher.line(VERIFY)["reason"], "user_pending");
}

#[test]
fn an_id_or_email_that_is_no_text_is_400() {
    let peers = Peers::start();
    let limits = "limits: { token_bytes: 128KiB, header_bytes: 256KiB }\nheaders: {}\n";
    let usher = exness::usher(&App::start(), &peers, "  wait: 300ms\n", limits);
    let long = "x".repeat(10 * 1024);
    for claims in [
        json!({ "email": "u@e" }),
        json!({ "userId": null, "email": "u@e" }),
        json!({ "userId": "", "email": "u@e" }),
        json!({ "userId": " ", "email": "u@e" }),
        json!({ "userId": 5, "email": "u@e" }),
        json!({ "userId": 1.5, "email": "u@e" }),
        json!({ "userId": true, "email": "u@e" }),
        json!({ "userId": ["u"], "email": "u@e" }),
        json!({ "userId": { "id": "u" }, "email": "u@e" }),
        json!({ "userId": "a\0b", "email": "u@e" }),
        json!({ "userId": "a\nb", "email": "u@e" }),
        json!({ "userId": long, "email": "u@e" }),
        json!({ "userId": "u" }),
        json!({ "userId": "u", "email": null }),
        json!({ "userId": "u", "email": "" }),
        json!({ "userId": "u", "email": 5 }),
        json!({ "userId": "u", "email": true }),
        json!({ "userId": "u", "email": ["u@e"] }),
        json!({ "userId": "u", "email": "a\0@e" }),
        json!({ "userId": "u", "email": long }),
    ] {
        let reply = post(&usher, VERIFY, &sign(&claims, Algorithm::HS256));
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (400, PAYLOAD),
            "{}",
            &claims.to_string()[..claims.to_string().len().min(80)]
        );
        is(&reply, 400, PAYLOAD);
    }
    assert_eq!(peers.requests().len(), 0, "nobody was asked for");
}

#[test]
fn a_claim_that_fits_no_header_is_no_bad_token() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let limits = "limits: { token_bytes: 128KiB, header_bytes: 256KiB }\n";
    let usher = exness::usher(&App::start(), &peers, "", limits);
    for name in ["x".repeat(10 * 1024), "a\0b".to_owned()] {
        let claims = json!({ "userId": "u", "email": "u@e", "name": name });
        let reply = post(&usher, VERIFY, &sign(&claims, Algorithm::HS256));
        is(&reply, 400, PAYLOAD);
    }
}

#[test]
fn a_long_or_odd_name_is_not_looked_at_where_nobody_stores_it() {
    let peers = Peers::with_engine();
    let more =
        "headers: { X-User-Id: id }\nlimits: { token_bytes: 128KiB, header_bytes: 256KiB }\n";
    let usher = exness::usher(&App::start(), &peers, "", more);
    for (at, name) in ["x".repeat(10 * 1024), "a\0b\r\n\u{1f600}".to_owned()]
        .iter()
        .enumerate()
    {
        let claims =
            json!({ "userId": format!("u-{at}"), "email": format!("{at}@e"), "name": name });
        let reply = post(&usher, VERIFY, &sign(&claims, Algorithm::HS256));
        is(&reply, 200, EXISTS);
    }
}

#[test]
fn odd_ids_and_emails_are_stored_exactly() {
    let peers = Peers::with_engine();
    let usher = exness::usher(&App::start(), &peers, "", "headers: {}\n");
    for (at, odd) in [
        "o'brien",
        "\"; DROP TABLE \"User\"; --",
        "{\"a\":1}\\",
        "\u{1f600}\u{e9}",
        "* MAXLEN 0",
        "$1 ?1 %s",
    ]
    .iter()
    .enumerate()
    {
        let email = format!("{at}\n{odd}@example.com");
        is(&post(&usher, VERIFY, &token(odd, &email)), 200, EXISTS);
        assert_eq!(peers.email_of(odd), Some(email));
        assert_eq!(peers.asked_for(odd), 1);
    }
}

#[test]
fn without_a_good_token_it_is_401_and_nobody_is_asked() {
    let peers = Peers::start();
    let usher = usher(&peers);
    let good = token("u", "u@e");
    let other = format!("{}x{}", &good[..good.len() - 9], &good[good.len() - 8..]);
    let expired = sign(
        &json!({ "userId": "u", "email": "u@e", "exp": 1_000_000 }),
        Algorithm::HS256,
    );
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VySWQiOiJ1IiwiZW1haWwiOiJ1QGUifQ.";
    let line = |value: &str| format!("Authorization: {value}\r\n");
    for (lines, body) in [
        (String::new(), NO_TOKEN),
        (line(""), NO_TOKEN),
        (line("   "), NO_TOKEN),
        (line("Bearer"), INVALID),
        (line("Bearer "), INVALID),
        (line("Basic dTpw"), INVALID),
        (line(&format!("Basic {good}")), INVALID),
        (line(&format!("Bearer  {good}")), INVALID),
        (line(&format!("Bearer {good} x")), INVALID),
        (line(&format!("Bearer {good},{good}")), INVALID),
        (line(&format!("Bearer {other}")), INVALID),
        (line(&format!("Bearer {expired}")), INVALID),
        (line(&format!("Bearer {unsigned}")), INVALID),
        (line(unsigned), INVALID),
        (line("x"), INVALID),
        (line("Bearer \u{e9}"), INVALID),
        (line(&format!("Bearer {}", "x".repeat(9 * 1024))), INVALID),
        (line(&format!("Bearer {good}")).repeat(2), INVALID),
        (line("") + &line(&format!("Bearer {good}")), INVALID),
    ] {
        let reply = post_with(&usher, VERIFY, &lines);
        let start = &lines[..lines.len().min(60)];
        assert_eq!((reply.status, reply.body.as_str()), (401, body), "{start}");
        is(&reply, 401, body);
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer"), "{start}: {challenge}");
    }
    assert_eq!(peers.requests().len(), 0);
    let reply = post_with(&usher, VERIFY, "");
    assert_eq!(
        reply.header("www-authenticate"),
        Some(r#"Bearer realm="app""#)
    );
    let reply = post(&usher, VERIFY, &expired);
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
}

#[test]
fn a_token_may_come_without_a_scheme_and_the_scheme_in_any_case() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let usher = usher(&peers);
    let token = token("u", "u@e");
    for scheme in ["", "Bearer ", "bearer ", "BEARER "] {
        let reply = post_with(
            &usher,
            VERIFY,
            &format!("Authorization: {scheme}{token}\r\n"),
        );
        is(&reply, 200, EXISTS);
    }
}

#[test]
fn tokens_need_no_end_and_may_be_signed_three_ways() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let usher = usher(&peers);
    let claims = json!({ "userId": "u", "email": "u@e" });
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        is(
            &post(&usher, VERIFY, &sign(&claims, algorithm)),
            200,
            EXISTS,
        );
        let mut ended = claims.clone();
        ended["exp"] = json!(crate::common::issuer::now() - 5);
        is(
            &post(&usher, VERIFY, &sign(&ended, algorithm)),
            401,
            INVALID,
        );
    }
}

#[test]
fn another_method_is_405() {
    let peers = Peers::start();
    let usher = usher(&peers);
    let token = token("u", "u@e");
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let reply = usher.raw(format!(
            "{method} {VERIFY} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
        assert_eq!(
            reply.header("content-type"),
            Some("application/json; charset=utf-8")
        );
    }
    assert_eq!(peers.requests().len(), 0);
}

#[test]
fn a_body_is_ignored() {
    let peers = Peers::start();
    peers.insert("u", "u@e");
    let usher = usher(&peers);
    let line = format!("Authorization: Bearer {}\r\n", token("u", "u@e"));
    let mut client = usher.connect();
    for (framing, body) in [
        ("Content-Length: 0", ""),
        ("Content-Length: 18", r#"{"userId":"other"}"#),
        ("Content-Length: 7", "{ junk!"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        client.send(format!(
            "POST {VERIFY} HTTP/1.1\r\nHost: app.test\r\n{line}{framing}\r\n\r\n{body}"
        ));
        // All on one connection: no body is taken for the next request.
        is(&client.reply().expect("answered"), 200, EXISTS);
    }
    // One that nobody would want to read costs its sender the connection, not the answer.
    for length in [1 << 20, 16 << 20] {
        let mut client = usher.connect();
        client.send(format!(
            "POST {VERIFY} HTTP/1.1\r\nHost: app.test\r\n{line}Content-Length: {length}\r\n\r\n"
        ));
        is(
            &client.reply().expect("answered before the body"),
            200,
            EXISTS,
        );
        client.send(vec![b'x'; length]);
    }
    let mut client = usher.connect();
    client.send(format!(
        "POST {VERIFY} HTTP/1.1\r\nHost: app.test\r\n{line}Content-Length: 65536\r\n\r\n{}",
        "x".repeat(65536)
    ));
    is(&client.reply().expect("answered"), 200, EXISTS);
    // No framing at all is no body.
    let request = format!("POST {VERIFY} HTTP/1.1\r\nHost: app.test\r\n{line}\r\n");
    is(&usher.raw(request), 200, EXISTS);
}

#[test]
fn browsers_of_other_origins_may_read_every_answer() {
    let mut peers = Peers::start();
    peers.insert("u", "u@e");
    let cors = "cors: { origins: ['https://web.test'] }\n";
    let usher = exness::usher(&App::start(), &peers, "  wait: 300ms\n", cors);
    let ask = |usher: &Usher, origin: &str, token: &str| {
        let lines = format!("Authorization: Bearer {token}\r\nOrigin: {origin}\r\n");
        post_with(usher, VERIFY, &lines)
    };
    let readable = |status: u16, token: &str| {
        let reply = ask(&usher, "https://web.test", token);
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("https://web.test"),
            "{status}"
        );
        assert_eq!(reply.all("vary"), ["origin"], "{status}");
        let other = ask(&usher, "https://evil.test", token);
        assert_eq!(other.status, status);
        assert_eq!(other.header("access-control-allow-origin"), None);
    };
    readable(200, &token("u", "u@e"));
    readable(400, &sign(&json!({ "userId": "u" }), Algorithm::HS256));
    readable(401, "junk");
    readable(404, &token("v", "v@e"));
    peers.house.postgres.kill();
    readable(503, &token("w", "w@e"));

    let preflight = usher.raw(format!(
        "OPTIONS {VERIFY} HTTP/1.1\r\nHost: app.test\r\nOrigin: https://web.test\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
    ));
    assert_eq!(preflight.status, 204);
    let field = |name: &str| preflight.header(name).map(str::to_owned);
    assert_eq!(
        field("access-control-allow-origin").as_deref(),
        Some("https://web.test")
    );
    assert_eq!(
        field("access-control-allow-methods").as_deref(),
        Some("POST")
    );
    assert_eq!(
        field("access-control-allow-headers").as_deref(),
        Some("authorization")
    );
    assert!(field("access-control-max-age").is_some());
}

#[test]
fn a_directory_that_cannot_be_asked_is_503_and_never_401() {
    let mut peers = Peers::with_engine();
    let usher = usher(&peers);
    let known = token("known", "known@e");
    is(&post(&usher, VERIFY, &known), 200, EXISTS);
    peers.house.postgres.kill();
    is(&post(&usher, VERIFY, &token("u", "u@e")), 503, UNAVAILABLE);
    is(&post(&usher, VERIFY, &known), 200, EXISTS);
    assert_eq!(peers.asked_for("u"), 0, "nobody is asked for blindly");
    peers.restart_postgres();
    peers.start_engine(Habits::default());
    eventually("the directory is asked again", || {
        (post(&usher, VERIFY, &token("v", "v@e")).status == 200).then_some(())
    });
}

#[test]
fn a_request_that_was_not_sent_is_503() {
    let mut peers = Peers::start();
    peers.insert("known", "known@e");
    let usher = usher(&peers);
    peers.house.redis.kill();
    is(&post(&usher, VERIFY, &token("u", "u@e")), 503, UNAVAILABLE);
    // Who has a row needs nobody to be asked for.
    is(&post(&usher, VERIFY, &token("known", "k@e")), 200, EXISTS);
    assert_eq!(
        usher.metric("usher_user_requests_total{outcome=\"not_sent\"}"),
        1.0
    );
}

#[test]
fn a_request_that_was_sent_is_followed_although_replies_cannot_be_read() {
    for (row, status, body) in [(true, 200, EXISTS), (false, 404, IN_PROGRESS)] {
        let mut peers = Peers::start();
        let usher = exness::usher(&App::start(), &peers, "  wait: 2500ms\n", "");
        let mut client = start_post(&usher, VERIFY, &token("u", "u@e"));
        eventually("it is sent", || (peers.asked_for("u") == 1).then_some(()));
        peers.house.redis.kill();
        if row {
            peers.insert("u", "u@e");
        }
        is(&client.reply().expect("answered"), status, body);
    }
}

#[test]
fn beyond_max_waiters_it_is_503_at_once() {
    let peers = Peers::start();
    let members = "  wait: 3s\n  max_waiters: 1\n";
    let usher = exness::usher(&App::start(), &peers, members, "");
    let mut first = start_post(&usher, VERIFY, &token("u", "u@e"));
    eventually("it waits", || {
        (usher.metric("usher_user_waiters") == 1.0).then_some(())
    });
    let begun = Instant::now();
    is(&post(&usher, VERIFY, &token("v", "v@e")), 503, UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(1));
    peers.insert("u", "u@e");
    is(&first.reply().expect("answered"), 200, EXISTS);
}

#[test]
fn a_row_that_comes_after_the_reply_is_found() {
    let peers = Peers::start();
    peers.start_engine(Habits {
        row_after: Duration::from_millis(400),
        ..Habits::default()
    });
    let usher = exness::usher(&App::start(), &peers, "", "");
    is(&post(&usher, VERIFY, &token("u", "u@e")), 200, EXISTS);
}
