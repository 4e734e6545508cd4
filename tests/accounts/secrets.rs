//! Nothing that is secret is written anywhere: events at the finest level, access lines, metrics.

use serde_json::json;

use super::stage::{LOGIN, LoggedIn, RENEW, Stage, login};
use crate::common::command::{Running, usher};
use crate::common::cut::Cut;
use crate::common::{Client, Reply};

#[test]
fn tokens_and_secure_metadata_are_written_nowhere() {
    Stage::each(|mut stage| {
        let path = stage.folder.path().join("usher.yaml");
        let more = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nlog: { level: trace }\n";
        std::fs::write(&path, stage.yaml("", "", more)).unwrap();
        let running = Running::start(&mut usher(&["serve", "--config", path.to_str().unwrap()]));
        let address = running.address("listening");
        let send = |path: &str, body: String, lines: &str| -> Reply {
            let mut client = Client::connect(address);
            client.send(super::stage::request(path, &body, lines));
            client.reply().expect("an answer")
        };
        let data =
            json!({ "secureMetadata": { "diagnosis": "unmistakable" }, "email": "a@example.com" });
        let jwt = stage.vouch("ada", data);
        let ada = LoggedIn::of(&send(LOGIN, json!({ "userJwt": jwt }).to_string(), ""));
        let body = json!({ "refreshToken": ada.refresh }).to_string();
        assert_eq!(send(RENEW, body, "").status, 200);
        let cookie = format!("Cookie: __Host-usher-refresh={}\r\n", ada.refresh);
        assert_eq!(send(RENEW, String::new(), &cookie).status, 200);
        // Refused ones too, and those that meet a database that is away.
        let bad = stage.vouch_with(
            "ada",
            json!({ "secureMetadata": "unmistakable" }),
            json!({ "iss": "x" }),
        );
        assert_eq!(
            send(LOGIN, json!({ "userJwt": bad }).to_string(), "").status,
            403
        );
        let clash = stage.vouch(
            "bob",
            json!({ "email": "a@example.com", "secureMetadata": { "d": "unmistakable" } }),
        );
        assert_eq!(
            send(LOGIN, json!({ "userJwt": clash }).to_string(), "").status,
            400
        );
        match &mut stage.postgres {
            Some(server) => server.postgres.kill(),
            None => stage.sql("DROP TABLE usher_suspensions"),
        }
        assert_eq!(
            send(LOGIN, json!({ "userJwt": jwt }).to_string(), "").status,
            500
        );
        let admin = running.address("admin: /livez /readyz /metrics");
        let mut client = Client::connect(admin);
        client.send("GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n");
        let metrics = client.reply().unwrap().body;
        crate::common::eventually("the access lines", || {
            (running.out().lines().count() >= 6).then_some(())
        });
        let written = format!("{}{}{metrics}", running.out(), running.err());
        // Where it would be, had it been written.
        for there in [
            "users_unavailable",
            "the accounts cannot be asked",
            "usher_account_logins_total",
        ] {
            assert!(written.contains(there), "{there}: {written}");
        }
        let parts = |token: &str| {
            token
                .split('.')
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut secrets = vec![
            "unmistakable".to_owned(),
            super::stage::ACCESS.to_owned(),
            super::stage::REFRESH.to_owned(),
        ];
        for token in [&jwt, &bad, &clash, &ada.refresh, &ada.access] {
            secrets.extend(parts(token));
        }
        for secret in secrets {
            assert!(!written.contains(&secret), "{secret} was written");
        }
    });
}

/// The database writes, and its answer is lost: nobody knows, and asking again is sound.
#[test]
fn a_commit_whose_answer_is_lost_is_repeated_to_the_same_user() {
    let stage = Stage::postgres();
    let server = stage.postgres.as_ref().unwrap();
    let port = server.postgres.port();
    let cut = server.wait(Cut::before(&format!("127.0.0.1:{port}"), b"COMMIT"));
    let yaml = stage.yaml("", "", "");
    let yaml = yaml.replace(&format!(":{port}/"), &format!(":{}/", cut.port()));
    let usher = crate::common::Usher::configured(&yaml);
    // The sweeper may come in between, and have its answer lost instead.
    let mut tried = 0;
    let (sub, jwt) = crate::common::eventually("a login whose answer is lost", || {
        tried += 1;
        let sub = format!("ada{tried}");
        let jwt = stage.vouch(&sub, json!({}));
        cut.lose(1);
        let reply = login(&usher, &jwt);
        (reply.status != 200).then(|| {
            super::stage::has_code(&reply, 500, "server-error");
            (sub, jwt)
        })
    });
    let rows = format!("SELECT count(*) FROM usher_users WHERE foreign_id = '{sub}'");
    assert_eq!(stage.number(&rows), 1, "it was written");
    let known = "usher_account_logins_total{outcome=\"known\"}";
    assert_eq!(usher.metric(known), 0.0);
    LoggedIn::of(&login(&usher, &jwt));
    assert_eq!(usher.metric(known), 1.0);
    assert_eq!(stage.number(&rows), 1);
}

/// The client that loses an answer asks again, and is the same user.
#[test]
fn a_login_that_is_repeated_is_the_same_user() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let jwt = stage.vouch("ada", json!({}));
        let mut client = usher.connect();
        let body = json!({ "userJwt": jwt }).to_string();
        client.send(super::stage::request(LOGIN, &body, ""));
        drop(client);
        let one = LoggedIn::of(&login(&usher, &jwt));
        let two = LoggedIn::of(&login(&usher, &jwt));
        assert_eq!(one.id(), two.id());
        assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 1);
    });
}
