//! `usher account`, on both databases.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::stage::Stage;
use crate::common::command::run;
use crate::common::eventually;

/// Runs `usher account` with the stage's configuration: exit code, standard output, standard error.
fn account(stage: &Stage, arguments: &[&str]) -> (i32, String, String) {
    let path = stage.folder.path().join("usher.yaml");
    std::fs::write(&path, stage.yaml("", "", "")).unwrap();
    let path = path.display().to_string();
    let mut all = vec![
        "account",
        arguments[0],
        "--config",
        &path,
        "--project",
        "acme",
    ];
    all.extend(&arguments[1..]);
    run(&all)
}

#[track_caller]
fn json(outcome: (i32, String, String)) -> Value {
    assert_eq!((outcome.0, outcome.2.as_str()), (0, ""));
    serde_json::from_str(&outcome.1).unwrap()
}

#[test]
fn an_operator_sees_suspends_and_deletes() {
    Stage::each(|stage| {
        let usher = stage.usher();
        let data = json!({ "email": "ada@example.com", "secureMetadata": { "note": "for us" } });
        let ada = stage.login(&usher, "ada", data);
        stage.login(&usher, "bob", json!({}));
        let (code, out, err) = account(&stage, &["list"]);
        assert_eq!((code, err.as_str(), out.lines().count()), (0, "", 2));
        let line = out.lines().find(|line| line.starts_with(ada.id())).unwrap();
        assert_eq!(
            line,
            format!("{}  \"ada\"  \"ada@example.com\"  -", ada.id())
        );
        for name in [ada.id(), "ada", "ada@example.com"] {
            let shown = json(account(&stage, &["show", name]));
            assert_eq!(shown["id"], ada.id());
            assert_eq!(
                shown["secureMetadata"],
                Value::Null,
                "it is shown to nobody"
            );
        }
        let shown = json(account(
            &stage,
            &[
                "suspend",
                "ada",
                "--reason",
                "spam",
                "--until",
                "2999-01-01",
            ],
        ));
        assert_eq!(shown["suspensions"][0]["reason"], "spam");
        assert_eq!(
            shown["suspensions"][0]["endDate"],
            "2999-01-01T00:00:00.000Z"
        );
        let (_, out, _) = account(&stage, &["list"]);
        assert!(
            out.contains("suspended until 2999-01-01T00:00:00.000Z"),
            "{out}"
        );
        json(account(&stage, &["suspend", "ada"]));
        let shown = json(account(&stage, &["unsuspend", "ada"]));
        assert_eq!(shown["suspensions"], json!([]));

        let exported = json(account(&stage, &["export", "ada"]));
        assert_eq!(exported["secureMetadata"], json!({ "note": "for us" }));
        assert_eq!(exported["allSuspensions"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&exported["project"], &exported["foreignId"]),
            (&json!("acme"), &json!("ada"))
        );
        assert!(!exported.to_string().contains(&ada.refresh));
        let (_, out, _) = account(&stage, &["export"]);
        let all: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(all.len(), 2);

        let (code, _, err) = account(&stage, &["delete", "ada"]);
        assert!(code == 1 && err.contains("--yes"), "{err}");
        let (code, out, _) = account(&stage, &["delete", "ada", "--yes"]);
        assert_eq!(code, 0);
        let told = format!(
            "deleted {}. Access tokens that there are pass until they expire, after 30m",
            ada.id()
        );
        assert!(out.starts_with(&told), "{out}");
        assert_eq!(stage.number("SELECT count(*) FROM usher_suspensions"), 0);
        assert_eq!(
            stage.number("SELECT count(*) FROM usher_refresh_tokens"),
            1,
            "bob's"
        );
        super::stage::has_code(
            &super::stage::renew(&usher, &ada.refresh),
            403,
            "no-user-found",
        );
    });
}

#[test]
fn whoever_is_deleted_has_no_token_that_passes_where_revocations_are_told() {
    Stage::each(|stage| {
        let file = stage.folder.path().join("revoked");
        let more = format!(
            "routes: [{{ path: /**, projects: [acme] }}]\nrevocation: {{ stream: 'file:{}' }}\n",
            file.display()
        );
        let yaml = stage
            .yaml("", "", &more)
            .replace("audiences:", "max_token_life: 1h, audiences:");
        let usher = crate::common::Usher::configured(&yaml);
        eventually("a ready usher", || {
            (usher.admin("/readyz").status == 200).then_some(())
        });
        let (ada, bob) = (
            stage.login(&usher, "ada", json!({})),
            stage.login(&usher, "bob", json!({})),
        );
        assert_eq!(usher.get("/", &ada.access).status, 200);
        let config = stage.folder.path().join("usher.yaml");
        std::fs::write(&config, &yaml).unwrap();
        let delete = |user: &str| {
            let config = config.to_str().unwrap();
            run(&[
                "account",
                "delete",
                "--config",
                config,
                "--project",
                "acme",
                user,
                "--yes",
            ])
        };
        let (code, out, err) = delete("ada");
        let told = format!("deleted {}, and revoked the access tokens\n", ada.id());
        assert_eq!((code, out.as_str(), err.as_str()), (0, told.as_str(), ""));
        eventually("a refused token", || {
            (usher.get("/", &ada.access).status == 401).then_some(())
        });
        assert_eq!(usher.get("/", &bob.access).status, 200);
        // What cannot be written down is said, with what is left to do.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let (code, out, err) = delete("bob");
        assert_eq!((code, out.as_str()), (1, ""));
        let again = format!("usher revoke --issuer accounts --subject {}", bob.id());
        assert!(
            err.contains(&format!("deleted {}, but", bob.id())) && err.contains(&again),
            "{err}"
        );
    });
}

#[test]
fn what_cannot_be_done_is_said() {
    let stage = Stage::sqlite();
    drop(stage.usher());
    let (code, _, err) = account(&stage, &["show", "nobody"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "usher: the project `acme` has no user \"nobody\"\n")
    );
    let (code, _, err) = account(&stage, &["suspend", "nobody", "--until", "1999-01-01"]);
    assert!(code == 1 && err.contains("ended already"), "{err}");
    let (code, _, err) = account(&stage, &["suspend", "nobody", "--until", "soon"]);
    assert!(code == 2 && err.contains("2027-01-31"), "{err}");
    let path = stage.folder.path().join("usher.yaml");
    let path = path.display().to_string();
    let (code, _, err) = run(&["account", "list", "--config", &path]);
    assert!(
        code == 1 && err.contains("--project one of acme, bare"),
        "{err}"
    );
    let issuer = stage.issuer.yaml();
    std::fs::write(
        &path,
        format!("upstream: http://127.0.0.1:1\nissuers: [{issuer}]\n"),
    )
    .unwrap();
    let (code, _, err) = run(&["account", "list", "--config", &path]);
    assert!(code == 1 && err.contains("no `accounts`"), "{err}");
}

/// Whether usher's tables are there, in a file or on a server.
fn has_tables(stage: &Stage) -> bool {
    let sql = match stage.postgres {
        Some(_) => "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'usher_%'",
        None => "SELECT count(*) FROM sqlite_master WHERE name LIKE 'usher_%'",
    };
    stage.number(sql) > 0
}

#[test]
fn a_command_before_the_first_start_makes_nothing() {
    Stage::each(|stage| {
        let (code, out, err) = account(&stage, &["list"]);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("`usher serve` makes"), "{err}");
        match stage.postgres {
            None => assert!(!stage.file().exists()),
            Some(_) => assert!(!has_tables(&stage)),
        }
        drop(stage.usher());
        let (code, _, err) = account(&stage, &["list"]);
        assert_eq!((code, err.as_str()), (0, ""));
    });
}

#[test]
fn a_check_changes_nothing_and_says_what_a_start_would() {
    Stage::each(|stage| {
        let config = stage.folder.path().join("usher.yaml");
        std::fs::write(&config, stage.yaml("", "", "")).unwrap();
        let check = || run(&["check", "--connect", config.to_str().unwrap()]);
        // Somebody's file, with another journal than ours, and no table of ours yet.
        stage.sql("CREATE TABLE theirs (number BIGINT)");
        let bytes = || {
            stage
                .postgres
                .is_none()
                .then(|| std::fs::read(stage.file()).unwrap())
        };
        let before = bytes();
        let (code, out, err) = check();
        assert_eq!(code, 0, "{err}");
        assert!(
            out.contains("  accounts  have no tables yet: `usher serve` makes them\n"),
            "{out}"
        );
        assert!(bytes() == before && !has_tables(&stage));
        drop(stage.usher());
        let (code, out, err) = check();
        assert_eq!(code, 0, "{err}");
        assert!(!out.contains("  accounts  "), "{out}");
        stage.sql("DELETE FROM usher_account_versions");
        stage.sql("INSERT INTO usher_account_versions (version, applied_at) VALUES (99, 0)");
        let (code, _, err) = check();
        assert_eq!(code, 78);
        assert!(err.contains("version 99, and this usher knows 1"), "{err}");
    });
}

#[test]
fn files_of_usher_are_its_own() {
    let stage = Stage::sqlite();
    let users = stage.folder.path().join("users.db");
    let usher = stage.usher_with(
        "",
        "",
        &format!(
            "users: {{ directory: 'sqlite:{}', provisioner: direct, shared_ids: true }}\n",
            users.display()
        ),
    );
    stage.login(&usher, "ada", json!({}));
    assert_eq!(usher.get("/", &stage.issuer.token("bob")).status, 200);
    for file in [stage.file(), users] {
        for name in ["", "-wal", "-shm"] {
            let path = format!("{}{name}", file.display());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
    }
}
