//! Chromium: a page that fetches, uploads, hears events, and talks over a WebSocket.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::Usher;
use crate::common::process::Process;

use super::{NAME, Stage};

/// How long a browser may take to start and the page to finish, on a machine with much else to do.
const LONGEST: Duration = Duration::from_secs(60);

/// Opens the page, and waits for what it tells the app.
fn visit(stage: &Stage, usher: &Usher, scheme: &str) -> Value {
    let profile = tempfile::tempdir().unwrap();
    let (port, before) = (usher.address.port(), stage.app.count());
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            // Else it ends once the page is there.
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--host-resolver-rules=MAP {NAME} 127.0.0.1"))
        .arg(format!("{scheme}://{NAME}:{port}/#{}", stage.token))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(profile.path().join("said")).unwrap());
    let browser = Process::start(&mut command);
    let deadline = Instant::now() + LONGEST;
    loop {
        let received = stage.app.received();
        let told = received[before..]
            .iter()
            .find(|one| one.target() == "/told");
        if let Some(told) = told {
            return serde_json::from_slice(&told.body).unwrap();
        }
        let said = || std::fs::read_to_string(profile.path().join("said")).unwrap();
        assert!(!browser.has_ended(), "Chromium has ended: {}", said());
        assert!(
            Instant::now() < deadline,
            "the page told nothing; it asked for {:?}; Chromium said: {}",
            received[before..]
                .iter()
                .map(|one| one.target().to_owned())
                .collect::<Vec<_>>(),
            said()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What has to come of it, whatever is spoken.
fn expected(spoken: &str) -> Value {
    json!({
        "api": { "user": "alice", "method": "GET" },
        "refused": 401,
        "sum": { "bytes": 300_000 },
        "large": super::site::LARGE,
        "events": ["event 0", "event 1", "event 2"],
        "socket": { "heard": ["hello", 200_000], "protocol": "bearer", "code": 1000 },
        "spoken": spoken,
    })
}

#[test]
fn a_page_does_all_that_a_browser_can() {
    let stage = Stage::new();
    assert_eq!(visit(&stage, &stage.usher, "http"), expected("http/1.1"));
    assert_eq!(visit(&stage, &stage.secure, "https"), expected("h2"));
    // The WebSocket, too, was on that connection (RFC 8441), or on one of its own: Chromium decides.
    let tunnels = "usher_protocol_requests_total{protocol=\"tunnel\"}";
    assert_eq!(stage.secure.metric(tunnels), 1.0);
    for received in stage.app.received() {
        assert!(
            received.all("authorization").is_empty(),
            "{}",
            received.head
        );
        assert!(!received.head.contains(&stage.token), "{}", received.head);
    }
}
