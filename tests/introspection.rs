//! Tokens that say nothing themselves: their issuer is asked (RFC 7662), rarely, and never
//! believed to have said what it has not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use usher::clock::{Clock, ManualClock};
use usher::config::Audiences;
use usher::identify::mint::SigningKey;
use usher::identify::{Rules, Vouched, VouchingKey};

use crate::common::app::answer;
use crate::common::authority::Authority;
use crate::common::issuer::now;
use crate::common::{App, Introspector, Issuer, Mood, Reply, Served, Usher, command, eventually};

const SECRET: &str = "s3cr3t of usher's";
/// Two dots, as some opaque tokens have.
const TOKEN: &str = "v2.local.opaque-token_of~alice";

/// An issuer that is asked, with `members` of it and of `introspection`.
fn entry(server: &Introspector, members: &str, asked: &str) -> String {
    format!(
        "{{ name: idp, {members} audiences: [app], introspection: {{ url: \"{}\", client_id: usher, \
         client_secret: \"{SECRET}\", {asked} }} }}",
        server.url()
    )
}

fn yaml(app: &App, entries: &[String], more: &str) -> String {
    format!(
        "upstream: http://{}\nissuers: [{}]\n{more}",
        app.address,
        entries.join(", ")
    )
}

struct Scene {
    app: App,
    server: Introspector,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            app: App::start(),
            server: Introspector::start(),
        };
        scene.server.knows(TOKEN, "alice");
        scene
    }

    fn yaml(&self, asked: &str, more: &str) -> String {
        yaml(&self.app, &[entry(&self.server, "", asked)], more)
    }

    fn usher(&self, asked: &str, more: &str) -> Usher {
        Usher::configured(&self.yaml(asked, more))
    }

    fn with_clock(&self, asked: &str) -> (Usher, ManualClock) {
        let clock = ManualClock::new(now());
        let usher = Usher::with_clock(&self.yaml(asked, ""), Clock::Manual(clock.clone()));
        (usher, clock)
    }
}

#[track_caller]
fn cannot_tell(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.head);
    let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    assert_eq!(reply.header("www-authenticate"), None);
    assert_eq!(reply.body, r#"{"error":"temporarily_unavailable"}"#);
}

#[track_caller]
fn is_refused(usher: &Usher, token: &str, path: &str, reason: &str) {
    let reply = usher.get(path, token);
    assert_eq!(reply.status, 401, "{path}: {}", reply.head);
    let challenge = reply.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{path}");
    assert_eq!(usher.line(path)["reason"], reason, "{path}");
}

fn outcomes(usher: &Usher, outcome: &str) -> f64 {
    usher.metric(&format!(
        "usher_introspections_total{{issuer=\"idp\",outcome=\"{outcome}\"}}"
    ))
}

#[test]
fn an_issuer_is_asked_once_and_what_it_says_is_the_identity() {
    let scene = Scene::new();
    scene.server.tell(
        TOKEN,
        json!({ "active": true, "sub": "42", "aud": ["app"], "username": "alice", "scope": "read write",
                "client_id": "phone", "exp": now() + 600, "token_type": "Bearer" }),
    );
    let members = "claims: { name: username },";
    let headers = "headers: { X-User-Id: id, X-User-Name: name, X-Client: client_id }\n\
                   routes: [{ path: /write, require: { scopes: [write] } }, { path: /admin, require: { scopes: [admin] } }]\n";
    let entries = [entry(&scene.server, members, "")];
    let usher = Usher::configured(&yaml(&scene.app, &entries, headers));
    assert_eq!(usher.admin("/readyz").status, 200);
    assert_eq!(scene.server.count(), 0);
    for _ in 0..20 {
        assert_eq!(usher.get("/", TOKEN).status, 200);
    }
    let received = scene.app.last();
    assert_eq!(received.header("x-user-id"), Some("42"));
    assert_eq!(received.header("x-user-name"), Some("alice"));
    assert_eq!(received.header("x-client"), Some("phone"));
    assert_eq!(usher.get("/write", TOKEN).status, 200);
    assert_eq!(usher.get("/admin", TOKEN).status, 403);
    assert_eq!(scene.server.count(), 1);
    let question = &scene.server.questions()[0];
    assert!(question.head.starts_with("POST /introspect HTTP/1.1\r\n"));
    assert_eq!(question.header("accept"), Some("application/json"));
    assert_eq!(question.form["token"], TOKEN);
    assert_eq!(question.form["token_type_hint"], "access_token");
    assert_eq!(outcomes(&usher, "active"), 1.0);
    assert_eq!(usher.metric("usher_token_cache_hits_total"), 21.0);
    // The whole token, also what follows its last dot, is in its name.
    let line = usher.line("/write");
    let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    let name = data_encoding::HEXLOWER.encode(&whole.as_ref()[..16]);
    assert_eq!(
        (&line["token"], &line["issuer"]),
        (&json!(name), &json!("idp"))
    );
}

#[test]
fn usher_proves_who_asks_by_a_secret_or_a_key() {
    let scene = Scene::new();
    let usher = scene.usher("", "");
    assert_eq!(usher.get("/", TOKEN).status, 200);
    let question = scene.server.questions().pop().unwrap();
    let basic = question
        .header("authorization")
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let sent = BASE64.decode(basic.as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        "usher:s3cr3t%20of%20usher%27s"
    );
    assert!(!question.form.contains_key("client_secret"));

    let usher = scene.usher("client_auth: post", "");
    assert_eq!(usher.get("/", TOKEN).status, 200);
    let question = scene.server.questions().pop().unwrap();
    assert_eq!(question.header("authorization"), None);
    assert_eq!(question.form["client_id"], "usher");
    assert_eq!(question.form["client_secret"], SECRET);

    let key = Issuer::new();
    let by_key = format!(
        "private_key_file: {}, key_id: k7",
        key.private_key().display()
    );
    let with_key = scene
        .yaml(&by_key, "")
        .replace(&format!("client_secret: \"{SECRET}\","), "");
    let usher = Usher::configured(&with_key);
    assert_eq!(usher.get("/", TOKEN).status, 200);
    scene.server.knows("another", "bob");
    assert_eq!(usher.get("/", "another").status, 200);
    let questions = scene.server.questions();
    let mut ids = BTreeSet::new();
    for question in &questions[questions.len() - 2..] {
        assert_eq!(question.header("authorization"), None);
        let form = &question.form;
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(form["client_assertion_type"], kind);
        let claims = verified(&form["client_assertion"], &key, &scene.server.url());
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("usher"), &json!("usher"))
        );
        assert!(claims["exp"].as_i64().unwrap() <= now() + 60);
        ids.insert(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2, "each assertion is made anew");
    // Also where a question is sent again, since the kept connection was closed under it.
    scene.server.set_mood(Mood::Bytes(Vec::new()));
    cannot_tell(&usher.get("/", "lost"));
    let questions = scene.server.questions();
    let lost = questions
        .iter()
        .filter(|question| question.form["token"] == "lost");
    let shown: Vec<_> = lost
        .map(|question| &question.form["client_assertion"])
        .collect();
    assert!(shown.len() == 2 && shown[0] != shown[1], "{shown:?}");
}

/// The claims of an assertion that the key has signed for this audience.
fn verified(assertion: &str, key: &Issuer, audience: &str) -> Value {
    let pem = std::fs::read(key.private_key()).unwrap();
    let key = VouchingKey::of_signer(&SigningKey::from_pem(&pem).unwrap()).unwrap();
    let audiences = Audiences::OneOf(vec![audience.to_owned()]);
    let rules = Rules {
        audiences: &audiences,
        require_exp: true,
        max_bytes: 8192,
        now: now(),
    };
    let verified = Vouched::verify(assertion, std::iter::once(&key), &rules).unwrap();
    Value::Object(verified.claims)
}

#[test]
fn a_no_is_401_and_remembered_for_a_short_time() {
    let scene = Scene::new();
    let (usher, clock) = scene.with_clock("inactive_life: 10s");
    for _ in 0..10 {
        is_refused(&usher, "unknown", "/unknown", "token_inactive");
    }
    assert_eq!(scene.server.count(), 1);
    scene.server.knows("unknown", "bob");
    clock.advance(9);
    assert_eq!(usher.get("/", "unknown").status, 401);
    clock.advance(1);
    assert_eq!(usher.get("/", "unknown").status, 200);
    assert_eq!(scene.server.count(), 2);
    assert_eq!(
        (outcomes(&usher, "inactive"), outcomes(&usher, "active")),
        (1.0, 1.0)
    );
}

#[test]
fn a_yes_is_asked_for_again_and_ends_with_the_token() {
    let scene = Scene::new();
    let (usher, clock) = scene.with_clock("active_life: 60s");
    assert_eq!(usher.get("/", TOKEN).status, 200);
    scene.server.revoke(TOKEN);
    clock.advance(59);
    assert_eq!(usher.get("/", TOKEN).status, 200);
    assert_eq!(scene.server.count(), 1);
    clock.advance(1);
    is_refused(&usher, TOKEN, "/revoked", "token_inactive");
    let end = Clock::Manual(clock.clone()).now() + 30;
    let told = json!({ "active": true, "sub": "bob", "aud": "app", "exp": end });
    scene.server.tell("short", told);
    assert_eq!(usher.get("/", "short").status, 200);
    let asked = scene.server.count();
    clock.advance(30);
    is_refused(&usher, "short", "/over", "token_expired");
    assert_eq!(scene.server.count(), asked);
}

#[test]
fn nothing_is_remembered_where_nothing_is_to_be() {
    let scene = Scene::new();
    let usher = scene.usher("active_life: 0s, inactive_life: 0s", "");
    for _ in 0..3 {
        assert_eq!(usher.get("/", TOKEN).status, 200);
        assert_eq!(usher.get("/", "unknown").status, 401);
    }
    assert_eq!(scene.server.count(), 6);
    scene.server.revoke(TOKEN);
    assert_eq!(usher.get("/", TOKEN).status, 401);
    // Each question is a request on a connection that is kept.
    assert!(
        scene.server.connections() <= 2,
        "{}",
        scene.server.connections()
    );
}

#[test]
fn who_cannot_tell_says_neither_yes_nor_no() {
    let body = |text: &str| Mood::Bytes(answer("200 OK", "", text));
    let large = format!("{{\"active\":true,\"sub\":\"{}\"}}", "x".repeat(100_000));
    let moods = [
        ("500", Mood::Bytes(answer("500 Oops", "", ""))),
        (
            "401: it does not know us",
            Mood::Bytes(answer("401 Unauthorized", "", "")),
        ),
        (
            "400",
            Mood::Bytes(answer(
                "400 Bad Request",
                "",
                r#"{"active":true,"sub":"eve","aud":"app"}"#,
            )),
        ),
        (
            "429",
            Mood::Bytes(answer("429 Too Many", "retry-after: 60\r\n", "")),
        ),
        (
            "204",
            Mood::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        ),
        (
            "201",
            Mood::Bytes(answer(
                "201 Created",
                "",
                r#"{"active":true,"sub":"eve","aud":"app"}"#,
            )),
        ),
        (
            "a redirect",
            Mood::Bytes(answer("307 Elsewhere", "location: /introspect\r\n", "")),
        ),
        ("HTML", body("<html>")),
        ("nothing", body("")),
        ("no active", body(r#"{"sub":"eve","aud":"app"}"#)),
        (
            "active as text",
            body(r#"{"active":"true","sub":"eve","aud":"app"}"#),
        ),
        (
            "active twice",
            body(r#"{"active":false,"active":true,"sub":"eve","aud":"app"}"#),
        ),
        (
            "a signed answer (RFC 9701)",
            body("eyJhbGciOiJFUzI1NiJ9.eyJ9.c2ln"),
        ),
        ("too much", body(&large)),
        (
            "cut off",
            Mood::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()),
        ),
        (
            "compressed",
            Mood::Bytes(answer("200 OK", "content-encoding: gzip\r\n", "x")),
        ),
        ("not HTTP", Mood::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec())),
        ("closed", Mood::Bytes(Vec::new())),
        ("silence", Mood::Hang),
        ("a drip", Mood::Drip),
    ];
    std::thread::scope(|scope| {
        for (what, mood) in moods {
            scope.spawn(move || outage(what, mood));
        }
    });
}

/// The endpoint falls into a mood and comes back.
fn outage(what: &str, mood: Mood) {
    let (scene, jwts) = (Scene::new(), Issuer::new());
    let entries = [
        entry(&scene.server, "", "timeout: 300ms"),
        jwts.yaml().replace("name: idp", "name: jwts"),
    ];
    let usher = Usher::configured(&yaml(&scene.app, &entries, ""));
    assert_eq!(usher.get("/", TOKEN).status, 200);
    scene.server.set_mood(mood);
    let (seen, known) = (scene.app.count(), jwts.token("carol"));
    cannot_tell(&usher.get("/away", "another"));
    assert_eq!(
        usher.line("/away")["reason"],
        "introspection_unavailable",
        "{what}"
    );
    assert_eq!(scene.app.count(), seen, "{what}");
    // What was told before still counts, and who needs nobody to be asked does not notice.
    assert_eq!(usher.get("/", TOKEN).status, 200, "{what}");
    assert_eq!(usher.get("/", &known).status, 200, "{what}");
    assert_eq!(usher.admin("/readyz").status, 200, "{what}");
    let report: Value = serde_json::from_str(&usher.admin("/readyz").body).unwrap();
    assert_eq!(report["degraded"][0]["issuer"], "idp", "{what}");
    scene.server.knows("another", "bob");
    scene.server.set_mood(Mood::Good);
    let begun = Instant::now();
    eventually(what, || {
        (usher.get("/", "another").status == 200).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
}

#[test]
fn an_issuer_that_fails_is_left_alone() {
    let scene = Scene::new();
    let usher = scene.usher("timeout: 300ms", "");
    // What may be about one token alone is nobody else's trouble.
    for odd in [
        answer("400 Bad Request", "", ""),
        answer("200 OK", "", "{}"),
    ] {
        scene.server.set_mood(Mood::Bytes(odd));
        for number in 0..10 {
            cannot_tell(&usher.get("/", &format!("odd-{number}")));
        }
    }
    let odd = scene.server.count();
    assert!(odd >= 20, "{odd}");
    assert_eq!(
        usher.metric("usher_introspection_breaker_open{issuer=\"idp\"}"),
        0.0
    );
    scene.server.set_mood(Mood::Bytes(Vec::new()));
    let begun = Instant::now();
    for number in 0..300 {
        cannot_tell(&usher.get("/", &format!("token-{number}")));
    }
    // A question may be sent again on a new connection once.
    let most = 2 * (3 + usize::try_from(begun.elapsed().as_millis() / 50).unwrap());
    assert!(
        scene.server.count() - odd <= most.min(100),
        "{}",
        scene.server.count()
    );
    assert_eq!(
        usher.metric("usher_introspection_breaker_open{issuer=\"idp\"}"),
        1.0
    );
    scene.server.set_mood(Mood::Good);
    let begun = Instant::now();
    eventually("the end", || {
        (usher.get("/", TOKEN).status == 200).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        usher.metric("usher_introspection_breaker_open{issuer=\"idp\"}"),
        0.0
    );
}

#[test]
fn a_yes_outlives_an_outage_only_as_long_as_it_may() {
    let scene = Scene::new();
    let (usher, clock) = scene.with_clock("active_life: 60s, max_stale: 1h, timeout: 300ms");
    assert_eq!(usher.get("/", TOKEN).status, 200);
    scene
        .server
        .set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    clock.advance(61);
    for _ in 0..5 {
        assert_eq!(usher.get("/", TOKEN).status, 200);
    }
    assert_eq!(outcomes(&usher, "stale"), 5.0);
    // Only who was told of: an unknown token waits for the issuer.
    cannot_tell(&usher.get("/", "another"));
    clock.advance(3600);
    cannot_tell(&usher.get("/", TOKEN));
    // A no counts at once, whatever could be used.
    scene.server.set_mood(Mood::Good);
    eventually("the end", || {
        (usher.get("/", TOKEN).status == 200).then_some(())
    });
    scene.server.revoke(TOKEN);
    clock.advance(61);
    is_refused(&usher, TOKEN, "/revoked", "token_inactive");
    scene
        .server
        .set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    clock.advance(11);
    cannot_tell(&usher.get("/", TOKEN));
}

#[test]
fn many_with_one_token_ask_once() {
    let scene = Scene::new();
    let usher = scene.usher("timeout: 10s", "");
    scene.server.hold(true);
    // Who asks first leaves before the answer.
    let mut first = usher.connect();
    first.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    eventually("the question", || (scene.server.count() == 1).then_some(()));
    drop(first);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| usher.get("/", TOKEN).status))
            .collect();
        eventually("everybody", || {
            (usher.metric("usher_requests_in_flight") >= 32.0).then_some(())
        });
        scene.server.hold(false);
        for one in waiting {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    assert_eq!(scene.server.count(), 1);
}

#[test]
fn questions_at_once_are_bounded() {
    let scene = Scene::new();
    let usher = scene.usher("timeout: 10s, max_in_flight: 2", "");
    scene.server.hold(true);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = ["a", "b"]
            .map(|token| scope.spawn(|| usher.get("/", token).status))
            .into_iter()
            .collect();
        eventually("the questions", || {
            (scene.server.count() == 2).then_some(())
        });
        cannot_tell(&usher.get("/third", "c"));
        assert_eq!(usher.line("/third")["reason"], "overloaded");
        scene.server.hold(false);
        for one in waiting {
            assert_eq!(one.join().unwrap(), 401);
        }
    });
    assert_eq!(usher.get("/", TOKEN).status, 200);
}

#[test]
fn a_token_finds_its_issuer() {
    let app = App::start();
    let (jwts, bare) = (Issuer::new(), Issuer::new());
    let servers = [(); 3].map(|()| Introspector::start());
    let [rest, github, named] = &servers;
    let entry = |server: &Introspector, members: &str, asked: &str| {
        entry(server, members, asked).replace("name: idp, ", "")
    };
    let entries = [
        entry(rest, "name: rest,", ""),
        entry(github, "name: github,", "prefixes: [gho_, ghu_]"),
        entry(
            named,
            "name: named, issuer: \"https://named.test/\",",
            "prefixes: gho_special_",
        ),
        jwts.yaml().replace("name: idp", "name: jwts"),
        format!(
            "{{ name: bare, audiences: any, algorithms: [ES256], jwks_file: {} }}",
            bare.key_set().display()
        ),
    ];
    let headers = "headers: { X-Issuer: issuer }\n";
    let usher = Usher::configured(&yaml(&app, &entries, headers));
    let of = |iss: Value| jwts.token_with("alice", json!({ "iss": iss }));
    let table = [
        ("opaque".to_owned(), Some(0), "rest"),
        ("a.b.c".to_owned(), Some(0), "rest"),
        ("a.b.c.d.e".to_owned(), Some(0), "rest"),
        ("gho_1".to_owned(), Some(1), "github"),
        ("ghu_1".to_owned(), Some(1), "github"),
        ("ghx_1".to_owned(), Some(0), "rest"),
        // The longest that fits.
        ("gho_special_1".to_owned(), Some(2), "named"),
        // A JWT names its issuer itself, whether that is asked or signs.
        (of(json!("https://named.test/")), Some(2), "named"),
        (of(json!(Issuer::NAME)), None, "jwts"),
        (
            bare.token_with("alice", json!({ "iss": null })),
            None,
            "bare",
        ),
    ];
    for (token, asked, name) in &table {
        for server in &servers {
            server.knows(token, "alice");
        }
        let before = servers.each_ref().map(Introspector::count);
        assert_eq!(usher.get("/", token).status, 200, "{token}");
        assert_eq!(app.last().header("x-issuer"), Some(*name), "{token}");
        for (place, server) in servers.iter().enumerate() {
            let questions = usize::from(*asked == Some(place));
            assert_eq!(server.count() - before[place], questions, "{token}");
        }
    }
    // A JWT of nobody who is configured is nobody's, and nobody is asked about it.
    let before = servers.each_ref().map(Introspector::count);
    is_refused(
        &usher,
        &of(json!("https://evil.test/")),
        "/evil",
        "issuer_unknown",
    );
    assert_eq!(servers.each_ref().map(Introspector::count), before);
}

#[test]
fn without_such_an_issuer_opaque_tokens_are_malformed() {
    let (app, jwts) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &jwts, "");
    is_refused(&usher, TOKEN, "/opaque", "token_malformed");
    // And where all such issuers want their prefix.
    let scene = Scene::new();
    let usher = scene.usher("prefixes: [gho_]", "");
    is_refused(&usher, "other_1", "/other", "token_malformed");
    assert_eq!(scene.server.count(), 0);
}

#[test]
fn what_an_issuer_says_is_checked_as_a_jwt_is() {
    let scene = Scene::new();
    let members = "issuer: \"https://idp.test/\", require: { realm: shop },";
    let usher = Usher::configured(&yaml(&scene.app, &[entry(&scene.server, members, "")], ""));
    let good = json!({ "active": true, "sub": "42", "aud": "app", "realm": "shop" });
    let x5t = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    let table = [
        (json!({}), None),
        (json!({ "iss": "https://idp.test/" }), None),
        (
            json!({ "iss": "https://evil.test/" }),
            Some("issuer_unknown"),
        ),
        (
            json!({ "iss": ["https://idp.test/"] }),
            Some("issuer_unknown"),
        ),
        (json!({ "aud": null }), Some("audience_refused")),
        (json!({ "aud": "other" }), Some("audience_refused")),
        (json!({ "aud": ["other", "app"] }), None),
        (json!({ "aud": ["app", 7] }), Some("audience_refused")),
        (json!({ "exp": now() + 60 }), None),
        (json!({ "exp": now() - 60 }), Some("token_expired")),
        (json!({ "exp": "tomorrow" }), Some("claim_refused")),
        (json!({ "nbf": now() + 600 }), Some("token_not_yet_valid")),
        (json!({ "token_type": "bearer" }), None),
        (json!({ "token_type": "Bearer" }), None),
        (json!({ "token_type": "DPoP" }), Some("claim_refused")),
        (json!({ "token_type": 7 }), Some("claim_refused")),
        (json!({ "realm": "other" }), Some("claim_refused")),
        (json!({ "sub": "" }), Some("identity_refused")),
        (json!({ "sub": "a\nb" }), Some("identity_refused")),
        (json!({ "sub": "absent" }), Some("id_missing")),
        (json!({ "cnf": { "x5t#S256": x5t } }), Some("claim_refused")),
        (
            json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0" } }),
            Some("certificate_mismatch"),
        ),
    ];
    for (number, (change, reason)) in table.iter().enumerate() {
        let mut told = good.as_object().unwrap().clone();
        for (name, value) in change.as_object().unwrap() {
            told.insert(name.clone(), value.clone());
            if value == "absent" || value.is_null() {
                told.remove(name);
            }
        }
        let (token, path) = (format!("token-{number}"), format!("/{number}"));
        scene.server.tell(&token, Value::Object(told));
        let before = scene.server.count();
        for _ in 0..2 {
            match reason {
                None => assert_eq!(usher.get(&path, &token).status, 200, "{change}"),
                Some(reason) => is_refused(&usher, &token, &path, reason),
            }
        }
        assert_eq!(
            scene.server.count() - before,
            1,
            "{change} was asked for again"
        );
    }
}

#[test]
fn every_door_asks() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new();
    let users = folder.path().join("users.db");
    let usher = scene.usher(
        "",
        &format!(
            "endpoints: {{ verify: {{ path: /api/auth/verify, user_id: id, username: email }} }}\n\
             trusted_proxies: [127.0.0.1]\nforward_auth: {{ path: /_usher/auth, dialect: nginx }}\n\
             ext_authz: 127.0.0.1:0\n\
             users: {{ directory: \"sqlite:{}\", provisioner: direct, first_sight: wait }}\n",
            users.display()
        ),
    );
    let about = |target: &str| {
        format!(
            "X-Original-Method: GET\r\nX-Original-URI: {target}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n"
        )
    };
    scene.server.tell(
        TOKEN,
        json!({ "active": true, "sub": "alice", "aud": "app", "email": "alice@example.com" }),
    );
    let verified = usher.get("/api/auth/verify", TOKEN);
    assert_eq!(verified.status, 200, "{}", verified.body);
    let asked = usher.get_with("/_usher/auth", TOKEN, &about("/orders"));
    assert_eq!(asked.status, 200, "{}", asked.head);
    assert_eq!(asked.header("x-user-id"), Some("alice"));
    let reply = usher.get("/", TOKEN);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(scene.app.last().header("x-user-id"), Some("alice"));
    let row = rusqlite::Connection::open(&users).unwrap();
    let rows: i64 = row
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
    assert_eq!(crate::ext_authz::verdict(&usher, TOKEN), 200);
    assert_eq!(scene.server.count(), 1);
    // And a no is a no at each of them, an outage an outage.
    assert_eq!(usher.get("/api/auth/verify", "unknown").status, 401);
    assert_eq!(
        usher
            .get_with("/_usher/auth", "unknown", &about("/"))
            .status,
        401
    );
    assert_eq!(crate::ext_authz::verdict(&usher, "unknown"), 401);
    scene.server.set_mood(Mood::Bytes(Vec::new()));
    assert_eq!(usher.get("/api/auth/verify", "other").status, 503);
    assert_eq!(
        usher.get_with("/_usher/auth", "other", &about("/")).status,
        503
    );
    assert_eq!(crate::ext_authz::verdict(&usher, "other"), 503);
}

#[test]
fn an_issuer_is_asked_over_https() {
    let (app, authority) = (App::start(), Authority::new());
    let server = Introspector::secure(&authority.server("idp", &["localhost"]));
    server.knows(TOKEN, "alice");
    let with = |root: &std::path::Path| {
        let asked = format!("ca_file: \"{}\"", root.display());
        Usher::configured(&yaml(&app, &[entry(&server, "", &asked)], ""))
    };
    assert_eq!(with(&authority.root).get("/", TOKEN).status, 200);
    assert_eq!(server.count(), 1);
    // Who cannot prove to be the issuer is told neither the token nor the secret.
    let usher = with(&Authority::new().root);
    cannot_tell(&usher.get("/stranger", TOKEN));
    let detail = usher.line("/stranger")["detail"].to_string();
    assert!(detail.contains("UnknownIssuer"), "{detail}");
    assert_eq!(server.count(), 1);
}

#[test]
fn neither_tokens_nor_secrets_are_told_to_anybody() {
    let scene = Scene::new();
    let yaml = scene.yaml("timeout: 300ms", "").replace("idp", "idp-x");
    let usher = &Served::all(&yaml, 1)[0];
    // An endpoint that repeats what it was asked.
    let echo = format!("{{\"token\":\"{TOKEN}\",\"secret\":\"{SECRET}\",\"active\":7}}");
    scene
        .server
        .set_mood(Mood::Bytes(answer("200 OK", "", &echo)));
    let mut client = usher.connect();
    for _ in 0..5 {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 503);
    }
    eventually("the event", || {
        let told = usher
            .log()
            .matches("issuer did not tell about a token")
            .count();
        (told == 1).then_some(())
    });
    let told = [
        usher.log(),
        usher.admin("/readyz").body,
        usher.admin("/metrics").body,
    ];
    let basic = BASE64.encode(b"usher:s3cr3t%20of%20usher%27s");
    for text in told {
        assert!(text.contains("idp-x"), "{text}");
        for hidden in [TOKEN, SECRET, basic.as_str(), "s3cr3t"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

/// A file with an issuer that is asked, for commands.
fn file(folder: &tempfile::TempDir, scene: &Scene) -> String {
    let path = folder.path().join("usher.yaml");
    std::fs::write(&path, scene.yaml("timeout: 300ms", "")).unwrap();
    path.display().to_string()
}

#[test]
fn a_command_tells_step_by_step() {
    let (folder, scene) = (tempfile::tempdir().unwrap(), Scene::new());
    let file = file(&folder, &scene);
    let (code, out, err) = command::run(&["token", "verify", "--config", &file, TOKEN]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("passed  introspection `idp` says it is active"),
        "{out}"
    );
    assert!(out.contains("passed  id           \"alice\""), "{out}");
    let (code, out, _) = command::run(&["token", "verify", "--config", &file, "unknown"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("FAILED  introspection token_inactive"),
        "{out}"
    );
    scene
        .server
        .set_mood(Mood::Bytes(answer("403 Forbidden", "", "")));
    let (code, out, _) = command::run(&["token", "verify", "--config", &file, TOKEN]);
    assert_eq!(code, 1);
    assert!(
        out.contains("introspection_unavailable") && out.contains("403"),
        "{out}"
    );
    // What nobody can read has a name all the same.
    let (code, _, err) = command::run(&["token", "inspect", TOKEN]);
    let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    assert_eq!(code, 1);
    assert!(
        err.contains(&data_encoding::HEXLOWER.encode(&whole.as_ref()[..16])),
        "{err}"
    );
}

#[test]
fn check_connect_asks_the_issuer() {
    let (folder, scene) = (tempfile::tempdir().unwrap(), Scene::new());
    let file = file(&folder, &scene);
    let check = || command::run(&["check", &file, "--connect"]);
    let (code, out, err) = check();
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(scene.server.count(), 1);
    for (mood, told) in [
        (
            Mood::Bytes(answer("401 Unauthorized", "", "")),
            "401 Unauthorized",
        ),
        (
            Mood::Bytes(answer("200 OK", "", r#"{"active":true}"#)),
            "that nobody has made",
        ),
        (Mood::Bytes(Vec::new()), "issuer `idp` cannot be asked"),
    ] {
        scene.server.set_mood(mood);
        let (code, _, err) = check();
        assert_eq!(code, 78, "{err}");
        assert!(err.contains(told) && !err.contains(SECRET), "{err}");
    }
}
