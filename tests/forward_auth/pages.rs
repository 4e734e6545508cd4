//! Pages of other origins: preflights, answers and refusals that a browser can read.

use super::{Asked, DIALECTS, ask, bearer, question, says_nobody, start};
use crate::common::{Reply, Usher};

const PREFLIGHT: &str = "Origin: https://page.test\r\nAccess-Control-Request-Method: PUT\r\n\
    Access-Control-Request-Headers: authorization\r\n";

fn options(usher: &Usher, dialect: &str, target: &str, lines: &str) -> Reply {
    let asked = Asked {
        method: "OPTIONS",
        target,
        host: "app.test",
        lines,
    };
    usher.raw(question(dialect, &asked))
}

#[test]
fn preflights_are_answered_where_the_proxy_passes_that_on() {
    let (_app, _issuer, usher) = start("");
    for dialect in DIALECTS {
        // Where the app answers them, they pass as nobody.
        let reply = options(&usher, dialect, "/own-cors/x", PREFLIGHT);
        assert_eq!(reply.status, 200, "{dialect}");
        says_nobody(&reply);
        let reply = options(&usher, dialect, "/api.v1/x", PREFLIGHT);
        if ["haproxy", "envoy"].contains(&dialect) {
            assert_eq!(reply.status, 204, "{dialect}");
            for (name, value) in [
                ("access-control-allow-origin", "https://page.test"),
                ("access-control-allow-methods", "PUT"),
                ("access-control-allow-headers", "authorization"),
                ("access-control-max-age", "600"),
            ] {
                assert_eq!(reply.header(name), Some(value), "{dialect}");
            }
            let evil = PREFLIGHT.replace("page.test", "evil.test");
            let reply = options(&usher, dialect, "/api.v1/x", &evil);
            assert_eq!(
                (reply.status, reply.header("access-control-allow-origin")),
                (204, None)
            );
            assert!(
                !reply.head.to_lowercase().contains("x-user"),
                "{}",
                reply.head
            );
        } else {
            // An answer of ours would be a yes, so it is a request like any.
            assert_eq!(reply.status, 401, "{dialect}");
            let allowed = reply.header("access-control-allow-origin");
            assert_eq!(allowed, Some("https://page.test"));
        }
        // Without the question of a preflight it is none.
        let reply = options(
            &usher,
            dialect,
            "/api.v1/x",
            "Origin: https://page.test\r\n",
        );
        assert_eq!(reply.status, 401, "{dialect}");
    }
}

#[test]
fn refusals_and_answers_can_be_read() {
    let (_app, issuer, usher) = start("");
    let token = bearer(&issuer.token("alice"));
    let page = "Origin: https://page.test\r\n";
    for dialect in DIALECTS {
        for (target, lines, status, allowed) in [
            ("/api.v1/x", "", 401, true),
            ("/api.v1/x", token.as_str(), 200, true),
            // The app says it.
            ("/own-cors/x", &token, 200, false),
            ("/own-cors/x", "", 401, true),
            ("/x", &token, 200, false),
            ("/x", "", 401, false),
        ] {
            for (origin, known) in [(page, true), (&page.replace("page", "evil"), false)] {
                let reply = ask(&usher, dialect, target, &format!("{lines}{origin}"));
                assert_eq!(reply.status, status, "{dialect} {target}");
                let wanted = (allowed && known).then_some("https://page.test");
                let found = reply.header("access-control-allow-origin");
                assert_eq!(found, wanted, "{dialect} {target} {origin}");
                let vary = if allowed { &["origin"][..] } else { &[] };
                assert_eq!(reply.all("vary"), vary, "{dialect} {target} {status}");
            }
        }
    }
}

/// What is kept for one page is not kept for another.
#[test]
fn a_yes_that_is_kept_depends_on_the_page() {
    let cache = |yaml: &str| yaml.replace("dialect: nginx }", "dialect: nginx, cache: 3s }");
    let (app, issuer) = (crate::common::App::start(), crate::common::Issuer::new());
    let usher = Usher::start(&app, &issuer, &cache(super::DOORS));
    let lines = format!(
        "{}Origin: https://page.test\r\n",
        bearer(&issuer.token("alice"))
    );
    let reply = ask(&usher, "nginx", "/api.v1/x", &lines);
    assert_eq!(reply.header("cache-control"), Some("private, max-age=3"));
    let vary = reply.header("vary").unwrap();
    assert!(vary.split(", ").any(|name| name == "origin"), "{vary}");
}
