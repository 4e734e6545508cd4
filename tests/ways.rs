//! Routes to other apps, and by other paths.

use crate::common::app::Answer;
use crate::common::command::run;
use crate::common::http2::Http2App;
use crate::common::{App, Issuer, Usher};

#[test]
fn a_route_leads_to_an_app_of_its_own() {
    let (app, orders, issuer) = (App::start(), App::start(), Issuer::new());
    let unspoken = Http2App::echo(10);
    let routes = format!(
        "routes:\n  - {{ path: /orders/**, upstream: \"http://{}\" }}\n\
         \x20 - {{ path: /more/**, upstream: {{ url: \"http://{}\", host: more.internal }} }}\n\
         \x20 - {{ path: /calls/**, upstream: \"h2c://{}\" }}\n",
        orders.address, orders.address, unspoken.address
    );
    let usher = Usher::start(&app, &issuer, &routes);
    let token = issuer.token("alice");
    for (path, to) in [("/a", &app), ("/orders/1", &orders), ("/orders/2", &orders)] {
        assert_eq!(usher.get(path, &token).status, 200);
        assert_eq!(to.last().target(), path);
        assert_eq!(to.last().header("host"), Some("app.test"));
    }
    assert_eq!((app.count(), orders.count()), (1, 2));
    assert_eq!(usher.get("/more/1", &token).status, 200);
    assert_eq!(orders.last().header("host"), Some("more.internal"));
    assert_eq!(orders.last().header("x-forwarded-host"), Some("app.test"));
    assert_eq!(usher.get("/calls/1", &token).status, 200);
    assert_eq!(unspoken.last().uri.path(), "/calls/1");
    // Who may not pass reaches none of them.
    assert_eq!(usher.get_as_nobody("/orders/3").status, 401);
    assert_eq!(orders.count(), 3);
}

#[test]
fn an_app_that_is_down_leaves_the_others_alone() {
    let (app, issuer) = (App::start(), Issuer::new());
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = dead.local_addr().unwrap();
    drop(dead);
    let routes = format!("routes: [{{ path: /down/**, upstream: \"http://{nobody}\" }}]");
    let usher = Usher::start(&app, &issuer, &routes);
    let token = issuer.token("alice");
    assert_eq!(usher.get("/down/a", &token).status, 502);
    let line = usher.line("/down/a");
    assert_eq!(line["reason"], "upstream_unreachable");
    assert!(
        line["detail"]
            .as_str()
            .unwrap()
            .contains(&nobody.to_string()),
        "{line}"
    );
    assert_eq!(usher.get("/up", &token).status, 200);
}

#[test]
fn the_app_gets_the_path_without_the_prefix_and_behind_another() {
    let (app, issuer) = (App::start(), Issuer::new());
    let routes = "routes:\n  - { path: /api/**, strip_prefix: /api }\n\
         \x20 - { path: /old/**, strip_prefix: /old, add_prefix: /new/home }\n\
         \x20 - { path: /short/**, add_prefix: /long }\n\
         \x20 - { path: /free/**, strip_prefix: /free, paths: opaque }\n\
         trusted_proxies: [127.0.0.1]";
    let usher = Usher::start(&app, &issuer, routes);
    let token = issuer.token("alice");
    for (asked, got, told) in [
        (
            "/api/users?a=/api&b=%2F",
            "/users?a=/api&b=%2F",
            Some("/api"),
        ),
        ("/api", "/", Some("/api")),
        ("/api?x", "/?x", Some("/api")),
        ("/%61p%69/us%65rs", "/us%65rs", Some("/api")),
        ("/api/api/api", "/api/api", Some("/api")),
        ("/old/x/", "/new/home/x/", Some("/old")),
        ("/old", "/new/home", Some("/old")),
        ("/short/x", "/long/short/x", None),
        ("/free/a%2Fb;c//d", "/a%2Fb;c//d", Some("/free")),
        ("/other/api/x", "/other/api/x", None),
    ] {
        assert_eq!(usher.get(asked, &token).status, 200, "{asked}");
        let received = app.last();
        assert_eq!(received.target(), got, "{asked}");
        assert_eq!(received.header("x-forwarded-prefix"), told, "{asked}");
    }
    // What a trusted proxy has taken off comes first.
    usher.get_with("/api/x", &token, "X-Forwarded-Prefix: /outer\r\n");
    assert_eq!(app.last().header("x-forwarded-prefix"), Some("/outer/api"));
    let count = app.count();
    for target in [
        "/free//evil.test/a",
        "/free//",
        "/%66ree//x",
        "/api//x",
        "/api/%2e%2e/x",
        "/api/..%2fx",
    ] {
        assert_eq!(usher.get(target, &token).status, 400, "{target}");
        assert_eq!(
            usher.line(target.split('?').next().unwrap())["reason"],
            "bad_path"
        );
    }
    assert_eq!(app.count(), count, "none of these arrived");
}

/// The path that was decided on is logged, and a WebSocket or a retry goes the same way.
#[test]
fn what_is_logged_is_what_was_asked_for() {
    let app = App::with(|received| match received.connection {
        // Closes after one answer, so that the next request is sent again on a new connection.
        0 => Answer::Last(crate::common::app::answer("200 OK", "", "one")),
        _ => Answer::Bytes(crate::common::app::answer("200 OK", "", "more")),
    });
    let issuer = Issuer::new();
    let routes = "routes: [{ path: /api/**, strip_prefix: /api }]";
    let usher = Usher::start(&app, &issuer, routes);
    let token = issuer.token("alice");
    for path in ["/api/first", "/api/second"] {
        assert_eq!(usher.get(path, &token).status, 200);
        assert_eq!(usher.line(path)["route"], "/api/**");
    }
    let targets: Vec<_> = app
        .received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert_eq!(targets, ["/first", "/second"]);
}

#[test]
fn who_only_decides_needs_no_app() {
    let issuer = Issuer::new();
    let text = format!(
        "issuers: [{}]\nheaders: {{ X-User-Id: id }}\nforward_auth: {{ dialect: nginx }}\n\
         trusted_proxies: [127.0.0.1]\nroutes: [{{ path: /open/**, access: public }}]\n",
        issuer.yaml()
    );
    let usher = Usher::configured(&text);
    let token = issuer.token("alice");
    let asked = "X-Original-Method: GET\r\nX-Original-URI: /a\r\n";
    let reply = usher.get_with("/_usher/auth", &token, asked);
    assert_eq!(
        (reply.status, reply.header("x-user-id")),
        (200, Some("alice"))
    );
    // Somebody sends it what is not for it: the rules count all the same, and nobody is there.
    assert_eq!(usher.get_as_nobody("/a").status, 401);
    assert_eq!(usher.get("/b", &token).status, 502);
    assert_eq!(usher.line("/b")["reason"], "upstream_unreachable");
    assert_eq!(usher.get_as_nobody("/open/c").status, 502);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    std::fs::write(&file, &text).unwrap();
    let (code, out, err) = run(&["check", file.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(!out.contains("upstream"), "{out}");
}

#[test]
fn check_says_what_is_wrong_with_ways() {
    let check = |routes: &str| {
        let text = format!(
            "upstream: http://127.0.0.1:3000\n\
             issuers: [{{ name: a, audiences: [a], public_key_file: KEY, issuer: \"https://a/\" }}]\n\
             routes:\n{routes}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::new();
        let file = folder.path().join("usher.yaml");
        let text = text.replace(
            "public_key_file: KEY",
            &format!("jwks_file: {}", issuer.key_set().display()),
        );
        std::fs::write(&file, text).unwrap();
        let (code, _, err) = run(&["check", file.to_str().unwrap()]);
        (code, err)
    };
    for (route, key, message) in [
        (
            "{ path: /api/**, strip_prefix: /ap }",
            "strip_prefix",
            "is not the beginning of the route's path /api/**",
        ),
        (
            "{ path: [/api/**, /b], strip_prefix: /api }",
            "strip_prefix",
            "is not the beginning of the route's path /b",
        ),
        (
            "{ path: /api/**, strip_prefix: /api/ }",
            "strip_prefix",
            "ends with `/`",
        ),
        (
            "{ path: /api/**, add_prefix: /a/../b }",
            "add_prefix",
            "has a dot segment",
        ),
        (
            "{ path: /api/**, add_prefix: //host }",
            "add_prefix",
            "has an empty segment",
        ),
        (
            "{ path: /api/**, add_prefix: v2 }",
            "add_prefix",
            "does not start with `/`",
        ),
        (
            "{ path: /api/**, add_prefix: \"/a?b\" }",
            "add_prefix",
            "has a query or fragment",
        ),
        (
            "{ path: /api/**, upstream: \"ftp://a\" }",
            "upstream",
            "uses ftp, which is not supported",
        ),
        (
            "{ path: /api/**, upstream: { max_idle: 1 } }",
            "upstream.url",
            "is missing",
        ),
        (
            "{ path: /api/**, upstream: { url: \"http://a\", ca_file: x } }",
            "upstream.ca_file",
            "is for TLS",
        ),
        (
            "{ path: /api/**, upstream: \"http://127.0.0.1:8080\" }",
            "upstream",
            "is usher's own address",
        ),
    ] {
        let (code, err) = check(&format!("  - {route}"));
        let wanted = format!(": routes[0].{key}: ");
        assert!(
            code == 78 && err.contains(&wanted) && err.contains(message),
            "{route}: {err}"
        );
    }
    // Another way to what somebody guards.
    let guarded = "  - { path: /api/**, access: public, strip_prefix: /api }\n  - { path: /admin/**, require: { roles: [admin] } }";
    let (code, err) = check(guarded);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning: routes[0].strip_prefix: leads to paths of the app that the route `/admin/**` guards"), "{err}");
    let elsewhere = guarded.replace(
        "strip_prefix: /api }",
        "strip_prefix: /api, upstream: \"http://127.0.0.1:4000\" }",
    );
    assert_eq!(check(&elsewhere), (0, String::new()));
}
