//! How a revocation comes to every usher, and what it is worth while Redis is away.

use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Stage, dies, ready};
use crate::common::{Usher, eventually};

#[test]
fn every_usher_hears_of_it() {
    let stage = Stage::new();
    let ushers: Vec<_> = (0..3).map(|_| stage.usher("")).collect();
    let token = stage.issuer.token("dead");
    for usher in &ushers {
        assert_eq!(usher.get("/", &token).status, 200);
    }
    stage.revoke(&["--subject", "dead"]);
    for usher in &ushers {
        dies(usher, &token);
        assert!(usher.metric("usher_revocations") >= 1.0);
    }
}

#[test]
fn whoever_starts_lets_no_revoked_token_pass_from_its_first_answer_on() {
    let stage = Stage::new();
    let token = stage.issuer.token("dead");
    stage.revoke(&["--subject", "dead"]);
    for _ in 0..5 {
        let usher = Usher::configured(&stage.yaml(""));
        let mut last = 503;
        while last != 401 {
            last = usher.get("/", &token).status;
            assert!(last == 401 || last == 503, "{last}");
        }
        ready(&usher);
    }
    assert_eq!(stage.app.count(), 0);
}

#[test]
fn without_redis_nothing_passes_before_it_is_there() {
    let mut stage = Stage::new();
    stage.redis.kill();
    let usher = Usher::configured(&stage.yaml(""));
    let token = stage.issuer.token("alice");
    let reply = usher.get("/early", &token);
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    let report = usher.admin("/readyz");
    assert_eq!(report.status, 503);
    let report: Value = serde_json::from_str(&report.body).unwrap();
    assert_eq!(report["revocation"]["loaded"], false);
    assert_eq!(
        usher.get_as_nobody("/").status,
        401,
        "which it is in any case"
    );
    stage.runtime.block_on(stage.redis.restart());
    ready(&usher);
    assert_eq!(usher.get("/", &token).status, 200);
}

#[test]
fn while_redis_is_away_what_is_known_stays_in_force() {
    let mut stage = Stage::new();
    let more = format!(
        "revocation: {{ stream: \"{}\", max_staleness: 2s }}\n",
        stage.redis.url()
    );
    let usher = stage.usher(&more);
    let patient = stage.usher("");
    let (dead, alive) = (stage.issuer.token("dead"), stage.issuer.token("alive"));
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &dead);
    dies(&patient, &dead);
    stage.redis.kill();
    eventually("it is too stale to be ready", || {
        (usher.admin("/readyz").status == 503).then_some(())
    });
    assert!(usher.metric("usher_revocation_staleness_seconds") >= 2.0);
    for usher in [&usher, &patient] {
        assert_eq!(usher.get("/", &dead).status, 401);
        assert_eq!(
            usher.get("/", &alive).status,
            200,
            "who is not revoked passes"
        );
    }
    let report = patient.admin("/readyz");
    assert_eq!(report.status, 200, "by default never");
    let report: Value = serde_json::from_str(&report.body).unwrap();
    assert!(report["revocation"]["stale_seconds"].as_u64().unwrap() >= 2);
    assert_eq!(report["degraded"][0]["revocation"], "is not heard");
    // Redis is back and empty: both ushers put back what it has lost, once.
    stage.runtime.block_on(stage.redis.restart());
    ready(&usher);
    eventually("what was lost is put back", || {
        (stage.redis(&["XLEN", "usher:revocations"]) == redis::Value::Int(1)).then_some(())
    });
    assert_eq!(usher.get("/", &dead).status, 401);
}

#[test]
fn what_cannot_be_understood_is_counted_and_left_alone() {
    let stage = Stage::new();
    let usher = stage.usher("");
    let (stream, mark) = ("usher:revocations", "000102030405060708090a0b0c0d0e0f");
    for (field, value) in [
        ("v2", format!("{mark} - -")),
        ("v1", "junk".to_owned()),
        ("v1", "x".repeat(100_000)),
    ] {
        stage.redis(&["XADD", stream, "*", field, &value]);
    }
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    assert_eq!(
        usher.metric("usher_revocation_entries_total{outcome=\"unknown\"}"),
        3.0
    );
    assert_eq!(stage.redis(&["XLEN", stream]), redis::Value::Int(4));
}

#[test]
fn only_what_has_ended_is_taken_off_the_stream() {
    let stage = Stage::new();
    let (stream, mark) = ("usher:revocations", "000102030405060708090a0b0c0d0e0");
    for (field, value) in [
        ("v1", format!("{mark}1 - 1000000000")),
        ("v1", format!("{mark}2 - 4000000000")),
        ("v1", format!("{mark}3 5 -")),
        ("v1", format!("{mark}4 5 1000000000")),
        ("v2", format!("{mark}5 - 1000000000")),
    ] {
        stage.redis(&["XADD", stream, "*", field, &value]);
    }
    let usher = stage.usher("");
    eventually("two entries less", || {
        (stage.redis(&["XLEN", stream]) == redis::Value::Int(3)).then_some(())
    });
    assert_eq!(usher.metric("usher_revocation_trimmed_total"), 2.0);
    assert_eq!(usher.metric("usher_revocations"), 2.0);
    // Whoever reads the stream now stands behind entries that are not there any more.
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
}

#[test]
fn a_full_set_says_so_and_is_not_ready() {
    let stage = Stage::new();
    let more = format!(
        "revocation: {{ stream: \"{}\", capacity: 1000 }}\n",
        stage.redis.url()
    );
    let usher = stage.usher(&more);
    stage.runtime.block_on(async {
        let mut connection = stage.redis.connect().await;
        let mut pipe = redis::pipe();
        for number in 0..1001 {
            let text = format!("{number:032x} - -");
            pipe.cmd("XADD")
                .arg("usher:revocations")
                .arg("*")
                .arg("v1")
                .arg(text)
                .ignore();
        }
        let _: () = pipe.query_async(&mut connection).await.unwrap();
    });
    eventually("it is not ready", || {
        (usher.admin("/readyz").status == 503).then_some(())
    });
    assert_eq!(
        usher.metric("usher_revocation_entries_total{outcome=\"full\"}"),
        1.0
    );
}

#[test]
fn the_name_of_the_stream_is_a_setting() {
    let stage = Stage::new();
    let more = format!(
        "revocation: {{ stream: \"{}/0/mine\" }}\n",
        stage.redis.url()
    );
    let usher = stage.usher(&more);
    stage.write_config(&more);
    stage.revoke(&["--subject", "dead"]);
    dies(&usher, &stage.issuer.token("dead"));
    assert_eq!(stage.redis(&["XLEN", "mine"]), redis::Value::Int(1));
}

/// A login within `clock_skew` has to be repeated, one after it has not.
#[test]
fn a_token_is_revoked_up_to_the_skew_after_the_time() {
    let stage = Stage::new();
    let more = format!(
        "revocation: {{ stream: \"{}\", clock_skew: 10s }}\n",
        stage.redis.url()
    );
    let usher = stage.usher(&more);
    let at = |second: i64| {
        let iat = crate::common::issuer::now() - 100 + second;
        stage.issuer.token_with("dead", json!({ "iat": iat }))
    };
    let tokens = [at(0), at(9), at(11)];
    let time = crate::common::issuer::now() - 100;
    let time = humantime(time);
    stage.revoke(&["--subject", "dead", "--before", &time]);
    dies(&usher, &tokens[0]);
    assert_eq!(usher.get("/", &tokens[1]).status, 401);
    assert_eq!(usher.get("/", &tokens[2]).status, 200);
}

fn humantime(second: i64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(second).unwrap());
    let text = httpdate::fmt_http_date(time);
    // The command reads RFC 3339, not this.
    let parts: Vec<_> = text.split(' ').collect();
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .iter()
    .position(|month| *month == parts[2])
    .unwrap()
        + 1;
    format!("{}-{month:02}-{}T{}Z", parts[3], parts[1], parts[4])
}
