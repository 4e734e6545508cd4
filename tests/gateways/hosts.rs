//! Several virtual hosts: what usher decides on is the host by which the proxy has chosen.

use crate::common::Client;

use super::stage::{Door, Stage};

/// nginx with a server for `www.test` and one for `admin.test`, which tell the app which one it was.
fn two_servers(token_in_a_cookie: bool) -> Stage {
    let path = format!("{}/examples/nginx/nginx.conf", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(path).unwrap();
    let start = file.find("    server {\n        listen").unwrap();
    let server = file[start..].strip_suffix("}\n").unwrap();
    let named = |name: &str| {
        let said = format!("proxy_pass http://app;\n            proxy_set_header X-Chosen {name};");
        let server = server.replace("proxy_pass http://app;", &said);
        server.replacen(
            "server {",
            &format!("server {{\n        server_name {name};"),
            1,
        )
    };
    let both = named("www.test") + &named("admin.test");
    let route = "routes:\n  - { path: /secret/**, host: www.test, access: public }\n";
    let cookie = "tokens: { from: [authorization, { cookie: session }] }\nissuers:";
    let mut changes = vec![(server, both.as_str()), ("routes:\n", route)];
    if token_in_a_cookie {
        changes.push(("issuers:", cookie));
    }
    Stage::changed(Door::Nginx, &changes)
}

#[test]
fn a_second_name_for_the_host_opens_nothing() {
    host_named_twice();
}

pub(crate) fn host_named_twice() {
    let stage = two_servers(false);
    let ask = |line: &str, host: &str| {
        let before = stage.app.count();
        let mut client = Client::connect(stage.address);
        client.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let status = client.reply().unwrap().status;
        let received = stage.app.received()[before..].to_vec();
        (status, received)
    };
    // What is public on one is not on the other, by whatever name it is asked for.
    for (line, host, open) in [
        ("GET /secret/x", "www.test", true),
        ("GET /secret/x", "WWW.test:8123", true),
        ("GET http://www.test/secret/x", "www.test", true),
        ("GET http://www.test/secret/x", "admin.test", true),
        ("GET http://www.test:81/secret/x", "admin.test:82", true),
        ("GET /secret/x", "admin.test", false),
        ("GET /secret/x", "admin.test:80", false),
        ("GET http://admin.test/secret/x", "www.test", false),
        ("GET http://ADMIN.test/secret/x", "www.test", false),
        ("GET http://admin.test:80/secret/x", "www.test:80", false),
        ("GET http://admin.test/secret/x", "www.test www.test", false),
        (
            "GET http://admin.test/secret/x",
            "admin.test www.test",
            false,
        ),
    ] {
        let (status, received) = ask(line, host);
        if !open {
            assert!([400, 401].contains(&status), "{line} at {host}: {status}");
            assert_eq!(received.len(), 0, "{line} at {host}");
            continue;
        }
        assert_eq!((status, received.len()), (200, 1), "{line} at {host}");
        let said = |name: &str| received[0].header(name).unwrap().to_lowercase();
        assert_eq!(said("x-chosen"), "www.test", "{line} at {host}");
        // The app is told the same, with the port if there was one.
        assert_eq!(
            said("host").split(':').next(),
            Some("www.test"),
            "{line} at {host}"
        );
        assert_eq!(said("x-forwarded-host"), said("host"));
    }
    assert_eq!(stage.usher().line("/secret/x")["host"], "www.test");
}

/// A page's origin has the port that its browser has named.
#[test]
fn the_port_of_the_host_is_the_clients() {
    let stage = two_servers(true);
    let token = stage.token_with("alice", serde_json::json!({}));
    let post = |host: &str, origin: &str| {
        let mut client = Client::connect(stage.address);
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: {host}\r\nCookie: session={token}\r\nOrigin: {origin}\r\n\
             Content-Length: 0\r\n\r\n"
        ));
        client.reply().unwrap().status
    };
    assert_eq!(post("www.test:8123", "http://www.test:8123"), 200);
    assert_eq!(post("www.test", "http://www.test"), 200);
    assert_eq!(post("www.test:8123", "http://www.test"), 403);
    assert_eq!(post("www.test", "http://admin.test"), 403);
}
