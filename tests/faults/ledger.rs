//! What is left when all is over: rows, entries on the streams, and who came to the app when.

use std::collections::HashMap;
use std::time::SystemTime;

use super::callers::Standing;
use super::stage::Stage;

/// Looks everything through, and blames whoever has to be.
pub async fn check(stage: &Stage) {
    let rows = rows(stage).await;
    check_rows(stage, &rows);
    check_requests(stage).await;
    check_revocations(stage).await;
}

/// E-mail and time of every row, by the id of its user.
type Rows = HashMap<String, Vec<(String, SystemTime)>>;

async fn rows(stage: &Stage) -> Rows {
    let client = stage.postgres.lock().await.connect().await;
    let sql = r#"SELECT "userID", "email", "made" FROM "User""#;
    let mut rows = Rows::new();
    for row in client.query(sql, &[]).await.unwrap() {
        rows.entry(row.get(0))
            .or_default()
            .push((row.get(1), row.get(2)));
    }
    rows
}

/// Whoever is new has one row, with their own e-mail, and it was there before the app saw them.
fn check_rows(stage: &Stage, rows: &Rows) {
    let sights = stage.sights.lock().unwrap();
    let newcomers = stage.newcomers();
    assert!(!newcomers.is_empty(), "somebody was new");
    for (name, _) in newcomers {
        let found = rows.get(&name).map(Vec::as_slice).unwrap_or_default();
        let [(email, made)] = found else {
            stage
                .model
                .blame(format!("{name} has {} rows", found.len()));
            continue;
        };
        if *email != format!("{name}@example.com") {
            stage.model.blame(format!("{name} has the row of {email}"));
        }
        if sights.get(&name).is_some_and(|seen| seen < made) {
            stage
                .model
                .blame(format!("{name} came to the app before the row was there"));
        }
    }
    let more: Vec<_> = rows.iter().filter(|(_, rows)| rows.len() > 1).collect();
    if !more.is_empty() {
        stage.model.blame(format!("more than one row: {more:?}"));
    }
}

/// Where Redis was well, the engine was asked for everybody once.
async fn check_requests(stage: &Stage) {
    let redis = stage.redis.lock().await;
    let entries: Vec<(String, Vec<String>)> =
        redis.run(&["XRANGE", "stream:exness", "-", "+"]).await;
    let mut asked: HashMap<String, usize> = HashMap::new();
    for (_, fields) in &entries {
        let request: serde_json::Value = serde_json::from_str(&fields[1]).unwrap();
        let id = request["userId"].as_str().expect("an id").to_owned();
        *asked.entry(id).or_default() += 1;
    }
    let (mut once, mut again) = (0, 0);
    for (name, well) in stage.newcomers() {
        match (asked.get(&name).copied().unwrap_or(0), well) {
            (1, _) => once += 1,
            (_, false) => again += 1,
            (times, true) => {
                let why = "and Redis was well";
                stage
                    .model
                    .blame(format!("{name}: the engine was asked {times} times, {why}"));
            }
        }
    }
    println!("the engine was asked once for {once}, more often in a fault of Redis for {again}");
}

/// Whatever `usher revoke` called stored is on the stream.
async fn check_revocations(stage: &Stage) {
    let is_dead = |standing| matches!(standing, Standing::Dead(_));
    let mortals = stage.all_mortals();
    let dead = mortals
        .iter()
        .filter(|mortal| is_dead(mortal.standing()))
        .count();
    assert!(dead > 0, "somebody was revoked");
    let redis = stage.redis.lock().await;
    let stored: usize = redis.run(&["XLEN", "usher:revocations"]).await;
    if stored < dead {
        stage.model.blame(format!(
            "{dead} are revoked, and {stored} are on the stream"
        ));
    }
}
