//! `usher dev`: what it prints works as printed.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::common::command::{Running, run, usher};
use crate::common::{App, Client, Reply, eventually};

/// A running `usher dev` on free ports.
struct Dev {
    running: Running,
    guide: String,
}

impl Dev {
    fn start(state: &Path, more: &[&str]) -> Self {
        let state = state.to_str().unwrap();
        let first = [
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--state-dir",
            state,
        ];
        let running = Running::start(&mut usher(&[&first, more].concat()));
        let guide = eventually("the guide", || {
            let out = running.out();
            out.contains("Ctrl-C ends").then_some(out)
        });
        Self { running, guide }
    }

    /// The `curl` lines, taken apart: header and URL.
    fn curls(&self) -> Vec<(String, String)> {
        let lines = self
            .guide
            .lines()
            .filter_map(|line| line.trim().strip_prefix("curl -H '"));
        lines
            .map(|line| {
                let (header, url) = line.split_once("' ").unwrap();
                (header.to_owned(), url.to_owned())
            })
            .collect()
    }

    /// Does what a `curl` line says.
    fn curl(&self, header: &str, url: &str) -> Reply {
        let (address, path) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let mut client = Client::connect(address);
        client.send(format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n\r\n"
        ));
        client.reply().unwrap()
    }
}

#[test]
fn the_printed_lines_work_as_printed() {
    let state = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(state.path(), &[]);
    let curls = dev.curls();
    assert_eq!(curls.len(), 2, "{}", dev.guide);
    for ((header, url), (id, roles)) in curls.iter().zip([("42", "admin,user"), ("7", "user")]) {
        let reply = dev.curl(header, url);
        assert_eq!(reply.status, 200, "{header} {url}");
        let seen: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(seen["headers"]["x-user-id"], id);
        assert_eq!(seen["headers"]["x-user-roles"], roles);
        assert_eq!(seen["headers"]["authorization"], Value::Null);
        let verified = dev.curl(header, &format!("{url}api/auth/verify"));
        assert_eq!(verified.status, 200);
        assert!(
            verified.body.contains(&format!("\"user_id\":\"{id}\"")),
            "{}",
            verified.body
        );
    }
    let (header, url) = ("Accept: */*", &curls[0].1);
    assert_eq!(dev.curl(header, url).status, 401);
    let admin = dev
        .guide
        .split("curl http://")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(
        dev.curl(header, &format!("http://{admin}")).status,
        200,
        "{admin}"
    );
    dev.running.signal("INT");
    assert!(dev.running.ended().success());
}

#[test]
fn a_token_outlives_a_restart_and_the_key_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("new");
    let (header, _) = Dev::start(&folder, &[]).curls().swap_remove(0);
    let dev = Dev::start(&folder, &[]);
    let (_, url) = dev.curls().swap_remove(0);
    assert_eq!(dev.curl(&header, &url).status, 200);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("key.pem")), 0o600);
    // Another state is another issuer.
    let other = Dev::start(&state.path().join("other"), &[]);
    let (_, url) = other.curls().swap_remove(0);
    assert_eq!(other.curl(&header, &url).status, 401);
    // `token mint` signs with the same key.
    let folder = folder.to_str().unwrap();
    let persona = [
        "token",
        "mint",
        "--persona",
        "id=9,name=Eve",
        "--state-dir",
        folder,
    ];
    let (code, token, _) = run(&persona);
    assert_eq!(code, 0);
    let (_, url) = dev.curls().swap_remove(0);
    let reply = dev.curl(&format!("Authorization: Bearer {}", token.trim()), &url);
    assert_eq!(reply.status, 200);
    assert!(
        reply.body.contains("\"x-user-name\": \"Eve\""),
        "{}",
        reply.body
    );
}

#[test]
fn personas_and_the_app_are_arguments() {
    let (state, app) = (tempfile::tempdir().unwrap(), App::start());
    let upstream = format!("http://{}", app.address);
    let persona = "id=5,email=eve@example.com,roles=auditor";
    let dev = Dev::start(
        state.path(),
        &["--upstream", &upstream, "--persona", persona],
    );
    let curls = dev.curls();
    assert_eq!(curls.len(), 1);
    assert_eq!(dev.curl(&curls[0].0, &curls[0].1).body, "hello");
    let received = app.last();
    assert_eq!(received.header("x-user-id"), Some("5"));
    assert_eq!(received.header("x-user-email"), Some("eve@example.com"));
    assert_eq!(received.header("x-user-roles"), Some("auditor"));
}

#[test]
fn it_listens_on_loopback_only() {
    for option in ["--listen", "--admin"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            let (code, out, err) = run(&["dev", option, address]);
            assert_eq!((code, out.as_str()), (1, ""), "{option} {address}");
            assert!(err.contains("loopback only"), "{err}");
        }
    }
}

#[test]
fn odd_arguments_are_explained() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let (code, _, err) = run(&["dev", "--persona", "ada"]);
    assert_eq!(code, 2);
    assert!(err.contains("id=42"), "{err}");
    let (code, _, err) = run(&["dev", "--state-dir", state, "--upstream", "ftp://x"]);
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("upstream"), "{err}");
    let (code, _, err) = run(&["dev", "--state-dir", "/dev/null/x"]);
    assert_eq!(code, 1);
    assert!(err.contains("--state-dir"), "{err}");
}
