//! Whose account it is: matching, updating, linking, uniqueness, limits.

use serde_json::{Value, json};

use super::stage::{LoggedIn, Stage, has_code, login};

#[test]
fn what_is_said_changes_and_the_rest_stays() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let data =
            json!({ "email": "a@example.com", "name": "A", "bio": "b", "metadata": { "k": 1 } });
        let first = stage.login(&usher, "a", data);
        stage.clock.advance(60);
        let second = stage.login(
            &usher,
            "a",
            json!({ "name": "B", "bio": null, "metadata": null }),
        );
        assert_eq!(second.id(), first.id());
        let user = Value::Object(second.user.clone());
        assert_eq!((&user["name"], &user["bio"]), (&json!("B"), &Value::Null));
        assert_eq!(
            (&user["email"], &user["metadata"]),
            (&json!("a@example.com"), &json!({}))
        );
        assert_eq!(user["createdAt"], first.user["createdAt"]);
        assert_ne!(user["updatedAt"], first.user["updatedAt"]);
        stage.clock.advance(60);
        let third = stage.login(&usher, "a", json!({}));
        assert_eq!(
            third.user["updatedAt"], user["updatedAt"],
            "nothing was said"
        );
        assert_ne!(third.user["lastActive"], user["lastActive"]);
        // An id that is a number is the text of it.
        let jwt = stage.vouch_with("", json!({}), json!({ "sub": 42 }));
        assert_eq!(LoggedIn::of(&login(&usher, &jwt)).user["foreignId"], "42");
    });
}

#[test]
fn an_email_links_only_where_that_is_wanted() {
    Stage::each(|stage| {
        let data = || json!({ "email": "a@example.com" });
        let insert = |id: &str, foreign: &str| {
            stage.sql(&format!(
                "INSERT INTO usher_users (id, project, foreign_id, role, email, metadata, secure_metadata, \
                 reputation, is_verified, is_active, last_active, created_at, updated_at) VALUES \
                 ('{id}', 'acme', {foreign}, 'visitor', 'a@example.com', '{{}}', '{{}}', 0, 0, 1, 0, 0, 0)"
            ));
        };
        let clear = || stage.sql("DELETE FROM usher_users");
        for (project, holder, linked) in [
            ("", "NULL", false),
            ("", "'other'", false),
            (", link_by_email: true", "NULL", true),
            (", link_by_email: true", "'other'", false),
            (", link_by_email: true, relink: true", "'other'", true),
        ] {
            let usher = stage.usher_with(project, "", "");
            insert("the-row", holder);
            let reply = login(&usher, &stage.vouch("mine", data()));
            if linked {
                let user = LoggedIn::of(&reply).user;
                assert_eq!(
                    (&user["id"], &user["foreignId"]),
                    (&json!("the-row"), &json!("mine"))
                );
                assert_eq!(
                    usher.metric("usher_account_logins_total{outcome=\"linked\"}"),
                    1.0
                );
            } else {
                has_code(&reply, 400, "validation-failed");
                assert!(
                    reply.body.contains("userData.email is taken"),
                    "{}",
                    reply.body
                );
            }
            assert_eq!(stage.number("SELECT count(*) FROM usher_users"), 1);
            clear();
        }
        // With the preset: rows without an id are joined, others are not taken over.
        let usher = stage.replyke();
        insert("the-row", "NULL");
        assert_eq!(stage.login(&usher, "mine", data()).id(), "the-row");
        has_code(
            &login(&usher, &stage.vouch("thief", data())),
            400,
            "validation-failed",
        );
    });
}

#[test]
fn emails_and_usernames_are_unique_in_a_project_and_not_beyond() {
    Stage::each(|stage| {
        let pem = stage.folder.path().join("acme.pem");
        let projects = format!(
            ", public_key_file: {} }}, {{ id: beta, public_key_file: {}",
            pem.display(),
            pem.display()
        );
        let yaml = stage.yaml("", "", "").replacen(
            &format!(", public_key_file: {}", pem.display()),
            &projects,
            1,
        );
        let usher = crate::common::Usher::configured(&yaml);
        let data = json!({ "email": "a@example.com", "username": "ann" });
        stage.login(&usher, "a", data.clone());
        for field in ["email", "username"] {
            let jwt = stage.vouch("b", json!({ field: data[field] }));
            let reply = login(&usher, &jwt);
            has_code(&reply, 400, "validation-failed");
            assert!(
                reply.body.contains(&format!("userData.{field} is taken")),
                "{}",
                reply.body
            );
        }
        stage.login(&usher, "b", json!({ "email": "b@example.com" }));
        // Nor can they be taken later.
        has_code(
            &login(&usher, &stage.vouch("b", data.clone())),
            400,
            "validation-failed",
        );
        let jwt = stage.vouch_with("a", data, json!({ "iss": "beta" }));
        let body = json!({ "userJwt": jwt });
        let reply = super::stage::post(&usher, "/beta/auth/verify-external-user", &body);
        let other = LoggedIn::of(&reply);
        assert_eq!(super::stage::claims(&other.access)["projectId"], "beta");
        assert_eq!(
            stage.number("SELECT count(*) FROM usher_users WHERE email = 'a@example.com'"),
            2
        );
    });
}

#[test]
fn a_megabyte_of_metadata_fits_and_more_does_not() {
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let most = |less: usize| json!({ "x": "y".repeat((512 << 10) - 8 - less) });
    let data = json!({ "metadata": most(0), "secureMetadata": most(0) });
    let user = stage.login(&usher, "a", data).user;
    assert_eq!(user["metadata"], most(0));
    let reply = login(
        &usher,
        &stage.vouch("a", json!({ "metadata": { "x": "y".repeat(512 << 10) } })),
    );
    has_code(&reply, 400, "validation-failed");
    let usher = stage.usher_with(", limits: { bio: 3, metadata: 20B }", "", "");
    for data in [
        json!({ "bio": "1234" }),
        json!({ "metadata": { "k": "0123456789abcdef" } }),
    ] {
        has_code(
            &login(&usher, &stage.vouch("a", data)),
            400,
            "validation-failed",
        );
    }
}

#[test]
fn audiences_and_expiry_are_asked_where_that_is_said() {
    let stage = Stage::sqlite();
    let usher = stage.usher_with(", audiences: [replyke.com]", "", "");
    stage.login(&usher, "a", json!({}));
    for more in [
        json!({ "aud": "other" }),
        json!({ "aud": null }),
        json!({ "exp": null }),
    ] {
        has_code(
            &login(&usher, &stage.vouch_with("a", json!({}), more)),
            403,
            "invalid-token",
        );
    }
    // By the clock: good until its end, and not after.
    let jwt = stage.vouch("a", json!({}));
    stage.clock.advance(299);
    assert_eq!(login(&usher, &jwt).status, 200);
    stage.clock.advance(1);
    has_code(&login(&usher, &jwt), 403, "invalid-token");
}

#[test]
fn tables_of_a_newer_usher_are_refused() {
    Stage::each(|stage| {
        drop(stage.usher());
        stage.sql("INSERT INTO usher_account_versions (version, applied_at) VALUES (99, 0)");
        let config = usher::config::parse(
            &(stage.yaml("", "", "") + "listen: 127.0.0.1:0\nadmin: off\n"),
            "t",
            &|_| None,
        );
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(usher::bind(
            config.unwrap().config,
            usher::Options::default(),
        ));
        let told = bound.err().expect("it does not start").to_string();
        assert!(
            told.contains("version 99, and this usher knows 1"),
            "{told}"
        );
    });
}
