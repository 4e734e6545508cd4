//! K: verdicts that are remembered.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use usher::identify::fingerprint;

use super::forge_stage::{NOW, SIGNATURE, Stage};
use crate::accounts::stage::Stage as Accounts;
use crate::common::app::answer;
use crate::common::command::{Running, usher as command};
use crate::common::exness;
use crate::common::{App, Client, Issuer, KeyServer, Mood, Peers, Served, Usher, eventually};
use crate::revocation::stage::{Stage as Revoking, dies};

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
    usher.serves(&lenient);
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
    stage.passes("a good one", &stage.good());
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
    stage.passes("a good one", &stage.good());
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
    usher.serves(&issuer.token("alice"));
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
    stage.passes("a good one", &stage.good());
}

#[test]
fn k09_flood_of_good_tokens() {
    const CACHE: u64 = 4 << 20;
    // Tokens of 5.5 KiB, of each of which usher keeps a header of 4 KiB: sixteen mebibytes of them all.
    let name = "n".repeat(4_000);
    let (app, issuer) = (App::start(), Issuer::new());
    let more =
        "tokens: { cache: { weight: 4MiB } }\nheaders: { X-User-Id: id, X-User-Name: name }\n";
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\n{more}",
        app.address,
        issuer.yaml()
    );
    let served = Served::start(&yaml);
    let counted = |name: &str| -> f64 {
        let text = served.admin("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let mut client = served.connect();
    let mut ask = |token: &str| {
        client.send(request("/", token));
        assert_eq!(client.reply().unwrap().status, 200);
    };
    let tokens: Vec<_> = (0..4_000)
        .map(|n| issuer.token_with(&format!("user-{n}"), json!({ "name": name })))
        .collect();
    tokens[..50].iter().for_each(|token| ask(token));
    let before = served.memory();
    tokens[50..].iter().for_each(|token| ask(token));
    // Of a cache that has no end all four thousand would be there. What it may hold and a fifth of that on
    // top is the row's bound; what the allocator and the metrics take besides is small.
    let grown = served.memory().saturating_sub(before);
    let bound = CACHE * 12 / 10 + (3 << 20);
    assert!(
        grown < bound,
        "{} KiB more, at most {}",
        grown >> 10,
        bound >> 10
    );
    // Most of them are looked at again when they come again.
    let seen = counted("usher_token_verifications_total");
    tokens[2_000..2_300].iter().for_each(|token| ask(token));
    let again = counted("usher_token_verifications_total") - seen;
    assert!(again > 250.0, "{again} of 300");
    // What comes again and again is remembered: the cache keeps what is asked for.
    let hits = counted("usher_token_cache_hits_total");
    for _ in 0..8 {
        ask(&tokens[3_999]);
    }
    assert!(counted("usher_token_cache_hits_total") > hits);
    served_good(&served, &issuer);
}

/// A good request passes.
#[track_caller]
fn served_good(served: &Served, issuer: &Issuer) {
    let mut client = served.connect();
    client.send(request("/good", &issuer.token("alice")));
    assert_eq!(client.reply().unwrap().status, 200);
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
    // A token, or a user, that is revoked ends on every instance at once, remembered or not.
    let revoking = Revoking::new();
    let ushers = [revoking.usher(""), revoking.usher("")];
    let (dead, alive) = (
        revoking.issuer.token_with("ada", json!({ "jti": "dead" })),
        revoking.issuer.token_with("ada", json!({ "jti": "alive" })),
    );
    for usher in &ushers {
        assert_eq!(
            [&dead, &alive].map(|token| usher.get("/", token).status),
            [200; 2]
        );
    }
    revoking.revoke(&["--jti", "dead"]);
    for usher in &ushers {
        let took = dies(usher, &dead);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(usher.get("/", &alive).status, 200);
    }
    revoking.revoke(&["--issuer", "idp", "--subject", "ada"]);
    for usher in &ushers {
        dies(usher, &alive);
        usher.serves(&revoking.issuer.token("bob"));
    }
}

#[test]
fn k12_stampede() {
    const TOKENS: usize = 60;
    // Many threads that begin at one time, again and again: without the flight that they share most
    // tokens would be verified twice or more.
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "workers: 8\nusers: {{ directory: 'sqlite:{}', provisioner: direct }}\n",
        folder.path().join("users.db").display()
    );
    let stage = Stage::with("", &more);
    let mut clients: Vec<_> = (0..100).map(|_| stage.usher.connect()).collect();
    for turn in 0..TOKENS {
        let token = stage.token(&json!({ "sub": format!("user-{turn}"), "x": "y".repeat(3_000) }));
        let text = request("/", &token);
        for client in &mut clients {
            client.send(&text);
        }
        for client in &mut clients {
            assert_eq!(client.reply().unwrap().status, 200);
        }
    }
    assert_eq!(verifications(&stage.usher), TOKENS as f64);
    // Nor was anybody looked for, or made, more than once: each was missed, and then was there.
    let lookups = |outcome: &str| {
        let name = format!("usher_user_lookups_total{{outcome=\"{outcome}\"}}");
        stage.usher.metric(&name)
    };
    assert_eq!(["missing", "found"].map(lookups), [TOKENS as f64; 2]);
    // A thousand at once, of one token more.
    let token = stage.token(&json!({ "sub": "crowd" }));
    let text = request("/", &token);
    let mut crowd: Vec<_> = (0..1_000).map(|_| stage.usher.connect()).collect();
    for client in &mut crowd {
        client.send(&text);
    }
    for client in &mut crowd {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(verifications(&stage.usher), TOKENS as f64 + 1.0);
    assert_eq!(lookups("missing"), TOKENS as f64 + 1.0);
    stage.passes("afterwards", &token);
}

#[test]
fn k13_client_that_leaves_in_between() {
    let (app, issuer) = (App::start(), Issuer::new());
    let bell = Issuer::with_kid("bell");
    let server = KeyServer::start(issuer.jwks());
    // Few may wait: whoever leaves has to give its place back.
    let usher = fetched(&app, &server, "tokens: { key_wait: 8s, max_waiters: 6 }\n");
    eventually("keys", || {
        (usher.get("/", &issuer.token("alice")).status == 200).then_some(())
    });
    server.set_mood(Mood::Hang);
    let token = bell.token("bob");
    for turn in 0..4 {
        let leavers: Vec<_> = (0..5)
            .map(|_| {
                let mut leaver = usher.connect();
                leaver.send(request("/leaver", &token));
                leaver
            })
            .collect();
        if turn == 0 {
            eventually("a fetch for it", || {
                (server.fetches().len() >= 2).then_some(())
            });
        }
        eventually("they wait", || {
            (usher.metric("usher_requests_in_flight") >= 5.0).then_some(())
        });
        drop(leavers);
        eventually("they are gone", || {
            (usher.metric("usher_requests_in_flight") == 0.0).then_some(())
        });
    }
    let mut others: Vec<Client> = (0..5).map(|_| usher.connect()).collect();
    for client in &mut others {
        client.send(request("/", &token));
    }
    server.set_keys(json!({ "keys": [issuer.jwks()["keys"][0], bell.jwks()["keys"][0]] }));
    server.set_mood(Mood::Good);
    // Each of those who stayed is answered, and with what they came for.
    for client in &mut others {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert!(app.received().iter().all(|one| one.target() != "/leaver"));
    // The same while a user is made: the first one is whose request the others have joined.
    let peers = Peers::start();
    let app = App::start();
    let usher = exness::usher(&app, &peers, "", "");
    let token = exness::token("k13", "k13@e");
    let mut first = usher.connect();
    first.send(request("/first", &token));
    eventually("the engine is asked", || {
        (peers.asked_for("k13") == 1).then_some(())
    });
    let mut others: Vec<Client> = (0..5).map(|_| usher.connect()).collect();
    for client in &mut others {
        client.send(request("/", &token));
    }
    drop(first);
    peers.insert("k13", "k13@e");
    for client in &mut others {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(peers.asked_for("k13"), 1, "nobody had to begin anew");
    usher.serves(&token);
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
    drop(runtime);
    // And in all of the memory of a process: hundreds of tokens came, and what is left of them are a few
    // that lie in buffers which nobody has written to since.
    const MANY: usize = 300;
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    );
    let served = Served::start(&yaml);
    let tokens: Vec<_> = (0..MANY)
        .map(|n| issuer.token(&format!("memory-{n}")))
        .collect();
    let mut client = served.connect();
    for token in &tokens {
        client.send(request("/", token));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let memory = memory_of(&served);
    let kept: HashSet<_> = (0..MANY)
        .map(|n| format!("x-user-id: memory-{n}\r\n"))
        .collect();
    let there = texts_in(&memory, b"x-user-id: memory-", |byte| byte != b'\n');
    let kept = kept
        .iter()
        .filter(|line| there.contains(line.trim_end()))
        .count();
    assert!(kept > MANY * 9 / 10, "who they name is remembered: {kept}");
    let header = tokens[0].split('.').next().unwrap();
    let there = texts_in(&memory, header.as_bytes(), |byte| byte > b' ');
    let left = tokens
        .iter()
        .filter(|token| there.contains(token.as_str()))
        .count();
    assert!(left < MANY / 20, "{left} of {MANY} tokens are in memory");
    served_good(&served, &issuer);
}

/// What a process has in its memory, without what it never wrote to.
fn memory_of(served: &Served) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    const PIECE: usize = 64 << 10;
    let process = format!("/proc/{}", served.id());
    let maps = std::fs::read_to_string(format!("{process}/maps")).unwrap();
    let mut file = std::fs::File::open(format!("{process}/mem")).unwrap();
    let (mut all, mut piece, zeros) = (Vec::new(), vec![0; PIECE], vec![0; PIECE]);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let place = |text: &str| u64::from_str_radix(text, 16).unwrap();
        if file.seek(SeekFrom::Start(place(from))).is_err() {
            continue;
        }
        let mut left = usize::try_from(place(to) - place(from)).unwrap();
        while left > 0 {
            let Ok(count @ 1..) = file.read(&mut piece[..left.min(PIECE)]) else {
                break;
            };
            if piece[..count] != zeros[..count] {
                all.extend_from_slice(&piece[..count]);
            }
            left -= count;
        }
    }
    assert!(all.len() > 1 << 20, "{} bytes", all.len());
    all
}

/// Every text that begins so, as far as its bytes are `within`.
fn texts_in(memory: &[u8], begin: &[u8], within: impl Fn(u8) -> bool) -> HashSet<String> {
    let text = |place: usize| {
        let rest = &memory[place..];
        let end = rest
            .iter()
            .position(|byte| !within(*byte))
            .unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).trim_end().to_owned()
    };
    memchr::memmem::find_iter(memory, begin).map(text).collect()
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
    assert_eq!([0, 0].map(|_: i32| status(&fit)), [200, 200]);
    assert!(status(&fit) == 200);
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
    stage.passes("a good one", &stage.good());
}
