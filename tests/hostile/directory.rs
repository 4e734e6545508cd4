//! N: the directory in which users are looked up.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use usher::clock::{Clock, ManualClock};

use super::forge_stage::does_not_start;
use crate::accounts::stage::{LOGIN, LoggedIn, Stage as Accounts, request};
use crate::common::app::bare;
use crate::common::authority::Authority;
use crate::common::exness::{self, VERIFY, post, token};
use crate::common::issuer::now;
use crate::common::postgres::Postgres;
use crate::common::{App, Peers, Served, Usher, eventually};
use crate::users::engine::Habits;

/// PostgreSQL for the tests that break nothing; nobody creates users.
fn peers() -> Arc<Peers> {
    static SHARED: Mutex<Weak<Peers>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let peers = Arc::new(Peers::start());
        *shared = Arc::downgrade(&peers);
        peers
    })
}

/// usher that looks users up at `url`, and creates none.
fn lookup(app: &App, url: &str, more: &str) -> String {
    exness::yaml(
        app,
        &format!("users:\n  directory: {{ url: \"{url}\"{more} }}\n  preset: exness\n"),
        "",
    )
}

#[test]
fn n01_sql_in_claims() {
    let (peers, app) = (peers(), App::start());
    let usher = Usher::configured(&lookup(&app, &peers.house.postgres.url(), ""));
    peers.insert("n01-good", "n01-good@e");
    let rows = peers.rows();
    for id in [
        "'; DROP TABLE \"User\"; --",
        "' OR '1'='1",
        "\\'; SELECT pg_sleep(10); --",
        "n01-good' --",
        "n01-goo%",
        "n01-goo_",
        "$1",
        "n01-good\\",
        "\u{ff07} OR 1=1",
        "N01-GOOD",
    ] {
        let asked = Instant::now();
        assert_eq!(usher.get("/", &token(id, "nobody@e")).status, 403, "{id}");
        let reply = post(&usher, VERIFY, &token(id, id));
        assert_ne!(reply.status, 200, "{id}: {}", reply.body);
        assert!(asked.elapsed() < Duration::from_secs(5), "{id}");
    }
    assert_eq!(
        usher.get("/", &token("n01\0", "n01@e")).status,
        401,
        "NUL is nobody's id"
    );
    assert!([401, 403].contains(&usher.get("/", &token("n01-nul", "a\0b")).status));
    assert!([401, 403].contains(&usher.get("/", &token(&"x".repeat(5000), "n01@e")).status));
    assert_eq!(peers.rows(), rows);
    assert_eq!(usher.get("/", &token("n01-good", "n01-good@e")).status, 200);
}

#[test]
fn n02_sql_in_the_configuration() {
    let base = "upstream: http://127.0.0.1:1\nissuers: [{ name: a, audiences: any, secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4 }]\n";
    for members in [
        "table: ''",
        "table: \"a\\0b\"",
        "table: t, id_column: ''",
        "schema: ''",
        "table: [a]",
    ] {
        let told = does_not_start(&format!(
            "{base}users: {{ directory: 'postgres://a@127.0.0.1:1/b', {members} }}\n"
        ));
        assert!(told.contains("users."), "{members}: {told}");
    }
    // Any other name is a name, and quoted as one: what it says is not run.
    let (peers, app) = (peers(), App::start());
    let table = r#"users"; DROP TABLE "User"; --"#;
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\nusers:\n  directory: '{}'\n  table: '{table}'\n  id_column: 'i\"d'\n",
        app.address,
        exness::issuer(),
        peers.house.postgres.url()
    );
    let usher = Usher::configured(&yaml);
    assert_eq!(
        usher.get("/", &token("n02", "n02@e")).status,
        503,
        "there is no such table"
    );
    assert!(peers.rows() >= 0, "and the other one is still there");
    peers.wait(peers.house.postgres.run(
        r#"CREATE TABLE "users""; DROP TABLE ""User""; --" ("i""d" text, "email" text);
           INSERT INTO "users""; DROP TABLE ""User""; --" VALUES ('n02', 'n02@e')"#,
    ));
    eventually("the table with the odd name", || {
        (usher.get("/", &token("n02", "n02@e")).status == 200).then_some(())
    });
}

#[test]
fn n03_database_that_is_away() {
    let mut peers = Peers::start();
    let app = App::start();
    let clock = ManualClock::new(now());
    let more = ", pool: 2, statement_timeout: 500ms, connect_timeout: 300ms";
    let yaml = lookup(&app, &peers.house.postgres.url(), more);
    let yaml = yaml.replace(
        "  preset: exness\n",
        "  preset: exness\n  presence: { fresh: 1m, max_stale: 1h }\n",
    );
    let usher = Usher::with_clock(&yaml, Clock::Manual(clock.clone()));
    peers.insert("known", "known@e");
    assert_eq!(usher.get("/", &token("known", "known@e")).status, 200);
    // It stands still: more callers than there are connections, and nobody waits for long.
    peers.house.postgres.signal_all("STOP");
    let asked = Instant::now();
    let mut clients: Vec<_> = (0..20)
        .map(|n| exness::start_post(&usher, "/", &token(&format!("new-{n}"), "new@e")))
        .collect();
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 503);
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(usher.get("/", &token("known", "known@e")).status, 200);
    peers.house.postgres.signal_all("CONT");
    // It is gone: who is known stays known, up to the bound.
    peers.house.postgres.kill();
    for (after, status) in [(0, 200), (120, 200), (3600, 503)] {
        clock.advance(after);
        assert_eq!(
            usher.get("/", &token("known", "known@e")).status,
            status,
            "after {after} s"
        );
        assert_eq!(usher.get("/", &token("new", "new@e")).status, 503);
    }
    peers.restart_postgres();
    eventually("it is back", || {
        (usher.get("/", &token("known", "known@e")).status == 200).then_some(())
    });
}

#[test]
fn n04_server_that_is_hostile() {
    use std::io::{Read, Write};
    // One that says nothing, one that speaks another protocol, one whose row is shorter than it says.
    let ready = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec();
    let short_row = [
        ready.clone(),
        b"1\0\0\0\x04t\0\0\0\x06\0\0n\0\0\0\x04Z\0\0\0\x05ID\0\0\0\x06\0\x7f".to_vec(),
    ]
    .concat();
    let huge = [ready.clone(), b"T\x7f\xff\xff\xff\0\x01".to_vec()].concat();
    let negative = [ready, b"T\xff\xff\xff\xff".to_vec()].concat();
    for says in [
        vec![],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        short_row,
        huge,
        negative,
        vec![0; 4096],
    ] {
        let words = says.clone();
        let address = bare(move |mut stream| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&words);
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&words);
            let _ = stream.read(&mut [0; 1024]);
        });
        let app = App::start();
        let url = format!("postgres://app@{address}/app?sslmode=disable");
        let usher = Usher::configured(&lookup(
            &app,
            &url,
            ", statement_timeout: 300ms, connect_timeout: 300ms",
        ));
        let asked = Instant::now();
        assert_eq!(usher.get("/", &token("u", "u@e")).status, 503, "{says:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(usher.admin("/livez").status, 200, "nobody panicked");
        assert_eq!(app.count(), 0);
    }
    // And one that is somebody else's.
    let (ours, theirs) = (Authority::new(), Authority::new());
    let peers = peers();
    let postgres = peers.wait(Postgres::start_tls(&theirs));
    peers.wait(postgres.insert("u", "u@e"));
    let app = App::start();
    for mode in ["verify-full", "require"] {
        for (root, status) in [(&ours.root, 503), (&theirs.root, 200)] {
            let more = format!(", ca_file: '{}'", root.display());
            let usher = Usher::configured(&lookup(&app, &postgres.tls_url(mode), &more));
            assert_eq!(usher.get("/", &token("u", "u@e")).status, status, "{mode}");
        }
    }
}

#[test]
fn n05_row_that_is_not_there_yet() {
    // Nobody is remembered as missing: the row that a replica lacks is found once it is there.
    let (peers, app) = (peers(), App::start());
    let usher = Usher::configured(&lookup(&app, &peers.house.postgres.url(), ""));
    let new = token("n05", "n05@e");
    for _ in 0..3 {
        assert_eq!(usher.get("/", &new).status, 403);
    }
    peers.insert("n05", "n05@e");
    assert_eq!(usher.get("/", &new).status, 200);
    // Where somebody makes users, whoever the engine knows and the replica does not yet is waited for:
    // asked once, looked for until the row is there, and never told that they are nobody.
    let behind = Peers::start();
    behind.start_engine(Habits {
        says: Some("user Already Exist"),
        row_after: Duration::from_millis(700),
        ..Habits::default()
    });
    let usher = exness::usher(&app, &behind, "  wait: 5s\n", "");
    let asked = Instant::now();
    let mut clients: Vec<_> = (0..5)
        .map(|_| exness::start_post(&usher, "/late", &token("late", "late@e")))
        .collect();
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert!(
        asked.elapsed() >= Duration::from_millis(600),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(behind.asked_for("late"), 1);
    usher.serves(&token("late", "late@e"));
}

#[test]
fn n06_user_who_is_deleted() {
    let (peers, app) = (peers(), App::start());
    let clock = ManualClock::new(now());
    let yaml = lookup(&app, &peers.house.postgres.url(), "");
    let yaml = yaml.replace(
        "  preset: exness\n",
        "  preset: exness\n  presence: { fresh: 1m, max_stale: 1h }\n",
    );
    let usher = Usher::with_clock(&yaml, Clock::Manual(clock.clone()));
    peers.insert("n06", "n06@e");
    peers.insert("n06-stays", "n06-stays@e");
    let (gone, stays) = (token("n06", "n06@e"), token("n06-stays", "n06-stays@e"));
    assert_eq!(
        [&gone, &stays].map(|token| usher.get("/", token).status),
        [200, 200]
    );
    peers.wait(
        peers
            .house
            .postgres
            .run(r#"DELETE FROM "User" WHERE "userID" = 'n06'"#),
    );
    assert_eq!(
        usher.get("/", &gone).status,
        200,
        "within `fresh` nobody asks"
    );
    clock.advance(61);
    eventually("the row is missed", || {
        (usher.get("/", &gone).status == 403).then_some(())
    });
    assert_eq!(usher.get("/", &stays).status, 200);
}

#[test]
fn n07_two_who_insert_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::start();
    let users = format!(
        "users: {{ directory: 'sqlite:{}', provisioner: direct }}\n",
        folder.path().join("u.db").display()
    );
    let served = Served::all(&exness::yaml(&app, &users, ""), 2);
    let mut clients: Vec<_> = (0..60)
        .map(|n| {
            let mut client = served[n % 2].connect();
            let token = token(&format!("u-{}", n / 12), &format!("{}@e", n / 12));
            client.send(format!(
                "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
            ));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let database = rusqlite::Connection::open(folder.path().join("u.db")).unwrap();
    let rows: i64 = database
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 5);
    // The same in PostgreSQL, between two processes: external users, whom usher makes there itself.
    let stage = Accounts::postgres();
    let ushers = [stage.usher(), stage.usher()];
    let mut clients: Vec<_> = (0..60)
        .map(|n| {
            let mut client = ushers[n % 2].connect();
            let jwt = stage.vouch(&format!("n07-{}", n / 12), json!({}));
            let body = json!({ "userJwt": jwt }).to_string();
            client.send(request(LOGIN, &body, ""));
            client
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for client in &mut clients {
        let one = LoggedIn::of(&client.reply().unwrap());
        ids.insert(one.id().to_owned());
    }
    assert_eq!(ids.len(), 5, "each is one user, whoever came first");
    assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 5);
    stage.login(&ushers[0], "n07-good", json!({}));
}

#[test]
fn n08_token_in_an_error_of_the_database() {
    let (peers, app) = (peers(), App::start());
    let yaml = lookup(&app, &peers.house.postgres.url(), "")
        .replace("  preset: exness\n", "  table: nowhere\n");
    let yaml = yaml.split("endpoints:").next().unwrap().to_owned();
    let yaml = format!("{yaml}routes: [{{ path: /good, first_sight: off }}]\n");
    let served = Served::all(&yaml, 1);
    let secret = token("n08-unmistakable", "n08@e");
    let mut client = served[0].connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\r\n"
    ));
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 503);
    assert!(
        !reply.body.contains("nowhere") && !reply.body.contains("relation"),
        "{}",
        reply.body
    );
    let log = eventually("the error is logged", || {
        let log = served[0].log();
        log.contains("nowhere").then_some(log)
    });
    for part in secret.split('.').chain(["postgres://"]) {
        assert!(!log.contains(part), "{part}");
    }
    let mut client = served[0].connect();
    client.send(format!(
        "GET /good HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\n\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 200);
}
