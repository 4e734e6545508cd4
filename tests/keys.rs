//! An issuer's keys come by themselves, change by themselves, and stay through its outages.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher::clock::{Clock, ManualClock};

use crate::common::app::answer;
use crate::common::issuer::now;
use crate::common::{App, Issuer, KeyServer, Mood, Reply, Usher, eventually};

/// An issuer's entry with `members`, for tokens of [`Issuer::NAME`].
fn entry(members: &str) -> String {
    format!("{{ name: idp, audiences: [app], algorithms: [ES256], {members} }}")
}

/// An issuer whose keys are at `server`.
fn at(server: &KeyServer, more: &str) -> String {
    entry(&format!(
        "issuer: \"{}\", jwks_uri: \"{}\", fetch: {{ cooldown: 1s, timeout: 300ms{more} }}",
        Issuer::NAME,
        server.jwks_uri()
    ))
}

fn start(app: &App, entries: &[String]) -> Usher {
    Usher::configured(&yaml(app, entries))
}

fn yaml(app: &App, entries: &[String]) -> String {
    format!(
        "upstream: http://{}\nissuers: [{}]\n",
        app.address,
        entries.join(", ")
    )
}

fn ready(usher: &Usher) {
    eventually("readiness", || {
        (usher.admin("/readyz").status == 200).then_some(())
    });
}

fn report(usher: &Usher) -> Value {
    serde_json::from_str(&usher.admin("/readyz").body).unwrap()
}

#[track_caller]
fn cannot_tell(reply: &Reply) {
    assert_eq!(reply.status, 503, "{}", reply.head);
    let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    assert_eq!(reply.header("www-authenticate"), None);
    assert_eq!(reply.body, r#"{"error":"temporarily_unavailable"}"#);
}

#[test]
fn keys_are_found_by_discovery() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let usher = start(&app, &[entry(&format!("issuer: \"{}\"", server.issuer()))]);
    ready(&usher);
    let token = issuer.token_with("alice", json!({ "iss": server.issuer() }));
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("alice"));
    assert_eq!((server.requests(), server.fetches().len()), (2, 1));
    let head = &server.fetches()[0].to_ascii_lowercase();
    assert!(
        !head.contains("authorization") && !head.contains("cookie"),
        "{head}"
    );
}

#[test]
fn a_discovery_document_of_somebody_else_is_refused() {
    let table = [
        json!({ "issuer": "https://evil.test/", "jwks_uri": "URL" }),
        json!({ "issuer": ["ISSUER"], "jwks_uri": "URL" }),
        json!({ "jwks_uri": "URL" }),
        json!({ "issuer": "ISSUER" }),
        json!({ "issuer": "ISSUER", "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": "ISSUER", "jwks_uri": "http://169.254.169.254/keys" }),
        json!({ "issuer": "ISSUER", "jwks_uri": "/keys" }),
        json!(["ISSUER"]),
        json!("not a document"),
    ];
    for document in table {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        let text = document
            .to_string()
            .replace("ISSUER", &server.issuer())
            .replace("URL", &server.jwks_uri());
        server.set_discovery(&text);
        let usher = start(&app, &[entry(&format!("issuer: \"{}\"", server.issuer()))]);
        eventually("an attempt", || {
            report(&usher)["degraded"][0]["error"]
                .is_string()
                .then_some(())
        });
        assert_eq!(usher.admin("/readyz").status, 503, "{text}");
        let token = issuer.token_with("alice", json!({ "iss": server.issuer() }));
        cannot_tell(&usher.get("/", &token));
        assert_eq!(server.fetches().len(), 0, "{text}");
    }
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it() {
    let app = App::start();
    let (old, new) = (Issuer::with_kid("old"), Issuer::with_kid("new"));
    let server = KeyServer::start(old.jwks());
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    assert_eq!(usher.get("/", &old.token("alice")).status, 200);
    server.set_keys(json!({ "keys": [old.jwks()["keys"][0], new.jwks()["keys"][0]] }));
    // The first such request waits for the fetch, and needs no second attempt.
    assert_eq!(usher.get("/", &new.token("bob")).status, 200);
    assert_eq!(app.last().header("x-user-id"), Some("bob"));
    assert_eq!(usher.get("/", &old.token("alice")).status, 200);
    assert_eq!(server.fetches().len(), 2);
}

#[test]
fn a_withdrawn_key_ends_its_tokens_at_the_next_fetch() {
    let app = App::start();
    let (old, new) = (Issuer::with_kid("old"), Issuer::with_kid("new"));
    let server = KeyServer::start(old.jwks());
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    let token = old.token("alice");
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(usher.get("/", &token).status, 200);
    server.set_keys(new.jwks());
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(usher.get("/", &new.token("bob")).status, 200);
    // Cached or not, its key is gone; that one is not there is known once a fetch has shown it.
    let refused = eventually("a verdict", || {
        let reply = usher.get("/withdrawn", &token);
        (reply.status == 401).then_some(reply)
    });
    assert_eq!(
        refused.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    let verdicts: Vec<_> = usher
        .lines()
        .into_iter()
        .filter(|line| line["path"] == "/withdrawn")
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        verdicts
            .iter()
            .all(|reason| reason == "key_unknown" || reason == "key_pending"),
        "{verdicts:?}"
    );
}

#[test]
fn another_key_under_the_old_name_ends_the_old_keys_tokens() {
    let app = App::start();
    let (old, new) = (Issuer::with_kid("k"), Issuer::with_kid("k"));
    let bell = Issuer::with_kid("bell");
    let server = KeyServer::start(old.jwks());
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    let token = old.token("alice");
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(usher.get("/", &new.token("bob")).status, 401);
    server.set_keys(json!({ "keys": [new.jwks()["keys"][0], bell.jwks()["keys"][0]] }));
    assert_eq!(usher.get("/", &bell.token("carol")).status, 200);
    assert_eq!(usher.get("/old", &token).status, 401);
    assert_eq!(usher.line("/old")["reason"], "signature_refused");
    // A refusal that rested on the old set is no refusal any more.
    assert_eq!(usher.get("/", &new.token("bob")).status, 200);
}

#[test]
fn unknown_names_cause_few_fetches() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let settings = at(&server, "").replace("cooldown: 1s", "cooldown: 60s");
    let usher = start(&app, &[settings]);
    ready(&usher);
    let good = issuer.token("alice");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (usher, good) = (&usher, &good);
            scope.spawn(move || {
                let mut client = usher.connect();
                for number in 0..100 {
                    let stranger = Issuer::with_kid(&format!("{thread}-{number}"));
                    let token = stranger.token("eve");
                    client.send(format!(
                        "GET /eve HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
                    ));
                    cannot_tell(&client.reply().unwrap());
                    client.send(format!(
                        "GET /alice HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {good}\r\n\r\n"
                    ));
                    assert_eq!(client.reply().unwrap().status, 200);
                }
            });
        }
    });
    assert_eq!(server.fetches().len(), 1);
    assert_eq!(usher.line("/eve")["reason"], "key_pending");
}

#[test]
fn a_name_that_a_fetch_has_shown_to_be_missing_is_refused_at_once() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    let stranger = Issuer::with_kid("stranger").token("eve");
    assert_eq!(usher.get("/eve", &stranger).status, 401);
    assert_eq!(usher.line("/eve")["reason"], "key_unknown");
    let fetches = server.fetches().len();
    for _ in 0..50 {
        assert_eq!(usher.get("/again", &stranger).status, 401);
    }
    assert_eq!(server.fetches().len(), fetches);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn without_keys_nobody_can_tell_until_they_come() {
    let (app, issuer) = (App::start(), Issuer::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let members = format!(
        "issuer: \"{}\", jwks_uri: \"http://{address}/keys\"",
        Issuer::NAME
    );
    let usher = start(&app, &[entry(&members)]);
    let token = issuer.token("alice");
    cannot_tell(&usher.get("/early", &token));
    assert_eq!(usher.line("/early")["reason"], "keys_unavailable");
    let state = usher.admin("/readyz");
    assert_eq!(state.status, 503);
    assert_eq!(usher.admin("/livez").status, 200);
    assert_eq!(report(&usher)["issuers_without_keys"], json!(["idp"]));
    assert_eq!(app.count(), 0);
    let listener = TcpListener::bind(address).unwrap();
    let _server = KeyServer::on(listener, issuer.jwks());
    ready(&usher);
    assert_eq!(usher.get("/", &token).status, 200);
    assert_eq!(report(&usher)["degraded"], json!([]));
}

#[test]
fn an_issuer_that_is_not_required_does_not_hold_up_readiness() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(json!({ "keys": [] }));
    let optional = entry(&format!(
        "issuer: other, required: false, jwks_uri: \"{}\"",
        server.jwks_uri()
    ));
    let usher = start(
        &app,
        &[issuer.yaml(), optional.replace("name: idp", "name: other")],
    );
    ready(&usher);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
    let other = issuer.token_with("alice", json!({ "iss": "other" }));
    cannot_tell(&usher.get("/", &other));
    eventually("the report", || {
        let report = report(&usher);
        (report["degraded"][0]["issuer"] == "other").then_some(())
    });
    assert_eq!(report(&usher)["issuers_without_keys"], json!(["other"]));
}

#[test]
fn the_last_good_keys_stay_through_an_outage() {
    let bytes = |text: &[u8]| Mood::Bytes(text.to_vec());
    let body = |text: &str| Mood::Bytes(answer("200 OK", "", text));
    let many = format!("{{\"keys\":[{}]}}", vec!["{}"; 200_000].join(","));
    let moods = [
        ("500", Mood::Bytes(answer("500 Oops", "", ""))),
        ("404", Mood::Bytes(answer("404 Not Found", "", ""))),
        ("204", bytes(b"HTTP/1.1 204 No Content\r\n\r\n")),
        (
            "304 that nobody asked for",
            bytes(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ),
        (
            "a redirect",
            Mood::Bytes(answer("302 Found", "location: /keys\r\n", "")),
        ),
        ("HTML", body("<html>")),
        ("an array", body("[]")),
        ("nothing", body("")),
        ("no keys", body(r#"{"keys":[]}"#)),
        (
            "keys of no use",
            body(r#"{"keys":[{"kty":"oct","k":"AAAA"},7,null]}"#),
        ),
        ("keys twice", body(r#"{"keys":[],"keys":[]}"#)),
        ("too much", body(&many)),
        (
            "cut off",
            bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        ),
        ("not HTTP", bytes(b"SSH-2.0-x\r\n\r\n")),
        ("closed", bytes(b"")),
        (
            "compressed",
            Mood::Bytes(answer("200 OK", "content-encoding: gzip\r\n", "x")),
        ),
        ("silence", Mood::Hang),
        ("a drip", Mood::Drip),
    ];
    let (app, issuer, bell) = (App::start(), Issuer::new(), Issuer::with_kid("bell"));
    std::thread::scope(|scope| {
        for (what, mood) in moods {
            let (app, issuer, bell) = (&app, &issuer, &bell);
            scope.spawn(move || outage(what, mood, app, issuer, bell));
        }
    });
}

/// The issuer's server falls into a mood, and comes back with another key.
fn outage(what: &str, mood: Mood, app: &App, issuer: &Issuer, bell: &Issuer) {
    let server = KeyServer::start(issuer.jwks());
    let usher = start(app, &[at(&server, "")]);
    ready(&usher);
    let (known, wanted) = (issuer.token("alice"), bell.token("bob"));
    assert_eq!(usher.get("/", &known).status, 200);
    server.set_mood(mood);
    // A token with an unknown name asks for a fetch; those with a known one do not notice.
    eventually(what, || {
        cannot_tell(&usher.get("/bell", &wanted));
        assert_eq!(usher.get("/", &known).status, 200, "{what}");
        assert_eq!(usher.get("/", &issuer.token("carol")).status, 200, "{what}");
        (report(&usher)["degraded"][0]["issuer"] == "idp").then_some(())
    });
    assert_eq!(usher.admin("/readyz").status, 200);
    server.set_mood(Mood::Good);
    server.set_keys(json!({ "keys": [issuer.jwks()["keys"][0], bell.jwks()["keys"][0]] }));
    eventually("the new key", || {
        (usher.get("/", &wanted).status == 200).then_some(())
    });
    assert_eq!(report(&usher)["degraded"], json!([]));
}

#[test]
fn keys_are_not_used_for_ever() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let clock = ManualClock::new(now());
    let settings = at(&server, ", refresh: 10m, max_stale: 1h");
    let usher = Usher::with_clock(&yaml(&app, &[settings]), Clock::Manual(clock.clone()));
    ready(&usher);
    let token = issuer.token_with("alice", json!({ "exp": now() + 100_000 }));
    assert_eq!(usher.get("/", &token).status, 200);
    server.set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    clock.advance(70 * 60 - 1);
    assert_eq!(usher.get("/", &token).status, 200);
    clock.advance(2);
    cannot_tell(&usher.get("/stale", &token));
    assert_eq!(usher.line("/stale")["reason"], "keys_unavailable");
}

#[test]
fn an_unchanged_set_is_not_sent_again() {
    let app = App::start();
    let (issuer, bell) = (Issuer::new(), Issuer::with_kid("bell"));
    let server = KeyServer::start(issuer.jwks());
    server.set_headers("etag: \"v1\"\r\ncache-control: max-age=3600\r\n");
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    assert_eq!(usher.get("/", &bell.token("bob")).status, 401);
    let fetches = server.fetches();
    assert_eq!(fetches.len(), 2);
    assert!(!fetches[0].to_ascii_lowercase().contains("if-none-match"));
    assert!(
        fetches[1]
            .to_ascii_lowercase()
            .contains("if-none-match: \"v1\"")
    );
    let metric = |outcome| {
        let name = format!("usher_key_refreshes_total{{issuer=\"idp\",outcome=\"{outcome}\"}}");
        usher.metric(&name)
    };
    assert_eq!(
        (metric("changed"), metric("unchanged"), metric("failed")),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
}

#[test]
fn a_bad_key_costs_itself_and_not_the_set() {
    let (app, issuer) = (App::start(), Issuer::new());
    let mut leaked = issuer.jwks()["keys"][0].clone();
    leaked["kid"] = "leaked".into();
    leaked["d"] = "AAAA".into();
    let mut encryption = issuer.jwks()["keys"][0].clone();
    encryption["kid"] = "enc".into();
    encryption["use"] = "enc".into();
    let oct = json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256" });
    let server = KeyServer::start(json!({ "keys": [
        7, null, {}, { "kty": 5 }, { "kty": "AKP" }, oct, leaked, encryption,
        { "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "short" },
        issuer.jwks()["keys"][0],
    ] }));
    let usher = start(&app, &[at(&server, "")]);
    ready(&usher);
    assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
    assert_eq!(usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
}

#[test]
fn an_issuer_is_chosen_by_iss_and_a_key_only_within_it() {
    let app = App::start();
    // Both call their key `k1`.
    let (one, two, bare) = (Issuer::new(), Issuer::new(), Issuer::new());
    let (here, there) = (KeyServer::start(one.jwks()), KeyServer::start(two.jwks()));
    let entries = [
        at(&here, ""),
        at(&there, "")
            .replace("name: idp", "name: two")
            .replace(Issuer::NAME, "https://two.test/"),
        format!(
            "{{ name: bare, audiences: any, algorithms: [ES256], jwks_file: {} }}",
            bare.key_set().display()
        ),
    ];
    let headers = "headers: { X-User-Id: id, X-Issuer: issuer }\n";
    let usher = Usher::configured(&format!("{}{headers}", yaml(&app, &entries)));
    ready(&usher);
    let issuers = [
        (&one, json!(Issuer::NAME)),
        (&two, json!("https://two.test/")),
        (&bare, Value::Null),
    ];
    for (signer, signed) in [(&one, "idp"), (&two, "two"), (&bare, "bare")] {
        for (number, (named, iss)) in issuers.iter().enumerate() {
            let token = signer.token_with("alice", json!({ "iss": iss }));
            let path = format!("/{signed}/{number}");
            let reply = usher.get(&path, &token);
            if std::ptr::eq(*named, signer) {
                assert_eq!(reply.status, 200, "{path}");
                let received = app.last();
                assert_eq!(received.header("x-user-id"), Some("alice"));
                assert_eq!(received.header("x-issuer"), Some(signed));
                assert_eq!(usher.line(&path)["issuer"], signed);
            } else {
                assert_eq!(reply.status, 401, "{path}");
                assert_eq!(usher.line(&path)["reason"], "signature_refused", "{path}");
            }
        }
    }
}

#[test]
fn many_first_requests_cause_one_fetch() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    server.set_mood(Mood::Hang);
    let usher = start(&app, &[at(&server, "").replace("300ms", "5s")]);
    eventually("the fetch", || (server.fetches().len() == 1).then_some(()));
    std::thread::scope(|scope| {
        for number in 0..32 {
            let (usher, issuer) = (&usher, &issuer);
            scope.spawn(move || {
                let asked = Instant::now();
                cannot_tell(&usher.get("/", &issuer.token(&format!("user-{number}"))));
                assert!(asked.elapsed() < Duration::from_secs(4));
            });
        }
    });
    assert_eq!(server.fetches().len(), 1);
}
