//! What whoever runs usher sees: health, metrics, access lines, and an orderly end.

mod access;
mod ending;
mod secrets;
mod standard_error;

use std::collections::BTreeSet;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::common::app::{Answer, answer};
use crate::common::http2::{Http2, get, request};
use crate::common::{App, Client, Issuer, Reply, Usher, eventually, websocket};

#[track_caller]
fn ask(usher: &Usher, method: &str, path: &str) -> Reply {
    let mut client = Client::connect(usher.admin);
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n\r\n"
    ));
    client.reply_to(method).expect("no answer")
}

#[test]
fn the_admin_listener_answers_three_questions_and_changes_nothing() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let table = [
        ("/livez", "text/plain"),
        ("/readyz", "application/json"),
        (
            "/metrics",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("/livez?verbose", "text/plain"),
    ];
    for (path, kind) in table {
        let reply = ask(&usher, "GET", path);
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("content-type"), Some(kind), "{path}");
        assert!(!reply.body.is_empty(), "{path}");
        assert_eq!(ask(&usher, "HEAD", path).status, 200, "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let reply = ask(&usher, method, path);
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
    }
    let report: Value = serde_json::from_str(&ask(&usher, "GET", "/readyz").body).unwrap();
    assert_eq!(
        report,
        json!({ "ready": true, "draining": false, "issuers_without_keys": [], "degraded": [] })
    );
    for path in ["/", "/metrics/", "//livez", "/debug/pprof", "/revocations"] {
        assert_eq!(ask(&usher, "GET", path).status, 404, "{path}");
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn the_main_listener_knows_none_of_this() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(usher.get_as_nobody(path).status, 401, "{path}");
        assert_eq!(
            usher.get(path, &issuer.token("alice")).body,
            "hello",
            "{path}"
        );
        assert_eq!(app.last().target(), path);
    }
}

#[test]
fn a_client_that_says_nothing_does_not_hold_up_the_admin_listener() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let _silent: Vec<_> = (0..32).map(|_| Client::connect(usher.admin)).collect();
    assert_eq!(ask(&usher, "GET", "/livez").status, 200);
}

#[test]
fn requests_are_counted_by_what_they_are_spoken_in() {
    let app = App::with(|asked| match asked.header("upgrade") {
        Some(_) => websocket::echo(asked),
        None => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(usher.get_as_nobody("/").status, 401);
    let client = Http2::connect(usher.address);
    for _ in 0..3 {
        assert_eq!(client.ask(get("/", &token)).unwrap().status, 200);
    }
    let call = request(http::Method::POST, "/a.B/C", &token);
    let call = call.header("content-type", "application/grpc");
    let answered = client.upload(call.body(()).unwrap(), "x".into(), None);
    assert_eq!(answered.unwrap().status, 200);
    let socket = websocket::open(TcpStream::connect(usher.address).unwrap(), &token);
    let count = |protocol: &str| {
        usher.metric(&format!(
            "usher_protocol_requests_total{{protocol=\"{protocol}\"}}"
        ))
    };
    let counts = ["http1", "http2", "grpc", "tunnel"].map(count);
    assert_eq!(counts, [2.0, 3.0, 1.0, 1.0]);
    assert_eq!(usher.metric("usher_upstream_tunnels"), 1.0);
    drop(socket);
    eventually("the end of the tunnel", || {
        (usher.metric("usher_upstream_tunnels") == 0.0).then_some(())
    });
}

/// The names and labels of all series.
fn series(usher: &Usher) -> BTreeSet<String> {
    let text = usher.admin("/metrics").body;
    assert!(text.ends_with("# EOF\n"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

#[test]
fn strangers_add_no_series() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "routes: [{ path: /public/**, access: public, name: public }]",
    );
    let token = issuer.token("alice");
    let stranger = Issuer::with_kid("stranger");
    let round = |number: usize| {
        assert_eq!(usher.get(&format!("/{number}"), &token).status, 200);
        assert_eq!(
            usher.get_as_nobody(&format!("/public/{number}")).status,
            200
        );
        assert_eq!(usher.get_as_nobody(&format!("/{number}")).status, 401);
        let iss = json!({ "iss": format!("https://{number}.test/") });
        assert_eq!(usher.get("/", &issuer.token_with("alice", iss)).status, 401);
        assert_eq!(
            usher.get("/", &stranger.token(&number.to_string())).status,
            401
        );
        let odd = format!(
            "M{number} /{number}?x={number} HTTP/1.1\r\nHost: h{number}.test\r\nX-{number}: 1\r\n\r\n"
        );
        assert_eq!(usher.raw(odd).status, 401);
        assert_eq!(usher.get(&format!("/%2e/{number}"), &token).status, 400);
    };
    round(0);
    let before = series(&usher);
    assert!(
        before.contains("usher_requests_total{route=\"public\",outcome=\"forwarded\",reason=\"\"}")
    );
    for number in 1..50 {
        round(number);
    }
    assert_eq!(series(&usher), before);
    assert!(before.len() < 200, "{}", before.len());
}

#[test]
fn requests_are_counted_by_route_outcome_and_reason() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "endpoints: { verify: { path: /verify, user_id: id, username: name } }",
    );
    let token = issuer.token("alice");
    for _ in 0..3 {
        assert_eq!(usher.get("/", &token).status, 200);
    }
    assert_eq!(usher.get("/verify", &token).status, 200);
    assert_eq!(usher.get_as_nobody("/").status, 401);
    // A request counts when its answer has ended, which a client may see before.
    let text = eventually("nothing is under way", || {
        let text = usher.admin("/metrics").body;
        text.contains("usher_requests_in_flight 0\n")
            .then_some(text)
    });
    let count = |outcome: &str, reason: &str| -> f64 {
        let rest = format!("outcome=\"{outcome}\",reason=\"{reason}\"}} ");
        let lines = text
            .lines()
            .filter(|line| line.starts_with("usher_requests_total{"));
        lines
            .filter_map(|line| line.split_once(&rest))
            .map(|(_, count)| count.parse::<f64>().unwrap())
            .sum()
    };
    assert_eq!(count("forwarded", ""), 3.0);
    assert_eq!(count("answered", ""), 1.0);
    assert_eq!(count("denied", "token_missing"), 1.0);
    assert_eq!(usher.metric("usher_requests_in_flight"), 0.0);
    assert_eq!(usher.metric("usher_connections_accepted_total"), 5.0);
    assert!(
        text.contains("usher_request_duration_seconds_bucket{"),
        "{text}"
    );
    assert!(text.contains("usher_upstream_connects_total "), "{text}");
    assert!(
        text.contains("usher_keys_fetched_timestamp_seconds{issuer=\"idp\"} "),
        "{text}"
    );
}
