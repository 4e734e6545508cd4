//! First sight: one request per user, whoever asks and however often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use usher::clock::Clock;
use usher::users::metrics::Metrics;
use usher::users::settings::{DirectorySettings, ProvisionerSettings, Settings};
use usher::users::{FirstSight, Sight, Users, Verified};

use super::engine::{Engine, Habits};
use super::house::{House, caller, linking, open, short};
use crate::common::eventually_async as eventually;

/// Eighty thousand tasks in one process make a busy machine late, which is not what is tested.
fn patiently(settings: &mut Settings) {
    let long = Duration::from_secs(30);
    settings.wait = long;
    if let ProvisionerSettings::Streams(streams) = &mut settings.provisioner {
        (streams.connect_timeout, streams.response_timeout) = (long, long);
    }
    if let DirectorySettings::Postgres(postgres) = &mut settings.directory {
        (postgres.connect_timeout, postgres.statement_timeout) = (long, long);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_create_each_user_once() {
    const USERS: usize = 200;
    let house = House::start().await;
    let habits = Habits {
        row_after: Duration::from_millis(100),
        ..Habits::default()
    };
    let engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let mut settings = house.settings();
        settings.max_waiters = USERS * 50;
        patiently(&mut settings);
        let users = Arc::new(open(settings).await);
        for user in 0..USERS {
            for _ in 0..50 {
                let users = users.clone();
                tasks.spawn(async move {
                    let (id, email) = (format!("u-{user}"), format!("{user}@example.com"));
                    let sight = users.know(&caller(&id, &email), FirstSight::Wait).await;
                    assert!(
                        matches!(&sight, Sight::Known(user) if user.id == id),
                        "{sight:?}"
                    );
                });
            }
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("every request is answered");
    }
    assert_eq!(house.requests().await, USERS as u64);
    assert_eq!(engine.seen(), USERS as u64);
    assert_eq!(house.postgres.count().await, USERS as i64);
}

#[tokio::test]
async fn a_thousand_requests_are_one_query_and_one_script() {
    let house = House::start().await;
    let habits = Habits {
        no_row: true,
        ..Habits::default()
    };
    let _engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let metrics = Metrics::default();
    let users = Users::open(house.settings(), metrics.clone(), Clock::System).await;
    let users = Arc::new(users.expect("opens"));
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let users = users.clone();
        tasks.spawn(async move {
            let sight = users
                .know(&caller("u", "u@example.com"), FirstSight::Background)
                .await;
            assert_eq!(sight, Sight::SentPending);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("answered");
    }
    assert_eq!(metrics.missing.get(), 1, "one query");
    // EVALSHA finds no script the first time, EVAL brings it.
    assert_eq!(house.redis.calls("evalsha").await, 1);
    assert_eq!(house.redis.calls("eval").await, 1);
    assert_eq!(house.requests().await, 1);
}

#[tokio::test]
async fn a_leader_who_leaves_strands_nobody() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = Arc::new(house.open().await);
    let leader = tokio::spawn({
        let users = users.clone();
        async move {
            users
                .know(&caller("u", "u@example.com"), FirstSight::Wait)
                .await
        }
    });
    tokio::task::yield_now().await;
    let joiner = tokio::spawn({
        let users = users.clone();
        async move {
            users
                .know(&caller("u", "u@example.com"), FirstSight::Wait)
                .await
        }
    });
    tokio::task::yield_now().await;
    leader.abort();
    assert!(matches!(joiner.await.expect("joined"), Sight::Known(_)));
    assert_eq!(house.requests().await, 1);
}

#[tokio::test]
async fn the_request_is_what_the_contract_says() {
    let house = House::start().await;
    let users = open(short(house.settings(), 300)).await;
    let odd = "o'brien\"; DROP TABLE \"User\"; --\r\n*3\u{1f600}";
    let sight = users
        .know(&caller(odd, "a\n\"b@example.com"), FirstSight::Wait)
        .await;
    assert_eq!(sight, Sight::Pending);
    let entries: Vec<(String, Vec<String>)> = house
        .redis
        .run(&["XRANGE", "stream:exness", "-", "+"])
        .await;
    let [(_, fields)] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    assert_eq!(fields.len(), 2, "one field");
    assert_eq!(fields[0], "message");
    let message: serde_json::Value = serde_json::from_str(&fields[1]).expect("JSON");
    assert_eq!(message["function"], "createUser");
    assert_eq!(message["userId"], odd);
    assert_eq!(message["userEmail"], "a\n\"b@example.com");
    assert_eq!(message["requestId"].as_str().map(str::len), Some(36));
    assert!(fields[1].starts_with(r#"{"function":"createUser","userId":"#));
    let markers: Vec<String> = house.redis.run(&["KEYS", "{stream:exness}:usher:*"]).await;
    assert_eq!(markers.len(), 1);
}

#[tokio::test]
async fn what_no_row_can_hold_is_refused_before_anybody_is_asked() {
    let house = House::start().await;
    let users = house.open().await;
    let long = "x".repeat(10_240);
    for (id, email) in [
        ("a\0b", "a@b"),
        ("a", "a\0@b"),
        (&long, "a@b"),
        ("a", &long),
        ("", "a@b"),
    ] {
        let sight = users.know(&caller(id, email), FirstSight::Wait).await;
        assert!(matches!(sight, Sight::Refused(_)), "{sight:?}");
    }
    assert_eq!(house.requests().await, 0);
}

#[tokio::test]
async fn a_caller_without_an_email_is_never_sent_to_the_engine() {
    let house = House::start().await;
    let users = house.open().await;
    let mut nobody = caller("u", "");
    assert!(matches!(
        users.know(&nobody, FirstSight::Wait).await,
        Sight::Refused(_)
    ));
    nobody.email = None;
    assert!(matches!(
        users.know(&nobody, FirstSight::Wait).await,
        Sight::Refused(_)
    ));
    assert_eq!(house.requests().await, 0);
}

#[tokio::test]
async fn an_email_that_belongs_to_another_id_is_a_conflict_unless_linking_is_allowed() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    house.postgres.insert("victim", "v@example.com").await;
    let users = open(linking(house.settings())).await;
    let mut thief = caller("thief", "v@example.com");
    assert_eq!(users.know(&thief, FirstSight::Wait).await, Sight::Conflict);
    assert_eq!(
        users.know(&thief, FirstSight::Background).await,
        Sight::Conflict
    );
    // By the exact rule of verify-user the row exists; that must not make the thief known.
    assert!(matches!(
        users.verify_user(&thief).await,
        Verified::Exists(_)
    ));
    assert!(users.recall(&thief).is_none());
    assert_eq!(users.know(&thief, FirstSight::Wait).await, Sight::Conflict);
    assert_eq!(house.requests().await, 0);

    thief.email_verified = true;
    let sight = users.know(&thief, FirstSight::Wait).await;
    assert!(
        matches!(&sight, Sight::Known(user) if user.id == "thief"),
        "{sight:?}"
    );
    assert_eq!(house.requests().await, 1);
}

#[tokio::test]
async fn in_the_background_the_request_goes_on_once_the_engine_was_asked() {
    let house = House::start().await;
    let users = house.open().await;
    let who = caller("u", "u@example.com");
    let begun = Instant::now();
    assert_eq!(
        users.know(&who, FirstSight::Background).await,
        Sight::SentPending
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(house.requests().await, 1);
    house.postgres.insert("u", "u@example.com").await;
    eventually("the flight lands", async || users.recall(&who)).await;
    assert_eq!(users.know(&who, FirstSight::Off).await, Sight::Unasked);
}

#[tokio::test]
async fn beyond_max_waiters_nobody_waits() {
    let house = House::start().await;
    let mut settings = house.settings();
    settings.max_waiters = 2;
    let users = Arc::new(open(settings).await);
    let mut waiting = JoinSet::new();
    for id in ["a", "b"] {
        let users = users.clone();
        waiting.spawn(async move { users.know(&caller(id, id), FirstSight::Wait).await });
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    assert_eq!(
        users.know(&caller("c", "c"), FirstSight::Wait).await,
        Sight::Busy
    );
    assert_eq!(users.verify_user(&caller("c", "c")).await, Verified::Busy);
    assert!(begun.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn a_marker_left_behind_holds_a_user_up_for_its_life_only() {
    let house = House::start().await;
    let mut settings = short(house.settings(), 400);
    if let ProvisionerSettings::Streams(streams) = &mut settings.provisioner {
        streams.marker = Duration::from_secs(2);
    }
    // A process that dies after sending leaves its marker; here the engine lost the request too.
    let killed = open(settings.clone()).await;
    let who = caller("u", "u@example.com");
    assert_eq!(
        killed.know(&who, FirstSight::Background).await,
        Sight::SentPending
    );
    drop(killed);
    let _: u64 = house.redis.run(&["DEL", "stream:exness"]).await;

    let begun = Instant::now();
    let engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = open(settings).await;
    let mut asked = 0;
    while !matches!(users.know(&who, FirstSight::Wait).await, Sight::Known(_)) {
        asked += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "asked {asked} times"
        );
    }
    assert!(asked >= 1, "the marker spoke for the user");
    assert_eq!(engine.seen(), 1);
}

#[tokio::test]
async fn whoever_joins_after_the_reply_gets_the_row_all_the_same() {
    let house = House::start().await;
    let habits = Habits {
        row_after: Duration::from_millis(600),
        ..Habits::default()
    };
    let engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let (one, two) = (house.open().await, house.open().await);
    let who = caller("u", "u@example.com");
    assert_eq!(
        one.know(&who, FirstSight::Background).await,
        Sight::SentPending
    );
    eventually("the reply has passed", async || {
        let replies: u64 = house.redis.run(&["XLEN", "stream:exnessReceive"]).await;
        (replies == 1).then_some(())
    })
    .await;
    let begun = Instant::now();
    assert!(matches!(
        two.know(&who, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(engine.seen(), 1);
}
