//! What an usher begins with while Redis is away.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::stage::{Stage, dies, ready};
use crate::common::{Usher, eventually};

struct Kept {
    stage: Stage,
    file: PathBuf,
    token: String,
}

/// An usher has known a revocation, and is gone; and so is Redis.
fn kept(more: &str) -> (Kept, String) {
    let mut stage = Stage::new();
    let folder = stage.folder.path().join("state");
    let more = format!(
        "state_dir: {}\nrevocation: {{ stream: \"{}\"{more} }}\n",
        folder.display(),
        stage.redis.url()
    );
    let usher = stage.usher(&more);
    let token = stage.issuer.token("dead");
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &token);
    // On SIGTERM the last word is written down.
    drop(usher);
    stage.redis.kill();
    let file = folder.join("revocations");
    let kept = Kept { stage, file, token };
    (kept, more)
}

#[test]
fn a_restart_during_the_outage_is_ready_and_knows_what_is_revoked() {
    let (kept, more) = kept("");
    let mode = kept.file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let usher = Usher::configured(&kept.stage.yaml(&more));
    ready(&usher);
    assert_eq!(usher.get("/", &kept.token).status, 401);
    let alive = kept.stage.issuer.token("alive");
    assert_eq!(usher.get("/", &alive).status, 200);
    assert_eq!(kept.stage.app.count(), 1);
}

#[test]
fn a_snapshot_goes_back_to_a_redis_that_lost_everything() {
    let (mut kept, more) = kept("");
    kept.stage.runtime.block_on(kept.stage.redis.restart());
    let usher = Usher::configured(&kept.stage.yaml(&more));
    ready(&usher);
    assert_eq!(usher.get("/", &kept.token).status, 401);
    eventually("it is put back", || {
        let length = kept.stage.redis(&["XLEN", "usher:revocations"]);
        (length == redis::Value::Int(1)).then_some(())
    });
}

/// Why a snapshot is not enough, and how it is made so.
#[test]
fn what_is_too_old_or_damaged_or_anybodys_is_not_enough() {
    type Spoil = fn(&PathBuf);
    let cases: [(&str, &str, Spoil); 6] = [
        ("too old", ", max_snapshot_age: 0s", |_| {
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }),
        ("cut", "", |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() - 10]).unwrap();
        }),
        ("changed", "", |file| {
            let text = std::fs::read_to_string(file).unwrap();
            // The mark of another user.
            let line = text.lines().nth(3).unwrap();
            let other = line.replacen(&line[..1], if line.starts_with('0') { "1" } else { "0" }, 1);
            std::fs::write(file, text.replace(line, &other)).unwrap();
        }),
        ("anybody's", "", |file| {
            let mode = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(file, mode).unwrap();
        }),
        ("a link", "", |file| {
            let moved = file.with_extension("moved");
            std::fs::rename(file, &moved).unwrap();
            std::os::unix::fs::symlink(moved, file).unwrap();
        }),
        ("gone", "", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (name, more, spoil) in cases {
        let (mut kept, more) = kept(more);
        spoil(&kept.file);
        let usher = Usher::configured(&kept.stage.yaml(&more));
        eventually(name, || {
            (usher.metric("usher_revocation_failures_total") >= 2.0).then_some(())
        });
        assert_eq!(usher.admin("/readyz").status, 503, "{name}");
        assert_eq!(usher.get("/", &kept.token).status, 503, "{name}");
        kept.stage.runtime.block_on(kept.stage.redis.restart());
        ready(&usher);
    }
}
