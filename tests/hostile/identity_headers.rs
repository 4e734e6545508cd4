//! A: who is calling is usher's word alone.

use serde_json::{Value, json};

use super::stage::{ROUTES, Stage, accepts, head, is_refused, without};
use crate::common::app::{Answer, Received, answer};
use crate::common::authority::Authority;
use crate::common::http2::{Http2, Http2App, request};
use crate::common::{App, Client, Issuer, KeyServer, Usher, bridge, eventually, tls};

/// What a name may hold besides letters and digits (RFC 9110 §5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// The app reads exactly this as the id, in whatever way it folds names.
#[track_caller]
fn only(received: &Received, id: Option<&str>) {
    let wanted: Vec<String> = id.iter().map(|id| format!("x-user-id: {id}")).collect();
    assert_eq!(received.folded("x-user-id"), wanted, "{}", received.head);
}

/// Each of these lines, forged on a route of every kind, changes nothing.
#[track_caller]
fn never_arrives(stage: &Stage, lines: &str) {
    only(&stage.passes(stage.get("/x", lines)).1, Some("alice"));
    only(&stage.passes(head("GET", "/public/x", lines)).1, None);
    only(&stage.passes(head("GET", "/feed/x", lines)).1, None);
}

#[test]
fn a01_client_supplies_the_identity_header() {
    let stage = Stage::routed();
    let (_, received) = stage.passes(stage.get("/x", "X-User-Id: root\r\n"));
    only(&received, Some("alice"));
    stage.good();
}

#[test]
fn a02_identity_header_on_a_public_route() {
    let stage = Stage::routed();
    for target in ["/public/x", "/feed/x"] {
        let (_, received) = stage.passes(head("GET", target, "X-User-Id: root\r\n"));
        only(&received, None);
    }
    // Nor does a good token make somebody of the caller where nobody asked for one.
    let (_, received) = stage.passes(stage.get("/public/x", "X-User-Id: root\r\n"));
    only(&received, None);
    stage.good();
}

#[test]
fn a03_claim_is_absent_and_the_clients_value_stays() {
    let stage = Stage::new("");
    let token = stage.issuer.token_with("alice", without("email"));
    let lines = format!("Authorization: Bearer {token}\r\nX-User-Email: ceo@x\r\n");
    let (_, received) = stage.passes(head("GET", "/x", &lines));
    assert_eq!(received.folded("x-user-email"), [""; 0]);
    stage.good();
}

#[test]
fn a04_only_the_first_of_several_is_replaced() {
    let stage = Stage::routed();
    let line = "X-User-Id: root\r\n";
    for lines in [
        line.repeat(2),
        format!("{line}X-Other: 1\r\n{line}x-user-id: admin\r\n"),
        "X-User-Id: root, alice\r\n".to_owned(),
        "X-User-Id:\r\nX-User-Id: root\r\n".to_owned(),
    ] {
        never_arrives(&stage, &lines);
    }
}

#[test]
fn a05_case_variants() {
    let stage = Stage::routed();
    for name in ["x-USER-id", "X-USER-ID", "x-user-id", "x-UsEr-iD"] {
        never_arrives(&stage, &format!("{name}: root\r\n"));
    }
    // Nor does the spelling in the configuration matter.
    let stage = Stage::new("headers: { x-aCme-ID: id }");
    for name in ["X-Acme-Id", "x-acme-id", "X_ACME_ID"] {
        let (_, received) = stage.passes(stage.get("/x", &format!("{name}: root\r\n")));
        assert_eq!(received.folded("x-acme-id"), ["x-acme-id: alice"]);
    }
}

#[test]
fn a06_underscore_alias() {
    let stage = Stage::routed();
    for name in ["X_User_Id", "X-User_Id", "x_user-id", "X__User_Id"] {
        never_arrives(&stage, &format!("{name}: root\r\n"));
    }
}

#[test]
fn a07_dot_alias() {
    let stage = Stage::routed();
    for name in ["X.User.Id", "X-User.Id", "X_User.Id", "x..user-id"] {
        never_arrives(&stage, &format!("{name}: root\r\n"));
    }
}

#[test]
fn a08_any_other_separator() {
    let stage = Stage::routed();
    let mut names = 0;
    for first in SEPARATORS.chars() {
        let lines: String = SEPARATORS
            .chars()
            .flat_map(|second| {
                [
                    format!("X{first}User{second}Id"),
                    format!("x{first}{second}user-ID"),
                ]
            })
            .map(|name| format!("{name}: root\r\n"))
            .collect();
        names += lines.lines().count();
        never_arrives(&stage, &lines);
    }
    assert_eq!(names, 15 * 15 * 2);
    // A name that only looks odd is the app's.
    for name in ["X-Custom_Header", "X.Other", "X-User-Ids", "XUserId"] {
        let (_, received) = stage.passes(stage.get("/x", &format!("{name}: kept\r\n")));
        assert_eq!(received.header(name), Some("kept"));
    }
}

#[test]
fn a09_line_break_in_a_claim() {
    let stage = Stage::new("");
    for sub in ["a\r\nX-Admin: 1", "a\nX-Admin: 1", "a\rb", "\r\n\r\nGET /"] {
        stage.refuses(stage.get_as(json!({ "sub": sub })), &[401]);
    }
    for claim in ["email", "name"] {
        stage.refuses(stage.get_as(json!({ claim: "a\r\nX-Admin: 1" })), &[401]);
    }
}

#[test]
fn a10_control_and_odd_characters_in_a_claim() {
    let stage = Stage::new("");
    for sub in [
        "a\0b",
        "a\u{7f}b",
        "a\tb",
        "a\u{1b}[2J",
        "",
        " ",
        " alice",
        "alice ",
        "a\u{85}b",
        "a\u{2028}b",
    ] {
        stage.refuses(stage.get_as(json!({ "sub": sub })), &[401]);
    }
    // What is no ASCII has one spelling that is.
    for (sub, wanted) in [
        ("zo\u{eb}", "zo%C3%AB"),
        ("a\u{202e}b", "a%E2%80%AEb"),
        ("50%", "50%25"),
    ] {
        let (_, received) = stage.passes(stage.get_as(json!({ "sub": sub })));
        only(&received, Some(wanted));
    }
    // And what is too long is refused, never cut: here by `limits.token_bytes` and by `identity_bytes`.
    stage.refuses(
        stage.get_as(json!({ "sub": "x".repeat(64 << 10) })),
        &[401, 431],
    );
    stage.refuses(
        stage.get_as(json!({ "sub": "\u{eb}".repeat(2 << 10) })),
        &[401],
    );
}

#[test]
fn a11_list_joining_is_ambiguous() {
    let stage = Stage::new("headers: { X-User-Id: id, X-User-Roles: roles }");
    for (roles, wanted) in [
        (json!(["user,admin"]), "user%2Cadmin"),
        (json!(["user", "admin"]), "user,admin"),
        (json!(["a b"]), "a b"),
        (json!(["user%2Cadmin"]), "user%252Cadmin"),
        (json!([" admin"]), "%20admin"),
    ] {
        let (_, received) = stage.passes(stage.get_as(json!({ "roles": roles })));
        assert_eq!(received.header("x-user-roles"), Some(wanted));
    }
}

#[test]
fn a12_claim_of_the_wrong_type_becomes_a_header() {
    let stage = Stage::new("");
    let huge: Value = serde_json::from_str("18446744073709551616").unwrap();
    for sub in [
        json!(5.0),
        json!(true),
        json!({}),
        json!([]),
        json!(["alice"]),
        huge,
    ] {
        stage.refuses(stage.get_as(json!({ "sub": sub })), &[401]);
    }
    // A null is a claim that is not there.
    let mut claims = stage.issuer.claims("alice", json!({}));
    claims.insert("sub".to_owned(), Value::Null);
    let bearer = format!("Authorization: Bearer {}\r\n", stage.issuer.sign(&claims));
    stage.refuses(head("GET", "/x", &bearer), &[401]);
    stage.refuses(stage.get_as(json!({ "sub": (1_i64 << 53) + 1 })), &[401]);
    // An integer that every reader of JSON reads alike is an id.
    for (sub, wanted) in [
        (json!(5), "5"),
        (json!(-(1_i64 << 53)), "-9007199254740992"),
    ] {
        let (_, received) = stage.passes(stage.get_as(json!({ "sub": sub })));
        only(&received, Some(wanted));
    }
}

#[test]
fn a13_identity_header_in_trailers() {
    let stage = Stage::routed();
    let forged = "X-User-Id: root\r\nX_User.Id: root\r\nX-Sum: 1\r\n";
    let lines = "Transfer-Encoding: chunked\r\nTrailer: X-User-Id, X_User.Id, X-Sum\r\n";
    let bytes = stage.post(lines, &format!("1\r\na\r\n0\r\n{forged}\r\n"));
    let (_, received) = stage.passes(bytes);
    only(&received, Some("alice"));
    assert_eq!(received.trailers, "X-Sum: 1\n");
    // The same from HTTP/2, and to an app that speaks it.
    let app = Http2App::echo(10);
    let yaml = format!(
        "upstream: h2c://{}\nissuers: [{}]\n",
        app.address,
        stage.issuer.yaml()
    );
    let to_http2 = Usher::configured(&yaml);
    // In chunks to the app of HTTP/2, which sends back what it gets: the forged ones are not there.
    let mut chunked = to_http2.connect();
    let lines = format!("{lines}TE: trailers\r\nConnection: close, TE\r\n");
    chunked.send(stage.post(&lines, &format!("1\r\na\r\n0\r\n{forged}\r\n")));
    let back = chunked.rest().to_ascii_lowercase();
    assert!(
        back.starts_with("http/1.1 200 ") && back.contains("x-sum: 1"),
        "{back}"
    );
    assert!(!back.contains("root"), "{back}");
    let received = app.last();
    let ids: Vec<_> = received.headers.get_all("x-user-id").iter().collect();
    assert_eq!(ids, ["alice"]);
    for usher in [&stage.usher, &to_http2] {
        let client = Http2::connect(usher.address);
        let asked = request(http::Method::POST, "/x", &stage.token);
        let mut trailers = http::HeaderMap::new();
        for name in ["x-user-id", "x_user.id", "x-sum"] {
            trailers.insert(name, http::HeaderValue::from_static("root"));
        }
        let asked = asked.header("te", "trailers").body(()).unwrap();
        let answered = client.upload(asked, "a".into(), Some(trailers)).unwrap();
        assert_eq!(answered.status, 200);
        // The second app sends back the trailers that it gets.
        if let Some(back) = answered.trailers {
            let names: Vec<_> = back.keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["x-sum", "grpc-status"]);
        }
    }
    assert_eq!(app.last().headers["x-user-id"], "alice");
    assert_eq!(stage.app.last().trailers, "x-sum: root\n");
    stage.good();
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a14_upgrade_skips_the_stripping() {
    let stage = Stage::routed();
    for name in ["X-User-Id", "X_User_Id", "x.user.id"] {
        never_arrives(&stage, &format!("{UPGRADE}{name}: root\r\n"));
    }
    // The same to an app that agrees: what it saw before the tunnel has our name alone.
    let app = App::with(|received| {
        match received.header("upgrade") {
        Some(_) => Answer::Bytes(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                .to_vec(),
        ),
        None => Answer::Bytes(answer("200 OK", "", "hello")),
    }
    });
    let stage = Stage::before(app, ROUTES);
    for (target, id) in [("/ws", Some("alice")), ("/public/ws", None)] {
        for name in ["X-User-Id", "X_User_Id", "x.user.id"] {
            let mut client = stage.usher.connect();
            client.send(stage.get(target, &format!("{UPGRADE}{name}: root\r\n")));
            assert_eq!(client.reply().unwrap().status, 101, "{target} {name}");
            let received = stage.app.last();
            assert_eq!(received.header("upgrade"), Some("websocket"));
            only(&received, id);
        }
    }
    stage.good();
}

#[test]
fn a15_preflight_skips_the_stripping() {
    let stage = Stage::new("routes: [{ path: /pass/**, cors: pass }]");
    let lines = "Origin: https://page.test\r\nAccess-Control-Request-Method: PUT\r\nX-User-Id: root\r\nX_User_Id: root\r\n";
    only(&stage.passes(head("OPTIONS", "/pass/x", lines)).1, None);
    // Without that setting a preflight is a request like any other.
    stage.refuses(head("OPTIONS", "/x", lines), &[401]);
}

#[test]
fn a16_secondary_request_carries_credentials() {
    let (issuer, app) = (
        Issuer::new(),
        App::with(|received| match received.target() {
            "/good" => Answer::Bytes(answer("200 OK", "", "hello")),
            _ => Answer::Last(Vec::new()),
        }),
    );
    let server = KeyServer::start(issuer.jwks());
    let usher = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{{ name: idp, issuer: \"{}\", audiences: [app], algorithms: [ES256], jwks_uri: \"{}\" }}]\n",
        app.address,
        Issuer::NAME,
        server.jwks_uri()
    ));
    let lines = "Cookie: session=secret\r\nProxy-Authorization: Basic x\r\n";
    let token = issuer.token("alice");
    eventually("keys", || {
        (usher.admin("/readyz").status == 200).then_some(())
    });
    // An unknown key makes usher fetch; an app that breaks makes it answer by itself.
    let stranger = Issuer::with_kid("other").token("alice");
    assert!([401, 503].contains(&usher.get_with("/x", &stranger, lines).status));
    let reply = usher.get_with("/x", &token, lines);
    assert_eq!(
        (reply.status, app.count()),
        (502, 1),
        "nothing is asked again"
    );
    let heads = server.fetches();
    assert!(!heads.is_empty());
    for head in heads {
        let head = head.to_ascii_lowercase();
        for name in ["authorization", "cookie", "secret", "alice"] {
            assert!(!head.contains(name), "{head}");
        }
    }
    usher.serves(&token);
}

#[test]
fn a17_answer_leaks_what_was_injected() {
    // An app that shows what it got: its body names alice, and nothing of usher's answer does.
    let app = App::with(|received| Answer::Bytes(answer("200 OK", "X-App: 1\r\n", &received.head)));
    let stage = Stage::before(app, "");
    let (reply, _) = stage.passes(stage.get("/x", ""));
    assert!(
        reply.body.contains("x-user-id: alice"),
        "it was injected: {}",
        reply.body
    );
    assert_eq!(reply.header("x-app"), Some("1"));
    let denied = stage.refuses(stage.get_as(json!({ "exp": 1 })), &[401]);
    for head in [reply.head, denied.head] {
        let head = head.to_ascii_lowercase();
        assert!(
            !head.contains("x-user") && !head.contains("alice"),
            "{head}"
        );
    }
    stage.good();
}

#[test]
fn a18_claim_mapped_onto_a_framing_header() {
    for name in [
        "Host",
        "Content-Length",
        "Connection",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Cookie",
        "Authorization",
        "Via",
        "Content_Length",
        "Transfer.Encoding",
        "Transfer--Encoding",
    ] {
        is_refused(
            &format!("headers: {{ {name}: id }}"),
            "has a meaning of its own",
        );
    }
    for name in [":path", "X User", "X\\r\\nY", ""] {
        is_refused(&format!("headers: {{ \"{name}\": id }}"), "headers");
    }
    accepts("headers: { X-Content-Length: id, Hostess: email }");
}

#[test]
fn a19_header_flood_pushes_ours_out() {
    let stage = Stage::new("");
    let flood = |count: usize| -> String { (0..count).map(|n| format!("X-F{n}: 1\r\n")).collect() };
    for count in [10, 97, 98] {
        only(
            &stage.passes(stage.get("/x", &flood(count))).1,
            Some("alice"),
        );
    }
    for count in [99, 100, 500] {
        stage.refuses(stage.get("/x", &flood(count)), &[431]);
    }
}

#[test]
fn a20_two_claims_for_one_header() {
    for (one, other) in [
        ("X-User-Id", "x_user_id"),
        ("X-User-Id", "X.User.Id"),
        ("X-User-Id", "X--User-Id"),
        ("X-User-Id", "X-User_.Id"),
    ] {
        let headers = format!("headers: {{ {one}: id, {other}: email }}");
        is_refused(&headers, "reads the same as");
    }
    is_refused(
        "headers: { X-User-Id: id }\nheader_exceptions: [x_user--id]",
        "header_exceptions",
    );
    accepts("headers: { X-User-Id: id, X-User-Ids: email }\nheader_exceptions: [x_user--ids2]");
}

/// usher cannot see what goes around it. What it gives the app is a way to tell: a certificate of its
/// own, without which the app lets nobody connect.
#[test]
fn a21_client_goes_around_usher() {
    let (app, authority, issuer) = (App::start(), Authority::new(), Issuer::new());
    let server = authority.server("app", &["localhost"]);
    let own = authority.client("usher");
    let address = bridge::tls(tls::server(&server, Some(&authority.root)), app.address);
    let usher = Usher::configured(&format!(
        "upstream: {{ url: 'https://localhost:{}', ca_file: '{}', {} }}\nissuers: [{}]\n",
        address.port(),
        authority.root.display(),
        own.yaml(),
        issuer.yaml()
    ));
    let forged = head("GET", "/around", "X-User-Id: root\r\n");
    let around = tls::connect(address, "localhost", &tls::client(&authority.root, None));
    // With TLS 1.3 the client learns of it when it reads.
    if let Ok(session) = around {
        let mut client = Client::over_tls(session);
        client.send(&forged);
        assert!(client.reply().is_none());
    }
    assert_eq!(app.count(), 0);
    assert_eq!(
        usher
            .get_with("/x", &issuer.token("alice"), "X-User-Id: root\r\n")
            .status,
        200
    );
    only(&app.last(), Some("alice"));
    usher.serves(&issuer.token("alice"));
}

/// The forged header survives no way that a request can take: the matrix of the rows above.
#[test]
fn a_forged_header_survives_nowhere() {
    let app = App::with(|received| match received.header("upgrade") {
        Some(_) => Answer::Bytes(answer("400 Bad Request", "", "")),
        None => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let stage = Stage::before(app, ROUTES);
    let mut ways = 0;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "FOO"] {
        for target in ["/x", "/public/x", "/feed/x"] {
            for framing in ["", "Content-Length: 0\r\n", "Connection: X-User-Id\r\n"] {
                let lines = format!("{}X.User_Id: root\r\n{framing}", stage.bearer());
                let mut client = stage.usher.connect();
                client.send(head(method, target, &lines));
                assert_eq!(client.reply_to(method).unwrap().status, 200);
                let id = (target != "/public/x").then_some("alice");
                only(&stage.app.last(), id);
                ways += 1;
            }
        }
    }
    assert_eq!(ways, 7 * 3 * 3);
}
