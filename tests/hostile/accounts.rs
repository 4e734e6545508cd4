//! O: external users, the tokens that usher mints for them, and their renewal.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::forge_stage::does_not_start;
use crate::accounts::stage::{
    ACCESS, CUSTOMER, LOGIN, LoggedIn, REFRESH, RENEW, SIGN_OUT, Stage, claims, has_code, login,
    post, post_with, renew, request,
};
use crate::common::cut::Cut;
use crate::common::forge::decode;
use crate::common::{App, Client, Issuer, Reply, Signer, Usher, eventually};

const ROUTES: &str = "routes: [{ path: /feed/**, projects: acme }]\n";

/// The refresh token of an answer that must be good.
#[track_caller]
fn next(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    body["refreshToken"].as_str().unwrap().to_owned()
}

/// Somebody can log in, and use what they get.
#[track_caller]
fn serves(stage: &Stage, usher: &Usher) {
    let good = stage.login(usher, "good", json!({}));
    assert_eq!(renew(usher, &good.refresh).status, 200);
}

#[test]
fn o01_endpoints_that_nobody_asked_for() {
    // Without accounts there are none: those paths are the app's, and need a token.
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    for path in [
        LOGIN,
        RENEW,
        SIGN_OUT,
        "/api/v1/auth/verify-user",
        "/api/v1/auth/ensure-user",
    ] {
        assert_eq!(post_with(&usher, path, "{}", "").status, 401, "{path}");
    }
    assert_eq!(app.count(), 0);
    assert_eq!(usher.get(LOGIN, &issuer.token("alice")).status, 200);
    assert_eq!(app.last().target(), LOGIN);
    // With them, nobody gets in without a customer's word.
    let stage = Stage::sqlite();
    let usher = stage.usher();
    for jwt in [
        json!(null),
        json!(""),
        json!(7),
        json!("junk"),
        json!({}),
        json!([]),
    ] {
        let reply = post(&usher, LOGIN, &json!({ "userJwt": jwt }));
        assert!(
            [400, 403].contains(&reply.status),
            "{jwt}: {}",
            reply.status
        );
    }
    let bare = json!({ "userJwt": stage.vouch("u", json!({})) });
    for (path, status) in [
        ("/bare/auth/verify-external-user", 403),
        ("/other/auth/verify-external-user", 404),
    ] {
        assert_eq!(post(&usher, path, &bare).status, status, "{path}");
    }
    assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 0);
    serves(&stage, &usher);
}

#[test]
fn o02_word_that_does_not_hold() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with(", audiences: [usher]", "", "");
    let now = usher::clock::Clock::Manual(stage.clock.clone()).now();
    let vouch = |more: Value| stage.vouch_with("u", json!({}), more);
    let fit = |more: Value| {
        let mut more = more;
        more["aud"] = more.get("aud").cloned().unwrap_or(json!("usher"));
        vouch(more)
    };
    for (what, jwt) in [
        ("no audience", vouch(json!({ "aud": null }))),
        ("another audience", vouch(json!({ "aud": "other" }))),
        ("an odd audience", vouch(json!({ "aud": [1, "usher"] }))),
        ("no end", fit(json!({ "exp": null }))),
        ("ended", fit(json!({ "exp": now }))),
        ("not begun", fit(json!({ "nbf": now + 60 }))),
        ("no issuer", fit(json!({ "iss": null }))),
        ("another project", fit(json!({ "iss": "bare" }))),
        ("two issuers", fit(json!({ "iss": ["acme"] }))),
        ("another key", Signer::new("RS256", b"").token(json!({ "sub": "u", "iss": "acme", "aud": "usher", "exp": now + 60, "userData": {} }).to_string())),
        ("the public key as a secret", Signer::new("HS256", CUSTOMER.public_pem().as_bytes()).token(r#"{"sub":"u","iss":"acme","userData":{}}"#)),
        ("no signature", CUSTOMER.seal(r#"{"alg":"none"}"#, r#"{"sub":"u","iss":"acme","userData":{}}"#)),
        ("a critical extension", CUSTOMER.seal(r#"{"alg":"RS256","crit":["x"]}"#, r#"{"sub":"u","iss":"acme","userData":{}}"#)),
        ("the app's issuer", stage.issuer.token_with("u", json!({ "iss": "acme", "aud": "usher" }))),
    ] {
        let reply = login(&usher, &jwt);
        assert!([401, 403].contains(&reply.status), "{what}: {} {}", reply.status, reply.body);
        assert!(reply.header("set-cookie").is_none(), "{what}");
    }
    assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 0);
    // A word is good for minutes and is revoked by nobody; its key may be taken back, and is not asked any
    // more from then on.
    let word = fit(json!({}));
    LoggedIn::of(&login(&usher, &word));
    let file = stage.folder.path().join("acme.pem");
    std::fs::write(&file, Signer::new("RS256", b"").public_pem()).unwrap();
    eventually("the key is gone", || {
        (login(&usher, &word).status != 200).then_some(())
    });
    has_code(&login(&usher, &word), 403, "invalid-token");
    std::fs::write(&file, CUSTOMER.public_pem()).unwrap();
    eventually("the key is back", || {
        (login(&usher, &word).status == 200).then_some(())
    });
    LoggedIn::of(&login(&usher, &fit(json!({}))));
}

#[test]
fn o03_rights_that_the_caller_chooses() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", ROUTES);
    let jwt = stage.vouch_with(
        "u",
        json!({}),
        json!({ "role": "admin", "roles": ["admin"], "projectId": "other", "life": 9e9 }),
    );
    let body = json!({
        "userJwt": jwt, "roles": ["admin"], "role": "admin", "ttl": 1e9, "exp": 9_999_999_999_u64,
        "iss": "https://evil.test/", "sub": "root", "projectId": "other", "aud": "everything",
    });
    let reply = post(&usher, LOGIN, &body);
    let one = LoggedIn::of(&reply);
    let now = usher::clock::Clock::Manual(stage.clock.clone()).now();
    let said = claims(&one.access);
    assert_eq!(
        (said["sub"].as_str(), said["projectId"].as_str()),
        (Some(one.id()), Some("acme"))
    );
    assert_eq!(
        (&said["role"], &said["roles"]),
        (&json!("user"), &Value::Null)
    );
    assert_eq!(said["exp"], json!(now + 1800));
    assert_ne!(one.id(), "root");
    // Nor by what the customer says of its user.
    let odd = stage.login(
        &usher,
        "v",
        json!({ "metadata": { "role": "admin" }, "name": "admin" }),
    );
    assert_eq!(claims(&odd.access)["role"], "user");
    assert_eq!(usher.get("/feed/1", &odd.access).status, 200);
}

#[test]
fn o04_one_token_for_everything() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", ROUTES);
    let ada = stage.login(&usher, "ada", json!({}));
    let (access, refresh) = (claims(&ada.access), claims(&ada.refresh));
    for claim in ["sub", "aud", "iss", "iat", "exp", "projectId"] {
        assert!(
            !access[claim].is_null() && !refresh[claim].is_null(),
            "{claim}"
        );
    }
    assert!(refresh["jti"].is_string());
    // An access token opens the routes of its project, and no other; a refresh token opens none.
    assert_eq!(usher.get("/feed/1", &ada.access).status, 200);
    assert_eq!(usher.get("/elsewhere", &ada.access).status, 403);
    assert_eq!(usher.get("/feed/1", &ada.refresh).status, 401);
    has_code(&renew(&usher, &ada.access), 403, "invalid-refresh-token");
    // Nor does what one key has signed count as the other's.
    let crossed = Signer::new("HS256", ACCESS.as_bytes()).token(refresh.to_string());
    has_code(&renew(&usher, &crossed), 403, "invalid-refresh-token");
    let crossed = Signer::new("HS256", REFRESH.as_bytes()).token(access.to_string());
    assert_eq!(usher.get("/feed/1", &crossed).status, 401);
    assert_eq!(stage.app.count(), 1);
    // What RFC 9068 has besides is not in them: clients of the contract read what is there.
    let header: Value =
        serde_json::from_slice(&decode(ada.access.split('.').next().unwrap())).unwrap();
    assert_ne!(header["typ"], "at+jwt");
    assert_eq!(access["jti"], Value::Null);
    assert_eq!(usher.get("/feed/1", &ada.access).status, 200);
    serves(&stage, &usher);
}

#[test]
fn o05_refresh_token_used_twice() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let ada = stage.login(&usher, "ada", json!({}));
        let second = next(&renew(&usher, &ada.refresh));
        stage.clock.advance(31);
        has_code(&renew(&usher, &ada.refresh), 401, "token-reuse-detected");
        has_code(&renew(&usher, &second), 403, "refresh-token-invalid");
        serves(&stage, &usher);
    });
}

#[test]
fn o06_grace_that_hides_a_thief() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let first = stage.login(&usher, "ada", json!({})).refresh;
        let second = next(&renew(&usher, &first));
        // The last one before has grace, and leads to the same successor.
        assert_eq!(next(&renew(&usher, &first)), second);
        // However often within it: a client that lost two answers asks a third time, and is no thief.
        assert_eq!(next(&renew(&usher, &first)), second);
        let third = next(&renew(&usher, &second));
        // An earlier one has none, however short ago.
        has_code(&renew(&usher, &first), 401, "token-reuse-detected");
        has_code(&renew(&usher, &third), 403, "refresh-token-invalid");
        has_code(&renew(&usher, &second), 403, "refresh-token-invalid");
        serves(&stage, &usher);
    });
}

/// Sends all at one time.
fn at_once(usher: &Usher, requests: &[String]) -> Vec<Reply> {
    let mut clients: Vec<Client> = requests.iter().map(|_| usher.connect()).collect();
    for (client, request) in clients.iter_mut().zip(requests) {
        client.send(request);
    }
    clients
        .iter_mut()
        .map(|client| client.reply().unwrap())
        .collect()
}

#[test]
fn o07_renewals_at_one_time() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let ada = stage.login(&usher, "ada", json!({}));
        let body = json!({ "refreshToken": ada.refresh }).to_string();
        let replies = at_once(&usher, &vec![request(RENEW, &body, ""); 50]);
        let heads: HashSet<_> = replies.iter().map(next).collect();
        assert_eq!(heads.len(), 1, "one successor");
        let head = heads.into_iter().next().unwrap();
        assert_eq!(renew(&usher, &head).status, 200);
    });
}

#[test]
fn o08_refresh_token_of_another() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({}));
    let body = json!({ "refreshToken": ada.refresh });
    has_code(
        &post(&usher, "/bare/auth/request-new-access-token", &body),
        403,
        "refresh-token-mismatch",
    );
    assert_eq!(
        post(&usher, "/other/auth/request-new-access-token", &body).status,
        404
    );
    // A token that says so itself does not: its signature is over what it says.
    let mut said = claims(&ada.refresh);
    said["projectId"] = "bare".into();
    let forged = Signer::new("HS256", b"guess").token(said.to_string());
    assert_eq!(renew(&usher, &forged).status, 403);
    assert_eq!(
        renew(&usher, &ada.refresh).status,
        200,
        "and nothing has happened to it"
    );
    serves(&stage, &usher);
}

#[test]
fn o09_renewal_after_the_end() {
    Stage::each(|stage| {
        let usher = stage.usher();
        // Signed out: with this token, and with any that it has replaced or that replaced it.
        let ada = stage.login(&usher, "ada", json!({}));
        let second = next(&renew(&usher, &ada.refresh));
        assert_eq!(
            post(&usher, SIGN_OUT, &json!({ "refreshToken": ada.refresh })).status,
            204
        );
        for token in [&ada.refresh, &second] {
            assert_eq!(renew(&usher, token).status, 403);
        }
        // Deleted by the operator.
        let bob = stage.login(&usher, "bob", json!({}));
        stage.sql("DELETE FROM usher_refresh_tokens WHERE user_id IN (SELECT id FROM usher_users WHERE foreign_id = 'bob')");
        stage.sql("DELETE FROM usher_users WHERE foreign_id = 'bob'");
        assert_eq!(renew(&usher, &bob.refresh).status, 403);
        // Over.
        let eve = stage.login(&usher, "eve", json!({}));
        stage.clock.advance(2_592_000);
        has_code(&renew(&usher, &eve.refresh), 403, "invalid-refresh-token");
        serves(&stage, &usher);
    });
}

#[test]
fn o10_flags_of_the_cookie() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let cookie = stage.login(&usher, "ada", json!({})).cookie;
    assert!(cookie.starts_with("__Host-usher-refresh="), "{cookie}");
    let flags: HashSet<_> = cookie.split("; ").skip(1).collect();
    for flag in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(flags.contains(flag), "{flag}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    // What clears it has the same name and flags, or a browser would keep it.
    let reply = post(&usher, SIGN_OUT, &json!({}));
    let cleared = reply.header("set-cookie").unwrap();
    assert!(
        cleared.starts_with("__Host-usher-refresh=; Max-Age=0;"),
        "{cleared}"
    );
    for flag in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(
            cleared.split("; ").any(|one| one == flag),
            "{flag}: {cleared}"
        );
    }
    // The preset keeps the flags of its contract, which its clients rely on: another site's pages
    // send that cookie, and `o11` is what stands between.
    let replyke = stage.replyke();
    let cookie = stage.login(&replyke, "ada", json!({})).cookie;
    assert!(
        cookie.starts_with("replyke-refresh-jwt=")
            && cookie.ends_with("HttpOnly; Secure; SameSite=None"),
        "{cookie}"
    );
    // A prefix that a browser would not take is refused at the start.
    let told = does_not_start(&stage.yaml("", ", cookie: { name: __Host-r, secure: false }", ""));
    assert!(told.contains("cookie"), "{told}");
    serves(&stage, &usher);
}

#[test]
fn o11_page_of_another_site() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", "cors: { origins: [https://web.test] }\n");
    let ada = stage.login(&usher, "ada", json!({}));
    let cookie = format!("Cookie: __Host-usher-refresh={}\r\n", ada.refresh);
    let json_kind = "Content-Type: application/json\r\n";
    let send = |path: &str, lines: &str, body: &str| {
        usher.raw(format!(
            "POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n{cookie}{lines}\r\n{body}",
            body.len()
        ))
    };
    for path in [RENEW, SIGN_OUT, LOGIN] {
        for foreign in [
            "Origin: https://evil.test\r\n",
            "Origin: null\r\n",
            "Origin: https://web.test.evil.test\r\n",
            "Origin: http://web.test\r\n",
            "Origin: https://web.test\r\nOrigin: https://evil.test\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
        ] {
            let reply = send(path, &format!("{json_kind}{foreign}"), "{}");
            assert_eq!(reply.status, 403, "{path} {foreign}");
            assert!(
                reply.header("access-control-allow-origin").is_none(),
                "{foreign}"
            );
        }
        for form in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let reply = send(path, &format!("Content-Type: {form}\r\n"), "{}");
            assert_eq!(reply.status, 415, "{path} {form}");
        }
    }
    assert_eq!(
        send(
            RENEW,
            &format!("{json_kind}Origin: https://web.test\r\n"),
            "{}"
        )
        .status,
        200,
        "nothing of that has used it"
    );
    serves(&stage, &usher);
}

#[test]
fn o12_cookie_that_was_there_before() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let mallory = stage.login(&usher, "mallory", json!({}));
    let planted = format!("Cookie: __Host-usher-refresh={}\r\n", mallory.refresh);
    let body = json!({ "userJwt": stage.vouch("ada", json!({})) }).to_string();
    let ada = LoggedIn::of(&post_with(&usher, LOGIN, &body, &planted));
    assert_ne!(ada.id(), mallory.id());
    assert_ne!(ada.refresh, mallory.refresh);
    assert!(ada.cookie.contains(&ada.refresh), "the cookie is set anew");
    assert_ne!(claims(&ada.refresh)["jti"], claims(&mallory.refresh)["jti"]);
    // Each is still only who they were.
    for (who, token) in [(&ada, &ada.refresh), (&mallory, &mallory.refresh)] {
        assert_eq!(claims(&next(&renew(&usher, token)))["sub"], who.id());
    }
    serves(&stage, &usher);
}

#[test]
fn o13_answers_that_are_kept() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = login(&usher, &stage.vouch("ada", json!({})));
    let refresh = LoggedIn::of(&ada).refresh;
    let bob = stage.login(&usher, "bob", json!({}));
    for reply in [
        ada,
        renew(&usher, &refresh),
        renew(&usher, "junk"),
        login(&usher, "junk"),
        post(&usher, SIGN_OUT, &json!({ "refreshToken": bob.refresh })),
    ] {
        assert_eq!(
            reply.header("cache-control"),
            Some("no-store"),
            "{}",
            reply.head
        );
    }
    for path in [LOGIN, RENEW, SIGN_OUT] {
        for method in ["GET", "PUT", "DELETE"] {
            let reply = usher.raw(format!("{method} {path}?userJwt=x&refreshToken={refresh} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
            assert_eq!(reply.status, 405, "{method} {path}");
        }
    }
    // A token in the query is not read, and not logged.
    let reply = post_with(&usher, &format!("{RENEW}?refreshToken={refresh}"), "{}", "");
    assert!(!reply.body.contains("\"accessToken\":\""), "{}", reply.body);
    let made = refresh.rsplit('.').next().unwrap();
    assert!(!usher.text().contains(made));
    serves(&stage, &usher);
}

#[test]
fn o14_store_that_is_read_by_others() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({}));
    let second = next(&renew(&usher, &ada.refresh));
    drop(usher);
    let mut stored = Vec::new();
    for end in ["", "-wal"] {
        stored
            .extend(std::fs::read(format!("{}{end}", stage.file().display())).unwrap_or_default());
    }
    let holds = |text: &[u8]| stored.windows(text.len()).any(|part| part == text);
    assert!(holds(ada.id().as_bytes()), "it is the store");
    for token in [&ada.refresh, &second] {
        let jti = claims(token)["jti"].as_str().unwrap().to_owned();
        let random = decode(&jti);
        assert!(random.len() >= 32, "256 random bits: {jti}");
        for secret in [
            token.as_bytes(),
            token.rsplit('.').next().unwrap().as_bytes(),
            jti.as_bytes(),
            &random,
        ] {
            assert!(!holds(secret), "who reads the store can make no token");
        }
    }
    serves(&stage, &stage.usher());
}

#[test]
fn o15_odd_cookies() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({})).refresh;
    let name = "__Host-usher-refresh";
    let chunks: String = (0..90).map(|n| format!("{name}.{n}=x; ")).collect();
    for (lines, statuses) in [
        (
            format!("Cookie: {name}={ada}; {name}={ada}\r\n"),
            &[403][..],
        ),
        (
            format!("Cookie: {name}={ada}\r\nCookie: {name}=x\r\n"),
            &[403],
        ),
        (format!("Cookie: {name}=\"{ada}\"\r\n"), &[403, 200]),
        (format!("Cookie: {name}\r\n"), &[200]),
        (format!("Cookie: {name}=\r\n"), &[200, 403]),
        (format!("Cookie: ;;;={name}; =x; {name}x={ada}\r\n"), &[200]),
        (format!("Cookie: {chunks}\r\n"), &[200]),
        (
            format!("Cookie: {name}={}\r\n", "x".repeat(64 * 1024)),
            &[431],
        ),
        (
            format!("Cookie: {name}={}\r\n", "x".repeat(20 * 1024)),
            &[403],
        ),
        (format!("Cookie: {name}=\u{e9}\r\n"), &[403]),
    ] {
        let reply = usher.raw(request(RENEW, "", &lines));
        assert!(
            statuses.contains(&reply.status),
            "{}: {lines}",
            reply.status
        );
        assert!(
            !reply.body.contains("\"accessToken\":\"") || lines.contains('"'),
            "{lines}"
        );
    }
    let reply = usher.raw(request(
        RENEW,
        "",
        &format!("Cookie: a=b; {name}={ada}; c\r\n"),
    ));
    assert_eq!(reply.status, 200);
}

/// What the store has of a refresh token: the SHA-256 of its id.
fn stored(refresh: &str) -> String {
    let jti = claims(refresh)["jti"].as_str().unwrap().to_owned();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jti.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

/// What is cut off, by a word of what usher says to PostgreSQL while it renews.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loses {
    /// The question that holds it: what came before it in the transaction has been done.
    Question(&'static [u8]),
    /// The answer to it.
    Answer(&'static [u8]),
}

#[test]
fn o16_store_that_goes_away() {
    let mut stage = Stage::postgres();
    let port = stage.postgres.as_ref().unwrap().postgres.port();
    let whole = stage.usher();
    for loses in [
        // Before anything is changed; between taking the old one back and writing the new one; when both
        // are to be made true; and when they are, and nobody hears of it.
        Loses::Question(b"UPDATE usher_refresh_tokens"),
        Loses::Question(b"INSERT INTO usher_refresh_tokens"),
        Loses::Question(b"COMMIT"),
        Loses::Answer(b"COMMIT"),
    ] {
        let server = stage.postgres.as_ref().unwrap();
        let (Loses::Question(word) | Loses::Answer(word)) = loses;
        let cut = server.wait(Cut::before(&format!("127.0.0.1:{port}"), word));
        let yaml = stage.yaml("", "", "");
        let yaml = yaml.replace(&format!(":{port}/"), &format!(":{}/", cut.port()));
        let usher = Usher::with_clock(&yaml, usher::clock::Clock::Manual(stage.clock.clone()));
        // The sweeper may come in between, and lose its own instead: then once more, with a new login.
        let ada = eventually("a renewal that is cut off", || {
            let ada = stage.login(&whole, "ada", json!({}));
            match loses {
                Loses::Question(_) => cut.withhold(1),
                Loses::Answer(_) => cut.lose(1),
            }
            let reply = renew(&usher, &ada.refresh);
            (reply.status != 200).then(|| {
                has_code(&reply, 500, "server-error");
                assert!(reply.header("set-cookie").is_none(), "{loses:?}");
                ada
            })
        });
        // Either all of it has happened, or nothing has: one token of this login is good, and no other.
        let family = format!(
            "SELECT count(*) FROM usher_refresh_tokens WHERE family = (SELECT family FROM \
             usher_refresh_tokens WHERE hash = '{}')",
            stored(&ada.refresh)
        );
        let rows = |more: &str| stage.number(&format!("{family}{more}"));
        let happened = loses == Loses::Answer(b"COMMIT");
        eventually("the transaction is over", || {
            (rows("") == 1 + i64::from(happened)).then_some(())
        });
        assert_eq!(rows(" AND replaced_at IS NULL"), 1, "{loses:?}");
        // The client asks again with what it has, and is led to that one.
        let second = next(&renew(&whole, &ada.refresh));
        assert_eq!(rows(" AND replaced_at IS NULL"), 1, "{loses:?}");
        assert_eq!(rows(""), 2, "{loses:?}");
        assert_eq!(next(&renew(&usher, &ada.refresh)), second, "{loses:?}");
        next(&renew(&whole, &second));
    }
    // One that is away all the time: nobody can tell, and nothing is issued.
    let ada = stage.login(&whole, "ada", json!({}));
    stage.postgres.as_mut().unwrap().postgres.kill();
    for _ in 0..3 {
        has_code(&renew(&whole, &ada.refresh), 500, "server-error");
    }
    stage.postgres.as_mut().unwrap().restart();
    let second = eventually("it is back", || {
        let reply = renew(&whole, &ada.refresh);
        (reply.status == 200).then(|| next(&reply))
    });
    assert_eq!(next(&renew(&whole, &ada.refresh)), second);
    assert_eq!(renew(&whole, &second).status, 200);
    serves(&stage, &whole);
}

#[test]
fn o17_ids_of_tokens() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", ", grace: 1h", "");
    let mut seen = HashSet::new();
    let mut ones = 0;
    for n in 0..1_000 {
        let token = stage
            .login(&usher, &format!("u-{}", n % 3), json!({}))
            .refresh;
        let jti = decode(claims(&token)["jti"].as_str().unwrap());
        assert!(jti.len() >= 32);
        ones += jti.iter().map(|byte| byte.count_ones()).sum::<u32>();
        // No two share even their first eight bytes: nothing in them is counted.
        assert!(seen.insert(jti[..8].to_vec()), "{jti:?}");
        assert!(seen.insert([&[0], &jti[24..32]].concat()));
    }
    // Half of 1000 × 256 bits, and nine standard deviations on each side. That no two of a million are
    // equal is what 256 random bits say, not what counting could.
    assert!((128_000 - 2_300..128_000 + 2_300).contains(&ones), "{ones}");
    let tokens = include_str!("../../src/endpoint/accounts/tokens.rs");
    assert!(
        tokens.contains("getrandom::fill(&mut jti)"),
        "the operating system's random bytes"
    );
    serves(&stage, &usher);
}

#[test]
fn o18_keys_that_change() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with("", "", ROUTES);
    let ada = stage.login(&usher, "ada", json!({}));
    drop(usher);
    // Another key for access tokens: what the old one has signed opens nothing, and the refresh token
    // leads to one of the new.
    let other = "access-8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Ckq3";
    let yaml = stage.yaml("", "", ROUTES).replace(ACCESS, other);
    let usher = Usher::with_clock(&yaml, usher::clock::Clock::Manual(stage.clock.clone()));
    assert_eq!(usher.get("/feed/1", &ada.access).status, 401);
    let reply = renew(&usher, &ada.refresh);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(
        usher
            .get("/feed/1", body["accessToken"].as_str().unwrap())
            .status,
        200
    );
    drop(usher);
    // Equal keys for both, or one that an issuer has, are refused at the start.
    let told = does_not_start(&stage.yaml("", "", "").replace(ACCESS, REFRESH));
    assert!(told.contains("issued_tokens"), "{told}");
    serves(&stage, &stage.usher());
}

/// How often the first of two is quicker, where both are asked in turn: one half, if nothing tells them
/// apart.
fn quicker(many: usize, mut one: impl FnMut(), mut other: impl FnMut()) -> f64 {
    let mut times = [Vec::new(), Vec::new()];
    let mut take = |which: usize, ask: &mut dyn FnMut()| {
        let begun = Instant::now();
        ask();
        times[which].push(begun.elapsed());
    };
    for turn in 0..many {
        // Whoever comes second has warm caches: so they take turns.
        match turn % 2 {
            0 => {
                take(0, &mut one);
                take(1, &mut other);
            }
            _ => {
                take(1, &mut other);
                take(0, &mut one);
            }
        }
    }
    // Of all pairs, and not only of neighbours: the two distributions lie upon each other.
    let [one, other] = times;
    let pairs = one
        .iter()
        .flat_map(|one| other.iter().map(move |other| (one, other)));
    let (mut less, mut all) = (0_usize, 0_usize);
    for (one, other) in pairs {
        less += usize::from(one < other);
        all += 1;
    }
    less as f64 / all as f64
}

#[test]
fn o19_guessing_who_is_there() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let known = stage.login(&usher, "ada", json!({ "email": "ada@e.test" }));
    // To whoever has no customer's word, every name is answered alike, and after the same time: the
    // signature is looked at before anybody is asked.
    let forged = Signer::new("RS256", b"");
    let now = usher::clock::Clock::Manual(stage.clock.clone()).now();
    let word = |sub: &str| {
        let claims = json!({ "sub": sub, "iss": "acme", "iat": now, "exp": now + 60, "userData": { "email": "ada@e.test" } });
        forged.token(claims.to_string())
    };
    let answers: HashSet<_> = ["ada", "nobody"]
        .map(|sub| login(&usher, &word(sub)))
        .map(|reply| (reply.status, reply.body))
        .into();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (there, not_there) = (word("ada"), word("nobody"));
    let ask = |jwt: &str| assert_eq!(login(&usher, jwt).status, 403);
    let share = quicker(500, || ask(&there), || ask(&not_there));
    assert!((0.35..0.65).contains(&share), "{share}");
    // Nor does a refresh token that somebody else has made, whoever it is about.
    let mut said = claims(&known.refresh);
    let mut signed = |sub: &str, key: &str| {
        said["sub"] = sub.into();
        Signer::new("HS256", key.as_bytes()).token(said.to_string())
    };
    let nobody = "00000000-0000-4000-8000-000000000000";
    let other = "a secret that is not usher's, and long enough";
    let (there, not_there) = (signed(known.id(), other), signed(nobody, other));
    let answers: HashSet<_> = [&there, &not_there]
        .map(|token| renew(&usher, token))
        .map(|reply| (reply.status, reply.body))
        .into();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let ask = |token: &str| assert_eq!(renew(&usher, token).status, 403);
    let share = quicker(500, || ask(&there), || ask(&not_there));
    assert!((0.35..0.65).contains(&share), "{share}");
    // Only what usher itself has signed gets as far as the store, and there the contract has a word for
    // whoever is gone: it tells the holder of a token about the token's own user.
    has_code(
        &renew(&usher, &signed(nobody, REFRESH)),
        403,
        "no-user-found",
    );
    // And calls are counted.
    let counted = stage
        .yaml("", "", "")
        .replace("rate_limit: off", "rate_limit: { calls: 5, per: 1m }");
    let usher = Usher::with_clock(&counted, usher::clock::Clock::Manual(stage.clock.clone()));
    let body = json!({ "userJwt": "junk" }).to_string();
    // Whatever addresses a client says that it has.
    let call = |n| {
        let lines = format!("X-Forwarded-For: {n}.0.113.9\r\nX-Real-IP: {n}.0.113.9\r\n");
        usher.raw(request(LOGIN, &body, &lines)).status
    };
    let statuses: Vec<_> = (1..9).map(call).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 403, 429, 429, 429]);
    drop(usher);
    serves(&stage, &stage.usher());
}
