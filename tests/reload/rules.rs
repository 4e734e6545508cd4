//! The next request on every connection is held to the new rules.

use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};

use serde_json::json;

use super::stage::{Stage, ask};
use crate::common::app::Answer;
use crate::common::authority::Authority;
use crate::common::http2::{Http2, get};
use crate::common::{App, Client, Issuer, eventually, tls};

const HEADERS: &str = "headers: { X-User-Id: id }";

/// An issuer beside the stage's own, and how it is configured.
fn other() -> (Issuer, String) {
    let issuer = Issuer::with_kid("other");
    let yaml = format!(
        "{{ name: other, issuer: \"https://other.test/\", audiences: [app], algorithms: [ES256], \
         jwks_file: {} }}",
        issuer.key_set().display()
    );
    (issuer, yaml)
}

fn token_of_other(issuer: &Issuer) -> String {
    issuer.token_with("bob", json!({ "iss": "https://other.test/" }))
}

#[test]
fn an_issuer_that_is_gone_opens_nothing_any_more_and_one_that_comes_does_at_once() {
    let stage = Stage::start(HEADERS);
    let (issuer, yaml) = other();
    let (mine, theirs) = (stage.issuer.token("alice"), token_of_other(&issuer));
    let mut client = stage.connect();
    let over_http2 = Http2::connect(stage.address);
    assert_eq!(ask(&mut client, "/a", &mine).status, 200);
    // Refused, and remembered as such.
    assert_eq!(ask(&mut client, "/a", &theirs).status, 401);
    assert_eq!(ask(&mut client, "/a", &theirs).status, 401);
    // First in the list: every other issuer moves.
    stage.write_with(&[yaml.clone(), stage.issuer.yaml()], HEADERS);
    stage.reload();
    let verified = stage.metric("usher_token_verifications_total");
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/a", &mine).status, 200);
    }
    let now = stage.metric("usher_token_verifications_total");
    assert_eq!(now, verified, "what was verified before is remembered");
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/a", &theirs).status, 200);
        assert_eq!(over_http2.ask(get("/a", &theirs)).unwrap().status, 200);
    }
    assert_eq!(stage.metric("usher_keys{issuer=\"other\"}"), 1.0);
    stage.write(HEADERS);
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &theirs).status, 401);
    assert_eq!(over_http2.ask(get("/a", &theirs)).unwrap().status, 401);
    assert_eq!(ask(&mut client, "/a", &mine).status, 200);
    let shown = stage.admin("/metrics").body;
    assert!(!shown.contains("usher_keys{issuer=\"other\"}"), "{shown}");
}

#[test]
fn access_and_headers_change_for_connections_that_are_open() {
    let stage = Stage::start(HEADERS);
    let token = stage.issuer.token("alice");
    let (mut client, over_http2) = (stage.connect(), Http2::connect(stage.address));
    let nobody = "GET /open/a HTTP/1.1\r\nHost: app.test\r\n\r\n";
    client.send(nobody);
    assert_eq!(client.reply().unwrap().status, 401);
    stage.write("headers: { X-Name: name }\nroutes: [{ path: /open/**, access: public }]");
    stage.reload();
    client.send(nobody);
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(ask(&mut client, "/a", &token).status, 200);
    let received = stage.app.last();
    assert_eq!(received.header("x-name"), Some("Alice"));
    assert_eq!(received.header("x-user-id"), None);
    assert_eq!(over_http2.ask(get("/a", &token)).unwrap().status, 200);
    assert_eq!(stage.app.last().header("x-name"), Some("Alice"));
    // A header that became an identity header is the client's no more.
    client.send(format!(
        "GET /a HTTP/1.1\r\nHost: app.test\r\nX-Name: root\r\nX-User-Id: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(stage.app.last().all("x-name"), ["Alice"]);
    let counted = "usher_requests_total{route=\"/open/**\",outcome=\"forwarded\",reason=\"\"}";
    assert_eq!(stage.metric(counted), 1.0);
    stage.write("headers: { X-Name: name }\nroutes: [{ path: /**, require: { roles: [admin] } }]");
    stage.reload();
    assert_eq!(ask(&mut client, "/a", &token).status, 403);
    assert_eq!(over_http2.ask(get("/a", &token)).unwrap().status, 403);
    client.send(nobody);
    assert_eq!(client.reply().unwrap().status, 401);
    assert_eq!(stage.metric(counted), 1.0, "a count never goes back");
}

#[test]
fn limits_and_trusted_proxies_change_for_connections_that_are_open() {
    let asked = "forward_auth: { dialect: nginx }\n";
    let stage = Stage::start(&format!("{asked}trusted_proxies: [10.1.1.1]"));
    let token = stage.issuer.token("alice");
    let mut client = stage.connect();
    let question = format!(
        "GET /_usher/auth HTTP/1.1\r\nHost: a\r\nX-Original-Method: GET\r\nX-Original-URI: /a\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    client.send(&question);
    assert_eq!(client.reply().unwrap().status, 403);
    stage.write(&format!(
        "{asked}trusted_proxies: [127.0.0.1]\nlimits: {{ header_count: 10, connections_per_client: 3 }}"
    ));
    stage.reload();
    client.send(&question);
    assert_eq!(client.reply().unwrap().status, 200);
    client.send(format!(
        "GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(12)
    ));
    assert_eq!(client.reply().unwrap().status, 431);
}

/// An app that streams what the test sends, for as long as it likes.
fn streaming() -> (App, Sender<String>) {
    let (tell, told) = mpsc::channel::<String>();
    let told = Arc::new(Mutex::new(told));
    let app = App::with(move |_| {
        let told = told.clone();
        Answer::Own(Box::new(move |mut stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let told = told.lock().unwrap();
            while let Ok(text) = told.recv() {
                let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                if stream.write_all(chunk.as_bytes()).is_err() {
                    return;
                }
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        }))
    });
    (app, tell)
}

#[test]
fn what_streams_goes_on_under_the_rules_it_was_let_in_with() {
    let (app, tell) = streaming();
    let stage = Stage::before(app, HEADERS);
    let token = stage.issuer.token("alice");
    let mut client = stage.connect();
    client.send(format!(
        "GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    tell.send("one".to_owned()).unwrap();
    client.until("one");
    // Neither its issuer, nor its route, nor the pool its connection came from is there any more.
    let (issuer, yaml) = other();
    stage.write_with(
        &[yaml],
        "timeouts: { connect: 7s }\nroutes: [{ path: /**, require: { roles: [admin] } }]",
    );
    stage.reload();
    assert_eq!(ask(&mut stage.connect(), "/events", &token).status, 401);
    assert_eq!(
        ask(&mut stage.connect(), "/a", &token_of_other(&issuer)).status,
        403
    );
    for word in ["two", "three"] {
        tell.send(word.to_owned()).unwrap();
        client.until(word);
    }
    drop(tell);
    client.until("0\r\n\r\n");
    let done = "usher_requests_total{route=\"default\",outcome=\"forwarded\",reason=\"\"}";
    eventually("its end counts for its own route", || {
        (stage.metric(done) == 1.0).then_some(())
    });
}

#[test]
fn a_listener_begins_to_speak_tls_and_who_is_in_stays() {
    let stage = Stage::start(HEADERS);
    let (authority, token) = (Authority::new(), stage.issuer.token("alice"));
    let pair = authority.server("server", &["app.test"]);
    let mut plain = stage.connect();
    assert_eq!(ask(&mut plain, "/a", &token).status, 200);
    let text = stage.text(&[stage.issuer.yaml()], HEADERS);
    let listen = format!(
        "listen: {{ address: 127.0.0.1:0, tls: {{ {} }} }}",
        pair.yaml()
    );
    let text = text.replace("listen: 127.0.0.1:0", &listen);
    std::fs::write(stage.file(), text).unwrap();
    stage.reload();
    let config = tls::client(&authority.root, None);
    let session = tls::connect(stage.address, "app.test", &config).unwrap();
    let mut secured = Client::over_tls(session);
    assert_eq!(ask(&mut secured, "/a", &token).status, 200);
    assert_eq!(ask(&mut plain, "/a", &token).status, 200);
    assert_eq!(stage.metric("usher_config_restart_needed"), 0.0);
}
