//! `usher dev` shows the whole flow: with an engine, and by itself.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::process::Process;
use crate::common::{Client, Peers, Reply, eventually, free_port};

/// A running `usher dev`.
struct Dev {
    address: SocketAddr,
    admin: SocketAddr,
    token: String,
    _process: Process,
}

impl Dev {
    fn start(folder: &TempDir, arguments: &[&str]) -> Self {
        let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let guide = folder.path().join("guide");
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command
            .args(["dev", "--persona", "id=42,email=ada@example.com,name=Ada"])
            .args(["--listen", &addresses[0], "--admin", &addresses[1]])
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .args(arguments)
            .stdout(File::create(&guide).unwrap())
            .stderr(Stdio::inherit());
        let process = Process::start(&mut command);
        let token = eventually("the guide", || {
            assert!(!process.has_ended(), "usher dev ended");
            let text = std::fs::read_to_string(&guide).unwrap();
            let (_, rest) = text.split_once("Authorization: Bearer ")?;
            rest.split_once('\'').map(|(token, _)| token.to_owned())
        });
        let [address, admin] = addresses.map(|text| text.parse().unwrap());
        Self {
            address,
            admin,
            token,
            _process: process,
        }
    }

    fn ask(&self, method: &str, path: &str) -> Reply {
        let mut client = Client::connect(self.address);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {}\r\n\
             Content-Length: 0\r\n\r\n",
            self.token
        ));
        client.reply().expect("answered")
    }

    /// Everything that the guide says to try.
    fn keeps_its_word(&self) {
        let reply = self.ask("GET", "/hello?a=b");
        assert_eq!(reply.status, 200, "{}", reply.body);
        let seen: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(seen["target"], "/hello?a=b");
        assert_eq!(seen["headers"]["x-user-id"], "42");
        assert_eq!(seen["headers"]["x-user-email"], "ada@example.com");
        assert_eq!(seen["headers"]["x-user-provisioned"], Value::Null);
        let reply = self.ask("GET", "/api/auth/verify");
        assert_eq!(
            reply.body,
            r#"{"valid":true,"user_id":"42","username":"Ada"}"#
        );
        let reply = self.ask("POST", "/api/v1/auth/verify-user");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (
                200,
                r#"{"success":true,"exists":true,"message":"User verified and exists in database"}"#
            )
        );
        let reply = self.ask("POST", "/api/v1/auth/ensure-user");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (
                200,
                r#"{"success":true,"message":"User ensured in Engine and DBStorage"}"#
            )
        );
        let mut client = Client::connect(self.admin);
        client.send("GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n");
        let ready = client.reply().expect("answered");
        let report: Value = serde_json::from_str(&ready.body).unwrap();
        assert_eq!((ready.status, &report["degraded"]), (200, &json!([])));
    }
}

/// `examples/engine.rs`, which `cargo test` builds; `cargo test --test` leaves it to us.
fn example() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_usher")).parent().unwrap();
    let path = folder.join("examples/engine");
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--example", "engine", "--target-dir"]);
        let status = cargo.arg(folder.parent().unwrap()).status().unwrap();
        assert!(status.success(), "the example cannot be built");
    }
    path
}

/// Starts the example, and waits until it reads.
fn start_example(peers: &Peers) -> Process {
    let mut command = Command::new(example());
    command
        .args([peers.house.redis.url(), peers.house.postgres.url()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let engine = Process::start(&mut command);
    eventually("the engine reads", || {
        assert!(!engine.has_ended(), "the engine ended");
        let clients: String = peers.wait(peers.house.redis.run(&["CLIENT", "LIST"]));
        clients.contains("cmd=xreadgroup").then_some(())
    });
    engine
}

#[test]
fn with_redis_a_database_and_an_engine() {
    let peers = Peers::start();
    // The example makes the table by itself.
    peers.wait(peers.house.postgres.run(r#"DROP TABLE "User""#));
    let _engine = start_example(&peers);
    let folder = tempfile::tempdir().unwrap();
    let (redis, database) = (peers.house.redis.url(), peers.house.postgres.url());
    let dev = Dev::start(&folder, &["--redis", &redis, "--database", &database]);
    dev.keeps_its_word();
    assert_eq!(peers.email_of("42").as_deref(), Some("ada@example.com"));
    assert_eq!(peers.asked_for("42"), 2, "a first sight and an ensurance");
    assert!(!folder.path().join("state/users.db").exists());
}

#[test]
fn the_example_engine_acknowledges_what_it_has_done_and_skips_junk() {
    let peers = Peers::start();
    let engine = start_example(&peers);
    let run = |words: &[&str]| -> redis::Value { peers.wait(peers.house.redis.run(words)) };
    for junk in [
        "{ not json",
        "[]",
        r#"{"function":"createTrade"}"#,
        r#"{"function":"createUser"}"#,
    ] {
        run(&["XADD", "stream:exness", "*", "message", junk]);
    }
    let good = r#"{"function":"createUser","userId":"u","userEmail":"u@e","requestId":"r"}"#;
    run(&["XADD", "stream:exness", "*", "message", good]);
    eventually("the row is there", || peers.email_of("u"));
    eventually("everything is acknowledged", || {
        let words = ["XPENDING", "stream:exness", "engine-group"];
        let pending: (u64, redis::Value, redis::Value, redis::Value) =
            peers.wait(peers.house.redis.run(&words));
        (pending.0 == 0).then_some(())
    });
    let words = ["XRANGE", "stream:exnessReceive", "-", "+"];
    let replies: Vec<(String, Vec<String>)> = peers.wait(peers.house.redis.run(&words));
    let [(_, fields)] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    let reply: Value = serde_json::from_str(&fields[1]).unwrap();
    assert_eq!(
        reply,
        json!({ "function": "createUser", "message": "u", "requestId": "r", "correlationId": "r" })
    );
    assert!(!engine.has_ended());
}

#[test]
fn by_itself_it_keeps_users_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder, &[]);
    dev.keeps_its_word();
    drop(dev);
    let file = folder.path().join("state/users.db");
    let kept: (String, String) = rusqlite::Connection::open(file)
        .unwrap()
        .query_row("SELECT id, email FROM users", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(kept, ("42".to_owned(), "ada@example.com".to_owned()));
    // And knows them after a restart, with tokens that are still good.
    Dev::start(&folder, &[]).keeps_its_word();
}

#[test]
fn redis_and_database_go_together() {
    for one in [
        ["--redis", "redis://127.0.0.1"],
        ["--database", "postgres://127.0.0.1/a"],
    ] {
        let mut usher = Command::new(env!("CARGO_BIN_EXE_usher"));
        let output = usher.arg("dev").args(one).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{one:?}");
    }
}
