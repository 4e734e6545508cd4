//! The configuration changes while usher runs: whole or not at all, and nobody notices but by
//! the new rules. Real processes, real files, real signals.

mod leaks;
mod parts;
mod rules;
mod sources;
mod stage;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::common::Client;
use crate::common::command::run;
use stage::{Stage, ask};

const HEADERS: &str = "headers: { X-User-Id: id }";

/// Requests one after the other until `over`: on one connection, and each on a new one in turn.
fn load(address: SocketAddr, token: &str, over: &AtomicBool, count: &AtomicUsize) {
    let mut kept = Client::connect(address);
    while !over.load(Ordering::Relaxed) {
        assert_eq!(ask(&mut kept, "/kept", token).status, 200);
        let mut new = Client::connect(address);
        assert_eq!(ask(&mut new, "/new", token).status, 200);
        count.fetch_add(2, Ordering::Relaxed);
    }
}

#[test]
fn reloads_under_load_fail_no_request() {
    let stage = Stage::start(HEADERS);
    let token = stage.issuer.token("alice");
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(stage.address, &token, &over, &count));
        }
        for turn in 0..40 {
            // Another pool, other headers, other routes, other limits: all of it is swapped.
            stage.write(&format!(
                "headers: {{ X-User-Id: id, X-Turn: iat }}\nlimits: {{ connections: {} }}\n\
                 timeouts: {{ connect: {}s }}\nroutes: [{{ path: /r{turn}/**, access: public }}]",
                5000 + turn,
                1 + turn % 3,
            ));
            stage.reload();
            let before = count.load(Ordering::Relaxed);
            crate::common::eventually("requests go on", || {
                (count.load(Ordering::Relaxed) > before + 8).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    let (done, failed) = stage.reloads();
    assert!(done >= 40.0, "{done}");
    assert_eq!(failed, 0.0);
    let forwarded = "usher_requests_total{route=\"default\",outcome=\"forwarded\",reason=\"\"}";
    let counted = count.load(Ordering::Relaxed);
    assert_eq!(
        stage.metric(forwarded) as usize,
        counted,
        "no count was lost"
    );
    assert!(stage.app.last().header("x-turn").is_some());
}

#[test]
fn a_bad_file_changes_nothing_and_says_what_check_says() {
    let stage = Stage::start(HEADERS);
    let token = stage.issuer.token("alice");
    let hash = stage.metric("usher_config_hash");
    assert!(hash > 0.0);
    stage.write("headers: { X-User-Id: id }\nlisen: x\nlimits: { connections: 0 }");
    stage.fail();
    let (code, _, checked) = run(&["check", stage.file().to_str().unwrap()]);
    assert_eq!(code, 78);
    let mut compared = 0;
    for line in checked
        .lines()
        .filter(|line| line.contains("usher.yaml:") && line.contains(". "))
    {
        let same = |event: &Value| event["problem"] == line;
        assert!(
            stage
                .events("the configuration cannot be used")
                .iter()
                .any(same),
            "{line}"
        );
        compared += 1;
    }
    assert_eq!(compared, 2, "{checked}");
    assert_eq!(ask(&mut stage.connect(), "/a", &token).status, 200);
    assert_eq!(stage.metric("usher_config_last_reload_successful"), 0.0);
    assert_eq!(
        stage.metric("usher_config_hash"),
        hash,
        "that of the file in use"
    );
    let ready = stage.admin("/readyz");
    assert_eq!(ready.status, 200, "still ready");
    let report: Value = serde_json::from_str(&ready.body).unwrap();
    let degraded = json!([{ "configuration": "not reloaded; the log says why" }]);
    assert_eq!(report["degraded"], degraded);
    stage.write(HEADERS);
    stage.reload();
    assert_eq!(stage.metric("usher_config_last_reload_successful"), 1.0);
    let report: Value = serde_json::from_str(&stage.admin("/readyz").body).unwrap();
    assert_eq!(report["degraded"], json!([]));
}

/// What a part finds wrong when it is made, in the words in which starting fails.
#[test]
fn what_cannot_be_built_changes_nothing() {
    let stage = Stage::start(HEADERS);
    let token = stage.issuer.token("alice");
    let keys = stage.folder.path().join("keys.json");
    std::fs::write(&keys, "{\"keys\": 7}").unwrap();
    let mine = format!(
        "{{ name: other, issuer: \"https://other.test/\", audiences: any, jwks_file: {} }}",
        keys.display()
    );
    stage.write_with(&[stage.issuer.yaml(), mine], HEADERS);
    stage.fail();
    let events = stage.events("the configuration cannot be used");
    let told = |event: &Value| event["problem"].as_str().unwrap().contains("keys.json");
    assert!(events.iter().any(told), "{events:?}");
    assert_eq!(ask(&mut stage.connect(), "/a", &token).status, 200);
}

#[test]
fn what_takes_a_restart_is_said_and_the_rest_changes() {
    let stage = Stage::start(HEADERS);
    let token = stage.issuer.token("alice");
    let text = stage.text(&[stage.issuer.yaml()], "headers: { X-Other: id }");
    let moved = text
        .replace("listen: 127.0.0.1:0", "listen: 127.0.0.2:0")
        .replace("admin: 127.0.0.1:0", "admin: off")
        .replace("workers: 2", "workers: 3");
    std::fs::write(stage.file(), moved).unwrap();
    stage.reload();
    let message = "has changed and takes a restart; until then it stays as it was";
    let events = stage.events(message);
    let keys: Vec<_> = events.iter().map(|event| &event["key"]).collect();
    assert_eq!(keys, ["listen", "admin", "workers"]);
    assert_eq!(stage.metric("usher_config_restart_needed"), 3.0);
    assert_eq!(ask(&mut stage.connect(), "/a", &token).status, 200);
    assert_eq!(stage.app.last().header("x-other"), Some("alice"));
    stage.write(HEADERS);
    stage.reload();
    assert_eq!(stage.metric("usher_config_restart_needed"), 0.0);
}
