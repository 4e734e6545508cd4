//! What a Redis that loses things costs: nothing that a live usher has read, and nothing that the
//! command has called stored.

use std::time::{Duration, Instant};

use super::stage::{Stage, dies, ready};
use crate::common::redis::Redis;
use crate::common::{Usher, eventually};

fn length(stage: &Stage) -> i64 {
    match stage.redis(&["XLEN", "usher:revocations"]) {
        redis::Value::Int(length) => length,
        other => panic!("{other:?}"),
    }
}

/// Redis is emptied under five live ushers; then one of them restarts, with no snapshot.
#[test]
fn what_redis_loses_is_put_back_once_and_a_new_usher_knows_it() {
    let stage = Stage::new();
    let mut ushers: Vec<_> = (0..5).map(|_| stage.usher("")).collect();
    let names: Vec<String> = (0..10).map(|number| format!("dead{number}")).collect();
    let tokens: Vec<String> = names.iter().map(|name| stage.issuer.token(name)).collect();
    for name in &names {
        stage.revoke(&["--subject", name]);
    }
    for usher in &ushers {
        for token in &tokens {
            dies(usher, token);
        }
    }
    for how in [&["FLUSHALL"][..], &["DEL", "usher:revocations"]] {
        stage.redis(how);
        eventually("what was lost is put back", || {
            (length(&stage) == 10).then_some(())
        });
    }
    // Nobody adds what another one has added: with all that jitter, some time for it.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert_eq!(length(&stage), 10);
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(ushers.pop());
    let fresh = Usher::configured(&stage.yaml(""));
    ready(&fresh);
    ushers.push(fresh);
    for usher in &ushers {
        for token in &tokens {
            assert_eq!(usher.get("/", token).status, 401);
        }
    }
    let restored: f64 = ushers
        .iter()
        .map(|usher| usher.metric("usher_revocation_restored_total"))
        .sum();
    assert!(restored <= 20.0, "{restored}");
}

/// The stream is replaced by one whose last id is above ours: its count of entries tells.
#[test]
fn a_stream_that_is_another_one_is_noticed() {
    let stage = Stage::new();
    let usher = stage.usher("");
    for name in ["a", "b", "c"] {
        stage.revoke(&["--subject", name]);
    }
    let token = stage.issuer.token("c");
    dies(&usher, &token);
    // Long enough for usher to have looked at the count.
    let looked = stage.runtime.block_on(stage.redis.calls("xinfo|stream"));
    eventually("usher looks at the stream", || {
        let calls = stage.runtime.block_on(stage.redis.calls("xinfo|stream"));
        (calls > looked + 1).then_some(())
    });
    let script = "redis.call('DEL', KEYS[1]); \
        return redis.call('XADD', KEYS[1], '*', 'v1', '000102030405060708090a0b0c0d0e0f - -')";
    stage.redis(&["EVAL", script, "1", "usher:revocations"]);
    eventually("what was lost is put back", || {
        (length(&stage) == 4).then_some(())
    });
    assert_eq!(usher.get("/", &token).status, 401);
}

/// With `appendonly yes` and `appendfsync always`: whatever the command called stored is there
/// after Redis was killed, again and again, in the middle of it.
#[test]
fn a_redis_that_is_killed_loses_nothing_that_was_called_stored() {
    let mut stage = Stage::new();
    stage.redis = stage.runtime.block_on(Redis::durable());
    stage.write_config("");
    let config = stage.config();
    let (mut stored, mut failed) = (Vec::new(), 0);
    for round in 0..4 {
        std::thread::scope(|scope| {
            let revoke = |part: usize| {
                let config = config.clone();
                move || {
                    let mut done = Vec::new();
                    for number in 0..12 {
                        let name = format!("u{round}-{part}-{number}");
                        let (code, _, err) = super::stage::revoke(&config, &["--subject", &name]);
                        match code {
                            0 => done.push(Ok(name)),
                            _ => done.push(Err(err)),
                        }
                    }
                    done
                }
            };
            let parts: Vec<_> = (0..3).map(|part| scope.spawn(revoke(part))).collect();
            // In the middle: at least one is stored by then.
            eventually("some revocations", || {
                let length = stage.runtime.block_on(async {
                    let length: i64 = stage.redis.run(&["XLEN", "usher:revocations"]).await;
                    length
                });
                (length > i64::try_from(stored.len()).unwrap() + round).then_some(())
            });
            stage.redis.kill();
            for part in parts {
                for done in part.join().unwrap() {
                    match done {
                        Ok(name) => stored.push(name),
                        Err(err) => {
                            assert!(err.contains("NOT revoked"), "{err}");
                            failed += 1;
                        }
                    }
                }
            }
        });
        stage.runtime.block_on(stage.redis.restart());
    }
    assert!(
        !stored.is_empty() && failed > 0,
        "{} {failed}",
        stored.len()
    );
    let usher = stage.usher("");
    for name in &stored {
        let token = stage
            .issuer
            .token_with(name, serde_json::json!({ "iat": past() }));
        assert_eq!(usher.get("/", &token).status, 401, "{name}");
    }
}

fn past() -> i64 {
    crate::common::issuer::now() - 300
}
