//! `usher check --connect`: what the directory and Redis say is wrong, by name.

use std::process::Command;

use crate::common::{Peers, Signer, free_port};

/// Exit code, standard output, standard error.
fn check(users: &str, more: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.yaml");
    // One that needs nobody to be asked.
    let issuer = "{ name: idp, issuer: idp, audiences: [app], secret: '${S:-kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Q}' }";
    let text = format!("upstream: http://127.0.0.1:3000\nissuers: [{issuer}]\n{users}{more}");
    std::fs::write(&path, text).unwrap();
    let mut usher = Command::new(env!("CARGO_BIN_EXE_usher"));
    let output = usher
        .arg("check")
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(&path.display().to_string(), "usher.yaml")
    };
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn connect(users: &str, more: &str) -> (Option<i32>, String, String) {
    check(users, more, &["--connect"])
}

#[test]
fn all_is_well() {
    let peers = Peers::start();
    let (code, out, err) = connect(&peers.users(""), "headers: { X-Balance: user.balance }\n");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("usher.yaml: good\n"), "{out}");
}

#[test]
fn what_is_missing_is_named() {
    let peers = Peers::start();
    for (members, more, told) in [
        (
            "  table: Nobody\n",
            "",
            r#"the directory has no table "Nobody""#,
        ),
        (
            "  schema: elsewhere\n",
            "",
            r#"the directory has no table "elsewhere"."User""#,
        ),
        (
            "  id_column: userid\n",
            "",
            r#"table "User" has no column "userid""#,
        ),
        (
            "  email_column: 'e\"mail'\n",
            "",
            r#"table "User" has no column "e""mail""#,
        ),
        (
            "  issuer_column: iss\n",
            "",
            r#"table "User" has no column "iss""#,
        ),
        (
            "  name_column: nick\n",
            "",
            r#"table "User" has no column "nick""#,
        ),
        (
            "",
            "headers: { X-Plan: user.plan }\n",
            r#"table "User" has no column "plan""#,
        ),
    ] {
        let (code, _, err) = connect(&peers.users(members), more);
        assert_eq!(
            (code, err.as_str()),
            (Some(78), format!("usher.yaml: {told}\n").as_str())
        );
    }
    // All at once.
    let members = "  id_column: uid\n  email_column: mail\n";
    let (_, _, err) = connect(&peers.users(members), "");
    assert_eq!(err.lines().count(), 2, "{err}");
}

#[test]
fn a_table_in_a_file_is_looked_for_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    rusqlite::Connection::open(&path)
        .and_then(|file| file.execute_batch(r#"CREATE TABLE people ("id" TEXT, "mail" TEXT)"#))
        .unwrap();
    let users = |table: &str| {
        let path = path.display();
        format!("users: {{ directory: 'sqlite:{path}', provisioner: direct, {table} }}\n")
    };
    let (code, _, err) = connect(&users("table: people, email_column: mail"), "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for (table, told) in [
        ("table: people", r#"table "people" has no column "email""#),
        ("table: persons", r#"the directory has no table "persons""#),
    ] {
        let (code, _, err) = connect(&users(table), "");
        assert_eq!(
            (code, err.as_str()),
            (Some(78), format!("usher.yaml: {told}\n").as_str())
        );
    }
}

#[test]
fn a_check_leaves_no_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let users = |path: &str, more: &str| {
        let path = folder.path().join(path);
        format!(
            "users: {{ directory: 'sqlite:{}', provisioner: direct{more} }}\n",
            path.display()
        )
    };
    // usher will make this one, as whoever it then runs as.
    let (code, _, err) = connect(&users("users.db", ""), "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let (code, _, err) = connect(&users("users.db", ", table: people"), "");
    let told = "usher.yaml: the directory has no table \"people\"\n";
    assert_eq!((code, err.as_str()), (Some(78), told));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let (code, _, err) = connect(&users("no/such/folder/users.db", ""), "");
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("unable to open database file"), "{err}");
}

#[test]
fn who_cannot_be_asked_is_said_and_no_password_with_it() {
    let port = free_port();
    let users = format!(
        "users:\n  directory: postgres://app:hunter2@127.0.0.1:{port}/app?sslmode=disable\n  \
         preset: exness\n  provisioner: redis://:hunter3@127.0.0.1:{port}\n"
    );
    let (code, _, err) = connect(&users, "");
    assert_eq!(code, Some(78));
    let lines: Vec<_> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert!(
        lines[0].starts_with("usher.yaml: the directory cannot be asked: "),
        "{err}"
    );
    assert!(
        lines[1].starts_with("usher.yaml: redis cannot be asked: "),
        "{err}"
    );
    assert!(!err.contains("hunter"), "{err}");
    // Without the flag nobody is asked.
    let (code, out, err) = check(&users, "", &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("usher.yaml: good\n"), "{out}");
}

#[test]
fn a_redis_that_wants_a_password_refuses() {
    let peers = Peers::start();
    let words = ["CONFIG", "SET", "requirepass", "hunter2"];
    let _: String = peers.wait(peers.house.redis.run(&words));
    let (code, _, err) = connect(&peers.users(""), "");
    assert_eq!(code, Some(78));
    assert!(err.contains("redis ") && err.contains("NOAUTH"), "{err}");
}

#[test]
fn accounts_are_asked_too_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let pem = Signer::new("RS256", b"").public_pem();
    let key = data_encoding::BASE64.encode(pem.as_bytes());
    let accounts = |url: &str| {
        format!(
            "accounts: \"{url}\"\nprojects: [{{ id: acme, public_key: '{key}' }}]\nissued_tokens: {{ rate_limit: 'off', \
             access: {{ secret: '${{A:-aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To}}' }}, \
             refresh: {{ secret: '${{R:-rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To}}' }} }}\n"
        )
    };
    let file = folder.path().join("accounts.db");
    let (code, out, err) = connect(&accounts(&format!("sqlite:{}", file.display())), "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("  projects  acme\n"), "{out}");
    assert!(!file.exists());
    let url = format!(
        "postgres://app:hunter2@127.0.0.1:{}/app?sslmode=disable",
        free_port()
    );
    let (code, _, err) = connect(&accounts(&url), "");
    assert_eq!(code, Some(78));
    assert!(
        err.contains("the accounts cannot be asked: ") && !err.contains("hunter"),
        "{err}"
    );
}

#[test]
fn a_system_without_root_certificates_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    let port = free_port();
    let yaml = format!(
        "upstream: http://127.0.0.1:3000\nissuers:\n  \
         - {{ issuer: 'https://idp', jwks_uri: 'https://127.0.0.1:{port}/', audiences: any }}\n  \
         - {{ issuer: 'plain', jwks_uri: 'http://127.0.0.1:{port}/', audiences: any }}\n\
         users: {{ directory: 'postgres://127.0.0.1:{port}/app?sslmode=verify-full', table: t, shared_ids: true }}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let usher = Command::new(env!("CARGO_BIN_EXE_usher"))
        .args(["check", "--connect", file.to_str().unwrap()])
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8(usher.stderr).unwrap();
    let without = "this system has no root certificates: install ca-certificates";
    let lines: Vec<_> = told.lines().collect();
    for about in ["`idp`", "users"] {
        let about = |line: &&&str| line.contains(about) && line.contains(without);
        assert_eq!(lines.iter().filter(about).count(), 1, "{told}");
    }
    // Where no TLS is spoken, none are needed.
    assert!(
        lines
            .iter()
            .any(|line| line.contains("`plain`") && !line.contains(without)),
        "{told}"
    );
}

#[test]
fn without_users_there_is_nobody_to_ask() {
    let (code, _, err) = connect("", "");
    assert_eq!(code, Some(78));
    assert!(err.contains("`users` is not configured"), "{err}");
}
