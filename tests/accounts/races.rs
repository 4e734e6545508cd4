//! Everybody at once: no duplicate, no deadlock, no 500.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::stage::{LOGIN, LoggedIn, RENEW, Stage, request};
use crate::common::{Reply, Usher};

const MANY: usize = 100;

/// Sends all of them, and only then reads.
fn at_once(usher: &Usher, requests: Vec<String>) -> Vec<Reply> {
    let mut clients: Vec<_> = requests.iter().map(|_| usher.connect()).collect();
    for (client, request) in clients.iter_mut().zip(&requests) {
        client.send(request);
    }
    clients
        .iter_mut()
        .map(|client| {
            client
                .reply()
                .unwrap_or_else(|| panic!("no answer: {}", usher.text()))
        })
        .collect()
}

fn logins(stage: &Stage, ids: impl Fn(usize) -> String, data: &Value) -> Vec<String> {
    let jwt = |place| stage.vouch(&ids(place), data.clone());
    let body = |place| json!({ "userJwt": jwt(place) }).to_string();
    (0..MANY)
        .map(|place| request(LOGIN, &body(place), ""))
        .collect()
}

#[test]
fn a_hundred_first_logins_of_one_user_make_one_row() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let data = json!({ "email": "a@example.com", "username": "ann" });
        let replies = at_once(&usher, logins(&stage, |_| "one".to_owned(), &data));
        let ids: HashSet<_> = replies
            .iter()
            .map(|reply| LoggedIn::of(reply).id().to_owned())
            .collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 1);
        assert_eq!(
            stage.number("SELECT count(*) FROM usher_refresh_tokens"),
            MANY as i64
        );
    });
}

#[test]
fn a_hundred_users_with_one_email_are_one_user_and_refusals() {
    Stage::each(|stage| {
        for (project, holder) in [
            ("", false),
            (", link_by_email: true", true),
            (", link_by_email: true", false),
        ] {
            stage.sql("DROP TABLE IF EXISTS usher_suspensions; DROP TABLE IF EXISTS usher_refresh_tokens; \
                       DROP TABLE IF EXISTS usher_users; DROP TABLE IF EXISTS usher_account_versions");
            let usher = stage.usher_with(project, "", "");
            if holder {
                // A row that nobody has claimed: one of them all gets it.
                stage.sql(
                    "INSERT INTO usher_users (id, project, foreign_id, role, email, metadata, secure_metadata, \
                     reputation, is_verified, is_active, last_active, created_at, updated_at) VALUES \
                     ('row', 'acme', NULL, 'visitor', 'a@example.com', '{}', '{}', 0, 0, 1, 0, 0, 0)",
                );
            }
            let data = json!({ "email": "a@example.com" });
            let replies = at_once(&usher, logins(&stage, |place| format!("u{place}"), &data));
            let count = |status| {
                replies
                    .iter()
                    .filter(|reply| reply.status == status)
                    .count()
            };
            let statuses: HashSet<_> = replies.iter().map(|reply| reply.status).collect();
            assert_eq!(
                (count(200), count(400)),
                (1, MANY - 1),
                "{project}: {statuses:?}"
            );
            assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 1);
        }
    });
}

#[test]
fn fifty_uses_of_one_refresh_token_get_the_same_successor() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let ada = stage.login(&usher, "ada", json!({}));
        let body = json!({ "refreshToken": ada.refresh }).to_string();
        let replies = at_once(&usher, vec![request(RENEW, &body, ""); 50]);
        let next: HashSet<_> = replies
            .iter()
            .map(|reply| {
                assert_eq!(reply.status, 200, "{}", reply.body);
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                body["refreshToken"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(next.len(), 1);
        let heads = "SELECT count(*) FROM usher_refresh_tokens WHERE replaced_at IS NULL";
        assert_eq!(stage.number(heads), 1);
    });
}

#[test]
fn several_processes_bring_the_tables_up_to_date_once() {
    let stage = Stage::postgres();
    let yaml = stage.yaml("", "", "");
    let served = crate::common::Served::all(&yaml, 3);
    assert_eq!(served.len(), 3);
    assert_eq!(
        stage.number("SELECT count(*) FROM usher_account_versions"),
        1
    );
}
