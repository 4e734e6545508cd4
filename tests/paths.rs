//! What is decided on is what is forwarded: no spelling of a target opens a protected path.

use crate::common::{App, Issuer, Usher};

const PUBLIC: &str = "
routes:
  - { path: /public/**, access: public }
";

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Everybody gets 400.
    Bad,
    /// Only with a token.
    Protected,
    /// Everybody passes.
    Public,
}

use Fate::{Bad, Protected, Public};

/// The first column arrives as it stands here; it is forwarded as the same bytes.
const TARGETS: &[(&[u8], Fate)] = &[
    (b"/public/a", Public),
    (b"/public", Public),
    (b"/public/", Public),
    // Dot segments.
    (b"/public/../admin", Bad),
    (b"/public/./../admin", Bad),
    (b"/./admin", Bad),
    (b"/..", Bad),
    (b"/public/..", Bad),
    (b"/public/.", Bad),
    (b"/public/%2e%2e/admin", Bad),
    (b"/public/%2E%2e/admin", Bad),
    (b"/public/.%2e/admin", Bad),
    (b"/public/%2e./admin", Bad),
    (b"/%2e/admin", Bad),
    // Escaped slashes, also twice.
    (b"/public/..%2fadmin", Bad),
    (b"/public/..%2Fadmin", Bad),
    (b"/public%2f..%2fadmin", Bad),
    (b"/public%2fa", Bad),
    (b"/foo%2Fbar", Bad),
    (b"/%252e%252e/admin", Protected),
    (b"/public/%252e%252e/admin", Public),
    (b"/public/%252e%252e%252fadmin", Public),
    // Backslashes.
    (b"/public\\..\\admin", Bad),
    (b"/public/..\\admin", Bad),
    (b"/%5cadmin", Bad),
    (b"/public/..%5Cadmin", Bad),
    (b"/public/..%5cadmin", Bad),
    // Path parameters.
    (b"/public/..;/admin", Bad),
    (b"/public/..;a=b/admin", Bad),
    (b"/public/.;/admin", Bad),
    (b"/admin;x=1", Bad),
    (b"/public;a/../admin", Bad),
    (b"/public;a/b", Bad),
    (b"/admin%3bx", Bad),
    // Empty segments.
    (b"//admin", Bad),
    (b"/public//../admin", Bad),
    (b"///", Bad),
    (b"/public//admin", Bad),
    (b"//public/a", Bad),
    // Escaped fragments and queries.
    (b"/public/%23x", Bad),
    (b"/admin%3f/public/", Protected),
    (b"/public/%3fx", Public),
    // Controls.
    (b"/public/%00", Bad),
    (b"/public%00/admin", Bad),
    (b"/public/%0a", Bad),
    (b"/public%0d%0aX-Admin:%201/x", Bad),
    (b"/public/%7f", Bad),
    (b"/public/%09", Bad),
    // Broken escapes and bytes that are not UTF-8.
    (b"/public/%", Bad),
    (b"/admin%", Bad),
    (b"/admin%2", Bad),
    (b"/admin%zz", Bad),
    (b"/%c0%afadmin", Bad),
    (b"/public/%c0%ae%c0%ae/admin", Bad),
    (b"/public/%ff", Bad),
    (b"/\xc3\xa9", Bad),
    (b"/public/\xc3\xa9", Bad),
    (b"/public/\xff", Bad),
    (b"/public/\xef\xbc\x8f..", Bad),
    (b"/adm%C4%B1n", Protected),
    (b"/public/caf%c3%a9", Public),
    // Case, and escapes of characters that need none.
    (b"/ADMIN", Protected),
    (b"/PUBLIC/a", Protected),
    (b"/%61dmin", Protected),
    (b"/pu%62lic/a", Public),
    // What only looks like the public prefix.
    (b"/", Protected),
    (b"/admin/", Protected),
    (b"/admin.", Protected),
    (b"/admin%20", Protected),
    (b"/admin..", Protected),
    (b"/admin/.", Bad),
    (b"/publicity", Protected),
    (b"/public-evil", Protected),
    (b"/public../admin", Protected),
    (b"/public%20/a", Protected),
    (b"/x/public/y", Protected),
    (b"/public%0a/admin", Bad),
    // The query never decides.
    (b"/admin?x=/public/", Protected),
    (b"/admin?/public/a", Protected),
    (b"/admin?/../public/a", Protected),
    (b"/public/a?x=/../admin", Public),
    (b"/public/a?%2e%2e//;\\", Public),
    (b"/?/public/", Protected),
    // No path at all.
    (b"admin", Bad),
    (b"public/a", Bad),
    (b"evil:80", Bad),
    (b"*", Bad),
    (b"?/public/a", Bad),
    (b"mailto:a@b", Bad),
    (b"ftp://app.test/public/a", Bad),
    (b"http:/public/a", Bad),
];

/// The path as an app sees it that decodes once, takes backslashes for slashes, drops path
/// parameters and resolves dot segments.
fn resolved(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap();
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut segments = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name.to_owned()),
        }
    }
    format!("/{}", segments.join("/"))
}

fn request(method: &str, target: &[u8], lines: &str) -> Vec<u8> {
    let mut bytes = format!("{method} ").into_bytes();
    bytes.extend_from_slice(target);
    bytes.extend_from_slice(format!(" HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n").as_bytes());
    bytes
}

#[test]
fn no_spelling_of_a_target_opens_a_protected_path() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let token = issuer.token("alice");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (target, fate) in TARGETS {
        let shown = String::from_utf8_lossy(target);
        let (nobody, somebody) = (request("GET", target, ""), request("GET", target, &bearer));
        match fate {
            Bad => {
                usher.refuses(&app, &token, &nobody, &[400]);
                usher.refuses(&app, &token, &somebody, &[400]);
            }
            Protected => {
                usher.refuses(&app, &token, &nobody, &[401]);
                assert_eq!(usher.raw(&somebody).status, 200, "{shown}");
                assert_eq!(app.last().target(), shown);
            }
            Public => {
                assert_eq!(usher.raw(&nobody).status, 200, "{shown}");
                assert_eq!(app.last().target(), shown);
                let resolved = resolved(&shown);
                assert!(
                    resolved == "/public" || resolved.starts_with("/public/"),
                    "{shown} is {resolved} to an app"
                );
            }
        }
    }
}

#[test]
fn opaque_paths_pass_unchanged_where_a_route_says_so() {
    let (app, issuer) = (App::start(), Issuer::new());
    let routes = "
routes:
  - { path: /files/**, paths: opaque }
  - { path: /public/**, access: public }
";
    let usher = Usher::start(&app, &issuer, routes);
    let token = issuer.token("alice");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for target in [
        "/files/a%2fb",
        "/files/a%2Fb;v=1//c",
        "/files/a%3bb%23",
        "/files//",
        "/files/public%2fa",
    ] {
        let target = target.as_bytes();
        usher.refuses(&app, &token, request("GET", target, ""), &[401]);
        assert_eq!(usher.raw(request("GET", target, &bearer)).status, 200);
        assert_eq!(app.last().target().as_bytes(), target);
    }
    // Never a separator: these are not below /files. Never a way around dot segments.
    for target in [
        "/files%2fa",
        "/files;/a",
        "/public%2f..%2ffiles/a",
        "/files/..%2fadmin",
        "/files/..;/admin",
        "/files/%2e%2e%2fadmin",
        "/files//../admin",
        "/files\\a",
    ] {
        usher.refuses(
            &app,
            &token,
            request("GET", target.as_bytes(), &bearer),
            &[400],
        );
    }
}

#[test]
fn a_fragment_is_cut_off_before_anything_is_decided() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let token = issuer.token("alice");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    usher.refuses(
        &app,
        &token,
        request("GET", b"/admin#/public/a", ""),
        &[401],
    );
    usher.raw(request("GET", b"/admin#/public/a", &bearer));
    assert_eq!(app.last().target(), "/admin");
    assert_eq!(
        usher.raw(request("GET", b"/public#/../admin", "")).status,
        200
    );
    assert_eq!(app.last().target(), "/public");
}

#[test]
fn absolute_targets_name_the_same_host_or_nobody_passes() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let token = issuer.token("alice");
    for (target, forwarded) in [
        ("http://app.test/public/a?b", "/public/a?b"),
        ("HTTP://APP.test/public/a", "/public/a"),
        ("https://app.test/public/a", "/public/a"),
    ] {
        assert_eq!(usher.raw(request("GET", target.as_bytes(), "")).status, 200);
        let received = app.last();
        assert_eq!(received.target(), forwarded);
        assert_eq!(received.header("host"), Some("app.test"));
    }
    usher.refuses(
        &app,
        &token,
        request("GET", b"http://app.test/admin", ""),
        &[401],
    );
    usher.refuses(&app, &token, request("GET", b"http://app.test", ""), &[401]);
    for target in [
        "http://evil.test/public/a",
        "http://app.test@evil.test/public/a",
        "http://evil@app.test/public/a",
        "http://app.test:81/public/a",
        "http://evil",
        "https://[::1]/public/a",
        "http://app.test/public/../admin",
        "http://app.test/public/..%2fadmin",
        "http:///public/a",
    ] {
        usher.refuses(&app, &token, request("GET", target.as_bytes(), ""), &[400]);
    }
}

#[test]
fn asterisk_and_authority_forms_are_refused() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let token = issuer.token("alice");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    usher.refuses(&app, &token, request("OPTIONS", b"*", &bearer), &[400]);
    for target in ["app.test:80", "app.test", "/public/a"] {
        let bytes = request("CONNECT", target.as_bytes(), &bearer);
        usher.refuses(&app, &token, bytes, &[400, 405]);
    }
    let reply = usher.refuses(
        &app,
        &token,
        request("TRACE", b"/public/a", &bearer),
        &[405],
    );
    assert!(reply.header("allow").is_some());
}

#[test]
fn methods_are_compared_exactly() {
    let (app, issuer) = (App::start(), Issuer::new());
    let routes = "
routes:
  - { path: /public/**, methods: GET, access: public }
";
    let usher = Usher::start(&app, &issuer, routes);
    let token = issuer.token("alice");
    assert_eq!(usher.get_as_nobody("/public/a").status, 200);
    for method in ["get", "GeT", "HEAD", "POST", "FOO", "GETX", "OPTIONS"] {
        let bytes = request(method, b"/public/a", "");
        let before = app.count();
        let mut client = usher.connect();
        client.send(bytes);
        assert_eq!(client.reply_to(method).unwrap().status, 401, "{method}");
        assert_eq!(app.count(), before);
        let bytes = request(method, b"/x", &format!("Authorization: Bearer {token}\r\n"));
        client.send(bytes);
        assert_eq!(client.reply_to(method).unwrap().status, 200, "{method}");
        assert_eq!(app.last().line(), format!("{method} /x HTTP/1.1"));
    }
    for override_line in [
        "X-HTTP-Method-Override: GET\r\n",
        "X-Method-Override: GET\r\n",
        "X-HTTP-Method: GET\r\n",
    ] {
        let bytes = request("POST", b"/public/a?_method=GET", override_line);
        usher.refuses(&app, &token, bytes, &[401]);
    }
}

#[test]
fn a_method_override_does_not_change_what_was_decided() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let lines =
        "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX_Method.Override: DELETE\r\n";
    assert_eq!(usher.raw(request("GET", b"/public/a", lines)).status, 200);
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        assert_eq!(app.last().folded(name), [""; 0]);
    }
    // An app that needs one says so.
    let usher = Usher::start(&app, &issuer, "header_exceptions: [X-HTTP-Method-Override]");
    let line = "X-HTTP-Method-Override: DELETE\r\n";
    assert_eq!(
        usher.get_with("/x", &issuer.token("alice"), line).status,
        200
    );
    assert_eq!(app.last().header("x-http-method-override"), Some("DELETE"));
}

#[test]
fn a_host_is_one_host_in_every_spelling() {
    let (app, issuer) = (App::start(), Issuer::new());
    let routes = "
routes:
  - { path: /**, host: open.test, access: public }
  - { path: /**, host: '*.open.test', access: public }
";
    let usher = Usher::start(&app, &issuer, routes);
    let token = issuer.token("alice");
    let ask = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for host in [
        "open.test",
        "OPEN.test",
        "open.test.",
        "open.test:443",
        "a.open.test",
        "A.b.Open.Test.:80",
    ] {
        assert_eq!(usher.raw(ask(host)).status, 200, "{host}");
        assert_eq!(app.last().header("host"), Some(host));
    }
    for host in [
        "closed.test",
        "notopen.test",
        "open.test.evil",
        "xn--open.test",
        "127.0.0.1",
    ] {
        usher.refuses(&app, &token, ask(host), &[401]);
    }
    for host in [
        ".open.test",
        "open.test..",
        "a,open.test",
        "open.test/",
        "evil@open.test",
    ] {
        usher.refuses(&app, &token, ask(host), &[400, 401]);
    }
}

#[test]
fn health_and_metrics_paths_are_no_hole() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, PUBLIC);
    let token = issuer.token("alice");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for path in ["/livez", "/readyz", "/metrics", "/healthz", "/healthz?x"] {
        for method in ["GET", "POST"] {
            let bytes = request(method, path.as_bytes(), "User-Agent: kube-probe/1.0\r\n");
            usher.refuses(&app, &token, bytes, &[401]);
        }
        let reply = usher.raw(request("GET", path.as_bytes(), &bearer));
        assert_eq!(reply.body, "hello", "{path} is the app's");
    }
    usher.refuses(
        &app,
        &token,
        request("GET", b"/healthz/../admin", ""),
        &[400],
    );
}
