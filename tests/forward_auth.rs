//! Other proxies describe a request, each in its own words, and learn what usher would have done.

mod crowd;
mod disguise;
mod early;
mod pages;

use serde_json::json;

use crate::common::issuer::now;
use crate::common::{App, Issuer, Reply, Usher};

/// One path for each dialect, and routes of every kind.
pub(crate) const DOORS: &str = r#"
trusted_proxies: [127.0.0.1/32]
forward_auth:
  - { path: /_usher/nginx, dialect: nginx }
  - { path: /_usher/ingress, dialect: ingress-nginx }
  - { path: /_usher/traefik, dialect: traefik }
  - { path: /_usher/caddy, dialect: caddy }
  - { path: /_usher/haproxy, dialect: haproxy }
  - { path: /_usher/envoy, dialect: envoy }
endpoints: { verify: /api/auth/verify }
cors: { origins: ["https://page.test"] }
routes:
  - { path: /public/**, access: public }
  - { path: /opaque/**, access: public, paths: opaque }
  - { path: /feed/**, access: optional }
  - { path: /admin/**, require: { roles: [admin] } }
  - { path: /posts, methods: [GET], access: public }
  - { path: /api.v1/**, cors: ["https://page.test"] }
  - { path: /own-cors/**, cors: pass }
  - { path: /tenant/**, host: open.test, access: public }
"#;

pub(crate) const DIALECTS: [&str; 6] = ["nginx", "ingress", "traefik", "caddy", "haproxy", "envoy"];

/// A request as a client sends it to the proxy.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: &'a str,
    pub(crate) lines: &'a str,
}

/// What the proxy of a dialect sends about it.
pub(crate) fn question(dialect: &str, asked: &Asked<'_>) -> String {
    let Asked {
        method,
        target,
        host,
        lines,
    } = asked;
    let described = match dialect {
        "nginx" => format!(
            "Host: {host}\r\nX-Original-Method: {method}\r\nX-Original-URI: {target}\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n"
        ),
        "ingress" => format!(
            "Host: usher.test\r\nX-Original-Method: {method}\r\n\
             X-Original-URL: https://{host}{target}\r\nX-Forwarded-For: 192.0.2.7\r\n"
        ),
        "envoy" => {
            return format!(
                "{method} /_usher/envoy{target} HTTP/1.1\r\nHost: {host}\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n{lines}\r\n"
            );
        }
        _ => format!(
            "Host: usher.test\r\nX-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {target}\r\n\
             X-Forwarded-Host: {host}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n"
        ),
    };
    format!("GET /_usher/{dialect} HTTP/1.1\r\n{described}{lines}\r\n")
}

pub(crate) fn ask(usher: &Usher, dialect: &str, target: &str, lines: &str) -> Reply {
    let (method, host) = ("GET", "app.test");
    let asked = Asked {
        method,
        target,
        host,
        lines,
    };
    usher.raw(question(dialect, &asked))
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn start(more: &str) -> (App, Issuer, Usher) {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &format!("{DOORS}{more}"));
    (app, issuer, usher)
}

/// The status of a client's mistake: nginx knows 401 and 403 alone.
pub(crate) fn mistake(dialect: &str) -> u16 {
    match dialect {
        "nginx" | "ingress" => 403,
        _ => 400,
    }
}

/// No identity header says anything.
#[track_caller]
fn says_nobody(reply: &Reply) {
    for name in [
        "x-user-id",
        "x-user-email",
        "x-user-name",
        "x-user-provisioned",
    ] {
        assert_eq!(reply.header(name), Some(""), "{name}: {}", reply.head);
    }
}

/// Nothing of an identity is in an answer that lets nobody pass.
#[track_caller]
fn says_nothing(reply: &Reply) {
    assert!(
        !reply.head.to_lowercase().contains("x-user"),
        "{}",
        reply.head
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(reply.head.len() + reply.body.len() < 4096);
}

#[test]
fn every_dialect_gets_the_same_verdict() {
    let (app, issuer, usher) = start("");
    let (alice, root) = (
        issuer.token("alice"),
        issuer.token_with("root", json!({ "roles": ["admin"] })),
    );
    let forged = "X-User-Id: mallory\r\nx-user-id: mallory\r\nX-User-Provisioned: no\r\n";
    for dialect in DIALECTS {
        let get = |target: &str, lines: &str| ask(&usher, dialect, target, lines);
        let reply = get("/x?y=1", forged);
        assert_eq!(reply.status, 401, "{dialect}: {}", reply.head);
        assert_eq!(
            reply.header("www-authenticate"),
            Some(r#"Bearer realm="app""#)
        );
        says_nothing(&reply);

        let reply = get("/x", &bearer("no.good.token"));
        assert_eq!(reply.status, 401, "{dialect}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\"")
        );
        says_nothing(&reply);

        let reply = get("/x", &format!("{forged}{}", bearer(&alice)));
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, ""),
            "{dialect}: {}",
            reply.head
        );
        assert_eq!(reply.header("x-user-id"), Some("alice"));
        assert_eq!(reply.header("x-user-email"), Some("alice@example.com"));
        assert_eq!(reply.header("x-user-name"), Some("Alice"));
        assert_eq!(reply.header("x-user-provisioned"), Some(""));
        assert_eq!(reply.header("cache-control"), Some("no-store"));

        says_nobody(&get("/public/x", forged));
        says_nobody(&get("/public/x", &bearer(&alice)));
        says_nobody(&get("/feed/x", forged));
        assert_eq!(
            get("/feed/x", &bearer(&alice)).header("x-user-id"),
            Some("alice")
        );
        assert_eq!(get("/feed/x", &bearer("bad")).status, 401);

        let reply = get("/admin/x", &bearer(&alice));
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (403, Some("Bearer error=\"insufficient_scope\""))
        );
        says_nothing(&reply);
        assert_eq!(get("/admin/x", &bearer(&root)).status, 200);
    }
    assert_eq!(app.count(), 0, "the app is the proxy's");
}

#[test]
fn a_claim_that_is_not_there_empties_its_header() {
    let (_app, issuer, usher) = start("");
    let token = issuer.token_with("alice", json!({ "email": null, "name": null }));
    for dialect in DIALECTS {
        let lines = format!("X-User-Email: ceo@corp\r\n{}", bearer(&token));
        let reply = ask(&usher, dialect, "/x", &lines);
        assert_eq!(
            (reply.status, reply.header("x-user-id")),
            (200, Some("alice"))
        );
        assert_eq!(reply.header("x-user-email"), Some(""), "{dialect}");
    }
}

#[test]
fn the_rules_are_about_the_described_request() {
    let (_app, issuer, usher) = start("");
    for dialect in DIALECTS {
        let status = |method, target, host| {
            let asked = Asked {
                method,
                target,
                host,
                lines: "",
            };
            usher.raw(question(dialect, &asked)).status
        };
        assert_eq!(status("GET", "/posts", "app.test"), 200, "{dialect}");
        assert_eq!(status("POST", "/posts", "app.test"), 401, "{dialect}");
        assert_eq!(
            status("get", "/posts", "app.test"),
            401,
            "{dialect}: methods are exact"
        );
        assert_eq!(
            status("GET", "/tenant/x", "OPEN.test.:443"),
            200,
            "{dialect}"
        );
        assert_eq!(status("GET", "/tenant/x", "app.test"), 401, "{dialect}");
        // The path of an endpoint of ours is the app's, where the proxy leads there.
        assert_eq!(
            status("GET", "/api/auth/verify", "app.test"),
            401,
            "{dialect}"
        );
        assert_eq!(status("GET", "/_usher/nginx", "app.test"), 401, "{dialect}");
        for method in ["CONNECT", "TRACE"] {
            let refused = status(method, "/public/x", "app.test");
            let wanted = if mistake(dialect) == 403 { 403 } else { 405 };
            assert_eq!(refused, wanted, "{dialect} {method}");
        }
        for host in [
            "evil.test;for=1",
            "a,b",
            "[::1",
            "h:99999",
            "u@app.test",
            "a?b",
        ] {
            let refused = status("GET", "/public/x", host);
            assert_eq!(refused, mistake(dialect), "{dialect} {host}");
        }
        let twice = bearer(&issuer.token("a")).repeat(2);
        let refused = ask(&usher, dialect, "/x", &twice).status;
        assert_eq!(refused, mistake(dialect), "{dialect}");
    }
}

#[test]
fn a_path_with_two_readings_is_refused_and_any_other_is_protected() {
    let (_app, _issuer, usher) = start("");
    let refused = [
        "/public/../admin",
        "/public/./../admin",
        "/..",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public/..%2fadmin",
        "/public%2f..%2fadmin",
        "/public/%5c..%5cadmin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "/public/a;x=1",
        "/public//admin",
        "/public/%00",
        "/public/%0d%0a",
        "/public/%7f",
        "/public/%",
        "/public/%zz",
        "/public/%c0%af",
        "/public/\u{e9}",
        "/public#/../admin",
        "/public/x#y",
        "public/x",
        "",
        "*",
        "http://app.test/public/x",
        "https://evil.test/public/x",
        "http://",
        "/public/a b",
    ];
    let protected = [
        "/publicity",
        "/PUBLIC/x",
        "/admin?/public/",
        "/admin%3f/public/x",
        "/x/public/y",
        "/%2561dmin",
        "/opaquely/x",
        "/",
        "/admin?x=/../public/",
    ];
    for dialect in DIALECTS {
        for target in refused {
            let reply = ask(&usher, dialect, target, "");
            // Put behind a host or a path, what is no path makes another one of it: a protected one.
            let joined = ["ingress", "envoy"].contains(&dialect) && !target.starts_with('/');
            let refused: &[u16] = match dialect {
                _ if joined => &[400, 401, 403],
                "nginx" | "ingress" => &[403],
                _ => &[400],
            };
            // Bytes that no target holds end the question itself.
            let broken = target.contains(['\u{e9}', ' ']) && reply.status == 400;
            assert!(
                broken || refused.contains(&reply.status),
                "{dialect} {target}: {}",
                reply.status
            );
        }
        for target in protected {
            assert_eq!(
                ask(&usher, dialect, target, "").status,
                401,
                "{dialect} {target}"
            );
        }
        for target in [
            "/public/x",
            "/pu%62lic/x",
            "/public/%c3%a9?a=b#".trim_end_matches('#'),
            "/opaque/a%2Fb;c//d",
        ] {
            assert_eq!(
                ask(&usher, dialect, target, "").status,
                200,
                "{dialect} {target}"
            );
        }
    }
}

#[test]
fn only_trusted_proxies_may_ask() {
    let (app, issuer) = (App::start(), Issuer::new());
    let elsewhere = DOORS.replace("127.0.0.1/32", "10.9.8.7");
    let usher = Usher::start(&app, &issuer, &elsewhere);
    let token = bearer(&issuer.token("alice"));
    for dialect in DIALECTS {
        for (target, lines) in [("/public/x", ""), ("/x", token.as_str())] {
            let reply = ask(&usher, dialect, target, lines);
            assert_eq!(reply.status, 403, "{dialect}");
            assert_eq!(reply.body, r#"{"error":"forbidden"}"#);
            says_nothing(&reply);
        }
    }
    let line = usher.line("/_usher/nginx");
    assert_eq!(line["reason"], "proxy_untrusted");
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["detail"].as_str().unwrap().contains("trusted_proxies"));
}

#[test]
fn a_word_that_is_missing_or_repeated_is_a_refusal() {
    let (_app, _issuer, usher) = start("");
    let asked = Asked {
        method: "GET",
        target: "/public/x",
        host: "app.test",
        lines: "",
    };
    let mut cases = 0;
    for dialect in DIALECTS {
        let good = question(dialect, &asked);
        assert_eq!(usher.raw(&good).status, 200, "{dialect}");
        for line in good.lines().filter(|line| line.starts_with("X-")) {
            let line = format!("{line}\r\n");
            let optional = ["nginx", "envoy"].contains(&dialect) && line.contains("Forwarded");
            let missing = usher.raw(good.replace(&line, "")).status;
            assert_eq!(missing == 200, optional, "{dialect} without {line}");
            let repeated = usher.raw(good.replace(&line, &line.repeat(2))).status;
            assert_eq!(repeated, mistake(dialect), "{dialect}: two {line}");
            // Another spelling of the word is no word, and a client's.
            let (name, value) = line.split_once(':').unwrap();
            let alias = format!("{}:{value}", name.replace('-', "_"));
            let aliased = usher.raw(good.replace(&line, &alias)).status;
            assert_eq!(aliased, mistake(dialect), "{dialect} {alias}");
            cases += 1;
        }
    }
    assert_eq!(cases, 4 + 3 + 3 * 5 + 2);
}

#[test]
fn words_of_another_dialect_are_ignored() {
    let (_app, _issuer, usher) = start("");
    let forwarded = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public/x\r\nForwarded: for=1;host=open.test\r\n\
        X-Forwarded-Path: /public/x\r\nX-Rewrite-URL: /public/x\r\nX-Envoy-Original-Path: /public/x\r\n";
    let original = "X-Original-Method: GET\r\nX-Original-URI: /public/x\r\n\
        X-Original-URL: https://open.test/public/x\r\nX-HTTP-Method-Override: GET\r\n";
    for dialect in DIALECTS {
        let words = match dialect {
            "nginx" => {
                forwarded.to_owned()
                    + "X-Original-URL: https://open.test/public/x\r\nX-Forwarded-Host: open.test\r\n"
            }
            "ingress" => {
                forwarded.to_owned()
                    + "X-Original-URI: /public/x\r\nX-Forwarded-Host: open.test\r\nX-Forwarded-Proto: http\r\n"
            }
            "envoy" => format!("{forwarded}{original}X-Forwarded-Host: open.test\r\n"),
            _ => original.to_owned() + "Forwarded: for=1;host=open.test\r\n",
        };
        assert_eq!(
            ask(&usher, dialect, "/admin/x", &words).status,
            401,
            "{dialect}"
        );
        assert_eq!(
            ask(&usher, dialect, "/tenant/x", &words).status,
            401,
            "{dialect}"
        );
    }
}

#[test]
fn a_page_of_another_site_opens_no_socket_with_a_cookie() {
    let (_app, issuer, usher) = start("tokens: { from: [{ cookie: session }] }\n");
    let cookie = format!("Cookie: session={}\r\n", issuer.token("alice"));
    let socket = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    for dialect in DIALECTS {
        let status = |lines: &str| ask(&usher, dialect, "/x", &format!("{cookie}{lines}")).status;
        assert_eq!(status(""), 200, "{dialect}");
        assert_eq!(
            status(&format!("{socket}Origin: https://evil.test\r\n")),
            403,
            "{dialect}"
        );
        assert_eq!(status(socket), 403, "{dialect}");
        // The scheme is the client's, as the proxy says it.
        assert_eq!(
            status(&format!("{socket}Origin: https://app.test\r\n")),
            200,
            "{dialect}"
        );
        assert_eq!(
            status(&format!("{socket}Origin: http://app.test\r\n")),
            403,
            "{dialect}"
        );
    }
}

#[test]
fn the_log_is_about_the_described_request() {
    let (_app, issuer, usher) = start("");
    let token = bearer(&issuer.token("alice"));
    for dialect in DIALECTS {
        let (yes, no) = (format!("/yes-{dialect}"), format!("/no-{dialect}"));
        assert_eq!(
            ask(&usher, dialect, &format!("{yes}?a=b"), &token).status,
            200
        );
        assert_eq!(ask(&usher, dialect, &no, "").status, 401);
        let line = usher.line(&yes);
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("door"), "forward_auth");
        assert_eq!(
            [text("method"), text("host"), text("client")],
            ["GET", "app.test", "192.0.2.7"]
        );
        assert_eq!(
            [text("outcome"), text("route"), text("user")],
            ["answered", "default", "alice"]
        );
        assert_eq!(usher.line(&no)["reason"], "token_missing");
    }
    usher.get_as_nobody("/proxied");
    assert!(usher.line("/proxied").get("door").is_none());
}

#[test]
fn a_yes_may_be_kept_for_as_long_as_it_is_true() {
    let (app, issuer) = (App::start(), Issuer::new());
    let doors = "trusted_proxies: [127.0.0.1]\nforward_auth: { dialect: nginx, cache: 4s }\n\
        tokens: { from: [authorization, { header: x-token }, { cookie: s }, { query: t }] }\n\
        routes: [{ path: /public/**, access: public }, { path: /feed, access: optional }]";
    let usher = Usher::start(&app, &issuer, doors);
    let get = |target: &str, lines: &str| {
        usher.raw(format!(
            "GET /_usher/auth HTTP/1.1\r\nHost: app.test\r\nX-Original-Method: GET\r\n\
             X-Original-URI: {target}\r\n{lines}\r\n"
        ))
    };
    let age = |reply: &Reply| {
        let cache = reply.header("cache-control").unwrap();
        assert_eq!(reply.all("cache-control").len(), 1);
        let age = cache
            .strip_prefix("private, max-age=")
            .map(|age| age.parse::<i64>().unwrap());
        let nginx = reply
            .header("x-accel-expires")
            .map(|age| age.parse::<i64>().unwrap());
        assert_eq!(age, nginx, "{}", reply.head);
        assert!(age.is_some() || cache == "no-store", "{cache}");
        age
    };
    let reply = get("/x", &bearer(&issuer.token("alice")));
    assert_eq!((reply.status, age(&reply)), (200, Some(4)));
    assert_eq!(
        reply.header("vary"),
        Some(
            "authorization, x-token, cookie, host, x-original-method, x-original-uri, x-forwarded-proto, \
              x-forwarded-for"
        )
    );
    // nginx keeps nothing whose `Vary` is longer.
    assert!(reply.header("vary").unwrap().len() <= 128);
    let short = issuer.token_with("alice", json!({ "exp": now() + 3 }));
    let reply = get("/x", &bearer(&short));
    assert_eq!(reply.status, 200);
    assert!((1..=2).contains(&age(&reply).unwrap()));
    let token = issuer.token("alice");
    assert_eq!(age(&get(&format!("/x?t={token}"), "")), Some(4));
    // What rests on more than a token, or on none, is asked each time.
    let cookie = format!("Cookie: s={token}\r\n");
    for (target, lines) in [
        ("/x", cookie.as_str()),
        ("/x", &format!("{}Cookie: a=b\r\n", bearer(&token))),
        ("/public/x", ""),
        ("/feed", ""),
    ] {
        let reply = get(target, lines);
        assert_eq!((reply.status, age(&reply)), (200, None), "{target} {lines}");
    }
    let options = format!(
        "GET /_usher/auth HTTP/1.1\r\nHost: app.test\r\nX-Original-Method: OPTIONS\r\n\
         X-Original-URI: /x\r\n{}\r\n",
        bearer(&token)
    );
    let reply = usher.raw(options);
    assert_eq!((reply.status, age(&reply)), (200, None));
    for reply in [
        get("/x", ""),
        get("/x", &bearer("bad")),
        get("/public/../x", ""),
    ] {
        assert_eq!(age(&reply), None);
    }
}

#[test]
fn first_sight_is_as_on_proxied_requests() {
    let folder = tempfile::tempdir().unwrap();
    let users = format!(
        "users: {{ directory: \"sqlite:{}\", provisioner: direct }}\n",
        folder.path().join("users.db").display()
    );
    let (_app, issuer, usher) = start(&users);
    for dialect in DIALECTS {
        let token = bearer(&issuer.token(&format!("new-{dialect}")));
        for _ in 0..2 {
            let reply = ask(&usher, dialect, "/x", &token);
            assert_eq!(reply.status, 200, "{dialect}: {}", reply.body);
            assert_eq!(reply.header("x-user-provisioned"), Some(""));
        }
    }
    // Six users were not there, and then they were.
    let lookups = |outcome| {
        usher.metric(&format!(
            "usher_user_lookups_total{{outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!((lookups("missing"), lookups("found")), (6.0, 6.0));
}

#[test]
fn whoever_is_unknown_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let users = format!(
        "users: {{ directory: \"sqlite:{}\", provisioner: \"redis://127.0.0.1:1\", wait: 100ms }}\n",
        path.display()
    );
    let (_app, issuer, usher) = start(&users);
    for dialect in DIALECTS {
        let reply = ask(&usher, dialect, "/x", &bearer(&issuer.token("bob")));
        assert_eq!(reply.status, 503, "{dialect}");
        assert!(reply.header("retry-after").is_some());
        says_nothing(&reply);
    }
}

#[test]
fn a_body_that_is_announced_and_never_sent_is_not_waited_for() {
    let (_app, issuer, usher) = start("");
    let lines = format!("{}Content-Length: 100\r\n", bearer(&issuer.token("alice")));
    let started = std::time::Instant::now();
    for dialect in DIALECTS {
        assert_eq!(ask(&usher, dialect, "/x", &lines).status, 200, "{dialect}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}
