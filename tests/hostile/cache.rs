//! K: verdicts that are remembered.

use std::time::Duration;

use serde_json::{Value, json};
use usher::identify::fingerprint;

use super::forge_stage::{NOW, SIGNATURE, Stage};
use crate::accounts::stage::Stage as Accounts;
use crate::common::app::answer;
use crate::common::command::{Running, usher as command};
use crate::common::{App, Client, Issuer, KeyServer, Mood, Usher, eventually};

fn verifications(usher: &Usher) -> f64 {
    usher.metric("usher_token_verifications_total")
}

/// The text of a request with this token.
fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// An issuer whose keys are at `server`.
fn fetched(app: &App, server: &KeyServer, more: &str) -> Usher {
    Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{{ name: idp, issuer: '{}', audiences: [app], algorithms: [ES256], \
         jwks_uri: '{}', fetch: {{ cooldown: 1s, timeout: 300ms }} }}]\n{more}",
        app.address,
        Issuer::NAME,
        server.jwks_uri()
    ))
}

#[test]
fn k01_name_made_of_a_part() {
    let stage = Stage::new();
    let alice = stage
        .token(&json!({ "sub": "alice-0123456789-0123456789-0123456789-0123456789-0123456789" }));
    let bob = stage.token(&json!({ "sub": "bob" }));
    stage.passes("first", &alice);
    stage.passes("first", &bob);
    let (signed, made) = alice.rsplit_once('.').unwrap();
    let (other, others) = bob.rsplit_once('.').unwrap();
    let first = if made.starts_with('A') { "B" } else { "A" };
    let (header, payload) = signed.split_once('.').unwrap();
    let root = payload.replacen('a', "b", 1);
    for (what, token) in [
        ("the same words", format!("{signed}.{others}")),
        ("the same signature", format!("{other}.{made}")),
        (
            "all but one character",
            format!("{signed}.{first}{}", &made[1..]),
        ),
        ("another payload", format!("{header}.{root}.{made}")),
        (
            "the first 20 bytes",
            format!("{}{}", &alice[..20], &bob[20..]),
        ),
        (
            "the first 64 bytes",
            format!("{}{}", &alice[..64], &bob[64..]),
        ),
        (
            "the last 64 bytes",
            format!("{}{}", &bob[..bob.len() - 64], &alice[alice.len() - 64..]),
        ),
    ] {
        if token == bob {
            continue;
        }
        stage.refuses(
            what,
            &token,
            &["signature_refused", "token_malformed", "issuer_unknown"],
        );
    }
    assert!(stage.passes("again", &alice).starts_with("alice-"));
    assert_eq!(stage.passes("again", &bob), "bob");
}

#[test]
fn k02_names_that_collide() {
    let stage = Stage::new();
    let token = stage.token(&json!({}));
    let mut bytes = token.clone().into_bytes();
    // Blocks of sixteen bytes exchanged within the signature: the sum of all is the same.
    let end = bytes.len();
    let (one, two) = (end - 64, end - 32);
    for at in 0..16 {
        bytes.swap(one + at, two + at);
    }
    let swapped = String::from_utf8(bytes).unwrap();
    let doubled = format!("{token}{token}");
    let mut clients: Vec<_> = (0..40).map(|_| stage.usher.connect()).collect();
    let tokens = [&token, &swapped, &doubled, &token];
    // Good and bad at one time, none of which was seen before.
    for (client, token) in clients.iter_mut().zip(tokens.into_iter().cycle()) {
        client.send(request("/", token));
    }
    for (client, expected) in clients
        .iter_mut()
        .zip([200, 401, 401, 200].into_iter().cycle())
    {
        assert_eq!(client.reply().unwrap().status, expected);
    }
    assert_eq!(stage.app.count(), 20);
    stage.refuses("swapped", &swapped, SIGNATURE);
}

#[test]
fn k03_verdict_of_other_rules() {
    let routes = "routes:\n- { path: /admin, require: { roles: [admin] } }\n- { path: /read, require: { scopes: [read] } }\n\
                  - { path: /open, access: public }\n";
    let stage = Stage::with("", routes);
    let token = stage.token(&json!({ "scope": "read" }));
    for (path, status) in [
        ("/", 200),
        ("/admin", 403),
        ("/read", 200),
        ("/admin", 403),
        ("/open", 200),
        ("/admin", 403),
    ] {
        assert_eq!(stage.usher.get(path, &token).status, status, "{path}");
    }
    assert_eq!(verifications(&stage.usher), 1.0, "it was remembered");
    // Two issuers with the same key: each has rules of its own, and `iss` says whose they are.
    let (app, one) = (App::start(), Issuer::new());
    let strict = one
        .yaml()
        .replace("name: idp", "name: two")
        .replace(Issuer::NAME, "https://two.test/");
    let strict = strict.replace("audiences: [app]", "audiences: [other]");
    let usher = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{}, {strict}]\n",
        app.address,
        one.yaml()
    ));
    let lenient = one.token("alice");
    assert_eq!(usher.get("/", &lenient).status, 200);
    let same = one.token_with("alice", json!({ "iss": "https://two.test/" }));
    assert_eq!(usher.get("/", &same).status, 401);
    assert_eq!(usher.get("/", &lenient).status, 200);
    assert_eq!(app.count(), 2);
}

#[test]
fn k04_token_that_ended_since() {
    let stage = Stage::new();
    let token = stage.token(&json!({ "exp": NOW + 2 }));
    stage.passes("before", &token);
    stage.clock.advance(1);
    stage.passes("the last second", &token);
    stage.clock.advance(1);
    // At once: nobody has swept anything.
    stage.refuses("after", &token, &["token_expired"]);
    assert!(verifications(&stage.usher) >= 1.0);
}

#[test]
fn k05_life_that_reading_extends() {
    let stage = Stage::with("", "tokens: { cache: { max_life: 5s } }\n");
    let token = stage.token(&json!({ "exp": NOW + 12 }));
    let mut statuses = Vec::new();
    for _ in 0..15 {
        statuses.push(stage.usher.get("/", &token).status);
        stage.clock.advance(1);
    }
    assert_eq!(statuses, [[200; 12].as_slice(), &[401; 3]].concat());
    // Looked at anew at 5 and at 10 seconds, and not later for being read.
    let seen = verifications(&stage.usher);
    assert!((3.0..=6.0).contains(&seen), "{seen}");
}

#[test]
fn k06_token_that_came_early() {
    let stage = Stage::new();
    let token = stage.token(&json!({ "nbf": NOW + 7 }));
    stage.refuses("early", &token, &["token_not_yet_valid"]);
    stage.clock.advance(1);
    stage.refuses("early", &token, &["token_not_yet_valid"]);
    stage.clock.advance(1);
    // The refusal is not remembered beyond the second in which the token begins.
    assert_eq!(stage.passes("in time", &token), "alice");
}

#[test]
fn k07_outage_that_is_remembered() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    server.set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    let usher = fetched(&app, &server, "tokens: { cache: { refused_life: 10m } }\n");
    let token = issuer.token("alice");
    for _ in 0..3 {
        assert_eq!(
            usher.get("/", &token).status,
            503,
            "nobody can tell: not 401"
        );
    }
    server.set_mood(Mood::Good);
    eventually("the same token passes", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
    assert_eq!(app.count(), 1);
}

#[test]
fn k08_flood_of_bad_tokens() {
    let stage = Stage::with(
        "",
        "tokens: { cache: { weight: 64KiB, refused_count: 100 } }\n",
    );
    let good: Vec<_> = (0..20)
        .map(|n| stage.token(&json!({ "sub": format!("user-{n}"), "exp": NOW + 9000 })))
        .collect();
    for token in &good {
        assert_eq!(stage.usher.get("/", token).status, 200);
    }
    let (head, made) = good[0].rsplit_once('.').unwrap();
    let bad = (0..3000).map(|n| format!("{head}.{}{n:06}", &made[..made.len() - 6]));
    assert_eq!(stage.refuses_all(bad), 3000);
    let before = (
        stage.usher.metric("usher_token_cache_hits_total"),
        verifications(&stage.usher),
    );
    for token in &good {
        assert_eq!(stage.usher.get("/", token).status, 200);
    }
    assert_eq!(
        stage.usher.metric("usher_token_cache_hits_total") - before.0,
        20.0,
        "none was pushed out"
    );
    assert_eq!(verifications(&stage.usher), before.1);
}

#[test]
fn k09_flood_of_good_tokens() {
    // Five hundred tokens of 4 KiB, of which usher keeps what it needs: at most this much of them.
    let stage = Stage::with(
        "",
        "tokens: { cache: { weight: 256KiB } }\nheaders: { X-User-Id: id, X-User-Name: name }\n",
    );
    let name = "n".repeat(3000);
    let tokens: Vec<_> = (0..500)
        .map(|n| stage.token(&json!({ "sub": format!("user-{n}"), "name": name })))
        .collect();
    let mut client = stage.usher.connect();
    for token in tokens.iter().chain(&tokens) {
        client.send(request("/", token));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    // 256 KiB hold some eighty of them, so most had to be looked at again.
    let seen = verifications(&stage.usher);
    assert!((900.0..=1000.0).contains(&seen), "{seen}");
    // What comes again is remembered again: the cache keeps what is asked for again and again.
    let hits = stage.usher.metric("usher_token_cache_hits_total");
    for _ in 0..8 {
        stage.passes("the last", &tokens[499]);
    }
    assert!(stage.usher.metric("usher_token_cache_hits_total") > hits);
}

#[test]
fn k10_key_that_is_gone() {
    let app = App::start();
    let (old, new) = (Issuer::with_kid("old"), Issuer::with_kid("new"));
    let server = KeyServer::start(old.jwks());
    let usher = fetched(&app, &server, "");
    let (token, bell) = (old.token("alice"), new.token("bob"));
    eventually("keys", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
    server.set_keys(new.jwks());
    // A token of the new key has the set fetched; from then on the old one is refused, known or not.
    eventually("the new key", || {
        (usher.get("/", &bell).status == 200).then_some(())
    });
    let hits = usher.metric("usher_token_cache_hits_total");
    assert_ne!(usher.get("/", &token).status, 200);
    assert_eq!(
        usher.metric("usher_token_cache_hits_total"),
        hits,
        "no hit for it"
    );
    eventually("it is certain", || {
        (usher.get("/", &token).status == 401).then_some(())
    });
    assert_eq!(usher.get("/", &bell).status, 200);
}

#[test]
fn k11_user_who_is_suspended() {
    let stage = Accounts::sqlite();
    let routes = "routes: [{ path: /strict/**, projects: acme, suspended: deny }]\n";
    let usher = stage.usher_with("", ", standing: { fresh: 10s, max_stale: 20s }", routes);
    let (ada, bob) = (
        stage.login(&usher, "ada", json!({})),
        stage.login(&usher, "bob", json!({})),
    );
    for token in [&ada.access, &bob.access] {
        assert_eq!(usher.get("/strict/1", token).status, 200);
    }
    let now = usher::clock::Clock::Manual(stage.clock.clone()).now() * 1000;
    stage.sql(&format!(
        "INSERT INTO usher_suspensions (id, user_id, reason, start_at, end_at) VALUES ('s', '{}', 'x', {now}, NULL)",
        ada.id()
    ));
    // Within `fresh`, whatever is remembered of the token.
    stage.clock.advance(10);
    assert_eq!(usher.get("/strict/2", &ada.access).status, 403);
    assert_eq!(usher.line("/strict/2")["reason"], "account_suspended");
    assert_eq!(usher.get("/strict/1", &bob.access).status, 200);
}

#[test]
fn k12_stampede() {
    let stage = Stage::new();
    let token = stage.token(&json!({}));
    let mut clients: Vec<_> = (0..300).map(|_| stage.usher.connect()).collect();
    for client in &mut clients {
        client.send(request("/", &token));
    }
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(verifications(&stage.usher), 1.0);
    stage.passes("afterwards", &token);
}

#[test]
fn k13_client_that_leaves_in_between() {
    let (app, issuer) = (App::start(), Issuer::new());
    let bell = Issuer::with_kid("bell");
    let server = KeyServer::start(issuer.jwks());
    let usher = fetched(&app, &server, "tokens: { key_wait: 5s }\n");
    eventually("keys", || {
        (usher.get("/", &issuer.token("alice")).status == 200).then_some(())
    });
    server.set_mood(Mood::Hang);
    let token = bell.token("bob");
    let mut leaver = usher.connect();
    leaver.send(request("/", &token));
    eventually("a fetch for it", || {
        (server.fetches().len() >= 2).then_some(())
    });
    let mut others: Vec<Client> = (0..5).map(|_| usher.connect()).collect();
    for client in &mut others {
        client.send(request("/", &token));
    }
    drop(leaver);
    server.set_keys(json!({ "keys": [issuer.jwks()["keys"][0], bell.jwks()["keys"][0]] }));
    server.set_mood(Mood::Good);
    for client in &mut others {
        let status = client.reply().unwrap().status;
        assert!([200, 503].contains(&status), "{status}");
    }
    eventually("nothing is stuck", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
}

#[test]
fn k14_tokens_in_memory() {
    let (app, issuer) = (App::start(), Issuer::new());
    let token = issuer.token("alice");
    let yaml = format!(
        "upstream: http://{}\nadmin: off\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    );
    let config = usher::config::parse(&yaml, "test", &|_| None)
        .unwrap_or_else(|_| panic!("{yaml}"))
        .config;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let parts = usher::assemble(&config, usher::Options::default())
            .await
            .unwrap();
        let verified = parts.identify.identify(&token, None).await.unwrap();
        // What stays is who it names, and a name for the log that leads to no token.
        let kept = format!("{verified:?}");
        assert!(kept.contains("alice"), "{kept}");
        for part in token.split('.') {
            assert!(!kept.contains(part), "{kept}");
        }
        assert_eq!(verified.fingerprint, fingerprint(&token));
        assert!(kept.contains(&verified.fingerprint.to_string()), "{kept}");
        let again = parts.identify.identify(&token, None).await.unwrap();
        assert!(
            std::sync::Arc::ptr_eq(&verified, &again),
            "it is what was kept"
        );
    });
}

#[test]
fn k15_tokens_chosen_to_collide() {
    // Nobody can look for two tokens of one name: the key is made anew by each process, from the
    // operating system's random bytes, and its names are shown nowhere.
    let seen = include_str!("../../src/identify/seen.rs");
    assert!(seen.contains("getrandom::fill(&mut *bytes)") && seen.contains("aead::AES_128_GCM"));
    let stage = Stage::new();
    let token = stage.token(&json!({}));
    // Tokens that differ in little, in blocks, or in zeros are told apart, and none of them is slow.
    let (head, made) = token.rsplit_once('.').unwrap();
    let odd = (0..1000).map(|n| format!("{head}.{}{}", "A".repeat(n % 86), &made[n % 86..]));
    let begun = std::time::Instant::now();
    let odd: Vec<_> = odd.filter(|odd| *odd != token).collect();
    assert_eq!(stage.refuses_all(odd.clone()), odd.len());
    assert!(begun.elapsed() < Duration::from_secs(10));
    stage.passes("the one", &token);
}

#[test]
fn k16_rules_that_were_tightened() {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    let write = |audience: &str| {
        let entry = issuer
            .yaml()
            .replace("audiences: [app]", &format!("audiences: [{audience}]"));
        let more = "listen: 127.0.0.1:0\nadmin: off\n";
        let text = format!(
            "{more}upstream: http://{}\nissuers: [{entry}]\n",
            app.address
        );
        std::fs::write(&file, text).unwrap();
    };
    write("app");
    let running = Running::start(&mut command(&["serve", "--config", file.to_str().unwrap()]));
    let address = running.address("listening");
    let status = |token: &str| {
        let mut client = Client::connect(address);
        client.send(request("/", token));
        client.reply().unwrap().status
    };
    let token = issuer.token("alice");
    assert_eq!(
        [0, 0].map(|_: i32| status(&token)),
        [200; 2],
        "it is remembered"
    );
    write("app2");
    running.signal("HUP");
    eventually("the new rules", || (status(&token) == 401).then_some(()));
    let fit = issuer.token_with("alice", json!({ "aud": "app2" }));
    assert_eq!([status(&fit), status(&token)], [200, 401]);
}

#[test]
fn k17_clock_that_is_set_back() {
    let stage = Stage::with("", "tokens: { cache: { refused_life: 0s } }\n");
    let token = stage.token(&json!({ "exp": NOW + 600 }));
    stage.passes("before", &token);
    stage.clock.set(NOW + 3600);
    stage.refuses("after", &token, &["token_expired"]);
    // An hour back is an hour back: `exp` is a date, and the wall clock is who knows the date. What
    // is remembered is not good for longer than the token itself.
    stage.clock.set(NOW);
    stage.passes("by the clock", &token);
    stage.clock.set(NOW - 3600);
    let early = stage.token(&json!({ "nbf": NOW }));
    stage.refuses("before it begins", &early, &["token_not_yet_valid"]);
    stage.clock.set(NOW + 600);
    stage.refuses("at its end", &token, &["token_expired"]);
    assert_eq!(stage.usher.line("/0")["user"], Value::from("alice"));
}
