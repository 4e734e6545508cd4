//! What fails, fails closed, in time, and comes back by itself.

use std::time::{Duration, Instant};

use usher::users::{FirstSight, Sight, Users, Verified};

use super::engine::{Engine, Habits};
use super::house::{House, caller, open, short};

/// No request is held longer than its wait, and a little for the machine.
const DEADLINE: Duration = Duration::from_millis(5500);

async fn first_sight(users: &Users, id: &str) -> Sight {
    let email = format!("{id}@example.com");
    let begun = Instant::now();
    let sight = users.know(&caller(id, &email), FirstSight::Wait).await;
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    sight
}

/// Asks for new users until one is known; five seconds are allowed.
async fn recovers(users: &Users, name: &str) {
    let begun = Instant::now();
    for turn in 0.. {
        match first_sight(users, &format!("{name}-{turn}")).await {
            Sight::Known(_) => break,
            Sight::Unavailable | Sight::Pending => {}
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "turn {turn}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn redis_is_killed_and_restarted_empty() {
    let mut house = House::start().await;
    let engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = house.open().await;
    assert!(matches!(
        first_sight(&users, "before").await,
        Sight::Known(_)
    ));
    house.redis.kill();
    drop(engine);
    assert_eq!(first_sight(&users, "during-0").await, Sight::Unavailable);
    let begun = Instant::now();
    for turn in 1..1000 {
        let sight = users
            .know(&caller(&format!("during-{turn}"), "x"), FirstSight::Wait)
            .await;
        assert_eq!(sight, Sight::Unavailable);
        assert!(matches!(
            first_sight(&users, "before").await,
            Sight::Known(_)
        ));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "a dead Redis costs nothing"
    );
    house.redis.restart().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    recovers(&users, "after").await;
}

#[tokio::test]
async fn redis_stands_still() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = open(short(house.settings(), 3000)).await;
    assert!(matches!(
        first_sight(&users, "before").await,
        Sight::Known(_)
    ));
    house.redis.signal("STOP");
    for turn in 0..5 {
        assert_eq!(
            first_sight(&users, &format!("during-{turn}")).await,
            Sight::Unavailable
        );
        assert!(matches!(
            first_sight(&users, "before").await,
            Sight::Known(_)
        ));
    }
    house.redis.signal("CONT");
    recovers(&users, "after").await;
}

#[tokio::test]
async fn redis_refuses_to_write() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = house.open().await;
    let refusals: [(&[&str], &[&str]); 3] = [
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
        ),
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ];
    for (turn, (on, off)) in refusals.into_iter().enumerate() {
        let before = house.requests().await;
        let _: redis::Value = house.redis.run(on).await;
        let sight = first_sight(&users, &format!("during-{turn}")).await;
        assert_eq!(sight, Sight::Unavailable, "{on:?}");
        assert_eq!(house.requests().await, before, "{on:?}");
        let markers: Vec<String> = house.redis.run(&["KEYS", "*usher*"]).await;
        assert_eq!(markers.len(), turn, "a refused request leaves no marker");
        let _: redis::Value = house.redis.run(off).await;
        recovers(&users, &format!("after-{turn}")).await;
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_is_unavailable() {
    let house = House::start().await;
    let users = house.open().await;
    let _: redis::Value = house
        .redis
        .run(&["CONFIG", "SET", "requirepass", "hunter2"])
        .await;
    assert_eq!(first_sight(&users, "u").await, Sight::Unavailable);
    let problems = users.check().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[tokio::test]
async fn the_engine_dies_after_reading() {
    let house = House::start().await;
    let habits = Habits {
        no_reply: true,
        no_row: true,
        ..Habits::default()
    };
    let engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let users = open(short(house.settings(), 800)).await;
    assert_eq!(first_sight(&users, "u").await, Sight::Pending);
    assert_eq!(
        users.verify_user(&caller("u", "u@example.com")).await,
        Verified::InProgress
    );
    assert_eq!(engine.seen(), 1, "one marker, one request");
}

#[tokio::test]
async fn redis_dies_after_the_request_and_the_row_comes_all_the_same() {
    let mut house = House::start().await;
    let users = std::sync::Arc::new(house.open().await);
    let asking = tokio::spawn({
        let users = users.clone();
        async move { users.verify_user(&caller("u", "u@example.com")).await }
    });
    crate::common::eventually_async("it is sent", async || {
        (house.requests().await == 1).then_some(())
    })
    .await;
    house.redis.kill();
    house.postgres.insert("u", "u@example.com").await;
    assert!(matches!(
        asking.await.expect("answered"),
        Verified::Exists(_)
    ));
}

#[tokio::test]
async fn postgres_is_killed_and_comes_back() {
    let mut house = House::start().await;
    house.postgres.insert("known", "known@example.com").await;
    let users = house.open().await;
    assert!(matches!(
        first_sight(&users, "known").await,
        Sight::Known(_)
    ));
    house.postgres.kill();
    for turn in 0..5 {
        assert_eq!(
            first_sight(&users, &format!("during-{turn}")).await,
            Sight::Unavailable
        );
        assert!(matches!(
            first_sight(&users, "known").await,
            Sight::Known(_)
        ));
        assert_eq!(
            users.verify_user(&caller("u", "u")).await,
            Verified::Unavailable
        );
    }
    house.postgres.restart().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    recovers(&users, "after").await;
    assert_eq!(
        house.requests().await,
        house.postgres.count().await as u64 - 1,
        "nobody was asked for blindly"
    );
}

#[tokio::test]
async fn postgres_stands_still() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = std::sync::Arc::new(house.open().await);
    assert!(matches!(
        first_sight(&users, "before").await,
        Sight::Known(_)
    ));
    house.postgres.signal_all("STOP");
    let mut tasks = tokio::task::JoinSet::new();
    for turn in 0..50 {
        let users = users.clone();
        tasks.spawn(async move { first_sight(&users, &format!("during-{turn}")).await });
    }
    while let Some(sight) = tasks.join_next().await {
        assert_eq!(sight.expect("answered"), Sight::Unavailable);
    }
    assert!(matches!(
        first_sight(&users, "before").await,
        Sight::Known(_)
    ));
    house.postgres.signal_all("CONT");
    recovers(&users, "after").await;
}

#[tokio::test]
async fn the_directory_goes_away_during_the_wait() {
    let mut house = House::start().await;
    let users = std::sync::Arc::new(open(short(house.settings(), 1500)).await);
    let asking = tokio::spawn({
        let users = users.clone();
        async move { first_sight(&users, "u").await }
    });
    crate::common::eventually_async("it is sent", async || {
        (house.requests().await == 1).then_some(())
    })
    .await;
    house.postgres.kill();
    assert_eq!(
        asking.await.expect("answered"),
        Sight::Unavailable,
        "not: pending"
    );
}

#[tokio::test]
async fn usher_starts_while_nothing_else_runs() {
    let mut house = House::start().await;
    house.redis.kill();
    house.postgres.kill();
    let users = house.open().await;
    assert_eq!(first_sight(&users, "u").await, Sight::Unavailable);
    assert_eq!(users.check().await.len(), 2);
    house.redis.restart().await;
    house.postgres.restart().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    recovers(&users, "after").await;
}
