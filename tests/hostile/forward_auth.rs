//! D: another proxy asks, and a client tries to speak in its place. Some rows need a real one; what
//! holds behind every one of them is in tests/gateways.

use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{accepts, head, is_refused};
use crate::common::http2::{END_STREAM, Fate, Frames};
use crate::common::{App, Issuer, Reply, Usher};
use crate::ext_authz;
use crate::forward_auth::{Asked, DIALECTS, DOORS, ask, bearer, question};
use crate::gateways;

/// usher behind proxies on loopback, or elsewhere.
fn start(trusted: &str) -> (App, Issuer, Usher) {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &DOORS.replace("127.0.0.1/32", trusted));
    (app, issuer, usher)
}

fn trusting() -> (App, Issuer, Usher) {
    start("127.0.0.1/32")
}

const GOOD: Asked<'static> = Asked {
    method: "GET",
    target: "/public/x",
    host: "app.test",
    lines: "",
};

/// A good question gets a yes, in every dialect.
#[track_caller]
fn good(usher: &Usher) {
    for dialect in DIALECTS {
        assert_eq!(usher.raw(question(dialect, &GOOD)).status, 200, "{dialect}");
    }
}

/// A no, whatever its number, that names nobody.
#[track_caller]
fn no(reply: &Reply, what: &str) {
    assert!(
        (400..500).contains(&reply.status),
        "{what}: {}",
        reply.status
    );
    assert!(!reply.head.to_lowercase().contains("x-user"), "{what}");
}

#[test]
fn d01_original_uri_from_a_peer_that_is_not_trusted() {
    let (app, issuer, usher) = start("10.9.8.7");
    for dialect in DIALECTS {
        for lines in ["", &bearer(&issuer.token("alice"))] {
            let reply = ask(&usher, dialect, "/public/x", lines);
            assert_eq!(reply.status, 403, "{dialect}");
            no(&reply, dialect);
        }
    }
    assert_eq!(app.count(), 0);
    usher.serves(&issuer.token("alice"));
}

#[test]
fn d02_guard_that_trusts_everybody_by_default() {
    is_refused("forward_auth: { dialect: nginx }", "trusted_proxies");
    is_refused("ext_authz: 127.0.0.1:0", "trusted_proxies");
    for everybody in [
        "\"0.0.0.0/0\"",
        "\"::/0\"",
        "0.0.0.0/1, 128.0.0.0/1",
        "\"::/1\", \"8000::/1\"",
        "192.0.0.0/8, 193.0.0.0/8",
    ] {
        let text = format!("trusted_proxies: [{everybody}]\nforward_auth: {{ dialect: nginx }}");
        is_refused(&text, "trusted_proxies");
    }
    for door in ["forward_auth: { dialect: nginx }", "ext_authz: 127.0.0.1:0"] {
        accepts(&format!("trusted_proxies: [10.0.0.1]\n{door}"));
    }
}

#[test]
fn d03_word_that_is_there_twice() {
    let (_app, _issuer, usher) = trusting();
    for dialect in DIALECTS {
        let bytes = question(dialect, &GOOD);
        let words: Vec<_> = bytes
            .lines()
            .filter(|line| line.starts_with("X-"))
            .collect();
        assert!(words.len() >= 2, "{dialect}");
        for word in words {
            let twice = bytes.replace(&format!("{word}\r\n"), &format!("{word}\r\n{word}\r\n"));
            no(&usher.raw(twice), &format!("{dialect} {word}"));
            // Two in one line are one odd value, of which no word but the addresses has many.
            if !word.contains("-For:") {
                let value = word.split_once(": ").unwrap().1;
                let listed = bytes.replace(word, &format!("{word}, {value}"));
                no(&usher.raw(listed), &format!("{dialect} {word}, {value}"));
            }
        }
    }
    good(&usher);
}

#[test]
fn d04_two_dialects_disagree() {
    let (_app, _issuer, usher) = trusting();
    for (dialect, words) in [
        (
            "nginx",
            "X-Forwarded-Uri: /public/x\r\nX-Original-URL: https://app.test/public/x\r\n",
        ),
        (
            "ingress",
            "X-Forwarded-Uri: /public/x\r\nX-Original-URI: /public/x\r\n",
        ),
        (
            "traefik",
            "X-Original-URI: /public/x\r\nX-Original-URL: https://app.test/public/x\r\n",
        ),
        (
            "caddy",
            "X-Original-URI: /public/x\r\nX-Rewrite-URL: /public/x\r\n",
        ),
        (
            "haproxy",
            "X-Original-URI: /public/x\r\nX-Forwarded-Path: /public/x\r\n",
        ),
        (
            "envoy",
            "X-Forwarded-Uri: /public/x\r\nX-Envoy-Original-Path: /public/x\r\n",
        ),
    ] {
        assert_eq!(
            ask(&usher, dialect, "/admin/x", words).status,
            401,
            "{dialect}"
        );
    }
    good(&usher);
}

#[test]
fn d05_original_uri_is_missing() {
    let (_app, issuer, usher) = trusting();
    let token = bearer(&issuer.token("alice"));
    let mut questions = 0;
    for dialect in ["nginx", "ingress", "traefik", "caddy", "haproxy"] {
        for lines in ["", token.as_str()] {
            let bytes = question(dialect, &Asked { lines, ..GOOD });
            for word in ["X-Original-URI", "X-Original-URL", "X-Forwarded-Uri"] {
                let Some(line) = bytes
                    .lines()
                    .find(|line| line.starts_with(&format!("{word}:")))
                else {
                    continue;
                };
                no(
                    &usher.raw(bytes.replace(&format!("{line}\r\n"), "")),
                    dialect,
                );
                questions += 1;
            }
            // Nothing at all.
            no(
                &usher.raw(head("GET", &format!("/_usher/{dialect}"), lines)),
                dialect,
            );
        }
    }
    assert_eq!(questions, 10);
    good(&usher);
}

#[test]
fn d06_malformed_uri_is_allowed() {
    let (_app, _issuer, usher) = trusting();
    for dialect in DIALECTS {
        for target in [
            "/%",
            " ",
            "http://",
            "/a b",
            "",
            "/public/%zz",
            "/public/\\..",
            "?",
            "#",
            "//",
            "/public/../x",
            "/public/\u{e9}",
        ] {
            no(
                &ask(&usher, dialect, target, ""),
                &format!("{dialect} {target:?}"),
            );
        }
    }
    good(&usher);
}

#[test]
fn d07_alias_of_a_forwarded_header() {
    let (app, issuer, usher) = trusting();
    for dialect in ["traefik", "caddy", "haproxy"] {
        for alias in ["X_Forwarded_Uri", "X.Forwarded.Uri", "X-Forwarded_Uri"] {
            let bytes = question(dialect, &GOOD).replace("X-Forwarded-Uri", alias);
            no(&usher.raw(bytes), &format!("{dialect} {alias}"));
            let both = ask(
                &usher,
                dialect,
                "/admin/x",
                &format!("{alias}: /public/x\r\n"),
            );
            no(&both, &format!("{dialect} {alias}"));
        }
    }
    // In front of the app they are nobody's word either, from a trusted peer or not.
    for usher in [&usher, &Usher::start(&app, &issuer, "")] {
        let lines = "X_Forwarded_Uri: /public/x\r\nX.Forwarded.For: 1.2.3.4\r\nX_Original.URI: /public/x\r\n";
        assert_eq!(
            usher.get_with("/x", &issuer.token("alice"), lines).status,
            200
        );
        for name in ["x-forwarded-uri", "x-original-uri"] {
            assert_eq!(app.last().folded(name), [""; 0], "{name}");
        }
        assert_eq!(
            app.last().folded("x-forwarded-for"),
            ["x-forwarded-for: 127.0.0.1"]
        );
    }
    good(&usher);
}

#[test]
fn d08_lesser_forwarded_headers() {
    const LESSER: [&str; 12] = [
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Path",
        "X-Forwarded-Server",
        "X-Forwarded-Scheme",
        "X-Envoy-Original-Path",
        "X-Rewrite-URL",
        "X-Original-Host",
        "X-Real-IP",
        "True-Client-IP",
        "X-Forwarded-Ssl",
        "Front-End-Https",
    ];
    let lines: String = LESSER
        .iter()
        .map(|name| format!("{name}: /public/x\r\n"))
        .collect();
    let (_app, _issuer, trusting) = trusting();
    for dialect in DIALECTS {
        assert_eq!(
            ask(&trusting, dialect, "/admin/x", &lines).status,
            401,
            "{dialect}"
        );
    }
    // From a peer that is not trusted the app never sees them.
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "routes: [{ path: /public/**, access: public }]",
    );
    assert_eq!(usher.raw(head("GET", "/admin/x", &lines)).status, 401);
    assert_eq!(
        usher.get_with("/x", &issuer.token("alice"), &lines).status,
        200
    );
    for name in LESSER {
        assert_eq!(app.last().folded(name), [""; 0], "{name}");
    }
    good(&trusting);
}

#[test]
fn d09_injection_through_the_forwarded_host() {
    let (_app, _issuer, usher) = trusting();
    for dialect in DIALECTS {
        for host in [
            "evil.test;for=127.0.0.1",
            "a,b",
            "[::1",
            "host:99999",
            "u@app.test",
            "a b",
            "a/b",
            "a\tb",
            "a\"b",
            "",
        ] {
            let asked = Asked { host, ..GOOD };
            no(
                &usher.raw(question(dialect, &asked)),
                &format!("{dialect} {host:?}"),
            );
        }
    }
    good(&usher);
    // Where usher forwards by itself, an untrusted word is replaced, and none leaves the header.
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let lines = "X-Forwarded-Host: evil.test;for=127.0.0.1\r\nForwarded: host=evil.test\r\n";
    usher.get_with("/x", &issuer.token("alice"), lines);
    assert_eq!(app.last().header("x-forwarded-host"), Some("app.test"));
    let forwarded = app.last().header("forwarded").unwrap().to_owned();
    assert!(forwarded.ends_with("host=\"app.test\"") && !forwarded.contains("evil"));
    usher.serves(&issuer.token("alice"));
}

#[test]
fn d10_client_address_is_spoofed() {
    let (app, issuer) = (App::start(), Issuer::new());
    let spoofs = "X-Real-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\nX-Client-IP: 10.0.0.1\r\n";
    let usher = Usher::start(&app, &issuer, "");
    for (number, addresses) in [
        "127.0.0.2",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "garbage",
        "10.0.0.1, 10.0.0.2",
    ]
    .iter()
    .enumerate()
    {
        let (path, lines) = (
            format!("/{number}"),
            format!("X-Forwarded-For: {addresses}\r\n{spoofs}"),
        );
        assert_eq!(
            usher.get_with(&path, &issuer.token("alice"), &lines).status,
            200
        );
        assert_eq!(
            app.last().header("x-forwarded-for"),
            Some("127.0.0.1"),
            "{addresses}"
        );
        assert_eq!(usher.line(&path)["client"], "127.0.0.1");
    }
    // From a trusted peer it is the last one that is no trusted proxy itself, also mapped into IPv6.
    let doors = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\nforward_auth: { dialect: nginx }";
    let usher = Usher::start(&app, &issuer, doors);
    let table = [
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7, 10.1.1.1", "192.0.2.7"),
        ("203.0.113.9, ::ffff:10.1.1.1", "203.0.113.9"),
        ("203.0.113.9, garbage", "127.0.0.1"),
        ("203.0.113.9, garbage, 10.1.1.1", "127.0.0.1"),
        ("garbage", "127.0.0.1"),
        ("", "127.0.0.1"),
    ];
    for (number, (addresses, client)) in table.iter().enumerate() {
        let path = format!("/{number}");
        let words = format!(
            "X-Original-Method: GET\r\nX-Original-URI: {path}\r\nX-Forwarded-For: {addresses}\r\n"
        );
        usher.raw(head("GET", "/_usher/auth", &words));
        assert_eq!(usher.line(&path)["client"], *client, "{addresses}");
    }
    usher.serves(&issuer.token("alice"));
}

#[test]
fn d11_scheme_from_a_peer_that_is_not_trusted() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "tokens: { from: [{ cookie: session }] }");
    let token = issuer.token("alice");
    let cookie = format!(
        "Cookie: session={token}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Scheme: https\r\n"
    );
    assert_eq!(usher.raw(head("GET", "/x", &cookie)).status, 200);
    assert_eq!(app.last().header("x-forwarded-proto"), Some("http"));
    // The origin of a page is compared with the scheme that was really used.
    let post = |origin: &str| {
        head(
            "POST",
            "/x",
            &format!("{cookie}Origin: {origin}\r\nContent-Length: 0\r\n"),
        )
    };
    assert_eq!(usher.raw(post("https://app.test")).status, 403);
    assert_eq!(usher.raw(post("http://app.test")).status, 200);
}

/// nginx asks with GET whatever its client's method.
#[test]
fn d12_verdict_about_the_questions_own_method() {
    let stage = gateways::Stage::start(gateways::Door::Nginx);
    gateways::rights_and_methods(&stage);
}

#[test]
fn d13_identity_on_a_no_or_missing_on_a_yes() {
    let (_app, issuer, usher) = trusting();
    let bare = bearer(&issuer.token_with("alice", json!({ "email": null, "name": null })));
    for dialect in DIALECTS {
        let yes = ask(
            &usher,
            dialect,
            "/x",
            &format!("X-User-Email: ceo@x\r\n{bare}"),
        );
        assert_eq!((yes.status, yes.header("x-user-id")), (200, Some("alice")));
        for name in ["x-user-email", "x-user-name", "x-user-provisioned"] {
            assert_eq!(
                yes.header(name),
                Some(""),
                "{dialect} {name}: it has to overwrite"
            );
        }
        for (target, lines, status) in [
            ("/x", "X-User-Id: root\r\n", 401),
            ("/x", "Authorization: Bearer bad\r\n", 401),
            ("/admin/x", bare.as_str(), 403),
        ] {
            let reply = ask(&usher, dialect, target, lines);
            assert_eq!(reply.status, status, "{dialect} {target}");
            no(&reply, dialect);
        }
    }
    good(&usher);
}

#[test]
fn d14_question_that_announces_a_body_and_sends_none() {
    let (_app, issuer, usher) = trusting();
    let bearer = bearer(&issuer.token("alice"));
    let (mut quickest, mut asked) = (Duration::MAX, 0);
    for dialect in DIALECTS {
        for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
            let lines = format!("{bearer}{framing}");
            let target = "/x";
            let lines = lines.as_str();
            let bytes = question(
                dialect,
                &Asked {
                    target,
                    lines,
                    ..GOOD
                },
            );
            // A verdict at once: it does not wait for the body.
            let mut client = usher.connect();
            let begun = Instant::now();
            client.send(&bytes);
            assert_eq!(client.reply().unwrap().status, 200, "{dialect}");
            quickest = quickest.min(begun.elapsed());
            // What follows is the body or a request, and nobody reads it as one.
            client.send(question(dialect, &GOOD));
            client.finish();
            assert!(!client.rest().contains("200 OK"), "{dialect}");
            // Where nothing follows, the connection is closed soon after the verdict.
            let mut client = usher.connect();
            client.send(&bytes);
            assert_eq!(client.reply().unwrap().status, 200, "{dialect}");
            let begun = Instant::now();
            assert!(client.is_closed(), "{dialect}");
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(5), "{dialect}: {waited:?}");
            asked += 1;
        }
    }
    // On a busy machine one of them may be late, and not all.
    assert_eq!(asked, 2 * DIALECTS.len());
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
    good(&usher);
}

/// Whatever whoever is asked may answer but a plain yes, nobody passes.
#[test]
fn d15_status_that_the_gateway_misreads() {
    for door in [
        gateways::Door::Nginx,
        gateways::Door::Haproxy,
        gateways::Door::Caddy,
        gateways::Door::Traefik,
        gateways::Door::EnvoyHttp,
        gateways::Door::EnvoyGrpc,
    ] {
        gateways::odd_verdicts(door);
    }
}

/// The same for every proxy of the examples is in tests/gateways.
#[test]
fn d16_spoofing_through_a_real_gateway() {
    let stage = gateways::Stage::start(gateways::Door::Nginx);
    gateways::forged_identities(&stage);
    gateways::forged_descriptions(&stage);
    gateways::hostile_paths(&stage);
}

#[test]
fn d17_grpc_question_without_a_path_or_with_odd_headers() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ext_authz::DOOR);
    let token = format!("Bearer {}", issuer.token("alice"));
    let twice = format!("{token},{token}");
    for (path, name, value) in [
        ("", "x", "y"),
        ("/public/%ff", "x", "y"),
        ("/public/../x", "x", "y"),
        ("/x", "authorization", twice.as_str()),
        ("/x", "authorization", "\u{e9}"),
        ("/x", "x-bad", "a\r\nb"),
    ] {
        let answer = ext_authz::ask(&usher, ext_authz::question(path, &[(name, value)]));
        assert!(
            [400, 401].contains(&ext_authz::status(&answer)),
            "{path} {name}"
        );
    }
    let connect = ext_authz::changed("app.test:80", |http| http.method = "CONNECT".to_owned());
    assert!([400, 405].contains(&ext_authz::status(&ext_authz::ask(&usher, connect))));
    // A yes still is one, so that the noes above are no accident.
    let answer = ext_authz::ask(
        &usher,
        ext_authz::question("/x", &[("authorization", &token)]),
    );
    assert_eq!(answer.status.unwrap().code, 0);
    // The examples never let pass whoever usher could not be asked about.
    for file in ["envoy-grpc.yaml", "envoy-http.yaml"] {
        let path = format!("{}/examples/envoy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("failure_mode_allow: false"), "{file}");
        assert!(!text.contains("failure_mode_allow: true"), "{file}");
    }
    usher.serves(&issuer.token("alice"));
}

#[test]
fn d18_verdict_is_kept_by_a_cache() {
    let (_app, issuer, usher) = trusting();
    let alice = bearer(&issuer.token("alice"));
    for dialect in DIALECTS {
        for (target, lines) in [
            ("/x", alice.as_str()),
            ("/x", ""),
            ("/public/x", ""),
            ("/admin/x", &alice),
            ("/public/..", ""),
        ] {
            let reply = ask(&usher, dialect, target, lines);
            assert_eq!(
                reply.header("cache-control"),
                Some("no-store"),
                "{dialect} {target}"
            );
        }
    }
    // A yes that may be kept names every header that it was made of, and so a cookie where one counts.
    let (app, issuer) = (App::start(), Issuer::new());
    let mut kept = format!("{DOORS}tokens: {{ from: [{{ cookie: session }}, authorization] }}\n");
    for dialect in DIALECTS {
        let path = format!("path: /_usher/{dialect},");
        assert!(kept.contains(&path), "{kept}");
        kept = kept.replace(&path, &format!("{path} cache: 5s,"));
    }
    let keeping = Usher::start(&app, &issuer, &kept);
    let token = issuer.token("alice");
    for dialect in DIALECTS {
        let reply = ask(&keeping, dialect, "/x", &bearer(&token));
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.header("cache-control"),
            Some("private, max-age=5"),
            "{dialect}"
        );
        let vary = reply.header("vary").unwrap().to_ascii_lowercase();
        for name in ["authorization", "cookie", "x-forwarded-for"] {
            assert!(vary.contains(name), "{dialect}: {vary}");
        }
        let by_cookie = ask(
            &keeping,
            dialect,
            "/x",
            &format!("Cookie: session={token}\r\n"),
        );
        assert_eq!(by_cookie.status, 200);
        assert_eq!(
            by_cookie.header("cache-control"),
            Some("no-store"),
            "{dialect}"
        );
    }
    for seconds in ["6s", "1h", "500ms"] {
        is_refused(
            &format!(
                "trusted_proxies: [127.0.0.1]\nforward_auth: {{ dialect: nginx, cache: {seconds} }}"
            ),
            "cache",
        );
    }
    good(&usher);
}

/// Where a browser may be led that takes the text for an address, or for one without a scheme.
fn foreign_addresses() -> Vec<String> {
    let schemes = [
        "",
        "http:",
        "https:",
        "HtTpS:",
        "javascript:",
        "data:text/html,",
        "ftp:",
        "http:/",
    ];
    let slashes = [
        "//", "///", "/\\", "\\\\", "/\\/", "\\/", "/%09/", "/%0d%0a/", "/%5c", "%2f%2f", "%5c%5c",
        "/./", "/../", "/;//", "/?//", "/ /",
    ];
    let hosts = [
        "evil.test",
        "evil.test@app.test",
        "app.test.evil.test",
        "[::1]",
        "2130706433",
    ];
    let mut all = Vec::new();
    for scheme in schemes {
        for slash in slashes {
            all.extend(hosts.map(|host| format!("{scheme}{slash}{host}")));
        }
    }
    all
}

/// usher redirects nobody: whoever is to log in is sent there by the app or the proxy. So no text that a
/// client sends becomes a `Location`, whichever it is.
#[test]
fn d19_open_redirect_after_login() {
    let (_app, _issuer, usher) = trusting();
    let mut client = usher.connect();
    let addresses = foreign_addresses();
    assert_eq!(addresses.len(), 640);
    for (turn, address) in addresses.iter().enumerate() {
        let dialect = DIALECTS[turn % DIALECTS.len()];
        let target = format!("/x?rd={}", address.replace(' ', "%20"));
        let lines =
            format!("X-Auth-Request-Redirect: {address}\r\nX-Forwarded-Host: evil.test\r\n");
        for bytes in [
            head("GET", &target, &lines),
            head("GET", &address.replace(' ', "%20"), &lines),
            question(
                dialect,
                &Asked {
                    target: &target,
                    ..GOOD
                },
            ),
        ] {
            client.send(&bytes);
            let reply = client.reply().unwrap_or_else(|| {
                client = usher.connect();
                client.send(&bytes);
                client.reply().expect("an answer")
            });
            assert!(reply.status == 200 || reply.status >= 400, "{bytes}");
            assert_eq!(reply.header("location"), None, "{bytes}");
            assert_eq!(reply.header("refresh"), None, "{bytes}");
            if reply.header("connection") == Some("close") {
                client = usher.connect();
            }
        }
    }
    // Nor is there a word in the code that would make one.
    for (path, text) in super::operation::sources() {
        let text = text.split("#[cfg(test)]").next().unwrap();
        assert!(!text.contains("header::LOCATION"), "{path}");
    }
    good(&usher);
}

#[test]
fn d20_answer_is_too_large_for_the_proxy() {
    let (_app, issuer, usher) = trusting();
    let long = "x".repeat(7000);
    for dialect in DIALECTS {
        for (target, lines) in [
            ("/x".to_owned(), format!("Authorization: Bearer {long}\r\n")),
            (format!("/{long}"), String::new()),
            ("/x".to_owned(), format!("Origin: https://{long}\r\n")),
            ("/admin/x".to_owned(), bearer(&issuer.token("alice"))),
        ] {
            let reply = ask(&usher, dialect, &target, &lines);
            assert!(reply.head.len() + reply.body.len() < 4096, "{dialect}");
            no(&reply, dialect);
        }
    }
    good(&usher);
}

/// usher is gone; one that is silent, and all other proxies, are in tests/gateways.
#[test]
fn d21_gateway_opens_when_nobody_answers() {
    for door in [gateways::Door::Nginx, gateways::Door::Haproxy] {
        let mut stage = gateways::Stage::start(door);
        stage.stop_usher();
        for target in ["/x", "/public/x", "/feed/x"] {
            let reply = stage.get(target, &stage.bearer("alice"));
            assert!(reply.status >= 400, "{target}: {}", reply.status);
        }
        assert_eq!(stage.app.count(), 0);
    }
}

#[test]
fn d22_peer_on_a_unix_socket_counts_as_trusted() {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let listen = format!("listen: unix:{}\n", path.display());
    for (trusted, status) in [("127.0.0.1/32", 403), ("127.0.0.0/8", 403), ("unix", 200)] {
        let doors = DOORS.replace("127.0.0.1/32", trusted);
        let _usher = Usher::start(&app, &issuer, &format!("{listen}{doors}"));
        for dialect in DIALECTS {
            let mut client = crate::common::Client::over_unix(&path);
            client.send(question(dialect, &GOOD));
            assert_eq!(
                client.reply().unwrap().status,
                status,
                "{dialect} {trusted}"
            );
        }
    }
    // Nor does the address in a PROXY header that anybody may send.
    let proxied = "listen: { address: '127.0.0.1:0', proxy_protocol: { from: [127.0.0.1] } }\n";
    let doors = DOORS.replace("127.0.0.1/32", "127.0.0.1");
    let usher = Usher::start(&app, &issuer, &format!("{proxied}{doors}"));
    for (client, status) in [("192.0.2.7", 403), ("127.0.0.1", 200)] {
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n");
        let reply = usher.raw(header + &question("nginx", &GOOD));
        assert_eq!(reply.status, status, "{client}");
    }
}

/// A client's `Content-Type` makes no call of gRPC of a question over HTTP/2.
#[test]
fn d23_refusal_in_the_manner_of_grpc() {
    let (_app, _issuer, usher) = trusting();
    for (path, authority, more) in [
        ("/_usher/traefik", "usher.test", ("expect", "nothing")),
        ("/_usher/caddy", "usher.test", ("host", "other.test")),
        ("/_usher/haproxy/%zz", "usher.test", ("x", "y")),
        ("/_usher/nginx", "app.test", ("expect", "nothing")),
        ("/beside", "usher.test", ("x", "y")),
        ("/api/auth/verify", "usher.test", ("expect", "nothing")),
    ] {
        let mut frames = Frames::connect(usher.address);
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            more,
        ];
        frames.head(1, END_STREAM, &fields);
        let fate = frames.fate(1);
        assert!(matches!(fate, Fate::Answered(400..500)), "{path}: {fate:?}");
    }
    good(&usher);
}

#[test]
fn d24_question_at_a_nearly_right_path() {
    let (app, issuer) = (App::start(), Issuer::new());
    let public = format!("{DOORS}  - {{ path: /**, access: public }}\n");
    let usher = Usher::start(&app, &issuer, &public);
    for dialect in DIALECTS {
        let door = format!("/_usher/{dialect}");
        let nearly = match dialect {
            "envoy" => ["x", "*"],
            _ => ["/", "/x"],
        };
        for more in nearly {
            let question = question(dialect, &GOOD);
            let target = question.split(' ').nth(1).unwrap();
            // Also where it reads as one only once its escapes are undone.
            for door in [door.clone(), door.replace("usher", "%75sher")] {
                let nearly = format!("{door}{more}");
                no(&usher.raw(question.replacen(target, &nearly, 1)), &nearly);
            }
        }
    }
    assert_eq!(app.count(), 0);
    good(&usher);
}

#[test]
fn d25_host_that_is_named_twice() {
    gateways::host_named_twice();
}

/// The same for every proxy and every name is in tests/gateways.
#[test]
fn d26_override_through_a_gateway() {
    for door in [gateways::Door::EnvoyGrpc, gateways::Door::Nginx] {
        gateways::one_host_and_method(&gateways::Stage::start(door));
    }
}

#[test]
fn d27_cross_site_socket_over_http2() {
    let (app, issuer) = (App::start(), Issuer::new());
    let cookies = format!("{DOORS}tokens: {{ from: [{{ cookie: session }}] }}\n");
    let usher = Usher::start(&app, &issuer, &cookies);
    let cookie = format!("Cookie: session={}\r\n", issuer.token("alice"));
    for dialect in DIALECTS {
        let page =
            |origin: &str| format!("{cookie}Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\n");
        let evil = ask(&usher, dialect, "/x", &page("https://evil.test"));
        assert_eq!(evil.status, 403, "{dialect}");
        let own = ask(&usher, dialect, "/x", &page("https://app.test"));
        assert_eq!(own.status, 200, "{dialect}");
    }
    good(&usher);
}

#[test]
fn d28_name_in_disguise_through_a_gateway() {
    let (_app, issuer, usher) = trusting();
    let token = bearer(&issuer.token("alice"));
    for dialect in DIALECTS {
        for name in [
            "X--User-Id",
            "X_User_Id",
            "x.remote-user",
            "X-Forwarded_Host",
        ] {
            let lines = format!("{name}: root\r\n{token}");
            no(&ask(&usher, dialect, "/x", &lines), name);
        }
    }
    good(&usher);
    let stage = gateways::Stage::start(gateways::Door::Nginx);
    let alice = stage.bearer("alice");
    let reply = stage.get("/x", &format!("X--User-Id: root\r\n{alice}"));
    assert_eq!((reply.status, stage.app.count()), (403, 0));
    assert_eq!(stage.get("/x", &alice).status, 200);
}

#[test]
fn d29_upgrade_to_http2_through_a_gateway() {
    for door in [
        gateways::Door::Nginx,
        gateways::Door::Haproxy,
        gateways::Door::Caddy,
    ] {
        gateways::http2_is_not_switched_to(&gateways::Stage::start(door));
    }
}
