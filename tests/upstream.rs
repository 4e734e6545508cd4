//! The way to the app: which address, which host, for how long.

use std::process::Command;

use crate::common::command::Running;
use crate::common::{App, Client, Issuer, Usher, bridge, eventually, free_port};

fn usher(issuer: &Issuer, upstream: &str) -> Usher {
    let issuers = issuer.yaml();
    Usher::configured(&format!("upstream: {upstream}\nissuers: [{issuers}]\n"))
}

#[test]
fn the_app_gets_the_host_that_the_client_sent_or_the_one_that_is_configured() {
    let (app, issuer) = (App::start(), Issuer::new());
    let token = issuer.token("alice");
    for (setting, host) in [
        ("", "app.test"),
        (", host: keep", "app.test"),
        (", host: 'inner.example:81'", "inner.example:81"),
    ] {
        let url = format!("{{ url: 'http://{}'{setting} }}", app.address);
        let usher = usher(&issuer, &url);
        let mut client = usher.connect();
        for _ in 0..2 {
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
            ));
            assert_eq!(client.reply().unwrap().status, 200);
            let seen = app.last();
            assert_eq!(seen.header("host"), Some(host));
            assert_eq!(seen.header("x-forwarded-host"), Some("app.test"));
            let forwarded = seen.header("forwarded").unwrap();
            assert!(forwarded.ends_with("host=\"app.test\""), "{forwarded}");
        }
    }
}

/// A name with three addresses, of which the app has the last. Names come from a hosts file that
/// only this usher sees.
#[test]
fn the_addresses_of_a_name_are_tried_in_turn() {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let reached = bridge::tcp("127.0.0.2:0", app.address);
    let port = reached.port();
    let hosts = folder.path().join("hosts");
    let names = "::1 app.internal\n127.0.0.1 app.internal\n127.0.0.2 app.internal\n";
    std::fs::write(&hosts, names).unwrap();
    let file = folder.path().join("usher.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nupstream: http://app.internal:{port}\nissuers: [{}]\n",
        issuer.yaml()
    );
    std::fs::write(&file, text).unwrap();
    let script = "mount --bind \"$1\" /etc/hosts && getent ahosts app.internal && exec \"$2\" serve --config \"$3\"";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(&hosts)
        .arg(env!("CARGO_BIN_EXE_usher"))
        .arg(&file);
    let running = Running::start(&mut command);
    eventually("usher has started", || {
        running.err().contains("\"started\"").then_some(())
    });
    let first = running.out().lines().next().unwrap_or_default().to_owned();
    assert!(
        !first.starts_with("127.0.0.2 "),
        "the dead ones come first: {first}"
    );
    let mut client = Client::connect(running.address("listening"));
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        issuer.token("alice")
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(app.count(), 1);
}

#[test]
fn a_name_that_leads_nowhere_is_a_502_that_says_so() {
    let issuer = Issuer::new();
    let token = issuer.token("alice");
    let unknown = usher(&issuer, "http://no-such-app.invalid:80");
    assert_eq!(unknown.get("/unknown", &token).status, 502);
    assert_eq!(unknown.line("/unknown")["reason"], "upstream_unreachable");
    let port = free_port();
    let dead = usher(&issuer, &format!("http://localhost:{port}"));
    assert_eq!(dead.get("/dead", &token).status, 502);
    let detail = dead.line("/dead")["detail"].to_string();
    assert!(
        detail.contains(&format!("127.0.0.1:{port}")) || detail.contains("[::1]"),
        "{detail}"
    );
}

#[test]
fn a_connection_that_is_old_is_not_used_again() {
    let (app, issuer) = (App::start(), Issuer::new());
    let url = format!(
        "{{ url: 'http://{}', max_age: 1s }}\nworkers: 1",
        app.address
    );
    let usher = usher(&issuer, &url);
    let token = issuer.token("alice");
    let mut client = usher.connect();
    // Busy all the time, so that it is never idle for long.
    let renewed = || {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 200);
        (app.connections() >= 3).then_some(())
    };
    eventually("a third connection", renewed);
    assert!(app.count() > 3, "most requests share a connection");
}
