//! Who may call: pages of which origins, with which bodies, how often, and what they may read.

use serde_json::json;

use super::stage::{LOGIN, RENEW, SIGN_OUT, Stage, has_code, is, login, post_with};
use crate::common::{Reply, Usher, eventually};

const PAGE: &str = "cors: { origins: [https://web.test] }\n";

fn send(usher: &Usher, path: &str, lines: &str, body: &str) -> Reply {
    usher.raw(format!(
        "POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n{lines}\r\n{body}",
        body.len()
    ))
}

#[test]
fn pages_of_others_cannot_act_for_their_visitors() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", PAGE);
    let json = "Content-Type: application/json\r\n";
    for path in [LOGIN, RENEW, SIGN_OUT] {
        for foreign in [
            "Origin: https://evil.test\r\n",
            "Origin: null\r\n",
            "Origin: https://web.test.evil.test\r\n",
            "Origin: https://web.test\r\nOrigin: https://web.test\r\n",
            "Origin: https://app.test\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
        ] {
            let reply = send(&usher, path, &format!("{json}{foreign}"), "{}");
            is(&reply, 403, "Origin not allowed", "origin-not-allowed");
        }
        for own in [
            "",
            "Origin: https://web.test\r\n",
            "Origin: http://app.test\r\n",
            "Origin: http://APP.test:80\r\n",
            "Sec-Fetch-Site: none\r\n",
            "Sec-Fetch-Site: same-origin\r\n",
        ] {
            let reply = send(&usher, path, &format!("{json}{own}"), "{}");
            assert!(
                [200, 204, 400].contains(&reply.status),
                "{own}: {}",
                reply.status
            );
        }
    }
    assert_eq!(usher.line(LOGIN)["reason"], "cross_site");
}

#[test]
fn what_a_form_can_send_is_refused() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", PAGE);
    for path in [LOGIN, RENEW, SIGN_OUT] {
        for kind in [
            "Content-Type: text/plain\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: application/jsonx\r\n",
            "Content-Type: application/json\r\nContent-Type: application/json\r\n",
            "",
        ] {
            let reply = send(&usher, path, kind, "{}");
            has_code(&reply, 415, "unsupported-media-type");
        }
        // Nothing at all is nothing that a page could have written, unless a page asks.
        let bare = send(&usher, path, "", "");
        assert!([200, 204, 400].contains(&bare.status), "{}", bare.status);
        let page = send(&usher, path, "Origin: https://web.test\r\n", "");
        has_code(&page, 415, "unsupported-media-type");
        let kind = "Content-Type: Application/JSON; charset=utf-8\r\n";
        assert!([200, 204, 400].contains(&send(&usher, path, kind, "{}").status));
    }
}

#[test]
fn allowed_pages_may_read_answers_and_send_cookies() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", PAGE);
    let preflight = |origin: &str| {
        usher.raw(format!(
            "OPTIONS {LOGIN} HTTP/1.1\r\nHost: app.test\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
        ))
    };
    let allowed = preflight("https://web.test");
    assert_eq!(allowed.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://web.test"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type"),
    ] {
        assert_eq!(allowed.header(name), Some(value), "{name}");
    }
    assert_eq!(
        preflight("https://evil.test").header("access-control-allow-origin"),
        None
    );
    let body = json!({ "userJwt": stage.vouch("u", json!({})) }).to_string();
    for (body, status) in [
        (body.as_str(), 200),
        (r#"{"userJwt":"junk"}"#, 403),
        ("{}", 400),
    ] {
        let reply = post_with(&usher, LOGIN, body, "Origin: https://web.test\r\n");
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            Some("https://web.test")
        );
        assert_eq!(
            reply.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(reply.all("vary"), ["origin"]);
    }
    let refused = post_with(&usher, LOGIN, &body, "Origin: https://evil.test\r\n");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

#[test]
fn bodies_have_bounds() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", ", max_body: 4KiB", "");
    let large = format!(r#"{{"userJwt":"{}"}}"#, "x".repeat(4096));
    has_code(&post_with(&usher, LOGIN, &large, ""), 413, "body-too-large");
    let chunked = format!(
        "POST {LOGIN} HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    has_code(&usher.raw(chunked), 413, "body-too-large");
    for (body, status) in [
        ("[]", 400),
        ("{", 400),
        ("\u{0}", 400),
        (r#"{"userJwt":"a"}"#, 403),
    ] {
        assert_eq!(post_with(&usher, LOGIN, body, "").status, status, "{body}");
    }
    // In pieces it is read as a whole.
    let body = json!({ "userJwt": stage.vouch("u", json!({})) }).to_string();
    let (one, two) = body.split_at(body.len() / 2);
    let mut client = usher.connect();
    client.send(format!(
        "POST {LOGIN} HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n",
        one.len()
    ));
    client.send(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len()));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn calls_are_counted_by_client_and_again_after_a_while() {
    let stage = Stage::sqlite();
    let yaml = stage.yaml("", "", "trusted_proxies: [127.0.0.1]\n");
    let yaml = yaml.replace("rate_limit: off", "rate_limit: { calls: 2, per: 1s }");
    let usher = Usher::configured(&yaml);
    let from = |client: &str| {
        let lines = format!("X-Forwarded-For: {client}\r\n");
        post_with(&usher, LOGIN, r#"{"userJwt":"junk"}"#, &lines).status
    };
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8:1:2::1"] {
        assert_eq!(
            (from(client), from(client), from(client)),
            (403, 403, 429),
            "{client}"
        );
    }
    assert_eq!(from("2001:db8:1:2::ffff"), 429, "a network is one caller");
    assert_eq!(from("2001:db8:1:3::1"), 403);
    eventually("the window is over", || {
        (from("192.0.2.1") == 403).then_some(())
    });
}

#[test]
fn paths_have_a_base_where_that_is_wanted() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", "endpoints: { base_path: /api/v5 }\n");
    let body = json!({ "userJwt": stage.vouch("u", json!({})) }).to_string();
    assert_eq!(
        post_with(&usher, &format!("/api/v5{LOGIN}"), &body, "").status,
        200
    );
    // Elsewhere the app is, and it wants a token.
    assert_eq!(login(&usher, "junk").status, 401);
    assert_eq!(stage.app.count(), 0);
}

#[test]
fn a_login_comes_over_http2_too() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let client = crate::common::http2::Http2::connect(usher.address);
    let body = json!({ "userJwt": stage.vouch("u", json!({ "bio": "x".repeat(200) })) });
    let request = crate::common::http2::request(http::Method::POST, LOGIN, "none")
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let answered = client
        .upload(request, body.to_string().into(), None)
        .unwrap();
    assert_eq!(answered.status, 200, "{:?}", answered.body);
    assert!(
        answered
            .header("set-cookie")
            .unwrap()
            .starts_with("__Host-usher-refresh=")
    );
}
