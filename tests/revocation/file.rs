//! A file instead of Redis, for one usher.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::stage::{Stage, dies, ready};
use crate::common::{Usher, eventually};

struct Alone {
    stage: Stage,
    file: PathBuf,
    more: String,
}

fn alone() -> Alone {
    let stage = Stage::new();
    let file = stage.folder.path().join("revoked");
    let more = format!("revocation: {{ stream: \"file:{}\" }}\n", file.display());
    stage.write_config(&more);
    Alone { stage, file, more }
}

#[test]
fn a_line_in_the_file_is_heard_and_survives_a_restart() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    let (dead, alive) = (stage.issuer.token("dead"), stage.issuer.token("alive"));
    assert_eq!(usher.get("/", &dead).status, 200);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &dead);
    assert_eq!(usher.get("/", &alive).status, 200);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(usher);
    let usher = Usher::configured(&stage.yaml(&more));
    ready(&usher);
    assert_eq!(usher.get("/", &dead).status, 401);
}

#[test]
fn what_the_file_loses_is_put_back() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    let whole = std::fs::read_to_string(&file).unwrap();
    for spoil in [
        |file: &PathBuf| std::fs::remove_file(file).unwrap(),
        |file: &PathBuf| std::fs::write(file, "").unwrap(),
    ] {
        spoil(&file);
        eventually("it is put back", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            (text == whole).then_some(())
        });
    }
}

#[test]
fn half_a_line_waits_and_a_strange_one_is_counted() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    stage.revoke(&["--subject", "first"]);
    let mut open = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    open.write_all(b"v9 of another version\nv1 0001020304")
        .unwrap();
    // Whoever comes after a writer that was killed begins a line of its own.
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    assert_eq!(
        usher.metric("usher_revocation_entries_total{outcome=\"unknown\"}"),
        2.0
    );
}

#[test]
fn a_file_that_others_may_write_is_not_used() {
    let Alone { stage, file, more } = alone();
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let (code, _, err) = stage.try_revoke(&["--subject", "dead"]);
    assert_eq!(code, 1);
    assert!(err.contains("chmod 600"), "{err}");
    let _usher = Usher::configured(&stage.yaml(&more));
}

#[test]
fn twenty_commands_at_once_lose_no_line() {
    let Alone { stage, file, .. } = alone();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let stage = &stage;
            let config = stage.config();
            scope.spawn(move || {
                let name = format!("u{number}");
                let (code, _, err) = super::stage::revoke(&config, &["--subject", &name]);
                assert_eq!(code, 0, "{err}");
            });
        }
    });
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 20);
    assert!(text.lines().all(|line| line.starts_with("v1 ")), "{text}");
}
