//! `POST /revocations`: who may, and who may not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::stage::{Stage, dies};
use crate::common::authority::{Authority, Pair};
use crate::common::{Client, Reply, Usher, eventually, free_port, tls};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn post(body: &str, lines: &str) -> String {
    format!(
        "POST /revocations HTTP/1.1\r\nHost: usher\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{lines}\r\n{body}",
        body.len()
    )
}

fn over_unix(path: &Path, bytes: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::over_unix(path);
    client.send(bytes);
    client.reply().expect("an answer")
}

fn unix(stage: &Stage, more: &str) -> (Usher, std::path::PathBuf) {
    let path = stage.folder.path().join("control.sock");
    let usher = stage.usher(&format!(
        "control: {{ address: \"unix:{}\"{more} }}\n",
        path.display()
    ));
    (usher, path)
}

#[test]
fn what_is_asked_for_over_the_socket_is_revoked_everywhere() {
    let stage = Stage::new();
    let (usher, path) = unix(&stage, "");
    let other = stage.usher("");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let token = stage.issuer.token("dead");
    assert_eq!(other.get("/", &token).status, 200);
    let reply = over_unix(&path, post(r#"{"issuer":"idp","subject":"dead"}"#, ""));
    assert_eq!(reply.status, 201, "{}", reply.body);
    // Whoever stored it knows it, before the stream has told.
    assert_eq!(usher.get("/", &token).status, 401);
    dies(&other, &token);
    let said: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(said["revoked"], true);
    assert!(
        said["issued_before"].is_u64() && said["known_until"].is_u64(),
        "{said}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_the_next_one_passes() {
    let stage = Stage::new();
    let (_usher, path) = unix(&stage, "");
    let long = format!("{{\"jti\":\"{}\"}}", "x".repeat(5000));
    for (bytes, status) in [
        (post("{}", ""), 400),
        (post("[]", ""), 400),
        (post("", ""), 400),
        (post(r#"{"jti":"a","kid":"b"}"#, ""), 400),
        (post(r#"{"jti":"a","jti":"b"}"#, ""), 400),
        (post(r#"{"jti":"a","why":"b"}"#, ""), 400),
        (post(r#"{"subject":"a","before":"soon"}"#, ""), 400),
        (post(r#"{"subject":"a","before":-1}"#, ""), 400),
        (post(r#"{"subject":"a","before":9999999999}"#, ""), 400),
        (post(&long, ""), 413),
        (
            post(r#"{"jti":"a"}"#, "").replace("application/json", "text/plain"),
            415,
        ),
        (post(r#"{"jti":"a"}"#, "").replace("POST", "PUT"), 405),
        (
            post(r#"{"jti":"a"}"#, "").replace("/revocations", "/metrics"),
            404,
        ),
    ] {
        let reply = over_unix(&path, &bytes);
        assert_eq!(reply.status, status, "{bytes}: {}", reply.body);
    }
    assert_eq!(
        stage.redis(&["XLEN", "usher:revocations"]),
        redis::Value::Int(0)
    );
    let reply = over_unix(
        &path,
        post(r#"{"subject":"a","before":"2026-01-01T00:00:00Z"}"#, ""),
    );
    assert_eq!(reply.status, 201, "{}", reply.body);
}

#[test]
fn what_cannot_be_stored_is_503() {
    let mut stage = Stage::new();
    let (_usher, path) = unix(&stage, "");
    stage.redis.kill();
    let reply = over_unix(&path, post(r#"{"jti":"a"}"#, ""));
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    let said: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(said["revoked"], false);
    assert!(!reply.body.contains("127.0.0.1"), "{}", reply.body);
}

#[test]
fn too_many_are_told_to_wait() {
    let stage = Stage::new();
    let (_usher, path) = unix(&stage, ", per_minute: 2");
    let asked = || over_unix(&path, post(r#"{"jti":"a"}"#, ""));
    assert_eq!([asked().status, asked().status], [201, 201]);
    let reply = asked();
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some());
}

#[test]
fn on_loopback_a_token_decides() {
    let stage = Stage::new();
    let address = format!("127.0.0.1:{}", free_port());
    let file = stage.folder.path().join("control-token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let _usher = stage.usher(&format!(
        "control: {{ address: \"{address}\", token_file: {} }}\n",
        file.display()
    ));
    let body = r#"{"jti":"a"}"#;
    let ask = |lines: &str| {
        let mut client = Client::connect(address.parse().unwrap());
        client.send(post(body, lines));
        client.reply().unwrap().status
    };
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for wrong in [
        String::new(),
        bearer.replace("abcdef", "abcdee"),
        bearer.replace("Bearer", "Basic"),
        bearer.repeat(2),
    ] {
        assert_eq!(ask(&wrong), 401, "{wrong}");
    }
    assert_eq!(ask(&bearer), 201);
}

#[test]
fn whoever_has_no_token_keeps_nobody_from_revoking_who_has_one() {
    let stage = Stage::new();
    let address = format!("127.0.0.1:{}", free_port());
    let _usher = stage.usher(&format!(
        "control: {{ address: \"{address}\", token: {TOKEN}, per_minute: 2 }}\n"
    ));
    let ask = |token: &str| {
        let mut client = Client::connect(address.parse().unwrap());
        let bearer = format!("Authorization: Bearer {token}\r\n");
        client.send(post(r#"{"jti":"a"}"#, &bearer));
        client.reply().unwrap().status
    };
    let wrong = TOKEN.replace("abcdef", "abcdee");
    assert_eq!([(); 3].map(|()| ask(&wrong)), [401, 401, 429]);
    assert_eq!([(); 3].map(|()| ask(TOKEN)), [201, 201, 429]);
}

#[test]
fn elsewhere_a_certificate_decides() {
    let stage = Stage::new();
    let (servers, clients) = (Authority::new(), Authority::new());
    let address: std::net::SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let _usher = stage.usher(&format!(
        "control: {{ address: \"0.0.0.0:{}\", tls: {{ {}, client_ca_file: '{}' }} }}\n",
        address.port(),
        servers.server("a", &["a.test"]).yaml(),
        clients.root.display()
    ));
    let ask = |own: Option<&Pair>| {
        let config = tls::client(&servers.root, own);
        let session = tls::connect(address, "a.test", &config).ok()?;
        let mut client = Client::over_tls(session);
        client.send(post(r#"{"jti":"a"}"#, ""));
        client.reply().map(|reply| reply.status)
    };
    assert_eq!(ask(None), None);
    assert_eq!(ask(Some(&Authority::new().client("stranger"))), None);
    assert_eq!(ask(Some(&clients.client("operator"))), Some(201));
}

#[test]
fn callers_find_nothing_of_it() {
    let stage = Stage::new();
    let (usher, _path) = unix(&stage, "");
    assert_eq!(usher.raw(post(r#"{"jti":"a"}"#, "")).status, 401);
    let mut client = Client::connect(usher.admin);
    client.send(post(r#"{"jti":"a"}"#, ""));
    assert_eq!(client.reply().unwrap().status, 405);
}

/// A body that never comes holds a place for a while, and nobody else up.
#[test]
fn who_is_slow_holds_nobody_up() {
    let stage = Stage::new();
    let (_usher, path) = unix(&stage, "");
    let mut slow = Client::over_unix(&path);
    slow.send(post(r#"{"jti":"a"}"#, "").trim_end_matches('}'));
    let reply = over_unix(&path, post(&json!({ "jti": "b" }).to_string(), ""));
    assert_eq!(reply.status, 201);
    eventually("an answer to the slow one", || {
        slow.reply().map(|reply| assert_eq!(reply.status, 408))
    });
}

#[test]
fn check_refuses_what_anybody_reaches() {
    let stage = Stage::new();
    let authority = Authority::new();
    let pair = authority.server("a", &["a.test"]).yaml();
    let root = authority.root.display();
    for (control, told) in [
        ("0.0.0.0:9903".to_owned(), "asks for no certificate"),
        (
            format!("{{ address: '10.1.2.3:9903', token: {TOKEN} }}"),
            "asks for no certificate",
        ),
        (
            format!("{{ address: '0.0.0.0:9903', tls: {{ {pair} }} }}"),
            "asks for no certificate",
        ),
        (
            format!(
                "{{ address: '0.0.0.0:9903', tls: {{ {pair}, client_ca_file: '{root}', client_certificates: request }} }}"
            ),
            "asks for no certificate",
        ),
        ("127.0.0.1:9903".to_owned(), "has no token"),
        (
            "{ address: '127.0.0.1:9903', token: short }".to_owned(),
            "no token of at least 24",
        ),
        (
            "{ address: 'unix:/tmp/x.sock', mode: '0666' }".to_owned(),
            "lets everybody on this machine connect",
        ),
        ("systemd:control".to_owned(), "socket of systemd"),
        ("127.0.0.1:9901".to_owned(), "taken already"),
    ] {
        let yaml = stage.yaml(&format!("control: {control}\n"));
        let problems = usher::config::parse(&yaml, "usher.yaml", &|_| None).expect_err(&control);
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(
            all.iter().any(|one| one.contains(told)),
            "{control}: {all:?}"
        );
    }
}
