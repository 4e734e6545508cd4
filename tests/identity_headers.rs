//! Only usher says who is calling: whatever a client sends under those names never arrives.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::common::app::{Answer, answer};
use crate::common::{App, Issuer, Usher};

const ROUTES: &str = "
routes:
  - { path: /public/**, access: public }
  - { path: /optional/**, access: optional }
  - { path: /pass/**, cors: pass }
";

/// The characters that a header name may hold besides letters and digits (RFC 9110 §5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// The names that other proxies use; a client may send none of them.
const PRESETS: &[&str] = &[
    "Remote-User",
    "Remote-Email",
    "Remote-Name",
    "Remote-Groups",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Access-Token",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "X-WebAuth-User",
    "X-Goog-Authenticated-User-Email",
    "X-Ms-Client-Principal",
    "Cf-Access-Authenticated-User-Email",
];

/// `name` as an app that folds names could still read it.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![
        name.to_owned(),
        name.to_ascii_lowercase(),
        name.to_ascii_uppercase(),
    ];
    for separator in SEPARATORS.chars().map(String::from) {
        all.push(name.replace('-', &separator));
        all.push(name.replacen('-', &separator, 1));
        all.push(name.replace('-', &separator.repeat(2)));
        all.push(name.replacen('-', &format!("-{separator}"), 1));
    }
    all
}

fn get(target: &str, token: Option<&str>, lines: &str) -> String {
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{token}{lines}\r\n")
}

#[test]
fn no_spelling_of_a_clients_copy_arrives_on_any_route() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    let (none, some) = (None, Some(token.as_str()));
    let mut client = usher.connect();
    for (target, token) in [
        ("/required", some),
        ("/optional/x", none),
        ("/optional/x", some),
        ("/public/x", none),
        ("/public/x", some),
    ] {
        let ours = match token {
            Some(_) if !target.starts_with("/public") => vec!["x-user-id: alice".to_owned()],
            _ => vec![],
        };
        for name in spellings("X-User-Id") {
            client.send(get(target, token, &format!("{name}: root\r\n")));
            let reply = client.reply().unwrap();
            assert_eq!(reply.status, 200, "{target} {name}");
            assert_eq!(app.last().folded("x-user-id"), ours, "{target} {name}");
        }
    }
}

#[test]
fn names_of_other_proxies_are_stripped_too() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    for name in PRESETS {
        for spelling in [
            name.to_string(),
            name.replace('-', "_"),
            name.replace('-', "."),
        ] {
            for target in ["/required", "/public/x"] {
                let reply = usher.get_with(target, &token, &format!("{spelling}: root\r\n"));
                assert_eq!(reply.status, 200);
                assert_eq!(app.last().folded(name), [""; 0], "{target} {spelling}");
            }
        }
    }
}

#[test]
fn an_exception_lets_one_name_through_and_no_other() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "header_exceptions: [Remote-Name]");
    let lines = "Remote-Name: rho\r\nRemote-User: root\r\nX-User-Id: root\r\n";
    usher.get_with("/", &issuer.token("alice"), lines);
    let received = app.last();
    assert_eq!(received.header("remote-name"), Some("rho"));
    assert_eq!(received.header("remote-user"), None);
    assert_eq!(received.header("x-user-id"), Some("alice"));
}

#[test]
fn unrelated_names_pass_as_they_are() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let lines =
        "X-Custom_Header: 1\r\nX.Y: 2\r\nX-User-Ids: 3\r\nXUserId: 4\r\nX-Two: a\r\nX-Two: b\r\n";
    usher.get_with("/", &issuer.token("alice"), lines);
    let received = app.last();
    assert_eq!(received.header("x-custom_header"), Some("1"));
    assert_eq!(received.header("x.y"), Some("2"));
    assert_eq!(received.header("x-user-ids"), Some("3"));
    assert_eq!(received.header("xuserid"), Some("4"));
    assert_eq!(received.all("x-two"), ["a", "b"]);
}

#[test]
fn a_claim_that_is_absent_leaves_its_header_absent() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token_with("alice", json!({ "email": null }));
    let reply = usher.get_with("/", &token, "X-User-Email: ceo@example.com\r\n");
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(received.folded("x-user-email"), [""; 0]);
    assert_eq!(received.header("x-user-id"), Some("alice"));
}

#[test]
fn several_copies_all_go() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    for lines in [
        "X-User-Id: root\r\nX-User-Id: admin\r\n",
        "X-User-Id: root\r\nAccept: a\r\nx-user-id: admin\r\nX_User_Id: c\r\n",
        "X-User-Id: root, admin\r\nX-User-Id:\r\n",
    ] {
        usher.get_with("/", &token, lines);
        assert_eq!(app.last().folded("x-user-id"), ["x-user-id: alice"]);
    }
}

#[test]
fn the_spelling_in_the_configuration_does_not_matter() {
    let (app, issuer) = (App::start(), Issuer::new());
    let long = format!("Z-{}-User", "Very-Long".repeat(8));
    for name in ["x-ACME-user", "Acme_User", "User.Acme", &long] {
        let usher = Usher::start(&app, &issuer, &format!("headers: {{ {name}: id }}"));
        let token = issuer.token("alice");
        for spelling in spellings(&name.replace(['_', '.'], "-")) {
            usher.get_with("/", &token, &format!("{spelling}: root\r\n"));
            let wanted = format!("{}: alice", name.to_ascii_lowercase());
            assert_eq!(app.last().folded(name), [wanted], "{name} {spelling}");
        }
        let other = format!("z-{}", "other".repeat(20));
        usher.get_with("/", &token, &format!("{other}: 1\r\n"));
        assert_eq!(app.last().header(&other), Some("1"));
    }
}

#[test]
fn trailers_carry_no_identity_either() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    for (target, token) in [
        ("/", issuer.token("alice")),
        ("/public/x", "none".to_owned()),
    ] {
        let reply = usher.raw(format!(
            "POST {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\
             Transfer-Encoding: chunked\r\nTrailer: X-User-Id, X_User_Id, X-Forwarded-For, X-Checksum\r\n\r\n\
             4\r\nbody\r\n0\r\nX-User-Id: root\r\nX_User_Id: root\r\nX-Forwarded-For: 9.9.9.9\r\nX-Checksum: 1\r\n\r\n"
        ));
        assert_eq!(reply.status, 200);
        let received = app.last();
        assert_eq!(received.body, b"body");
        assert_eq!(received.trailers, "X-Checksum: 1\n");
        let ours: &[&str] = if target == "/" {
            &["x-user-id: alice"]
        } else {
            &[]
        };
        assert_eq!(received.folded("x-user-id"), ours);
    }
}

#[test]
fn connection_cannot_take_our_headers_away() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let many: Vec<_> = (0..1000).map(|n| format!("x-{n}")).collect();
    let many = format!("Connection: {}, X-User-Id\r\n", many.join(","));
    for lines in [
        "Connection: X-User-Id\r\n",
        "connection: x-user-id\r\n",
        "Connection: close, X-User-Id\r\n",
        "Connection: keep-alive\r\nConnection: X-User-Id, X-User-Email\r\n",
        "Connection: ,,\t x-USER-id ,\t,X-User-Email,\r\n",
        "Connection: \"X-User-Id\", x_user_id, X-User-Id;q=1\r\n",
        &many,
    ] {
        let reply = usher.get_with("/", &token, lines);
        assert_eq!(reply.status, 200, "{lines}");
        let received = app.last();
        assert_eq!(
            received.folded("x-user-id"),
            ["x-user-id: alice"],
            "{lines}"
        );
        assert_eq!(received.header("x-user-email"), Some("alice@example.com"));
    }
}

#[test]
fn connection_cannot_take_away_what_frames_or_authenticates() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let reply = usher.raw(format!(
        "POST /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nCookie: a=b\r\n\
         X-Drop: 1\r\nContent-Length: 4\r\nConnection: X-Forwarded-For, X-Forwarded-Proto, \
         X-Forwarded-Host, Forwarded, Via, Host, Content-Length, Transfer-Encoding, Cookie, \
         Authorization, X-Drop\r\n\r\nbody"
    ));
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(received.body, b"body");
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("cookie"), Some("a=b"));
    assert_eq!(received.header("x-user-id"), Some("alice"));
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("x-forwarded-host"), Some("app.test"));
    assert!(received.header("via").is_some());
    assert_eq!(received.header("x-drop"), None);
}

#[test]
fn connection_cannot_hide_a_token_source() {
    let (app, issuer) = (App::start(), Issuer::new());
    let more = format!("tokens: {{ from: [{{ header: X-Token }}, authorization] }}\n{ROUTES}");
    let usher = Usher::start(&app, &issuer, &more);
    let good = issuer.token("alice");
    // The first source that is present decides, also when the client would rather hide it.
    let bytes = get("/", Some(&good), "X-Token: bad\r\nConnection: X-Token\r\n");
    usher.refuses(&app, &good, bytes, &[401]);
    let bytes = get(
        "/optional/x",
        None,
        &format!("X-Token: {good}\r\nConnection: x-token\r\n"),
    );
    assert_eq!(usher.raw(bytes).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    assert_eq!(app.last().header("x-token"), None);
}

#[test]
fn what_belongs_to_the_connection_stops_here() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let lines = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\
        Proxy-Authenticate: y\r\nTE: gzip\r\nUpgrade: foo\r\nHTTP2-Settings: AAA\r\nProxy: http://evil\r\n\
        Proxy_Authorization: Basic x\r\nConnection: keep-alive\r\n";
    let reply = usher.get_with("/", &issuer.token("alice"), lines);
    assert_eq!(reply.status, 200);
    let received = app.last();
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "upgrade",
        "http2-settings",
        "proxy",
        "connection",
    ] {
        assert_eq!(received.folded(name), [""; 0], "{name}");
    }
}

#[test]
fn hop_by_hop_fields_of_an_answer_stop_here_too() {
    let app = App::with(|_| {
        let headers = "Connection: X-Secret, Set-Cookie, Content-Length\r\nKeep-Alive: timeout=1\r\n\
            Proxy-Connection: x\r\nX-Secret: 1\r\nSet-Cookie: a=b\r\nX-Kept: 1\r\n";
        Answer::Bytes(answer("200 OK", headers, "hello"))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let reply = usher.get("/", &token);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    assert_eq!(reply.header("x-kept"), Some("1"));
    for name in ["connection", "keep-alive", "proxy-connection", "x-secret"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    usher.serves(&token);
}

#[test]
fn upgrades_are_stripped_like_any_request() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let lines = "Connection: Upgrade, X-User-Id\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-User-Id: root\r\nX_User.Id: root\r\n";
    for (target, token, ours) in [
        ("/ws", Some(issuer.token("alice")), vec!["x-user-id: alice"]),
        ("/public/ws", None, vec![]),
    ] {
        assert_eq!(usher.raw(get(target, token.as_deref(), lines)).status, 200);
        let received = app.last();
        assert_eq!(received.header("upgrade"), Some("websocket"));
        assert_eq!(received.folded("x-user-id"), ours);
        assert_eq!(received.header("authorization"), None);
    }
    let token = issuer.token("alice");
    usher.refuses(&app, &token, get("/ws", None, lines), &[401]);
}

#[test]
fn preflights_reach_the_app_as_nobodys() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ROUTES);
    let token = issuer.token("alice");
    let lines = "Origin: https://page.test\r\nAccess-Control-Request-Method: PUT\r\nX-User-Id: root\r\nX_User_Id: root\r\n";
    let with_token = format!("Authorization: Bearer {token}\r\n{lines}");
    for lines in [lines, &with_token] {
        let reply = usher.raw(format!(
            "OPTIONS /pass/x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
        ));
        assert_eq!(reply.status, 200);
        let received = app.last();
        assert_eq!(received.line(), "OPTIONS /pass/x HTTP/1.1");
        assert_eq!(received.folded("x-user-id"), [""; 0]);
        assert_eq!(received.header("authorization"), None);
    }
}

#[test]
fn answers_carry_no_identity() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let good = usher.get("/", &token);
    let expired = usher.get("/", &issuer.token_with("alice", json!({ "exp": 1 })));
    assert_eq!((good.status, expired.status), (200, 401));
    for reply in [good, expired] {
        assert!(!reply.head.contains("alice"), "{}", reply.head);
        assert!(!reply.head.to_ascii_lowercase().contains("x-user"));
    }
}

#[test]
fn a_flood_of_headers_never_pushes_ours_out() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let flood = |count: usize| -> String { (0..count).map(|n| format!("X-F{n}: 1\r\n")).collect() };
    assert_eq!(usher.get_with("/", &token, &flood(98)).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    let bytes = get("/", Some(&token), &flood(99));
    usher.refuses(&app, &token, bytes, &[431]);
}

const ENCODED: &str = "
headers:
  X-User-Id: id
  X-User-Name: name
  X-User-Roles: roles
  X-User-Both: [email, roles]
  X-User-All: claims
  X-User-Issuer: issuer
limits: { identity_bytes: 4KiB }
";

#[test]
fn values_have_one_reading_only() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ENCODED);
    let table: &[(&str, Value, &str, Option<&str>)] = &[
        ("sub", json!("zoë"), "x-user-id", Some("zo%C3%AB")),
        ("sub", json!("100%"), "x-user-id", Some("100%25")),
        ("sub", json!("a,b"), "x-user-id", Some("a,b")),
        ("sub", json!("a\u{202e}b"), "x-user-id", Some("a%E2%80%AEb")),
        (
            "name",
            json!(" Ada  L "),
            "x-user-name",
            Some("%20Ada  L%20"),
        ),
        ("name", json!("雪"), "x-user-name", Some("%E9%9B%AA")),
        ("name", json!("%C3%AB"), "x-user-name", Some("%25C3%25AB")),
        ("name", json!(null), "x-user-name", None),
        ("name", json!({ "first": "Ada" }), "x-user-name", None),
        (
            "roles",
            json!(["user", "admin"]),
            "x-user-roles",
            Some("user,admin"),
        ),
        (
            "roles",
            json!(["user,admin"]),
            "x-user-roles",
            Some("user%2Cadmin"),
        ),
        (
            "roles",
            json!(["a b", " c", "d "]),
            "x-user-roles",
            Some("a b,%20c,d%20"),
        ),
        (
            "roles",
            json!([1, true, "x"]),
            "x-user-roles",
            Some("1,true,x"),
        ),
        ("roles", json!("user"), "x-user-roles", Some("user")),
        ("roles", json!([]), "x-user-roles", None),
        ("roles", json!([["admin"]]), "x-user-roles", None),
        (
            "roles",
            json!(["user"]),
            "x-user-both",
            Some("a@example.com,user"),
        ),
        (
            "email",
            json!("a,b@example.com"),
            "x-user-both",
            Some("a%2Cb@example.com"),
        ),
    ];
    for (claim, value, header, wanted) in table {
        let mut claims = issuer.claims("a", json!({}));
        claims.insert((*claim).to_owned(), value.clone());
        let reply = usher.get("/", &issuer.sign(&claims));
        assert_eq!(reply.status, 200, "{claim} {value}");
        assert_eq!(app.last().header(header), *wanted, "{claim} {value}");
        assert_eq!(app.last().header("x-user-issuer"), Some("idp"));
        let all = app.last().header("x-user-all").unwrap().to_owned();
        let all = BASE64URL_NOPAD.decode(all.as_bytes()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&all).unwrap(),
            Value::from(claims)
        );
    }
}

#[test]
fn claims_that_fit_no_header_are_refused() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, ENCODED);
    let good = issuer.token("alice");
    let huge: Value = serde_json::from_str("18446744073709551616").unwrap();
    let table = [
        ("sub", json!("a\r\nX-Admin: 1"), "identity_refused"),
        ("sub", json!("a\u{0}b"), "identity_refused"),
        ("sub", json!("a\u{7f}b"), "identity_refused"),
        ("sub", json!("a\tb"), "identity_refused"),
        ("sub", json!("a\u{2028}b"), "identity_refused"),
        ("sub", json!("a\u{85}b"), "identity_refused"),
        ("sub", json!(""), "identity_refused"),
        ("sub", json!(" alice"), "identity_refused"),
        ("sub", json!("alice "), "identity_refused"),
        ("sub", json!("alice\u{a0}"), "identity_refused"),
        ("sub", json!(5.0), "identity_refused"),
        ("sub", json!(0.5), "identity_refused"),
        ("sub", json!(9_007_199_254_740_993_u64), "identity_refused"),
        ("sub", huge, "identity_refused"),
        ("sub", json!(true), "identity_refused"),
        ("sub", json!(null), "identity_refused"),
        ("sub", json!({}), "identity_refused"),
        ("sub", json!([]), "identity_refused"),
        ("sub", json!(["alice"]), "identity_refused"),
        ("name", json!("a\r\nX-Admin: 1"), "identity_refused"),
        ("roles", json!(["user", "a\nb"]), "identity_refused"),
        ("name", json!("x".repeat(4100)), "identity_too_large"),
    ];
    for (number, (claim, value, reason)) in table.into_iter().enumerate() {
        let mut claims = issuer.claims("alice", json!({}));
        claims.insert(claim.to_owned(), value.clone());
        let target = format!("/{number}");
        let bytes = get(&target, Some(&issuer.sign(&claims)), "");
        let reply = usher.refuses(&app, &good, bytes, &[401]);
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
        assert_eq!(usher.line(&target)["reason"], reason, "{claim} {value}");
    }
    let missing = issuer.token_with("alice", json!({ "sub": null }));
    usher.refuses(&app, &good, get("/missing", Some(&missing), ""), &[401]);
    assert_eq!(usher.line("/missing")["reason"], "id_missing");
}

#[test]
fn ids_may_be_integers_that_are_exact() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    for (id, wanted) in [
        (json!(5), "5"),
        (json!(-5), "-5"),
        (json!(9_007_199_254_740_992_u64), "9007199254740992"),
    ] {
        let mut claims = issuer.claims("alice", json!({}));
        claims.insert("sub".to_owned(), id);
        assert_eq!(usher.get("/", &issuer.sign(&claims)).status, 200);
        assert_eq!(app.last().header("x-user-id"), Some(wanted));
    }
}
