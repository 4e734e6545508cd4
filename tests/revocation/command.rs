//! `usher revoke` and `usher check --connect`: what they say when something is wrong.

use super::stage::{Stage, revoke};
use crate::common::command;
use crate::common::redis::Redis;

#[test]
fn it_says_what_is_revoked_and_until_when() {
    let stage = Stage::new();
    let said = stage.revoke(&["--subject", "u"]);
    assert!(
        said.starts_with("revoked: every token of it issued up to 20"),
        "{said}"
    );
    assert!(said.contains("when the last of them has expired"), "{said}");
    let said = stage.revoke(&["--jti", "j"]);
    assert!(
        said.starts_with("revoked: every token of it; known until 20"),
        "{said}"
    );
}

#[test]
fn what_is_not_stored_is_a_failure_that_says_so() {
    let mut stage = Stage::new();
    for (arguments, told) in [
        (
            &["--issuer", "other", "--jti", "x"][..],
            "no issuer is called \"other\"; there is: idp",
        ),
        (&["--fingerprint", "12"], "32 hex digits"),
        (&["--jti", ""], "the jti is empty"),
        (
            &["--jti", "x", "--before", "2020-01-01"],
            "`before` goes with subject and everything",
        ),
        (
            &["--subject", "u", "--before", "2100-01-01"],
            "`before` lies in the future",
        ),
        (
            &["--subject", "u", "--min-replicas", "1"],
            "only 0 replicas have it",
        ),
    ] {
        let (code, out, err) = stage.try_revoke(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(err.contains(told), "{err}");
    }
    for arguments in [&[][..], &["--jti", "a", "--kid", "b"]] {
        assert_eq!(stage.try_revoke(arguments).0, 2, "{arguments:?}");
    }
    let stored = stage.redis(&["XLEN", "usher:revocations"]);
    assert_eq!(
        stored,
        redis::Value::Int(1),
        "the one that wanted a replica"
    );
    stage.redis.kill();
    let (code, out, err) = stage.try_revoke(&["--jti", "x"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("usher: NOT revoked: "), "{err}");
}

#[test]
fn a_redis_that_takes_no_writes_is_no_success() {
    let stage = Stage::new();
    stage.redis(&["CONFIG", "SET", "maxmemory", "1"]);
    let (code, _, err) = stage.try_revoke(&["--jti", "x"]);
    assert_eq!(code, 1);
    assert!(err.starts_with("usher: NOT revoked: "), "{err}");
}

#[test]
fn a_replica_that_has_it_is_counted() {
    let stage = Stage::new();
    let replica = stage.runtime.block_on(Redis::start());
    let url = stage.redis.url();
    let port = url.rsplit(':').next().unwrap();
    let _: redis::Value = stage
        .runtime
        .block_on(replica.run(&["REPLICAOF", "127.0.0.1", port]));
    crate::common::eventually("a replica that follows", || {
        let said = stage.redis(&["INFO", "replication"]);
        format!("{said:?}").contains("state=online").then_some(())
    });
    let said = stage.revoke(&["--subject", "u", "--min-replicas", "1"]);
    assert!(said.contains("replicas that have it: 1"), "{said}");
}

#[test]
fn a_configuration_without_revocation_revokes_nothing() {
    let stage = Stage::new();
    let file = stage.folder.path().join("other.yaml");
    std::fs::write(
        &file,
        format!("upstream: http://127.0.0.1:1\n{}", stage.issuers()),
    )
    .unwrap();
    let (code, _, err) = revoke(&file, &["--jti", "x"]);
    assert_eq!(code, 1);
    assert!(err.contains("has no `revocation`"), "{err}");
}

#[test]
fn check_warns_of_a_redis_that_may_forget() {
    let mut stage = Stage::new();
    let state = format!("state_dir: {}\n", stage.folder.path().display());
    stage.write_config(&state);
    let config = stage.config();
    let config = config.to_str().unwrap().to_owned();
    let check = || command::run(&["check", "--connect", &config]);
    let (code, _, err) = check();
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("warning: revocation: Redis has `appendonly no`"),
        "{err}"
    );
    stage.redis = stage.runtime.block_on(Redis::durable());
    stage.write_config(&state);
    let (code, _, err) = check();
    assert_eq!((code, err.as_str()), (0, ""));
    stage.redis(&["CONFIG", "SET", "appendfsync", "everysec"]);
    let (code, _, err) = check();
    assert_eq!(code, 0);
    assert!(err.contains("`appendfsync everysec`"), "{err}");
    stage.redis.kill();
    let (code, _, err) = check();
    assert_eq!(code, 78);
    assert!(err.contains("revocation: redis cannot be asked"), "{err}");
}
