//! A token that was verified once is not verified again, and is asked all the same.

use serde_json::json;
use usher::clock::{Clock, ManualClock};

use crate::common::issuer::now;
use crate::common::{App, Issuer, Usher};

fn counts(usher: &Usher) -> (f64, f64, f64) {
    (
        usher.metric("usher_token_cache_hits_total"),
        usher.metric("usher_token_cache_misses_total"),
        usher.metric("usher_token_verifications_total"),
    )
}

fn with_clock(app: &App, issuer: &Issuer, more: &str) -> (Usher, ManualClock) {
    let clock = ManualClock::new(now());
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\n{more}",
        app.address,
        issuer.yaml()
    );
    (
        Usher::with_clock(&yaml, Clock::Manual(clock.clone())),
        clock,
    )
}

#[test]
fn the_second_time_costs_no_verification() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    for _ in 0..10 {
        assert_eq!(usher.get("/", &token).status, 200);
    }
    assert_eq!(counts(&usher), (9.0, 1.0, 1.0));
    // Its own signature or not, another token is another token.
    let bob = issuer.token("bob");
    assert_eq!(usher.get("/", &bob).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("bob"));
    assert_eq!(counts(&usher), (9.0, 2.0, 2.0));
}

#[test]
fn tokens_that_share_most_of_their_bytes_share_no_verdict() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let (alice, bob) = (issuer.token("alice"), issuer.token("bob"));
    assert_eq!(usher.get("/", &alice).status, 200);
    let (signed, made) = alice.rsplit_once('.').unwrap();
    let others = bob.rsplit_once('.').unwrap().1;
    let first = if made.starts_with('A') { "B" } else { "A" };
    for token in [
        format!("{signed}.{others}"),
        format!("{signed}.{first}{}", &made[1..]),
        format!("{}.{made}", bob.rsplit_once('.').unwrap().0),
    ] {
        assert_eq!(usher.get("/", &token).status, 401);
    }
    assert_eq!(usher.get("/", &alice).status, 200);
    assert_eq!(app.count(), 2);
}

#[test]
fn a_remembered_token_ends_when_it_says() {
    let (app, issuer) = (App::start(), Issuer::new());
    let (usher, clock) = with_clock(&app, &issuer, "");
    let token = issuer.token_with("alice", json!({ "exp": now() + 600 }));
    let asked = |status, path: &str| assert_eq!(usher.get(path, &token).status, status, "{path}");
    for second in 0..10 {
        asked(200, &format!("/{second}"));
        clock.advance(1);
    }
    clock.set(now() + 700);
    asked(401, "/late");
    assert_eq!(usher.line("/late")["reason"], "token_expired");
    assert_eq!(counts(&usher).2, 1.0);
    // A clock that is set back does not refuse what is good by it, and does not panic.
    clock.set(-1);
    asked(401, "/before-1970");
    assert_eq!(usher.line("/before-1970")["reason"], "token_not_yet_valid");
    clock.set(i64::MAX);
    asked(401, "/end-of-time");
    clock.set(now());
    asked(200, "/again");
}

#[test]
fn a_token_that_comes_too_early_is_good_later() {
    let (app, issuer) = (App::start(), Issuer::new());
    let (usher, clock) = with_clock(&app, &issuer, "");
    let token = issuer.token_with("alice", json!({ "nbf": now() + 20 }));
    assert_eq!(usher.get("/early", &token).status, 401);
    assert_eq!(usher.line("/early")["reason"], "token_not_yet_valid");
    clock.advance(21);
    assert_eq!(usher.get("/", &token).status, 200);
}

#[test]
fn what_a_route_requires_is_asked_each_time() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "routes:\n\
         - { path: /admin/**, require: { roles: [admin, owner] } }\n\
         - { path: /write/**, require: { scopes: [read, write] } }\n\
         - { path: /seven/**, require: { claims: { tenant: [7, eight] } } }\n",
    );
    let plain = issuer.token("alice");
    let rich = issuer.token_with(
        "bob",
        json!({ "roles": ["user", "admin"], "scope": "write read", "tenant": 7 }),
    );
    let close = issuer.token_with(
        "carol",
        json!({ "roles": ["admin-readonly", "user,admin"], "scope": "read writer", "tenant": "7" }),
    );
    assert_eq!(usher.get("/a", &plain).status, 200);
    for (number, (path, token, status)) in [
        ("/admin", &plain, 403),
        ("/write", &plain, 403),
        ("/seven", &plain, 403),
        ("/b", &plain, 200),
        ("/admin", &rich, 200),
        ("/write", &rich, 200),
        ("/seven", &rich, 200),
        ("/admin", &close, 403),
        ("/write", &close, 403),
        ("/seven", &close, 403),
        ("/admin", &plain, 403),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("{path}/{number}");
        let reply = usher.get(&target, token);
        assert_eq!(reply.status, status, "{target}");
        if status == 403 {
            assert_eq!(
                reply.header("www-authenticate"),
                Some("Bearer error=\"insufficient_scope\"")
            );
            let line = usher.line(&target);
            assert_eq!(line["reason"], "insufficient_scope");
            assert_eq!(
                line["token"],
                usher::identify::fingerprint(token).to_string()
            );
        }
    }
    assert_eq!(counts(&usher).2, 3.0);
}

#[test]
fn many_first_uses_of_one_token_verify_it_once() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "workers: 4\ntimeouts: { connect: 10s }");
    let token = issuer.token("alice");
    let mut clients: Vec<_> = (0..1000).map(|_| usher.connect()).collect();
    for client in &mut clients {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
    }
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(usher.metric("usher_token_verifications_total"), 1.0);
    assert_eq!(app.count(), 1000);
}

#[test]
fn refused_tokens_push_no_good_one_out() {
    let (app, issuer) = (App::start(), Issuer::new());
    // Room for a few good tokens only.
    let usher = Usher::start(
        &app,
        &issuer,
        "tokens: { cache: { weight: 64KiB, refused_count: 10 } }",
    );
    let good: Vec<_> = (0..20)
        .map(|number| issuer.token(&format!("user-{number}")))
        .collect();
    for token in &good {
        assert_eq!(usher.get("/", token).status, 200);
    }
    let mut client = usher.connect();
    let stranger = Issuer::new();
    for number in 0..500 {
        let token = stranger.token(&format!("eve-{number}"));
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 401);
    }
    let (hits, ..) = counts(&usher);
    for token in &good {
        assert_eq!(usher.get("/", token).status, 200);
    }
    assert_eq!(counts(&usher).0 - hits, 20.0);
}

#[test]
fn a_refusal_is_remembered_too() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let bad = Issuer::new().token("eve");
    for _ in 0..5 {
        assert_eq!(usher.get("/", &bad).status, 401);
    }
    assert_eq!(counts(&usher).2, 1.0);
    assert_eq!(usher.metric("usher_token_cache_refused_hits_total"), 4.0);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

/// Where no users are looked up, a remembered token is its headers and little else.
#[test]
fn a_remembered_token_keeps_no_claim_that_nobody_reads() {
    const TOKEN: &str = include_str!("../benches/micro/token.txt");
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/micro/jwks.json");
    let kept = |more: &str| {
        let text = format!(
            "upstream: http://127.0.0.1:9\nadmin: off\nissuers: [{{ issuer: 'https://idp.example.com/', \
             jwks_file: '{keys}', audiences: [app], algorithms: [RS256] }}]\n{more}"
        );
        let parsed = usher::config::parse(&text, "test", &|_| None);
        let config = parsed
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .config;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let parts = usher::assemble(&config, usher::Options::default()).await;
            let verified = parts.unwrap().identify.identify(TOKEN.trim(), None).await;
            verified.unwrap().identity.kept.len()
        })
    };
    assert_eq!(kept(""), 0);
    assert_eq!(
        kept("routes: [{ path: /**, require: { roles: [user] } }]\n"),
        1
    );
}
