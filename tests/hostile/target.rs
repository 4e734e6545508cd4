//! C: one target, one method, one host; what is decided on is what leaves.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::stage::{ROUTES, Stage, head, is_refused, problems};
use crate::common::http2::{END_STREAM, Fate, Frames};
use crate::common::{App, Issuer, Usher};

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 400 for everybody.
    Bad,
    /// 401 without a token.
    Closed,
    /// For everybody, and below `/public` in every reading.
    Open,
}

use Outcome::{Bad, Closed, Open};

fn line(target: &[u8], lines: &str) -> Vec<u8> {
    [
        b"GET ",
        target,
        b" HTTP/1.1\r\nHost: app.test\r\n",
        lines.as_bytes(),
        b"\r\n",
    ]
    .concat()
}

#[track_caller]
fn fates(stage: &Stage, table: &[(&[u8], Outcome)]) {
    for (target, fate) in table {
        let shown = target.escape_ascii().to_string();
        match fate {
            Bad => {
                stage.refuses(line(target, ""), &[400]);
                stage.refuses(line(target, &stage.bearer()), &[400]);
            }
            Closed => {
                stage.refuses(line(target, ""), &[401]);
                let (_, received) = stage.passes(line(target, &stage.bearer()));
                assert_eq!(received.target(), shown);
            }
            Open => {
                let (_, received) = stage.passes(line(target, ""));
                assert_eq!(received.target(), shown);
                assert!(
                    format!("{}/", lenient(&shown)).starts_with("/public/"),
                    "{shown}"
                );
            }
        }
    }
}

/// The path as the most lenient app reads it: decoded once, `\` as `/`, without parameters, without
/// dot segments.
fn lenient(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap();
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_owned()),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn c01_dot_segments() {
    fates(
        &Stage::routed(),
        &[
            (b"/public/../admin", Bad),
            (b"/public/./../admin", Bad),
            (b"/./admin", Bad),
            (b"/..", Bad),
            (b"/public/..", Bad),
            (b"/public/.", Bad),
            (b"/public/..?x", Bad),
            (b"/public/...", Open),
        ],
    );
}

#[test]
fn c02_encoded_dots() {
    fates(
        &Stage::routed(),
        &[
            (b"/public/%2e%2e/admin", Bad),
            (b"/public/%2E%2e/admin", Bad),
            (b"/public/.%2e/admin", Bad),
            (b"/public/%2e./admin", Bad),
            (b"/%2e/admin", Bad),
            (b"/public/a%2eb", Open),
        ],
    );
}

#[test]
fn c03_encoded_slashes() {
    fates(
        &Stage::routed(),
        &[
            (b"/public/..%2fadmin", Bad),
            (b"/public/..%2Fadmin", Bad),
            (b"/public%2f..%2fadmin", Bad),
            (b"/foo%2Fbar", Bad),
            (b"/public%2fa", Bad),
        ],
    );
    // Opaque routes let them through, as they are, and never as a way around.
    let routes = "routes: [{ path: /files/**, access: public, paths: opaque }]";
    let stage = Stage::new(routes);
    let (_, received) = stage.passes(line(b"/files/a%2Fb", ""));
    assert_eq!(received.target(), "/files/a%2Fb");
    stage.refuses(line(b"/files/..%2fadmin", ""), &[400]);
    stage.refuses(line(b"/files%2f..%2fadmin", ""), &[400]);
}

#[test]
fn c04_double_encoding() {
    fates(
        &Stage::routed(),
        &[
            (b"/%252e%252e/admin", Closed),
            (b"/%2561dmin", Closed),
            (b"/public/%252e%252e/admin", Open),
            (b"/public/%252e%252e%252fadmin", Open),
        ],
    );
}

#[test]
fn c05_backslashes() {
    fates(
        &Stage::routed(),
        &[
            (b"/public\\..\\admin", Bad),
            (b"/public/..\\admin", Bad),
            (b"\\admin", Bad),
            (b"/%5cadmin", Bad),
            (b"/public/..%5Cadmin", Bad),
            (b"/public/a\\b", Bad),
        ],
    );
}

#[test]
fn c06_path_parameters() {
    fates(
        &Stage::routed(),
        &[
            (b"/public/..;/admin", Bad),
            (b"/public/..;a=b/admin", Bad),
            (b"/admin;x=1", Bad),
            (b"/public;a/../admin", Bad),
            (b"/public;/a", Bad),
            (b"/admin%3bx", Bad),
        ],
    );
}

#[test]
fn c07_repeated_slashes() {
    fates(
        &Stage::routed(),
        &[
            (b"//admin", Bad),
            (b"//app.test/admin", Bad),
            (b"/public//../admin", Bad),
            (b"///", Bad),
            (b"/public//admin", Bad),
            (b"//public/a", Bad),
            (b"/public/", Open),
        ],
    );
}

#[test]
fn c08_fragment() {
    let stage = Stage::routed();
    // It is cut off before anything is decided, and does not leave.
    stage.refuses(line(b"/admin#/public/a", ""), &[401]);
    let (_, received) = stage.passes(line(b"/admin#/public/a", &stage.bearer()));
    assert_eq!(received.target(), "/admin");
    let (_, received) = stage.passes(line(b"/public#/../admin", ""));
    assert_eq!(received.target(), "/public");
    fates(&stage, &[(b"/public/%23", Bad), (b"/admin%23/public", Bad)]);
}

#[test]
fn c09_encoded_controls() {
    let stage = Stage::routed();
    for byte in (0..0x20_u8).chain([0x7f]) {
        stage.refuses(line(format!("/public/%{byte:02x}").as_bytes(), ""), &[400]);
        stage.refuses(
            line(
                format!("/public%{byte:02X}/admin").as_bytes(),
                &stage.bearer(),
            ),
            &[400],
        );
    }
}

#[test]
fn c10_broken_escapes() {
    fates(
        &Stage::routed(),
        &[
            (b"/admin%", Bad),
            (b"/admin%2", Bad),
            (b"/admin%zz", Bad),
            (b"/public/%", Bad),
            (b"/public/%%32e", Bad),
            (b"/public/%u002e", Bad),
            (b"/public/%-1", Bad),
            (b"/public/%+1", Bad),
        ],
    );
}

#[test]
fn c11_overlong_and_raw_utf8() {
    fates(
        &Stage::routed(),
        &[
            (b"/%c0%afadmin", Bad),
            (b"/public/%c0%ae%c0%ae/admin", Bad),
            (b"/public/%e0%80%af", Bad),
            (b"/public/%ed%a0%80", Bad),
            (b"/public/%ff", Bad),
            (b"/\xc3\xa9", Bad),
            (b"/public/\xef\xbc\x8f..", Bad),
            (b"/adm%C4%B1n", Closed),
            (b"/public/%EF%BC%8F..", Open),
        ],
    );
}

#[test]
fn c12_case_and_needless_escapes() {
    fates(
        &Stage::routed(),
        &[
            (b"/ADMIN", Closed),
            (b"/PUBLIC/a", Closed),
            (b"/Public/a", Closed),
            (b"/%61dmin", Closed),
            (b"/pu%62lic/x", Open),
            (b"/%70%75%62%6c%69%63/x", Open),
        ],
    );
    // A rule that protects finds its path however it is escaped; another case is another path.
    let stage = Stage::new(
        "routes: [{ path: /admin/**, require: { roles: [admin] } }, { path: /**, access: public }]",
    );
    for target in ["/admin/x", "/%61dmin/x", "/%61%64%6D%69%6e/x", "/admin/%78"] {
        stage.refuses(line(target.as_bytes(), ""), &[401]);
        stage.refuses(line(target.as_bytes(), &stage.bearer()), &[403]);
    }
    let (_, received) = stage.passes(line(b"/ADMIN/x", ""));
    assert_eq!(received.target(), "/ADMIN/x");
    stage.good();
}

#[test]
fn c13_trailing_junk() {
    let routes = "routes: [{ path: /**, access: public }]";
    let protected =
        "routes: [{ path: /admin, require: { roles: [admin] } }, { path: /**, access: public }]";
    let stage = Stage::new(protected);
    for target in ["/admin", "/admin/", "/admin?", "/admin/?x"] {
        stage.refuses(line(target.as_bytes(), ""), &[401]);
    }
    stage.refuses(line(b"/admin/.", ""), &[400]);
    // What is another path to every app is another path here, and public as the rest is.
    for target in ["/admin.", "/admin%20", "/admin.."] {
        let (_, received) = stage.passes(line(target.as_bytes(), ""));
        assert_eq!(received.target(), target);
    }
    assert!(problems(routes).is_empty());
    // The safe way round, which is the default: whatever is not named needs a token.
    fates(
        &Stage::routed(),
        &[
            (b"/admin.", Closed),
            (b"/admin%20", Closed),
            (b"/admin..", Closed),
        ],
    );
}

#[test]
fn c14_prefix_without_a_boundary() {
    fates(
        &Stage::routed(),
        &[
            (b"/publicity", Closed),
            (b"/public-evil", Closed),
            (b"/public../admin", Closed),
            (b"/public%20/a", Closed),
            (b"/publi", Closed),
            (b"/api../admin", Closed),
        ],
    );
}

#[test]
fn c15_pattern_that_matches_more_than_it_says() {
    let stage = Stage::new(
        "routes: [{ path: /public.json, access: public }, { path: '/a/*/b', access: public }]",
    );
    for target in [
        "/publicXjson",
        "/x/public.json",
        "/public.json/x",
        "/public.jsonx",
        "/a/b",
        "/a/x/y/b",
        "/a//b",
    ] {
        stage.refuses(line(target.as_bytes(), ""), &[400, 401]);
    }
    stage.refuses(line(b"/public.json%0a/admin", ""), &[400]);
    stage.passes(line(b"/public.json", ""));
    stage.passes(line(b"/a/x/b", ""));
    // There are no regular expressions; what looks like one is refused or means itself.
    for path in ["/a/**/b", "public", "/a\\b", "/a/../b", "/**b"] {
        is_refused(
            &format!("routes: [{{ path: '{path}', access: public }}]"),
            "routes[0]",
        );
    }
    stage.good();
}

#[test]
fn c16_query_takes_part_in_the_match() {
    fates(
        &Stage::routed(),
        &[
            (b"/admin?x=/public/", Closed),
            (b"/admin?/public/a", Closed),
            (b"/?/public/a", Closed),
            (b"/admin%3f/public", Closed),
            (b"/public/a?x=/../admin", Open),
        ],
    );
    Stage::routed().refuses(line(b"?/public/a", ""), &[400]);
}

/// What may follow a prefix, to lead out of it or to be read in two ways once it is gone.
const RESTS: [&str; 34] = [
    "",
    "/",
    "/x",
    "/a%20b?c=%2e%2e",
    "/api/x",
    "/%61pi/x",
    "/../admin",
    "/./x",
    "/..",
    "/.",
    "/%2e%2e/admin",
    "/.%2e/admin",
    "/..%2fadmin",
    "/%2e%2e%2fadmin",
    "/%2fadmin",
    "/%252e%252e/admin",
    "/%252fadmin",
    "//admin",
    "//evil.test/admin",
    "///",
    "/x//admin",
    "/\\admin",
    "/\\evil.test",
    "/%5cadmin",
    "/..;/admin",
    "/;/admin",
    "/a;b",
    "/%00",
    "/%0d%0aX-User-Id:%20root",
    "/%",
    "/%zz",
    "/%c0%ae%c0%ae/admin",
    "/x#/../admin",
    "/x?/../../admin",
];

/// A route may take a prefix away and put another in front: of the bytes that came, after the decision,
/// and nothing is read or written anew.
#[test]
fn c17_rewriting_expands_a_path_again() {
    let stage = Stage::new(
        "routes:\n- { path: /api/**, access: public, strip_prefix: /api, add_prefix: /inner }\n\
         - { path: /bare/**, access: public, strip_prefix: /bare }\n\
         - { path: /more/**, access: public, add_prefix: /v1 }\n\
         - { path: /raw/**, access: public, paths: opaque, strip_prefix: /raw }\n",
    );
    let (mut rewritten, mut refused) = (0, 0);
    for (spelt, before, after) in [
        ("/api", "/api", "/inner"),
        ("/%61p%69", "/api", "/inner"),
        ("/bare", "/bare", ""),
        ("/more", "/more", "/v1/more"),
        ("/raw", "/raw", ""),
    ] {
        for rest in RESTS {
            let sent = format!("{spelt}{rest}");
            let count = stage.app.count();
            let reply = stage.usher.raw(line(sent.as_bytes(), ""));
            if reply.status != 200 {
                assert_eq!((reply.status, stage.app.count()), (400, count), "{sent}");
                refused += 1;
                continue;
            }
            let received = stage.app.last();
            let left = received.target();
            // Nothing but the prefix is other than what came, and it is a path on this app.
            let rest = rest.split('#').next().unwrap();
            let slash = if after.is_empty() && !rest.starts_with('/') {
                "/"
            } else {
                ""
            };
            assert_eq!(left, format!("{after}{slash}{rest}"), "{sent}");
            assert!(left.starts_with('/') && !left.starts_with("//"), "{sent}");
            // And what the laxest app reads is what the rules have read, with the other prefix.
            let wanted = lenient(&format!("{before}{rest}")).replacen(before, after, 1);
            assert_eq!(
                lenient(left),
                format!("/{}", wanted.trim_start_matches('/')),
                "{sent}"
            );
            rewritten += 1;
        }
        stage.good();
    }
    assert!(rewritten > 40 && refused > 90, "{rewritten} {refused}");
    // What only begins like the prefix is another path; one that is not at the beginning stays.
    for target in ["/apis", "/api../x", "/api%2fx", "/x/api/x", "/API/x"] {
        stage.refuses(line(target.as_bytes(), ""), &[400, 401]);
    }
    // An app has no path of its own that anything would be joined to.
    let with_path = format!(
        "upstream: http://{}/base\nissuers: [{}]",
        stage.app.address,
        stage.issuer.yaml()
    );
    assert!(
        usher::config::parse(&with_path, "test.yaml", &|_| None).is_err(),
        "no base path is joined"
    );
    stage.good();
}

#[test]
fn c18_absolute_form() {
    let stage = Stage::routed();
    for target in [
        "http://evil/public/a",
        "http://evil.test/public/a",
        "http://good@evil/public/a",
        "http://evil@app.test/public/a",
        "http://app.test:81/public/a",
        "https://[::1]/public/a",
        "http://evil",
        "HTTP://EVIL/public/a",
        "http:///public/a",
        "http://app.test/public/../admin",
        "ftp://app.test/public/a",
        "javascript://app.test/public/a",
    ] {
        stage.refuses(line(target.as_bytes(), ""), &[400]);
        stage.refuses(line(target.as_bytes(), &stage.bearer()), &[400]);
    }
    stage.refuses(line(b"http://app.test/admin", ""), &[401]);
    let (_, received) = stage.passes(line(b"HTTP://APP.test/public/a?b", ""));
    assert_eq!(received.target(), "/public/a?b");
    assert_eq!(received.header("host"), Some("app.test"));
    stage.good();
}

#[test]
fn c19_authority_and_asterisk_form() {
    let stage = Stage::routed();
    for target in [
        "admin",
        "public/a",
        "evil:80",
        "app.test",
        "*",
        "?",
        "#",
        "@",
        "mailto:a@b",
    ] {
        stage.refuses(line(target.as_bytes(), &stage.bearer()), &[400]);
    }
    stage.refuses(head("OPTIONS", "*", &stage.bearer()), &[400]);
    // The same in HTTP/2, where nothing but the library stands between.
    let bearer = format!("Bearer {}", stage.token);
    for path in ["admin", "*", "", "public/a", "http://app.test/public/a"] {
        let mut client = Frames::connect(stage.usher.address);
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "app.test"),
            (":path", path),
            ("authorization", bearer.as_str()),
        ];
        client.head(1, END_STREAM, &fields);
        let fate = client.fate(1);
        assert!(
            matches!(fate, Fate::Answered(400) | Fate::Reset(1) | Fate::GoAway(1)),
            "{path}: {fate:?}"
        );
    }
    stage.good();
}

#[test]
fn c20_method_case_and_override() {
    let stage = Stage::new("routes: [{ path: /posts, methods: [GET], access: public }]");
    for method in ["get", "GeT", "POST", "GETX", "G", "OPTIONS", "PUT"] {
        stage.refuses(head(method, "/posts", ""), &[401]);
    }
    let mut client = stage.usher.connect();
    client.send(head("HEAD", "/posts", ""));
    assert_eq!(client.reply_to("HEAD").unwrap().status, 401);
    for name in [
        "X-HTTP-Method-Override",
        "X-Method-Override",
        "X-HTTP-Method",
        "X_HTTP_Method.Override",
    ] {
        let line = format!("{name}: GET\r\n");
        stage.refuses(head("POST", "/posts?_method=GET", &line), &[401]);
        let (_, received) = stage.passes(stage.get("/x", &line));
        assert_eq!(received.folded(name), [""; 0], "the app may believe it");
    }
    stage.passes(head("GET", "/posts", ""));
}

#[test]
fn c21_trace_connect_and_unknown_methods() {
    let stage = Stage::routed();
    for method in ["TRACE", "CONNECT"] {
        for target in ["/public/a", "/x", "app.test:80", "http://app.test/public/a"] {
            stage.refuses(head(method, target, &stage.bearer()), &[400, 405]);
        }
    }
    stage.refuses(head("FOO", "/x", ""), &[401]);
    let (_, received) = stage.passes(head("FOO", "/x", &stage.bearer()));
    assert_eq!(received.line(), "FOO /x HTTP/1.1");
    stage.good();
}

#[test]
fn c22_host_compared_by_its_spelling() {
    let routes = "routes: [{ path: /**, host: admin.test, require: { roles: [admin] } }, { path: /**, access: public }]";
    let stage = Stage::new(routes);
    let ask = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for host in [
        "admin.test",
        "ADMIN.test",
        "admin.test.",
        "admin.test:443",
        "Admin.Test.:80",
    ] {
        let reply = stage.usher.raw(ask(host));
        assert_eq!(reply.status, 401, "{host}");
    }
    for host in [
        "admin.test..",
        ".admin.test",
        "a@admin.test",
        "admin.test/",
        "admin.test,x",
        "\u{1e00}dmin.test",
        "admin%2etest",
    ] {
        assert_eq!(stage.usher.raw(ask(host)).status, 400, "{host}");
    }
    assert_eq!(stage.app.count(), 0);
    // Names in other scripts come in their ASCII form, and are other names.
    assert_eq!(stage.usher.raw(ask("xn--dmin-moa0i.test")).status, 200);
}

#[test]
fn c23_health_path_as_a_hole() {
    let stage = Stage::routed();
    for target in [
        "/healthz",
        "/livez",
        "/readyz",
        "/ping",
        "/health",
        "/healthz?x",
    ] {
        for lines in [
            "User-Agent: kube-probe/1.0\r\n",
            "User-Agent: GoogleHC/1.0\r\n",
            "User-Agent: ELB-HealthChecker/2.0\r\n",
        ] {
            for method in ["GET", "POST"] {
                stage.refuses(head(method, target, lines), &[401]);
            }
        }
    }
    stage.refuses(line(b"/healthz/../admin", ""), &[400]);
}

#[test]
fn c24_own_endpoints_shadow_or_leak() {
    let stage = Stage::new(
        "endpoints: { verify: { path: /api/auth/verify, user_id: id, username: name } }",
    );
    for target in [
        "/metrics",
        "/admin",
        "/debug/pprof",
        "/config",
        "/_usher/auth",
    ] {
        stage.refuses(line(target.as_bytes(), ""), &[401]);
        let (reply, received) = stage.passes(stage.get(target, ""));
        assert_eq!(
            (reply.body.as_str(), received.target()),
            ("hello", target),
            "it is the app's"
        );
    }
    // The endpoint that is configured answers at its own path alone.
    let before = stage.app.count();
    assert_eq!(
        stage.usher.get("/api/auth/verify", &stage.token).status,
        200
    );
    assert_eq!(stage.app.count(), before);
    for target in [
        "/api/auth/verify/x",
        "/api/auth/verifyx",
        "/API/auth/verify",
    ] {
        stage.passes(stage.get(target, ""));
    }
}

#[test]
fn c25_no_rule_matches() {
    let stage = Stage::new(
        "routes: [{ path: /public/**, host: open.test, methods: [GET], access: public }]",
    );
    for bytes in [
        head("GET", "/public/a", ""),
        "GET /elsewhere HTTP/1.1\r\nHost: open.test\r\n\r\n".to_owned(),
        "POST /public/a HTTP/1.1\r\nHost: open.test\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(),
    ] {
        stage.refuses(bytes, &[401]);
    }
    stage.passes("GET /public/a HTTP/1.1\r\nHost: open.test\r\n\r\n");
    stage.good();
}

/// Pieces from which paths are built that two readers may read in two ways.
const PIECES: &[&str] = &[
    "/", "//", "public", "admin", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "%3b",
    "%", "%25", "%00", "%0a", "a", "%61", "P", "?", "#", "%23", "%3f", "%c0%af", "%c3%a9",
    "\u{e9}", ":", "@", "~", " ",
];

/// A path either has one reading or none, and the reading is stable.
#[test]
fn c26_property_of_all_paths() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let mut runner = TestRunner::new(Config {
        cases: 1500,
        failure_persistence: None,
        ..Config::default()
    });
    let paths = prop::collection::vec(prop::sample::select(PIECES), 1..8);
    let client = std::cell::RefCell::new(usher.connect());
    let judged = std::cell::Cell::new([0_usize; 3]);
    runner
        .run(&paths, |pieces| {
            let target = format!("/public/{}", pieces.concat());
            let before = app.count();
            let mut client = client.borrow_mut();
            client.send(line(target.as_bytes(), ""));
            let status = match client.reply() {
                Some(reply) => reply.status,
                None => 0,
            };
            let mut counts = judged.get();
            match status {
                200 => {
                    counts[0] += 1;
                    let sent = target.split('#').next().unwrap();
                    let received = app.last();
                    prop_assert_eq!(received.target(), sent);
                    prop_assert!(
                        format!("{}/", lenient(sent)).starts_with("/public/"),
                        "{}",
                        target
                    );
                }
                401 => counts[1] += 1,
                400 => counts[2] += 1,
                other => prop_assert!(false, "{other} to {target}"),
            }
            prop_assert_eq!(app.count() - before, usize::from(status == 200));
            judged.set(counts);
            // What could not be read ended the connection.
            if status == 400 {
                *client = usher.connect();
            }
            Ok(())
        })
        .unwrap();
    let [open, _, bad] = judged.get();
    assert!(open > 100 && bad > 300, "{:?}", judged.get());
    usher.serves(&issuer.token("alice"));
}

/// The same without a wire, of as many paths as take two seconds; `fuzz/` goes on for hours.
#[test]
fn c26_property_of_many_paths() {
    const CASES: usize = 100_000;
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    let mut roll = |sides: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % sides as u64).unwrap()
    };
    let (mut good, mut opaque) = (0, 0);
    for _ in 0..CASES {
        let pieces: String = (0..1 + roll(6))
            .map(|_| PIECES[roll(PIECES.len())])
            .collect();
        let raw = format!("/{}", pieces.split(['?', '#']).next().unwrap());
        let Ok(path) = usher::edge::canonical_path(&raw) else {
            continue;
        };
        // Read once more it is the same, and the laxest reader finds nothing left to resolve.
        let again = usher::edge::canonical_path(&path.text).unwrap();
        assert_eq!(
            (&again.text, again.opaque),
            (&path.text, path.opaque),
            "{raw}"
        );
        assert_eq!(lenient(&raw), lenient(&path.text), "{raw}");
        match path.opaque {
            true => opaque += 1,
            false => {
                let plain = lenient(&raw);
                let decoded = percent_encoding::percent_decode_str(&raw).decode_utf8_lossy();
                assert_eq!(
                    decoded.trim_end_matches('/'),
                    plain.trim_end_matches('/'),
                    "{raw}"
                );
                good += 1;
            }
        }
    }
    assert!(good > 10_000 && opaque > 5_000, "{good} {opaque}");
    Stage::routed().good();
}
