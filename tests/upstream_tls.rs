//! TLS to the app: whom usher believes, and what it does when it does not.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use crate::common::app::{Answer, answer, bare};
use crate::common::authority::{Authority, Pair};
use crate::common::http2::Http2App;
use crate::common::process::Process;
use crate::common::{App, Issuer, Usher, bridge, eventually, free_port, tls};

struct House {
    usher: Usher,
    issuer: Issuer,
}

impl House {
    fn new(upstream: &str) -> Self {
        let issuer = Issuer::new();
        let text = format!(
            "upstream: {{ {upstream} }}\nissuers: [{}]\nworkers: 1\n",
            issuer.yaml()
        );
        Self {
            usher: Usher::configured(&text),
            issuer,
        }
    }

    fn get(&self, path: &str) -> u16 {
        self.usher.get(path, &self.issuer.token("alice")).status
    }

    /// A 502, and what the log says of it.
    fn fails(&self, phrase: &str) {
        assert_eq!(self.get("/fails"), 502, "{phrase}");
        let line = self.usher.line("/fails");
        assert_eq!(line["reason"], "upstream_unreachable", "{line}");
        assert!(
            line["detail"].as_str().unwrap().contains(phrase),
            "{phrase}: {line}"
        );
    }
}

fn ca(authority: &Authority) -> String {
    format!("ca_file: '{}'", authority.root.display())
}

#[test]
fn an_app_within_tls_is_reached_and_its_connection_kept() {
    let (app, authority) = (App::start(), Authority::new());
    let pair = authority.server("app", &["localhost"]);
    let address = bridge::tls(tls::server(&pair, None), app.address);
    let house = House::new(&format!(
        "url: 'https://localhost:{}', {}",
        address.port(),
        ca(&authority)
    ));
    for _ in 0..5 {
        assert_eq!(house.get("/x"), 200);
    }
    assert_eq!(app.connections(), 1, "one connection serves all of them");
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    assert_eq!(
        app.last().header("x-forwarded-proto"),
        Some("http"),
        "it is about the caller"
    );
}

#[test]
fn an_app_that_does_not_prove_who_it_is_is_not_believed() {
    let (app, authority, other) = (App::start(), Authority::new(), Authority::new());
    let start = |pair: &Pair| bridge::tls(tls::server(pair, None), app.address).port();
    let good = start(&authority.server("app", &["localhost"]));
    let elsewhere = start(&authority.server("elsewhere", &["elsewhere.test"]));
    let expired = start(&authority.expired("expired", &["localhost"]));
    // What answers in the clear.
    let plain = bare(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    for (upstream, phrase) in [
        (format!("url: 'https://localhost:{good}'"), "UnknownIssuer"),
        (
            format!("url: 'https://localhost:{good}', {}", ca(&other)),
            "UnknownIssuer",
        ),
        (
            format!("url: 'https://127.0.0.1:{good}', {}", ca(&authority)),
            "not valid for name",
        ),
        (
            format!("url: 'https://localhost:{elsewhere}', {}", ca(&authority)),
            "not valid for name",
        ),
        (
            format!("url: 'https://localhost:{expired}', {}", ca(&authority)),
            "expired",
        ),
        (
            format!(
                "url: 'https://localhost:{}', {}",
                plain.port(),
                ca(&authority)
            ),
            "TLS: ",
        ),
    ] {
        let house = House::new(&upstream);
        house.fails(phrase);
        let cause = match phrase {
            "TLS: " => "malformed",
            _ => "certificate_refused",
        };
        let failures = format!("usher_upstream_handshake_failures_total{{cause=\"{cause}\"}}");
        assert_eq!(house.usher.metric(&failures), 1.0, "{upstream}");
    }
    assert_eq!(
        app.count(),
        0,
        "no request is sent before the app has proved who it is"
    );
    let named = format!(
        "url: 'https://127.0.0.1:{elsewhere}', server_name: elsewhere.test, {}",
        ca(&authority)
    );
    assert_eq!(House::new(&named).get("/x"), 200);
}

#[test]
fn an_app_that_asks_for_a_certificate_gets_ours() {
    let (app, authority, other) = (App::start(), Authority::new(), Authority::new());
    let pair = authority.server("app", &["localhost"]);
    let address = bridge::tls(tls::server(&pair, Some(&authority.root)), app.address);
    let url = format!(
        "url: 'https://localhost:{}', {}",
        address.port(),
        ca(&authority)
    );
    let own = authority.client("usher");
    assert_eq!(House::new(&format!("{url}, {}", own.yaml())).get("/x"), 200);
    for without in [String::new(), format!(", {}", other.client("usher").yaml())] {
        let house = House::new(&format!("{url}{without}"));
        assert_eq!(house.get("/x"), 502);
        assert_eq!(app.count(), 1, "nothing came through");
    }
}

#[test]
fn changed_authorities_are_followed() {
    let (app, authority, next) = (App::start(), Authority::new(), Authority::new());
    let address = bridge::tls(
        tls::server(&next.server("app", &["localhost"]), None),
        app.address,
    );
    let house = House::new(&format!(
        "url: 'https://localhost:{}', {}",
        address.port(),
        ca(&authority)
    ));
    house.fails("UnknownIssuer");
    std::fs::copy(&next.root, &authority.root).unwrap();
    eventually("the new authority is read", || {
        (house.get("/x") == 200).then_some(())
    });
}

/// An app that ends kept connections without a word loses no request.
#[test]
fn a_kept_connection_that_has_ended_is_replaced() {
    let app = App::with(|_| Answer::Last(answer("200 OK", "", "hello")));
    let authority = Authority::new();
    let pair = authority.server("app", &["localhost"]);
    let address = bridge::tls(tls::server(&pair, None), app.address);
    let house = House::new(&format!(
        "url: 'https://localhost:{}', {}",
        address.port(),
        ca(&authority)
    ));
    for _ in 0..10 {
        assert_eq!(house.get("/x"), 200);
    }
}

#[test]
fn large_bodies_pass_whole() {
    let app = App::with(|received| {
        let body = String::from_utf8(received.body.clone()).unwrap();
        Answer::Bytes(answer("200 OK", "", &body))
    });
    let authority = Authority::new();
    let pair = authority.server("app", &["localhost"]);
    let address = bridge::tls(tls::server(&pair, None), app.address);
    let house = House::new(&format!(
        "url: 'https://localhost:{}', {}",
        address.port(),
        ca(&authority)
    ));
    let body: String = (0..3 << 20)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let reply = house.usher.raw(format!(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        house.issuer.token("alice"),
        body.len()
    ));
    assert_eq!(reply.status, 200);
    assert!(reply.body == body);
}

#[test]
fn openssl_is_an_app_too() {
    let (authority, port) = (Authority::new(), free_port());
    let pair = authority.server("app", &["localhost"]);
    let mut command = Command::new("openssl");
    command
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &port.to_string(),
            "-cert",
        ])
        .arg(&pair.certificate)
        .arg("-key")
        .arg(&pair.key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Process::start(&mut command);
    let house = House::new(&format!(
        "url: 'https://localhost:{port}', {}",
        ca(&authority)
    ));
    eventually("s_server answers", || {
        (house.get("/x") == 200).then_some(())
    });
    let reply = house.usher.get("/x", &house.issuer.token("alice"));
    assert!(reply.body.contains("TLSv1.3"), "{}", reply.body);
}

/// HTTP/2 within TLS, which the app has to agree to.
#[test]
fn an_app_that_speaks_http2_within_tls_is_reached() {
    let (app, authority, issuer) = (Http2App::echo(100), Authority::new(), Issuer::new());
    let pair = authority.server("app", &["localhost"]);
    let start = |protocols: &[&[u8]]| {
        let mut config = tls::server(&pair, None).as_ref().clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let address = bridge::tls(config.into(), app.address);
        let text = format!(
            "upstream: {{ url: 'h2://localhost:{}', {} }}\nissuers: [{}]\nworkers: 1\n",
            address.port(),
            ca(&authority),
            issuer.yaml()
        );
        Usher::configured(&text)
    };
    let (token, usher) = (issuer.token("alice"), start(&[b"h2", b"http/1.1"]));
    for _ in 0..3 {
        assert_eq!(usher.get("/x", &token).status, 200);
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
    assert_eq!(app.last().uri.to_string(), "https://app.test/x");
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let usher = start(protocols);
        assert_eq!(usher.get("/x", &token).status, 502);
        assert_eq!(usher.line("/x")["reason"], "upstream_unreachable");
    }
}
