//! A file instead of Redis, for one usher.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
fn usher_makes_the_file_and_commands_do_not() {
    let Alone { stage, file, more } = alone();
    let (code, _, err) = stage.try_revoke(&["--subject", "dead"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("`usher serve` makes it when it starts"),
        "{err}"
    );
    assert!(!file.exists());
    let usher = stage.usher(&more);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
}

#[test]
fn twenty_commands_at_once_lose_no_line() {
    let Alone { stage, file, .. } = alone();
    std::fs::write(&file, "").unwrap();
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

#[test]
fn what_could_not_be_put_back_at_first_is_put_back_later() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    let whole = std::fs::read_to_string(&file).unwrap();
    // A link into a folder that is not there: the file is gone, and cannot be written.
    let link = stage.folder.path().join("link");
    std::os::unix::fs::symlink("gone/revoked", &link).unwrap();
    std::fs::rename(&link, &file).unwrap();
    eventually("a write that fails", || {
        (usher.metric("usher_revocation_failures_total") > 0.0).then_some(())
    });
    std::fs::remove_file(&file).unwrap();
    eventually("it is put back", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text == whole).then_some(())
    });
}

#[test]
fn a_file_that_grows_is_written_anew_and_keeps_what_it_does_not_understand() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    for _ in 0..2 {
        stage.revoke(&["--subject", "dead"]);
    }
    dies(&usher, &stage.issuer.token("dead"));
    // Whoever can make links in the folder must not choose what is overwritten.
    let precious = stage.folder.path().join("precious");
    std::fs::write(&precious, "mine").unwrap();
    let own = format!(".revoked.{}", std::process::id());
    for name in ["revoked.new", &own] {
        std::os::unix::fs::symlink(&precious, stage.folder.path().join(name)).unwrap();
    }
    let ended = "v1 000102030405060708090a0b0c0d0e0f - 17\n";
    let mut text = "v9 of another version\n".to_owned();
    while text.len() <= 1 << 20 {
        text.push_str(ended);
    }
    let mut open = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    open.write_all(text.as_bytes()).unwrap();
    let short = eventually("a short file", || {
        let text = std::fs::read_to_string(&file).unwrap();
        (text.len() < 1000).then_some(text)
    });
    assert!(short.contains("v9 of another version\n"), "{short}");
    assert!(!short.contains(ended), "{short}");
    let entries: Vec<_> = short
        .lines()
        .filter(|line| line.starts_with("v1 "))
        .collect();
    assert_eq!(entries.len(), 1, "one line for one user: {short}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine");
    // Who adds a line after that adds it to the new file.
    stage.revoke(&["--subject", "late"]);
    dies(&usher, &stage.issuer.token("late"));
}

#[test]
fn whoever_waits_for_the_lock_keeps_nobody_else_waiting() {
    let Alone { stage, file, more } = alone();
    let usher = stage.usher(&more);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    let held = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    held.lock().unwrap();
    held.set_len(0).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        assert_eq!(usher.admin("/livez").status, 200);
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    held.unlock().unwrap();
    eventually("it is put back", || {
        (file.metadata().unwrap().len() > 0).then_some(())
    });
}
