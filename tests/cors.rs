//! Pages of allowed origins can read our answers, and preflights need no token.

use crate::common::app::{Answer, answer};
use crate::common::{App, Issuer, Reply, Usher};

const PAGE: &str = "https://page.test";

const CONFIG: &str = "
cors: { origins: ['https://page.test'], max_age: 5m }
endpoints: { verify: /api/auth/verify }
routes:
  - { path: /listed/**, cors: ['https://page.test', 'https://other.test'] }
  - { path: /pass/**, cors: pass }
  - { path: /writes/**, methods: [PUT], cors: ['https://page.test'] }
  - { path: /off/** }
";

struct Line {
    app: App,
    usher: Usher,
    token: String,
}

fn line(more: &str) -> Line {
    let app = App::with(|_| {
        let headers = "access-control-allow-origin: https://apps.own\r\nvary: accept\r\n";
        Answer::Bytes(answer("200 OK", headers, "hello"))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, &format!("{CONFIG}{more}"));
    let token = issuer.token("alice");
    Line { app, usher, token }
}

impl Line {
    fn preflight(&self, target: &str, origin: &str, method: &str) -> Reply {
        self.usher.raw(format!(
            "OPTIONS {target} HTTP/1.1\r\nHost: app.test\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: {method}\r\n\
             Access-Control-Request-Headers: authorization,x-other\r\n\r\n"
        ))
    }

    fn get(&self, target: &str, origin: &str, token: Option<&str>) -> Reply {
        let token = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        self.usher.raw(format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nOrigin: {origin}\r\n{token}\r\n"
        ))
    }
}

fn varies_by_origin(reply: &Reply) -> bool {
    let vary = reply.all("vary").join(",").to_ascii_lowercase();
    vary.split(',').any(|member| member.trim() == "origin")
}

fn assert_readable(reply: &Reply, origin: &str) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
    let exposed = reply.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("www-authenticate") && exposed.contains("retry-after"));
    assert!(varies_by_origin(reply), "{}", reply.head);
    assert_eq!(reply.header("access-control-allow-credentials"), None);
}

fn assert_closed(reply: &Reply) {
    for name in [
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "access-control-max-age",
    ] {
        assert_eq!(reply.header(name), None, "{name}");
    }
}

#[test]
fn preflights_are_answered_without_a_token() {
    let line = line("");
    for (target, origin, method) in [
        ("/api/auth/verify", PAGE, "GET"),
        ("/listed/x", PAGE, "DELETE"),
        ("/listed/x", "https://other.test", "GET"),
        ("/writes/x", PAGE, "PUT"),
    ] {
        let reply = line.preflight(target, origin, method);
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{target}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert_eq!(reply.header("access-control-allow-methods"), Some(method));
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some("authorization,x-other")
        );
        assert_eq!(reply.header("access-control-max-age"), Some("300"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert!(varies_by_origin(&reply));
    }
    assert_eq!(line.app.count(), 0);
}

#[test]
fn other_origins_are_refused() {
    let line = line("");
    for (target, origin) in [
        ("/api/auth/verify", "https://evil.test"),
        ("/api/auth/verify", "https://other.test"),
        ("/listed/x", "https://page.test.evil"),
        ("/listed/x", "http://page.test"),
        ("/listed/x", "https://page.test:8443"),
        ("/listed/x", "https://PAGE.test"),
        ("/listed/x", "null"),
        (
            "/listed/x",
            "https://page.test\r\nOrigin: https://page.test",
        ),
        ("/listed/x", "https://page.test, https://other.test"),
    ] {
        let reply = line.preflight(target, origin, "GET");
        assert_eq!(reply.status, 204, "{target} {origin}");
        assert_closed(&reply);
        assert!(varies_by_origin(&reply));
        let denial = line.get(target, origin, None);
        assert_eq!(denial.status, 401);
        assert_closed(&denial);
        assert!(varies_by_origin(&denial));
    }
    assert_eq!(line.app.count(), 0);
}

#[test]
fn allowed_pages_can_read_denials_and_answers() {
    let line = line("");
    for target in ["/api/auth/verify", "/listed/x", "/pass/x"] {
        for token in [None, Some("garbage")] {
            let reply = line.get(target, PAGE, token);
            assert_eq!(reply.status, 401, "{target}");
            assert!(reply.header("www-authenticate").is_some());
            assert_readable(&reply, PAGE);
        }
    }
    assert_eq!(line.app.count(), 0);
    // Before the route is known nothing is granted.
    let reply = line.get("/listed/../x", PAGE, None);
    assert_eq!(reply.status, 400);
    assert_closed(&reply);
    // The list decides about the app's answers; with `pass` the app itself does.
    let listed = line.get("/listed/x", PAGE, Some(&line.token));
    assert_eq!(listed.status, 200);
    assert_readable(&listed, PAGE);
    let passed = line.get("/pass/x", PAGE, Some(&line.token));
    assert_eq!(
        passed.header("access-control-allow-origin"),
        Some("https://apps.own")
    );
}

#[test]
fn with_pass_only_preflights_reach_the_app_without_a_token() {
    let line = line("");
    let reply = line.preflight("/pass/x", "https://any.test", "PUT");
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    let received = line.app.last();
    assert_eq!(received.line(), "OPTIONS /pass/x HTTP/1.1");
    assert_eq!(received.header("origin"), Some("https://any.test"));
    for lines in [
        "",
        "Origin: https://any.test\r\n",
        "Access-Control-Request-Method: PUT\r\n",
    ] {
        let bytes = format!("OPTIONS /pass/x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n");
        line.usher.refuses(&line.app, &line.token, bytes, &[401]);
    }
    let bytes = "GET /pass/x HTTP/1.1\r\nHost: app.test\r\nOrigin: https://page.test\r\n\
        Access-Control-Request-Method: PUT\r\n\r\n";
    line.usher.refuses(&line.app, &line.token, bytes, &[401]);
}

#[test]
fn without_rules_a_preflight_is_a_request_like_any_other() {
    let line = line("");
    for target in ["/off/x", "/nowhere"] {
        let reply = line.preflight(target, PAGE, "GET");
        assert_eq!(reply.status, 401, "{target}");
        assert_closed(&reply);
        let denial = line.get(target, PAGE, None);
        assert_eq!(denial.status, 401);
        assert_closed(&denial);
    }
    assert_eq!(line.app.count(), 0);
    let reply = line.get("/off/x", PAGE, Some(&line.token));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://apps.own"),
        "the app's answer is the app's"
    );
}

#[test]
fn credentials_are_granted_only_where_tokens_come_in_cookies() {
    let line = line("tokens: { from: [authorization, { cookie: session }] }\n");
    for target in ["/api/auth/verify", "/listed/x"] {
        for reply in [
            line.preflight(target, PAGE, "GET"),
            line.get(target, PAGE, None),
        ] {
            assert_eq!(
                reply.header("access-control-allow-credentials"),
                Some("true")
            );
            assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
        }
        let refused = line.preflight(target, "https://evil.test", "GET");
        assert_closed(&refused);
    }
}

#[test]
fn a_cookie_of_another_site_changes_nothing() {
    let line =
        line("tokens: { from: [{ cookie: session }], cookie_origins: ['https://page.test'] }\n");
    let ask = |method: &str, lines: &str| {
        format!(
            "{method} /x HTTP/1.1\r\nHost: app.test\r\nCookie: session={}\r\n{lines}Content-Length: 0\r\n\r\n",
            line.token
        )
    };
    let refuses = |bytes: String| {
        let before = line.app.count();
        let reply = line.usher.raw(bytes);
        assert_eq!((reply.status, line.app.count()), (403, before));
    };
    for lines in [
        "",
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
        "Origin: http://app.test.evil\r\n",
        "Origin: https://app.test\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://evil.test\r\nSec-Fetch-Site: same-origin\r\n",
        "Origin: http://app.test\r\nOrigin: https://evil.test\r\n",
    ] {
        refuses(ask("POST", lines));
        refuses(ask("DELETE", lines));
    }
    // A WebSocket handshake is a GET, and other sites can make browsers send it.
    let upgrade = "Origin: https://evil.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    refuses(ask("GET", upgrade));
    for lines in [
        "Origin: http://app.test\r\n",
        "Origin: https://page.test\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
    ] {
        assert_eq!(line.usher.raw(ask("POST", lines)).status, 200, "{lines}");
    }
    assert_eq!(
        line.usher
            .raw(ask("GET", "Origin: https://evil.test\r\n"))
            .status,
        200
    );
}
