//! The app is told how a request came, by usher and by proxies that are trusted, by nobody else.

use std::sync::{Arc, OnceLock};

use crate::common::app::{Answer, answer};
use crate::common::{App, Client, Issuer, Usher};

const TRUSTED: &str = "trusted_proxies: [127.0.0.1/32]";

#[test]
fn usher_says_who_asked_for_what() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let reply = usher.get("/x", &issuer.token("alice"));
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("x-forwarded-host"), Some("app.test"));
    assert_eq!(
        received.header("forwarded"),
        Some("for=127.0.0.1;proto=http;host=\"app.test\"")
    );
    let via = received.header("via").unwrap();
    assert!(via.starts_with("1.1 usher-"), "{via}");
}

#[test]
fn what_an_untrusted_client_says_is_removed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let token = issuer.token("alice");
    for more in ["", "trusted_proxies: [10.0.0.0/8]"] {
        let usher = Usher::start(&app, &issuer, more);
        let lines = "X-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
            X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nForwarded: for=9.9.9.9\r\n";
        assert_eq!(usher.get_with("/x", &token, lines).status, 200);
        let received = app.last();
        assert_eq!(
            received.folded("x-forwarded-for"),
            ["x-forwarded-for: 127.0.0.1"]
        );
        assert_eq!(received.header("x-forwarded-proto"), Some("http"));
        assert_eq!(received.header("x-forwarded-host"), Some("app.test"));
        assert_eq!(received.all("forwarded").len(), 1);
        assert!(!received.head.contains("9.9.9.9"));
    }
}

#[test]
fn lesser_names_are_removed_in_every_spelling_unless_trusted() {
    let (app, issuer) = (App::start(), Issuer::new());
    let token = issuer.token("alice");
    let untrusted = Usher::start(&app, &issuer, "");
    let trusted = Usher::start(&app, &issuer, TRUSTED);
    for name in [
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Ssl",
        "X-Forwarded-Scheme",
        "X-Forwarded-Server",
        "X-Original-Url",
        "X-Original-Uri",
        "X-Original-Method",
        "X-Rewrite-Url",
        "X-Real-Ip",
        "X-Client-Ip",
        "True-Client-Ip",
        "X-Envoy-Original-Path",
        "Front-End-Https",
    ] {
        for spelling in [
            name.to_owned(),
            name.replace('-', "_"),
            name.replace('-', "."),
        ] {
            let line = format!("{spelling}: x\r\n");
            assert_eq!(untrusted.get_with("/", &token, &line).status, 200);
            assert_eq!(app.last().folded(name), [""; 0], "{spelling}");
        }
        let line = format!("{name}: x\r\n");
        assert_eq!(trusted.get_with("/", &token, &line).status, 200);
        assert_eq!(app.last().header(name), Some("x"), "{name}");
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, TRUSTED);
    let token = issuer.token("alice");
    let said = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: outer.test\r\nForwarded: for=198.51.100.7\r\nVia: 1.1 edge\r\n";
    let nominated = format!(
        "{said}Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded, Via\r\n"
    );
    for lines in [said, &nominated] {
        assert_eq!(usher.get_with("/x", &token, lines).status, 200);
        let received = app.last();
        assert_eq!(
            received.header("x-forwarded-for"),
            Some("198.51.100.7, 10.0.0.1, 127.0.0.1")
        );
        assert_eq!(received.header("x-forwarded-proto"), Some("https"));
        assert_eq!(received.header("x-forwarded-host"), Some("outer.test"));
        assert_eq!(
            received.header("forwarded"),
            Some("for=198.51.100.7, for=127.0.0.1;proto=http;host=\"app.test\"")
        );
        assert_eq!(received.all("via")[0], "1.1 edge");
    }
    // It says nothing: usher's own words.
    usher.get("/x", &token);
    assert_eq!(app.last().header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(app.last().header("x-forwarded-proto"), Some("http"));
}

#[test]
fn a_trusted_proxy_has_one_spelling_for_each_name() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, TRUSTED);
    // The proxy writes the name that it knows, and lets others of its client's pass.
    let lines = "X-Forwarded-For: 198.51.100.7\r\nX_Forwarded_For: 9.9.9.9\r\n\
        X.Forwarded.Proto: https\r\nX--Real-IP: 9.9.9.9\r\n";
    let reply = usher.get_with("/x", &issuer.token("alice"), lines);
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(
        received.folded("x-forwarded-for"),
        ["x-forwarded-for: 198.51.100.7, 127.0.0.1"]
    );
    assert_eq!(
        received.folded("x-forwarded-proto"),
        ["x-forwarded-proto: http"]
    );
    assert!(!received.head.contains("9.9.9.9"), "{}", received.head);
}

#[test]
fn a_trusted_proxy_that_repeats_itself_is_refused() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, TRUSTED);
    let token = issuer.token("alice");
    for name in ["X-Forwarded-Host", "X-Forwarded-Proto"] {
        let bytes = format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{name}: a\r\n{name}: b\r\n\r\n"
        );
        usher.refuses(&app, &token, bytes, &[400]);
    }
}

#[test]
fn via_grows_and_keeps_what_earlier_proxies_said() {
    let (app, issuer) = (App::start(), Issuer::new());
    let inner = Usher::start(&app, &issuer, "tokens: { pass: true }");
    let outer = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{}]\ntokens: {{ pass: true }}",
        inner.address,
        issuer.yaml()
    ));
    let token = issuer.token("alice");
    assert_eq!(
        outer.get_with("/x", &token, "Via: 1.0 edge\r\n").status,
        200
    );
    let via = app.last().all("via").join(", ");
    let members: Vec<_> = via.split(", ").collect();
    assert_eq!(members.len(), 3, "{via}");
    assert_eq!(members[0], "1.0 edge");
    assert_ne!(members[1], members[2], "each usher has a name of its own");
}

#[test]
fn a_loop_ends_at_the_second_visit() {
    // An upstream that leads back: each request that it gets goes to usher again.
    let back = Arc::new(OnceLock::new());
    let leads = back.clone();
    let app = App::with(move |received| {
        let mut client = Client::connect(*leads.get().unwrap());
        client.send(format!("{}\r\n\r\n", received.head));
        let reply = client.reply().unwrap();
        Answer::Bytes(answer(&format!("{} Again", reply.status), "", &reply.body))
    });
    let issuer = Issuer::new();
    let routes = "routes:\n  - { path: /public/**, access: public }";
    let usher = Usher::start(&app, &issuer, routes);
    back.set(usher.address).unwrap();
    let table = [
        ("/public/x", "none".to_owned()),
        ("/x", issuer.token("alice")),
    ];
    for (count, (target, token)) in table.into_iter().enumerate() {
        let reply = usher.get(target, &token);
        assert_eq!(reply.status, 508, "{target}");
        assert_eq!(reply.body, r#"{"error":"loop_detected"}"#);
        assert_eq!(app.count(), count + 1, "one hop and no more");
    }
}
