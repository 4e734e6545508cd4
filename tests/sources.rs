//! Where a token is read from: the first place that holds one decides, and the app receives
//! none of them.

use crate::common::app::Answer;
use crate::common::{App, Issuer, Reply, Usher};

const ALL: &str = "tokens: { from: [authorization, { cookie: session }, { header: X-Access-Token }, \
                   { query: access_token }] }";

fn started(more: &str) -> (App, Issuer, Usher) {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, more);
    (app, issuer, usher)
}

/// A request with these header lines, each ending in CRLF.
#[track_caller]
fn ask(usher: &Usher, method: &str, target: &str, lines: &str) -> Reply {
    usher.raw(format!(
        "{method} {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
    ))
}

#[test]
fn a_token_is_found_in_each_place() {
    let (app, issuer, usher) = started(ALL);
    let token = issuer.token("alice");
    let table = [
        ("/", format!("Authorization: Bearer {token}\r\n")),
        ("/", format!("Cookie: session={token}\r\n")),
        ("/", format!("Cookie: a=b; session={token}; c=d\r\n")),
        ("/", format!("Cookie: a=b\r\nCookie: session={token}\r\n")),
        ("/", format!("x-ACCESS-token: {token}\r\n")),
    ];
    for (target, lines) in &table {
        assert_eq!(ask(&usher, "GET", target, lines).status, 200, "{lines}");
        assert_eq!(app.last().header("x-user-id"), Some("alice"));
    }
    let mut encoded = format!("/?access%5Ftoken={token}");
    encoded = encoded.replace("ey", "%65y");
    for target in [
        format!("/?access_token={token}"),
        format!("/?a=1&access_token={token}&b"),
        encoded,
    ] {
        assert_eq!(ask(&usher, "GET", &target, "").status, 200, "{target}");
        assert_eq!(app.last().header("x-user-id"), Some("alice"));
    }
}

#[test]
fn no_place_but_those_in_the_list_is_looked_at() {
    let (app, issuer, usher) = started("");
    let token = issuer.token("alice");
    let table = [
        (format!("/?access_token={token}"), String::new()),
        (
            "/".to_owned(),
            format!("Cookie: access_token={token}; session={token}\r\n"),
        ),
        ("/".to_owned(), format!("X-Access-Token: {token}\r\n")),
        (
            "/".to_owned(),
            format!("Proxy-Authorization: Bearer {token}\r\n"),
        ),
    ];
    for (target, lines) in &table {
        let reply = ask(&usher, "GET", target, lines);
        assert_eq!(reply.status, 401, "{target} {lines}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some(r#"Bearer realm="app""#)
        );
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn the_first_place_decides_and_is_never_followed_by_another() {
    let (app, issuer, usher) = started(ALL);
    let (alice, bob) = (issuer.token("alice"), issuer.token("bob"));
    let both = format!("Authorization: Bearer {alice}\r\nCookie: session={bob}\r\n");
    assert_eq!(ask(&usher, "GET", "/", &both).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    let both = format!("X-Access-Token: {alice}\r\nCookie: session={bob}\r\n");
    assert_eq!(ask(&usher, "GET", "/", &both).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("bob"));
    let before = app.count();
    let table = [
        (
            format!("Authorization: Bearer x.y.z\r\nCookie: session={bob}\r\n"),
            "token_malformed",
        ),
        (
            format!("Authorization: Bearer\r\nCookie: session={bob}\r\n"),
            "token_malformed",
        ),
        (
            format!("Authorization:\r\nCookie: session={bob}\r\n"),
            "token_missing",
        ),
        (
            format!("Authorization: Basic YTpi\r\nCookie: session={bob}\r\n"),
            "scheme_refused",
        ),
        (
            format!("Cookie: session=x\r\nX-Access-Token: {bob}\r\n"),
            "token_malformed",
        ),
        (
            format!("X-Access-Token: é\r\nAccept: */*\r\nX-Access-Token2: {bob}\r\n"),
            "token_malformed",
        ),
    ];
    for (number, (lines, reason)) in table.iter().enumerate() {
        let path = format!("/{number}");
        let target = format!("{path}?access_token={bob}");
        assert_eq!(ask(&usher, "GET", &target, lines).status, 401, "{lines}");
        assert_eq!(usher.line(&path)["reason"], *reason, "{lines}");
    }
    assert_eq!(app.count(), before);
    // An empty cookie is how many apps log out: it is no token.
    let empty = format!("Cookie: session=\r\nX-Access-Token: {alice}\r\n");
    assert_eq!(ask(&usher, "GET", "/", &empty).status, 200);
}

#[test]
fn the_order_is_that_of_the_list() {
    let (app, issuer, usher) =
        started("tokens: { from: [{ query: t }, { cookie: c }, authorization] }");
    let (alice, bob, eve) = (
        issuer.token("alice"),
        issuer.token("bob"),
        issuer.token("eve"),
    );
    let lines = format!("Authorization: Bearer {alice}\r\nCookie: c={bob}\r\n");
    assert_eq!(
        ask(&usher, "GET", &format!("/?t={eve}"), &lines).status,
        200
    );
    assert_eq!(app.last().header("x-user-id"), Some("eve"));
    assert_eq!(ask(&usher, "GET", "/", &lines).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("bob"));
    let reply = ask(&usher, "GET", "/?t=x", &lines);
    assert_eq!(reply.status, 401);
}

#[test]
fn one_place_twice_is_a_mistake() {
    let (app, issuer, usher) = started(ALL);
    let token = issuer.token("alice");
    let line = format!("Authorization: Bearer {token}\r\n");
    let header = format!("X-Access-Token: {token}\r\n");
    let table = [
        ("/a", String::new(), format!("{line}{line}")),
        (
            "/b",
            String::new(),
            format!("{line}Authorization: Basic YTpi\r\n"),
        ),
        (
            "/c",
            String::new(),
            format!("Cookie: session={token}; session={token}\r\n"),
        ),
        (
            "/d",
            String::new(),
            format!("Cookie: session={token}\r\nCookie: session=x\r\n"),
        ),
        ("/e", String::new(), format!("{header}{header}")),
        (
            "/f",
            format!("?access_token={token}&access_token={token}"),
            String::new(),
        ),
        (
            "/g",
            format!("?access_token={token}&access%5ftoken=x"),
            String::new(),
        ),
    ];
    for (path, query, lines) in &table {
        let reply = ask(&usher, "GET", &format!("{path}{query}"), lines);
        assert_eq!(reply.status, 400, "{path}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"invalid_request\"")
        );
        assert_eq!(usher.line(path)["reason"], "token_twice");
    }
    assert_eq!(app.count(), 0);
    assert_eq!(usher.get("/", &token).status, 200);
}

#[test]
fn the_app_receives_no_token_from_any_place() {
    let (app, issuer, usher) = started(&format!(
        "{ALL}\nroutes: [{{ path: /public, access: public }}]"
    ));
    let token = issuer.token("alice");
    let lines = format!(
        "Authorization: Bearer {token}\r\nX-Access-Token: {token}\r\n\
         Cookie: a=1; session={token}; b=\"x y\"\r\nCookie: sessions=2\r\n"
    );
    for path in ["/", "/public"] {
        let target = format!("{path}?a=%20b&access_token={token}&access_tokens=3");
        assert_eq!(ask(&usher, "GET", &target, &lines).status, 200);
        let received = app.last();
        assert_eq!(received.target(), format!("{path}?a=%20b&access_tokens=3"));
        assert_eq!(received.all("cookie"), ["a=1; b=\"x y\"", "sessions=2"]);
        assert_eq!(received.header("authorization"), None);
        assert_eq!(received.header("x-access-token"), None);
        assert!(!received.head.contains(&token), "{}", received.head);
    }
    let lines = format!("Cookie: session={token}\r\n");
    assert_eq!(ask(&usher, "GET", "/only", &lines).status, 200);
    assert_eq!(app.last().header("cookie"), None);
    assert_eq!(
        ask(&usher, "GET", &format!("/only?access_token={token}"), "").status,
        200
    );
    assert_eq!(app.last().target(), "/only");
}

#[test]
fn other_credentials_pass_on_public_routes() {
    let (app, _issuer, usher) = started("routes: [{ path: /public, access: public }]");
    let reply = ask(
        &usher,
        "GET",
        "/public?access_token=x",
        "Authorization: Basic YTpi\r\nCookie: session=1\r\n",
    );
    assert_eq!(reply.status, 200);
    let received = app.last();
    assert_eq!(received.header("authorization"), Some("Basic YTpi"));
    assert_eq!(received.header("cookie"), Some("session=1"));
    assert_eq!(received.target(), "/public?access_token=x");
}

#[test]
fn the_app_receives_the_token_where_that_is_wanted() {
    let settings = ALL.replace(" }] }", " }], pass: true }");
    let (app, issuer, usher) = started(&settings);
    let token = issuer.token("alice");
    let lines = format!("Authorization: Bearer {token}\r\nCookie: session=x\r\n");
    let target = format!("/?access_token={token}");
    assert_eq!(ask(&usher, "GET", &target, &lines).status, 200);
    let received = app.last();
    assert_eq!(received.target(), target);
    let bearer = format!("Bearer {token}");
    assert_eq!(received.header("authorization"), Some(bearer.as_str()));
    assert_eq!(received.header("cookie"), Some("session=x"));
}

#[test]
fn a_cookie_counts_for_changes_only_from_a_page_of_ours() {
    let (app, issuer, usher) = started(
        "tokens: { from: [{ cookie: session }, authorization], cookie_origins: [\"https://ui.test\"] }",
    );
    let token = issuer.token("alice");
    let cookie = format!("Cookie: session={token}\r\n");
    let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    let good = [
        ("GET", ""),
        ("HEAD", "Origin: https://evil.test\r\n"),
        ("OPTIONS", "Sec-Fetch-Site: cross-site\r\n"),
        ("POST", "Origin: http://app.test\r\n"),
        ("POST", "Origin: http://app.test:80\r\n"),
        ("POST", "Origin: https://ui.test\r\n"),
        ("DELETE", "Sec-Fetch-Site: same-origin\r\n"),
        // `Origin` decides where it is there.
        (
            "PUT",
            "Origin: http://app.test\r\nSec-Fetch-Site: cross-site\r\n",
        ),
    ];
    for (method, lines) in good {
        let mut client = usher.connect();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: app.test\r\n{cookie}{lines}\r\n"
        ));
        let reply = client.reply_to(method).unwrap();
        assert_eq!(reply.status, 200, "{method} {lines}");
    }
    let before = app.count();
    let bad = [
        ("POST", ""),
        ("PUT", "Origin: https://evil.test\r\n"),
        ("PATCH", "Origin: null\r\n"),
        ("DELETE", "Origin: https://app.test\r\n"),
        ("POST", "Origin: http://app.test:8080\r\n"),
        ("POST", "Origin: http://app.test.evil.test\r\n"),
        ("POST", "Origin: http://ui.test\r\n"),
        ("POST", "Origin: https://ui.test/\r\n"),
        ("POST", "Origin: \r\n"),
        (
            "POST",
            "Origin: http://app.test\r\nOrigin: http://app.test\r\n",
        ),
        (
            "POST",
            "Origin: https://evil.test\r\nSec-Fetch-Site: same-origin\r\n",
        ),
        ("POST", "Sec-Fetch-Site: same-site\r\n"),
        ("POST", "Sec-Fetch-Site: cross-site\r\n"),
        ("POST", "Sec-Fetch-Site: none\r\n"),
        ("PROPFIND", ""),
        ("GET", upgrade),
        (
            "GET",
            "Upgrade: websocket\r\nConnection: upgrade\r\nOrigin: https://evil.test\r\n",
        ),
    ];
    for (number, (method, lines)) in bad.iter().enumerate() {
        let path = format!("/{number}");
        let reply = ask(&usher, method, &path, &format!("{cookie}{lines}"));
        assert_eq!(reply.status, 403, "{method} {lines}");
        assert_eq!(reply.body, r#"{"error":"forbidden"}"#);
        assert_eq!(reply.header("www-authenticate"), None);
        assert_eq!(
            usher.line(&path)["reason"],
            "cross_site",
            "{method} {lines}"
        );
    }
    assert_eq!(app.count(), before);
    // A token that no browser adds by itself needs no page.
    let lines = format!("Authorization: Bearer {token}\r\nOrigin: https://evil.test\r\n");
    assert_eq!(ask(&usher, "POST", "/", &lines).status, 200);
}

#[test]
fn behind_a_trusted_proxy_the_page_is_compared_with_what_the_client_used() {
    let (_app, issuer, usher) =
        started("tokens: { from: [{ cookie: session }] }\ntrusted_proxies: [127.0.0.1]");
    let cookie = format!("Cookie: session={}\r\n", issuer.token("alice"));
    let https = format!("{cookie}X-Forwarded-Proto: https\r\n");
    let own = format!("{https}Origin: https://app.test\r\n");
    assert_eq!(ask(&usher, "POST", "/", &own).status, 200);
    let plain = format!("{https}Origin: http://app.test\r\n");
    assert_eq!(ask(&usher, "POST", "/", &plain).status, 403);
}

#[test]
fn a_page_sends_its_token_as_a_protocol_of_its_websocket() {
    let app = App::with(|received| {
        let chosen = match received.target() {
            "/chat" => "sec-websocket-protocol: chat\r\n",
            _ => "",
        };
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
        Answer::Last(format!("{head}{chosen}\r\n").into_bytes())
    });
    let issuer = Issuer::new();
    let usher = Usher::start(
        &app,
        &issuer,
        "tokens: { from: [websocket_protocol, authorization] }",
    );
    let token = issuer.token("alice");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let protocol = |offered: &str| format!("{upgrade}Sec-WebSocket-Protocol: {offered}\r\n");
    let cases = [
        ("/", format!("bearer, {token}"), None, Some("bearer")),
        (
            "/",
            format!("chat, bearer, {token}"),
            Some("chat"),
            Some("bearer"),
        ),
        (
            "/chat",
            format!("chat,Bearer,{token}"),
            Some("chat"),
            Some("chat"),
        ),
    ];
    for (target, offered, forwarded, chosen) in cases {
        let reply = ask(&usher, "GET", target, &protocol(&offered));
        assert_eq!(reply.status, 101, "{offered}");
        assert_eq!(reply.header("sec-websocket-protocol"), chosen);
        let received = app.last();
        assert_eq!(received.header("x-user-id"), Some("alice"));
        assert_eq!(received.header("sec-websocket-protocol"), forwarded);
    }
    let count = app.count();
    for (offered, status) in [
        ("bearer".to_owned(), 401),
        ("bearer, nonsense".to_owned(), 401),
        (format!("bearer, {token}, bearer, {token}"), 400),
        ("chat".to_owned(), 401),
    ] {
        let reply = ask(&usher, "GET", "/", &protocol(&offered));
        assert_eq!(reply.status, status, "{offered}");
    }
    // Only the beginning of a WebSocket has protocols.
    let plain = format!("Sec-WebSocket-Protocol: bearer, {token}\r\n");
    assert_eq!(ask(&usher, "GET", "/", &plain).status, 401);
    assert_eq!(app.count(), count);
    // With another source the app's choice is the app's.
    let lines = format!("{upgrade}Authorization: Bearer {token}\r\n");
    let reply = ask(&usher, "GET", "/", &lines);
    assert_eq!(
        (reply.status, reply.header("sec-websocket-protocol")),
        (101, None)
    );
}
