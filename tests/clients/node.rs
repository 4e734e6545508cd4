//! Node: its own clients for HTTP/1.1 and HTTP/2, and a WebSocket by hand.

use std::process::Command;

use serde_json::{Value, json};

use super::{NAME, Stage, said};

const SCRIPT: &str = include_str!("visit.mjs");

#[test]
fn http_http2_and_a_websocket() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("visit.mjs");
    std::fs::write(&script, SCRIPT).unwrap();
    let mut node = Command::new("node");
    node.arg(&script)
        .arg(stage.usher.address.port().to_string())
        .arg(stage.secure.address.port().to_string())
        .arg(NAME)
        .arg(stage.root())
        .arg(&stage.token);
    let told: Value = serde_json::from_str(&said(&mut node)).unwrap();
    let once = json!({ "user": "alice", "method": "GET" });
    let both =
        json!({ "asked": [200, once, 200, once], "sockets": 1, "sum": { "bytes": 1_000_000 } });
    let streams = json!({ "answers": vec![once.clone(); 20], "sum": { "bytes": 1_000_000 }, "large": super::site::LARGE, "pinged": true });
    assert_eq!(told["http"], both);
    assert_eq!(told["https"], both);
    assert_eq!(told["h2c"], streams);
    assert_eq!(told["h2"], streams);
    let socket = json!({ "status": 101, "heard": ["hello", 70_000, "pieces"], "closed": 1000 });
    assert_eq!(told["ws"], socket);
    assert_eq!(told["wss"], socket);
}
