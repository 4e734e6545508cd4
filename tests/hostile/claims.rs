//! J: claims.

use serde_json::{Value, json};
use usher::clock::{Clock, ManualClock};

use super::forge_stage::{NOW, SHAPE, Stage, claims, does_not_start, payload, payload_with};
use crate::common::issuer::now;
use crate::common::{App, Issuer, Peers, Usher};

const CLAIM: &[&str] = &["claim_refused"];
const EXPIRED: &[&str] = &["token_expired"];
const EARLY: &[&str] = &["token_not_yet_valid"];
const ISSUER: &[&str] = &["issuer_unknown"];
const AUDIENCE: &[&str] = &["audience_refused"];
const IDENTITY: &[&str] = &["identity_refused"];
const ROLE: &[&str] = &["insufficient_scope"];

/// Each value of a claim, as JSON text, and why it is refused; nothing where it passes.
#[track_caller]
fn judge(stage: &Stage, claim: &str, table: &[(&str, &[&str])]) {
    for (value, reasons) in table {
        let token = stage.signer.token(payload_with(claim, value));
        let what = format!("{claim}: {value}");
        match reasons.is_empty() {
            true => drop(stage.passes(&what, &token)),
            false => drop(stage.refuses(&what, &token, reasons)),
        }
    }
    let without = stage.token(&json!({ claim: null }));
    match claim {
        "nbf" | "iat" => drop(stage.passes("without", &without)),
        _ => drop(stage.refuses(
            "without",
            &without,
            &[
                "claim_refused",
                "issuer_unknown",
                "audience_refused",
                "id_missing",
            ],
        )),
    }
}

#[test]
fn j01_types_of_the_end() {
    let stage = Stage::new();
    judge(
        &stage,
        "exp",
        &[
            (r#""1900000000""#, CLAIM),
            ("null", CLAIM),
            ("true", CLAIM),
            ("[]", CLAIM),
            ("[1900000000]", CLAIM),
            ("{}", CLAIM),
            ("-1", CLAIM),
            ("-1e300", CLAIM),
            ("-0.5", CLAIM),
            ("0", EXPIRED),
            ("-0", EXPIRED),
            ("1e-300", EXPIRED),
            ("NaN", SHAPE),
            ("Infinity", SHAPE),
            ("1e999", SHAPE),
            ("0x71400000", SHAPE),
            // A far end is none for the cache: `k05` and `k09` bound what is remembered.
            ("1e300", &[]),
            ("1e19", &[]),
            ("9007199254740991", &[]),
            ("9007199254740993", &[]),
            ("9223372036854775807", &[]),
            ("9223372036854775808", &[]),
            ("18446744073709551615", &[]),
            ("18446744073709551616", &[]),
        ],
    );
    // The same with a leeway on top: no sum wraps around.
    let stage = Stage::with("leeway: { exp: 10m, nbf: 10m }, ", "");
    for exp in ["9223372036854775807", "18446744073709551615", "1e300"] {
        stage.passes(exp, &stage.signer.token(payload_with("exp", exp)));
    }
}

#[test]
fn j02_the_second_of_the_end() {
    let stage = Stage::new();
    for (exp, good) in [(-61, false), (-1, false), (0, false), (1, true), (61, true)] {
        let token = stage.token(&json!({ "exp": NOW + exp }));
        match good {
            true => drop(stage.passes("in time", &token)),
            false => drop(stage.refuses("late", &token, EXPIRED)),
        }
    }
    stage.refuses(
        "half a second",
        &stage.token(&json!({ "exp": NOW as f64 + 0.5 })),
        EXPIRED,
    );
    let stage = Stage::with("leeway: { exp: 60s, nbf: 0s }, ", "");
    for (exp, good) in [(-61, false), (-60, false), (-59, true), (0, true)] {
        let token = stage.token(&json!({ "exp": NOW + exp }));
        match good {
            true => drop(stage.passes("within the leeway", &token)),
            false => drop(stage.refuses("beyond it", &token, EXPIRED)),
        }
    }
}

#[test]
fn j03_the_beginning() {
    let stage = Stage::new();
    let (five, six) = ((NOW + 5).to_string(), (NOW + 6).to_string());
    let half = format!("{}.5", NOW + 5);
    judge(
        &stage,
        "nbf",
        &[
            ("0", &[]),
            (&five, &[]),
            (&half, EARLY),
            (&six, EARLY),
            ("1e300", EARLY),
            ("18446744073709551615", EARLY),
            (r#""0""#, CLAIM),
            ("null", CLAIM),
            ("false", CLAIM),
            ("[]", CLAIM),
            ("{}", CLAIM),
            ("-1", CLAIM),
        ],
    );
}

#[test]
fn j04_the_time_of_issue() {
    let stage = Stage::new();
    let (near, far) = ((NOW + 65).to_string(), (NOW + 66).to_string());
    judge(
        &stage,
        "iat",
        &[
            ("0", &[]),
            (&near, &[]),
            (&far, EARLY),
            ("18446744073709551615", EARLY),
            (r#""1700000000""#, CLAIM),
            ("null", CLAIM),
            ("true", CLAIM),
            ("[1]", CLAIM),
            ("-1", CLAIM),
        ],
    );
}

#[test]
fn j05_issuer() {
    let stage = Stage::new();
    judge(
        &stage,
        "iss",
        &[
            (r#""https://idp.test""#, ISSUER),
            (r#""https://idp.test//""#, ISSUER),
            (r#""https://idp.test/x""#, ISSUER),
            (r#""https://idp.test/?""#, ISSUER),
            (r#""https://idp.test.evil.test/""#, ISSUER),
            (r#""https://IDP.test/""#, ISSUER),
            (r#""HTTPS://idp.test/""#, ISSUER),
            (r#""https://idp.test:443/""#, ISSUER),
            (r#""https://ıdp.test/""#, ISSUER),
            (r#""https://idp.test/\u0000""#, ISSUER),
            (r#"" https://idp.test/""#, ISSUER),
            (r#""idp""#, ISSUER),
            (r#""""#, ISSUER),
            (r#"["https://idp.test/"]"#, ISSUER),
            (r#"["https://evil.test/","https://idp.test/"]"#, ISSUER),
            ("7", ISSUER),
            ("null", ISSUER),
            ("true", ISSUER),
            ("{}", ISSUER),
            (r#"{"https://idp.test/":1}"#, ISSUER),
        ],
    );
}

#[test]
fn j06_audience() {
    let stage = Stage::new();
    judge(
        &stage,
        "aud",
        &[
            (r#""app""#, &[]),
            (r#"["app"]"#, &[]),
            (r#"["other","app"]"#, &[]),
            ("[]", AUDIENCE),
            (r#"[1,"app"]"#, AUDIENCE),
            (r#"[["app"]]"#, AUDIENCE),
            (r#"["app",null]"#, AUDIENCE),
            (r#""""#, AUDIENCE),
            (r#""ap""#, AUDIENCE),
            (r#""app2""#, AUDIENCE),
            (r#""App""#, AUDIENCE),
            (r#""app other""#, AUDIENCE),
            (r#""app,other""#, AUDIENCE),
            (r#"" app""#, AUDIENCE),
            (r#"{"app":true}"#, AUDIENCE),
            ("true", AUDIENCE),
            ("0", AUDIENCE),
            ("null", AUDIENCE),
        ],
    );
    // Nobody forgets to say who is meant: it is asked for, and `any` has to be written.
    let told = does_not_start(
        "upstream: http://127.0.0.1:1\nissuers: [{ issuer: 'https://a.example' }]\n",
    );
    assert!(told.contains("audiences"), "{told}");
    stage.passes("a good one", &stage.good());
}

#[test]
fn j07_odd_clocks() {
    // A refusal is remembered by a timer, which knows nothing of this clock: not here.
    let stage = Stage::with("", "tokens: { cache: { refused_life: 0s } }\n");
    let token = stage.token(&json!({ "exp": NOW + 600, "nbf": NOW - 600 }));
    let status = |second: i64| {
        stage.clock.set(second);
        stage.usher.get("/", &token).status
    };
    assert_eq!(status(NOW), 200);
    for (second, expected) in [
        (NOW + 600, 401),
        (NOW - 3600, 401),
        (0, 401),
        (-1, 401),
        (-31_536_000, 401),
        (i64::MIN, 401),
        (i64::MAX, 401),
        // 19 January 2038, and 7 February 2106, each with the second after.
        (0x7fff_ffff, 401),
        (0x8000_0000, 401),
        (0xffff_ffff, 401),
        (0x1_0000_0000, 401),
        (NOW - 600, 200),
        (NOW + 599, 200),
        (NOW, 200),
    ] {
        assert_eq!(status(second), expected, "at {second}");
    }
    // Tokens of those years are good in those years, remembered or not.
    for year in [0x7fff_ffff_i64, 0xffff_ffff] {
        stage.clock.set(year);
        let token = stage.token(&json!({ "exp": year + 2 }));
        assert_eq!(
            [0, 0].map(|_: i32| stage.usher.get("/", &token).status),
            [200; 2]
        );
        stage.clock.set(year + 2);
        assert_eq!(stage.usher.get("/", &token).status, 401);
    }
    stage.passes("a good one", &stage.good());
}

#[test]
fn j08_odd_subjects() {
    let stage = Stage::new();
    let long = format!("\"{}\"", "x".repeat(4000));
    judge(
        &stage,
        "sub",
        &[
            (r#""""#, IDENTITY),
            (r#"" ""#, IDENTITY),
            (r#"" alice""#, IDENTITY),
            (r#""alice ""#, IDENTITY),
            (r#""alice\u00a0""#, IDENTITY),
            (r#""a\r\nX-User-Id: root""#, IDENTITY),
            (r#""a\u0000b""#, IDENTITY),
            (r#""a\u007fb""#, IDENTITY),
            (r#""a\u0085b""#, IDENTITY),
            (r#""a\u2028b""#, IDENTITY),
            ("true", IDENTITY),
            ("[\"alice\"]", IDENTITY),
            ("{}", IDENTITY),
            ("1.5", IDENTITY),
            ("1e3", IDENTITY),
            ("18446744073709551616", IDENTITY),
            ("9007199254740993", IDENTITY),
            (&long, &[]),
            ("7", &[]),
            (r#""a@evil.test@good.test""#, &[]),
        ],
    );
    // The last one is one name to the app too: `@` is no separator that usher reads.
    let token = stage.token(&json!({ "sub": "a@evil.test@good.test" }));
    assert_eq!(stage.passes("two @", &token), "a@evil.test@good.test");
    let token = stage.token(&json!({ "sub": "x".repeat(5000) }));
    assert_eq!(stage.passes("long", &token).len(), 5000, "never cut");
    // Longer than the bound on all identity headers it is refused, and not cut either.
    let small = Stage::with("", "limits: { identity_bytes: 1KiB }\n");
    small.refuses(
        "too long",
        &small.token(&json!({ "sub": "x".repeat(2000) })),
        &["identity_too_large"],
    );
}

#[test]
fn j09_one_id_from_two_issuers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Issuer::new(), Issuer::new());
    let app = App::start();
    let second = two
        .yaml()
        .replace("name: idp", "name: two")
        .replace(Issuer::NAME, "https://two.test/");
    let yaml = |directory: &str| {
        format!(
            "upstream: http://{}\nissuers: [{}, {second}]\nheaders: {{ X-User-Id: id, X-Issuer: issuer }}\n\
             users: {{ directory: '{directory}', provisioner: direct }}\n",
            app.address,
            one.yaml(),
        )
    };
    // Where nothing tells their users apart, usher does not start.
    let told = does_not_start(&yaml("postgres://a@127.0.0.1:1/b', table: 't"));
    assert!(
        told.contains("nothing tells equal ids of theirs apart"),
        "{told}"
    );
    let file = folder.path().join("users.db");
    let usher = Usher::configured(&yaml(&format!("sqlite:{}", file.display())));
    let alice = |issuer: &Issuer, iss: &str, email: &str| {
        issuer.token_with("alice", json!({ "iss": iss, "email": email }))
    };
    for (issuer, iss, name) in [
        (&one, Issuer::NAME, "idp"),
        (&two, "https://two.test/", "two"),
    ] {
        let token = alice(issuer, iss, &format!("alice@{name}"));
        assert_eq!(usher.get("/", &token).status, 200, "{name}");
        let seen = app.last();
        assert_eq!(
            (seen.header("x-user-id"), seen.header("x-issuer")),
            (Some("alice"), Some(name))
        );
    }
    drop(usher);
    let database = rusqlite::Connection::open(&file).unwrap();
    let rows: i64 = database
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 2, "two issuers, two users");
    let usher = Usher::configured(&yaml(&format!("sqlite:{}", file.display())));
    usher.serves(&alice(&one, Issuer::NAME, "alice@idp"));
}

#[test]
fn j10_email_that_nobody_has_verified() {
    let peers = Peers::with_engine();
    peers.insert("owner", "v@e.test");
    let (app, issuer) = (App::start(), Issuer::new());
    let entry = issuer.yaml();
    let entry = entry.trim_end_matches(" }");
    let usher = Usher::configured(&format!(
        "upstream: http://{}\nissuers: [{entry}, link_by_email: true, trust_email: false }}]\n{}",
        app.address,
        peers.users("")
    ));
    let says = |verified: Value| json!({ "email": "v@e.test", "email_verified": verified });
    let owner = issuer.token_with("owner", says(json!(true)));
    assert_eq!(usher.get("/owner", &owner).status, 200);
    for verified in [
        json!(false),
        json!("true"),
        json!("false"),
        json!(1),
        json!([true]),
        Value::Null,
    ] {
        let thief = issuer.token_with("thief", says(verified.clone()));
        assert_eq!(usher.get("/thief", &thief).status, 403, "{verified}");
        assert_eq!(usher.line("/thief")["reason"], "identity_conflict");
    }
    assert_eq!((app.count(), peers.asked_for("thief")), (1, 0));
    assert_eq!(usher.get("/owner", &owner).status, 200);
    // Whose issuer says that it is theirs gets the row.
    let moved = issuer.token_with("moved", says(json!(true)));
    assert_eq!(usher.get("/moved", &moved).status, 200);
    assert_eq!(peers.asked_for("moved"), 1);
    assert_eq!(usher.get("/moved", &moved).status, 200);
}

#[test]
fn j11_names_that_look_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        &format!(
            "users: {{ directory: 'sqlite:{}', provisioner: direct }}\n",
            folder.path().join("users.db").display()
        ),
    );
    // Case, full width, composed and decomposed, another alphabet, a trailing combining mark.
    let names = [
        "alice",
        "Alice",
        "ALICE",
        "\u{ff41}lice",
        "\u{e9}ve",
        "e\u{301}ve",
        "\u{430}lice",
        "alice\u{34f}",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let token = issuer.token_with(name, json!({ "email": format!("{number}@e.test") }));
        assert_eq!(usher.get("/", &token).status, 200, "{name}");
        seen.insert(app.last().header("x-user-id").unwrap().to_owned());
    }
    assert_eq!(
        seen.len(),
        names.len(),
        "the app tells them apart: {seen:?}"
    );
    let database = rusqlite::Connection::open(folder.path().join("users.db")).unwrap();
    let rows: i64 = database
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, i64::try_from(names.len()).unwrap());
    usher.serves(&issuer.token_with("alice", json!({ "email": "0@e.test" })));
}

#[test]
fn j12_rights_that_look_alike() {
    let routes = "routes:\n- { path: /admin, require: { roles: [admin] } }\n\
                  - { path: /write, require: { scopes: [write] } }\n\
                  - { path: /gold, require: { claims: { plan: [gold, 7, true] } } }\n";
    let stage = Stage::with("", routes);
    let ask = |path: &str, more: Value| stage.usher.get(path, &stage.token(&more));
    let before = stage.app.count();
    for roles in [
        json!("admin-readonly"),
        json!("Admin"),
        json!(" admin"),
        json!("user,admin"),
        json!("user admin"),
        json!(["admin-readonly", "xadmin"]),
        json!([["admin"]]),
        json!({ "admin": true }),
        json!(true),
        json!(null),
        json!("admin\u{0}"),
        json!("*"),
        json!([]),
        json!(""),
    ] {
        let reply = ask("/admin", json!({ "roles": roles }));
        assert_eq!(reply.status, 403, "{roles}");
    }
    for scope in [
        json!("writer"),
        json!("read,write"),
        json!("WRITE"),
        json!("read\twrite"),
        json!(7),
        json!({ "write": 1 }),
    ] {
        assert_eq!(
            ask("/write", json!({ "scope": scope })).status,
            403,
            "{scope}"
        );
    }
    for plan in [
        json!("golden"),
        json!("7"),
        json!("true"),
        json!(7.5),
        json!(1),
        json!({ "gold": 1 }),
    ] {
        assert_eq!(ask("/gold", json!({ "plan": plan })).status, 403, "{plan}");
    }
    assert_eq!(stage.app.count(), before);
    for (path, more) in [
        ("/admin", json!({ "roles": ["user", "admin"] })),
        ("/write", json!({ "scope": "read write" })),
        ("/gold", json!({ "plan": ["silver", "gold"] })),
        ("/gold", json!({ "plan": 7 })),
    ] {
        assert_eq!(ask(path, more.clone()).status, 200, "{path} {more}");
    }
    let lines = format!("Authorization: Bearer {}\r\n", stage.token(&json!({})));
    let reply = stage.usher.raw(format!(
        "GET /admin HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
    ));
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\"")
    );
    assert_eq!(stage.usher.line("/admin")["reason"], ROLE[0]);
    stage.passes("a good one", &stage.good());
}

#[test]
fn j13_paths_to_claims() {
    let members = "claims: { id: sub, roles: realm_access.roles, email: 'https://x.test/email', name: a.b.0 }, ";
    let more =
        "headers: { X-User-Id: id, X-Roles: roles, X-User-Email: email, X-User-Name: name }\n";
    let stage = Stage::with(members, more);
    let seen = |more: Value| {
        stage.passes(&more.to_string(), &stage.token(&more));
        let received = stage.app.last();
        let header = |name: &str| received.header(name).map(str::to_owned);
        (
            header("x-roles"),
            header("x-user-email"),
            header("x-user-name"),
        )
    };
    let none = (None, None, None);
    // A member of exactly that name comes first, then objects within objects; never into a list.
    assert_eq!(seen(json!({})), none);
    assert_eq!(
        seen(json!({ "realm_access": { "roles": ["a"] } }))
            .0
            .as_deref(),
        Some("a")
    );
    assert_eq!(
        seen(json!({ "realm_access.roles": ["b"], "realm_access": { "roles": ["a"] } }))
            .0
            .as_deref(),
        Some("b")
    );
    assert_eq!(
        seen(json!({ "https://x.test/email": "a@b" })).1.as_deref(),
        Some("a@b")
    );
    assert_eq!(seen(json!({ "a": { "b": ["x"] } })), none);
    assert_eq!(
        seen(json!({ "a": { "b": { "0": "x" } } })).2.as_deref(),
        Some("x")
    );
    assert_eq!(seen(json!({ "a": [{ "b": { "0": "x" } }] })), none);
    assert_eq!(
        seen(json!({ "__proto__": { "roles": ["a"] }, "constructor": {} })),
        none
    );
    assert_eq!(seen(json!({ "realm_access": null })), none);
    // A path of nothing but dots leads nowhere, and nobody panics.
    let odd = Stage::with(
        "claims: { id: sub, name: '...' }, ",
        "headers: { X-User-Id: id, X-User-Name: name }\n",
    );
    odd.passes(
        "dots",
        &odd.token(&json!({ "": { "": { "": { "": "x" } } } })),
    );
    let deep = Stage::with("claims: { id: a.b.c.d }, ", "");
    let token = deep.signer.token(
        Value::Object(claims(&json!({ "a": { "b": { "c": { "d": "bob" } } } }))).to_string(),
    );
    assert_eq!(deep.usher.get("/", &token).status, 200);
    assert_eq!(deep.app.last().header("x-user-id"), Some("bob"));
    assert_eq!(
        deep.usher
            .get(
                "/",
                &deep.signer.token(payload(&json!({ "a": { "b": "c" } })))
            )
            .status,
        401
    );
    let clock = ManualClock::new(now());
    assert!(Clock::Manual(clock).now() > 0);
    stage.passes("a good one", &stage.good());
}
