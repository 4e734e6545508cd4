//! M: users that are made on first sight, through Redis Streams.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher::config::Algorithm;

use super::forge_stage::does_not_start;
use crate::common::authority::Authority;
use crate::common::cut::Cut;
use crate::common::exness::{self, ENSURE, sign, token};
use crate::common::redis::TlsRedis;
use crate::common::{App, Client, Peers, Served, Usher, eventually};
use crate::users::engine::Habits;

/// Redis and PostgreSQL for all tests that break neither, with an engine that does what it should;
/// they end with the last test that has them.
fn peers() -> Arc<Peers> {
    static SHARED: Mutex<Weak<Peers>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let peers = Arc::new(Peers::with_engine());
        *shared = Arc::downgrade(&peers);
        peers
    })
}

fn usher(app: &App, peers: &Peers, members: &str) -> Usher {
    exness::usher(app, peers, members, "")
}

/// Somebody new passes: Redis, the engine and the database all work.
#[track_caller]
fn serves(usher: &Usher, app: &App, id: &str) {
    assert_eq!(
        usher.get("/good", &token(id, &format!("{id}@e"))).status,
        200,
        "{id}"
    );
    assert_eq!(app.last().header("x-user-id"), Some(id));
}

/// The same, now or soon.
fn recovers(usher: &Usher, name: &str) {
    let mut turn = 0;
    eventually("somebody new passes", || {
        turn += 1;
        let token = token(&format!("{name}-{turn}"), &format!("{name}-{turn}@e"));
        (usher.get("/good", &token).status == 200).then_some(())
    });
}

fn outcome(usher: &Usher, outcome: &str) -> f64 {
    usher.metric(&format!(
        "usher_user_requests_total{{outcome=\"{outcome}\"}}"
    ))
}

#[test]
fn m01_commands_in_claims() {
    let (peers, app) = (peers(), App::start());
    let usher = usher(&app, &peers, "");
    for id in [
        "m01 MAXLEN 0 *",
        "*",
        "m01*3 $3 SET $1 a $1 b",
        "m01 --raw FLUSHALL",
        "m01 {other slot}",
        "m01\"}',\"userId\":\"root\"",
        "m01 \\u0022 \\r\\n",
        "m01 é 名 😀",
        "m01'); FLUSHALL; --",
    ] {
        let email = format!("{id}@e");
        assert_eq!(usher.get("/", &token(id, &email)).status, 200, "{id}");
        let asked = peers
            .requests()
            .into_iter()
            .filter(|one| one["userId"] == id);
        let asked: Vec<Value> = asked.collect();
        assert_eq!(asked.len(), 1, "{id}");
        // Four members, each the claim's very text.
        assert_eq!(asked[0]["userEmail"], email.as_str());
        assert_eq!(asked[0].as_object().unwrap().len(), 4, "{}", asked[0]);
        assert_eq!(peers.email_of(id).as_deref(), Some(email.as_str()));
    }
    let before = peers.entries().len();
    for id in ["m01\r\nFLUSHALL", "m01\0", "m01\u{2028}", " m01"] {
        assert_eq!(usher.get("/", &token(id, "m01@e")).status, 401, "{id:?}");
    }
    let long = "x".repeat(64 * 1024);
    assert_eq!(usher.get("/", &token("m01-long", &long)).status, 431);
    let long = "x".repeat(4 * 1024);
    assert_eq!(usher.get("/", &token("m01-longer", &long)).status, 403);
    assert_eq!(
        peers
            .entries()
            .iter()
            .skip(before)
            .filter(|fields| fields[1].contains("m01"))
            .count(),
        0
    );
    serves(&usher, &app, "m01-good");
}

#[test]
fn m02_names_from_claims() {
    let (peers, app) = (peers(), App::start());
    let usher = usher(&app, &peers, "");
    let odd = json!({
        "userId": "m02", "email": "m02@e", "__proto__": { "function": "deleteUser" }, "*": "*", "stream": "other",
        "function": "deleteUser", "requestId": "mine", "message": "x", "k".repeat(1000): 1,
    });
    assert_eq!(usher.get("/", &sign(&odd, Algorithm::HS256)).status, 200);
    let asked: Vec<_> = peers
        .requests()
        .into_iter()
        .filter(|one| one["userId"] == "m02")
        .collect();
    assert_eq!(asked.len(), 1);
    let mut names: Vec<_> = asked[0].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["function", "requestId", "userEmail", "userId"]);
    assert_eq!(asked[0]["function"], "createUser");
    assert_ne!(asked[0]["requestId"], "mine");
    let streams: Vec<String> = peers.wait(peers.house.redis.run(&["KEYS", "*other*"]));
    assert!(streams.is_empty(), "{streams:?}");
    serves(&usher, &app, "m02-good");
}

#[test]
fn m03_redis_is_away() {
    let mut peers = Peers::with_engine();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 2s\n");
    serves(&usher, &app, "known");
    peers.house.redis.kill();
    let before = app.count();
    for turn in 0..10 {
        let asked = Instant::now();
        let reply = usher.get("/", &token(&format!("new-{turn}"), "new@e"));
        assert_eq!(reply.status, 503);
        assert!(reply.header("retry-after").is_some());
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{:?}",
            asked.elapsed()
        );
    }
    assert_eq!(app.count(), before, "nobody unknown came through");
    serves(&usher, &app, "known");
    peers.restart_redis();
    peers.start_engine(Habits::default());
    recovers(&usher, "after");
}

#[test]
fn m04_redis_is_slow() {
    let peers = Peers::with_engine();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 1s\n  max_waiters: 20\n");
    serves(&usher, &app, "known");
    peers.house.redis.signal("STOP");
    let asked = Instant::now();
    let mut clients: Vec<Client> = (0..60)
        .map(|n| exness_get(&usher, &format!("slow-{n}")))
        .collect();
    let statuses: Vec<_> = clients
        .iter_mut()
        .map(|client| client.reply().unwrap().status)
        .collect();
    assert_eq!(statuses, [503; 60], "bounded waiters, and a bounded wait");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    eventually("it is left alone", || {
        assert_eq!(usher.get("/", &token("more", "more@e")).status, 503);
        (usher.metric("usher_user_breaker_open") == 1.0).then_some(())
    });
    // It is left alone from then on: nobody waits for it any more.
    let asked = Instant::now();
    assert_eq!(usher.get("/", &token("later", "later@e")).status, 503);
    assert!(
        asked.elapsed() < Duration::from_millis(900),
        "{:?}",
        asked.elapsed()
    );
    serves(&usher, &app, "known");
    peers.house.redis.signal("CONT");
    recovers(&usher, "after");
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends a request of somebody, and does not wait.
fn exness_get(usher: &Usher, id: &str) -> Client {
    let mut client = usher.connect();
    let token = token(id, &format!("{id}@e"));
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    client
}

#[test]
fn m05_redis_refuses() {
    let peers = Peers::with_engine();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 1s\n");
    serves(&usher, &app, "known");
    let refusals: [(&str, &[&str], &[&str]); 4] = [
        (
            "READONLY",
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
        ),
        (
            "OOM",
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            "NOREPLICAS",
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (
            "NOPERM",
            &["ACL", "SETUSER", "default", "-xadd"],
            &["ACL", "SETUSER", "default", "+xadd"],
        ),
    ];
    for (name, on, off) in refusals {
        let (before, sent) = (peers.entries().len(), outcome(&usher, "sent"));
        let _: redis::Value = peers.wait(peers.house.redis.run(on));
        let id = format!("during-{name}");
        assert_eq!(
            usher.get("/", &token(&id, &format!("{id}@e"))).status,
            503,
            "{name}"
        );
        assert_eq!(peers.entries().len(), before, "{name}: nothing was sent");
        assert_eq!(outcome(&usher, "sent"), sent, "{name}: nor taken for sent");
        serves(&usher, &app, "known");
        let _: redis::Value = peers.wait(peers.house.redis.run(off));
        recovers(&usher, name);
        // What was refused is asked for anew, and was never taken for done.
        eventually(name, || {
            (usher.get("/", &token(&id, &format!("{id}@e"))).status == 200).then_some(())
        });
        assert_eq!(peers.asked_for(&id), 1, "{name}");
    }
    // Those that it takes a cluster, a restart or a full disk to hear, said in its place.
    let cut = peers.wait(Cut::start(&peers.house.redis.url()));
    let users = peers.users_through(&cut.url(), "  wait: 1s\n");
    let usher = Usher::configured(&exness::yaml(&app, &users, ""));
    for error in [
        "LOADING Redis is loading the dataset in memory",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "NOAUTH Authentication required.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script.",
        "ERR something that nobody knows",
    ] {
        let name = error.split(' ').next().unwrap();
        let (before, sent) = (peers.entries().len(), outcome(&usher, "sent"));
        cut.refuse(Some(error));
        let id = format!("said-{name}");
        let new = token(&id, &format!("{id}@e"));
        assert_eq!(usher.get("/", &new).status, 503, "{name}");
        assert_eq!(peers.entries().len(), before, "{name}: nothing was sent");
        assert_eq!(outcome(&usher, "sent"), sent, "{name}: nor taken for sent");
        serves(&usher, &app, "known");
        cut.refuse(None);
        // It was never taken for done: the next one asks anew, and is let in.
        eventually(name, || (usher.get("/", &new).status == 200).then_some(()));
        assert_eq!(peers.asked_for(&id), 1, "{name}");
    }
    recovers(&usher, "said");
}

#[test]
fn m06_clients_that_leave_in_between() {
    let (peers, app) = (peers(), App::start());
    let usher = usher(&app, &peers, "");
    // Half of them are gone before anything can be answered to them.
    for turn in 0..10 {
        let mut clients: Vec<(String, Client)> = (0..60)
            .map(|n| {
                let id = format!("m06-{turn}-{n}");
                let client = exness_get(&usher, &id);
                (id, client)
            })
            .collect();
        let mut number = 0;
        clients.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        for (id, client) in &mut clients {
            assert_eq!(client.reply().unwrap().status, 200, "{id}");
        }
        for (id, _) in &clients {
            let seen = app.received();
            let of_them = seen
                .iter()
                .filter(|one| one.header("x-user-id") == Some(id));
            assert_eq!(of_them.count(), 1, "{id}");
            assert_eq!(
                peers.email_of(id).unwrap(),
                format!("{id}@e"),
                "their row, and not another's"
            );
        }
    }
    serves(&usher, &app, "m06-good");
}

#[test]
fn m07_reading_that_blocks() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(&app, &peers, "");
    // Somebody waits for a reply that does not come: the reader blocks on a connection of its own.
    let mut waits = exness_get(&usher, "waits");
    let connections = || -> String { peers.wait(peers.house.redis.run(&["CLIENT", "LIST"])) };
    let reads = |line: &&str| line.contains("cmd=xread ");
    eventually("a reader", || {
        connections().lines().any(|line| reads(&line)).then_some(())
    });
    // Twenty more are sent while it blocks, at once.
    let sent = outcome(&usher, "sent");
    let begun = Instant::now();
    let others: Vec<Client> = (0..20)
        .map(|n| exness_get(&usher, &format!("other-{n}")))
        .collect();
    eventually("they are sent", || {
        (outcome(&usher, "sent") >= sent + 20.0).then_some(())
    });
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    // They went over another connection, which has sent nothing else since.
    let all = connections();
    let sent_by = |line: &&str| line.contains("cmd=evalsha ") || line.contains("cmd=eval ");
    assert!(all.lines().any(|line| sent_by(&line)), "{all}");
    assert!(all.lines().any(|line| reads(&line)), "{all}");
    drop(others);
    peers.insert("waits", "waits@e");
    assert_eq!(waits.reply().unwrap().status, 200);
}

#[test]
fn m08_one_user_many_times() {
    let (peers, app) = (peers(), App::start());
    let yaml = exness::yaml(&app, &peers.users(""), "");
    let served = Served::all(&yaml, 3);
    let token = token("m08", "m08@e");
    crate::memory::allow_files(8_000);
    let mut clients: Vec<Client> = (0..999)
        .map(|n| {
            let mut client = served[n % 3].connect();
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
            ));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(
        peers.asked_for("m08"),
        1,
        "three processes, one request to the engine"
    );
    assert_eq!(app.count(), 999);
    let mut client = served[0].connect();
    client.send(request(&token));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn m09_confirmation_that_is_lost() {
    let peers = Peers::start();
    // The engine says nothing at all: the row alone tells.
    peers.start_engine(Habits {
        no_reply: true,
        ..Habits::default()
    });
    let app = App::start();
    let usher = usher(&app, &peers, "");
    serves(&usher, &app, "silent");
    // It says it before the row is there.
    peers.start_engine(Habits {
        row_after: Duration::from_millis(200),
        ..Habits::default()
    });
    serves(&usher, &app, "early");
    eventually("nobody waits", || {
        (usher.metric("usher_user_waiters") == 0.0).then_some(())
    });
    assert_eq!(
        (peers.asked_for("silent"), peers.asked_for("early")),
        (1, 1)
    );
    serves(&usher, &app, "afterwards");
}

#[test]
fn m10_replies_for_others() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(&app, &peers, "  wait: 1s\n");
    let mut waits = exness_get(&usher, "victim");
    eventually("the engine is asked", || {
        (peers.asked_for("victim") == 1).then_some(())
    });
    let say = |text: Value| {
        let text = text.to_string();
        let words = ["XADD", "stream:exnessReceive", "*", "message", &text];
        let _: String = peers.wait(peers.house.redis.run(&words));
    };
    // Another's request, another's user, none at all, twice, and one that says it is done without a row.
    say(json!({ "function": "createUser", "message": "victim", "requestId": "not-yours" }));
    say(json!({ "function": "createUser", "message": "somebody", "requestId": "not-yours" }));
    say(json!({ "function": "createUser", "message": "somebody" }));
    say(json!({ "function": "deleteUser", "message": "victim" }));
    say(json!({ "function": "createUser", "message": "victim" }));
    say(json!({ "function": "createUser", "message": "victim" }));
    assert_eq!(waits.reply().unwrap().status, 503, "a reply is no row");
    assert_eq!(app.count(), 0);
    peers.insert("victim", "victim@e");
    serves(&usher, &app, "victim");
}

#[test]
fn m11_poisoned_entries() {
    let peers = Peers::start();
    peers.start_engine(Habits {
        noisy: true,
        ..Habits::default()
    });
    let app = App::start();
    let usher = usher(&app, &peers, "");
    for turn in 0..3 {
        serves(&usher, &app, &format!("noisy-{turn}"));
    }
    assert!(usher.metric("usher_user_replies_total{outcome=\"unreadable\"}") >= 3.0);
    // However many there are, one line tells of them, and it shows nothing of what they hold.
    let served = Served::start(&exness::yaml(&app, &peers.users(""), ""));
    let say = |words: &[&[u8]]| {
        let mut command = redis::cmd("XADD");
        command.arg("stream:exnessReceive").arg("*");
        for word in words {
            command.arg(*word);
        }
        let _: String = peers.wait(async {
            let mut connection = peers.house.redis.connect().await;
            command.query_async(&mut connection).await.unwrap()
        });
    };
    peers.stop_engine();
    let mut waits = served.connect();
    waits.send(request(&token("poisoned", "poisoned@e")));
    eventually("a reader", || {
        let clients: String = peers.wait(peers.house.redis.run(&["CLIENT", "LIST"]));
        clients.contains("cmd=xread ").then_some(())
    });
    let huge = "unmistakable".repeat(20_000);
    for _ in 0..20 {
        say(&[b"message", b"\xff\xfe unmistakable"]);
        say(&[b"other", b"unmistakable"]);
        say(&[b"message", b"[1,2,3]"]);
        say(&[b"message", br#"{"function":7,"message":["unmistakable"]}"#]);
        say(&[b"message", huge.as_bytes()]);
    }
    let unreadable = || {
        let text = served.admin("/metrics").body;
        let name = "usher_user_replies_total{outcome=\"unreadable\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |count| count.parse::<f64>().unwrap())
    };
    eventually("they are counted", || (unreadable() == 100.0).then_some(()));
    let log = served.log();
    let told = log.matches("is no reply; it is skipped").count();
    assert!(
        (1..=2).contains(&told),
        "told once, and once more after ten seconds: {log}"
    );
    assert!(!log.contains("unmistakable"), "{log}");
    // The reader goes on, and somebody who waits is let in.
    peers.start_engine(Habits::default());
    peers.insert("poisoned", "poisoned@e");
    assert_eq!(waits.reply().unwrap().status, 200);
    // A stream that is no stream stops only what needs it, and not for ever.
    let _: u64 = peers.wait(peers.house.redis.run(&["DEL", "stream:exnessReceive"]));
    let _: String = peers.wait(peers.house.redis.run(&["SET", "stream:exnessReceive", "x"]));
    let _ = usher.get("/", &token("wrong", "wrong@e"));
    let _: u64 = peers.wait(peers.house.redis.run(&["DEL", "stream:exnessReceive"]));
    recovers(&usher, "after");
}

#[test]
fn m12_consumer_that_has_stopped() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(
        &app,
        &peers,
        "  first_sight: background\n  wait: 5s\n  max_waiters: 50\n",
    );
    peers.insert("known", "known@e");
    serves(&usher, &app, "known");
    let mut client = usher.connect();
    let begun = Instant::now();
    for n in 0..3_000 {
        let token = token(&format!("many-{n}"), &format!("many-{n}@e"));
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let status = client.reply().unwrap().status;
        assert!([200, 503].contains(&status), "{status}");
    }
    // usher trims nobody's stream; what it holds of them itself has an end.
    let sent = outcome(&usher, "sent");
    assert_eq!(peers.entries().len() as f64, sent);
    // Nobody answers, so each is under way for `wait`, and fifty at one time.
    let most = 50.0 * (begun.elapsed().as_secs_f64() / 5.0 + 2.0);
    assert!(sent <= most, "{sent} sent, at most {most}");
    assert!(usher.metric("usher_user_waiters") <= 50.0);
    let commands: String = peers.wait(peers.house.redis.run(&["INFO", "commandstats"]));
    assert!(!commands.contains("cmdstat_xtrim"), "{commands}");
    serves(&usher, &app, "known");
}

#[test]
fn m13_answer_that_is_lost() {
    let peers = Peers::with_engine();
    let app = App::start();
    let cut = peers.wait(Cut::start(&peers.house.redis.url()));
    let users = peers.users_through(&cut.url(), "");
    let usher = Usher::configured(&exness::yaml(&app, &users, ""));
    serves(&usher, &app, "first");
    for turn in 0..3 {
        cut.lose(1);
        let id = format!("lost-{turn}");
        serves(&usher, &app, &id);
        assert_eq!(
            peers.asked_for(&id),
            1,
            "asked again under the same id, it is one request"
        );
    }
}

#[test]
fn m14_flood_of_strangers() {
    let (peers, app) = (peers(), App::start());
    let usher = usher(&app, &peers, "");
    let mut client = usher.connect();
    for n in 0..300 {
        let claims = json!({ "userId": format!("m14-{n}"), "email": "m14@e" });
        let token =
            crate::common::Signer::new("HS256", b"another secret than the one of usher's issuer")
                .token(claims.to_string());
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 401);
    }
    assert!(
        !peers
            .requests()
            .iter()
            .any(|one| one["userId"].as_str().unwrap().starts_with("m14-"))
    );
    assert_eq!(outcome(&usher, "sent"), 0.0);
    // One who has a good token may ask for the same user again and again, within bounds.
    let own = token("m14-own", "m14-own@e");
    let statuses: Vec<_> = (0..40)
        .map(|_| exness::post(&usher, ENSURE, &own).status)
        .collect();
    assert!(
        statuses.iter().filter(|status| **status == 429).count() >= 9,
        "{statuses:?}"
    );
    assert_eq!(peers.asked_for("m14-own"), 30);
    // Not defended: whoever an issuer vouches for is asked for, however many they are.
    for n in 0..50 {
        let new = token(&format!("m14-new-{n}"), &format!("m14-new-{n}@e"));
        assert_eq!(usher.get("/", &new).status, 200);
    }
    let asked = |one: &Value| one["userId"].as_str().unwrap().starts_with("m14-new-");
    assert_eq!(peers.requests().iter().filter(|one| asked(one)).count(), 50);
    serves(&usher, &app, "m14-good");
}

#[test]
fn m15_password_of_redis() {
    let base = "upstream: http://127.0.0.1:1\nissuers: [{ name: a, audiences: any, secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4 }]\n";
    for users in [
        "{ directory: 'sqlite:a', provisioner: 'http://:hunter2@redis' }",
        "{ directory: 'sqlite:a', provisioner: 'redis+ring://:hunter2@redis' }",
        "{ directory: 'sqlite:a', provisioner: ['redis://:hunter2@redis'] }",
        "{ directory: 'mysql://app:hunter2@db' }",
    ] {
        let told = does_not_start(&format!("{base}users: {users}\n"));
        assert!(!told.contains("hunter2"), "{told}");
    }
    // One that is away: neither in the report nor in what is written.
    let app = App::start();
    let port = crate::common::free_port();
    let folder = tempfile::tempdir().unwrap();
    let users = format!(
        "users: {{ directory: 'sqlite:{}', provisioner: 'redis://usher:hunter2@127.0.0.1:{port}', wait: 500ms }}\n",
        folder.path().join("users.db").display()
    );
    let routes = "routes: [{ path: /good, first_sight: off }]\n";
    let served = Served::all(&exness::yaml(&app, &users, routes), 1);
    let mut client = served[0].connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        token("u", "u@e")
    ));
    assert_eq!(client.reply().unwrap().status, 503);
    let report = served[0].admin("/readyz").body;
    assert!(report.contains("provisioner"), "{report}");
    let metrics = served[0].admin("/metrics").body;
    for text in [report, metrics, served[0].log()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    // Where nobody has to be known, all goes on.
    let mut client = served[0].connect();
    client.send(request(&token("u", "u@e")).replace("GET / ", "GET /good "));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn m16_redis_that_does_not_prove_who_it_is() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let peers = Peers::start();
    let redis = peers.wait(TlsRedis::start(&theirs));
    let (app, folder) = (App::start(), tempfile::tempdir().unwrap());
    let with = |root: &std::path::Path| {
        format!(
            "users: {{ directory: 'sqlite:{}', wait: 1s, first_sight: background, \
             provisioner: {{ url: '{}', ca_file: '{}' }} }}\n",
            folder.path().join("users.db").display(),
            redis.url(),
            root.display()
        )
    };
    for (root, status) in [(&ours.root, 503), (&theirs.root, 200)] {
        let yaml = exness::yaml(&app, &with(root), "");
        let usher = Usher::configured(&yaml);
        eventually("a verdict", || {
            (usher.get("/", &token("u", "u@e")).status == status).then_some(())
        });
    }
    let sent: u64 = peers.wait(redis.redis.run(&["XLEN", "stream:exness"]));
    assert_eq!(sent, 1);
    let yaml = exness::yaml(
        &app,
        &with(&ours.root).replace("', ca_file", "#insecure', ca_file"),
        "",
    );
    let told = does_not_start(&yaml);
    assert!(
        told.contains("provisioner"),
        "there is no way around it: {told}"
    );
    let usher = Usher::configured(&exness::yaml(&app, &with(&theirs.root), ""));
    eventually("a good one", || {
        (usher.get("/", &token("u", "u@e")).status == 200).then_some(())
    });
}

#[test]
fn m17_reply_that_is_remembered() {
    let peers = Peers::start();
    let app = App::start();
    let usher = usher(
        &app,
        &peers,
        "  wait: 700ms\n  presence: { fresh: 1s, max_stale: 2s }\n  marker: 1s\n",
    );
    // An old "user exists", and no row: the database is who knows.
    peers.start_engine(Habits {
        no_row: true,
        says: Some("user Already Exist"),
        ..Habits::default()
    });
    assert_eq!(usher.get("/", &token("ghost", "ghost@e")).status, 503);
    assert_eq!(app.count(), 0);
    // Nor is it remembered that somebody is missing.
    peers.insert("ghost", "ghost@e");
    assert_eq!(usher.get("/", &token("ghost", "ghost@e")).status, 200);
    // And who was there and is gone is forgotten.
    peers.wait(peers.house.postgres.run(r#"DELETE FROM "User""#));
    eventually("the row is missed", || {
        (usher.get("/", &token("ghost", "ghost@e")).status == 503).then_some(())
    });
    peers.insert("ghost", "ghost@e");
    eventually("it is there again", || {
        (usher.get("/", &token("ghost", "ghost@e")).status == 200).then_some(())
    });
}
