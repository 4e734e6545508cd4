//! Who is known costs nobody anything.

use std::time::Duration;

use usher::clock::{Clock, ManualClock};
use usher::users::metrics::Metrics;
use usher::users::{FirstSight, Sight, Users, Verified};

use super::house::{House, caller};
use crate::common::eventually_async as eventually;

async fn open_at(house: &House, clock: &ManualClock) -> Users {
    let clock = Clock::Manual(clock.clone());
    let users = Users::open(house.settings(), Metrics::default(), clock).await;
    users.expect("opens")
}

#[tokio::test]
async fn a_known_user_touches_neither_redis_nor_the_directory() {
    let mut house = House::start().await;
    house.postgres.insert("u", "u@example.com").await;
    let users = house.open().await;
    let who = caller("u", "u@example.com");
    assert!(matches!(
        users.know(&who, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    // Only the directory was needed so far.
    assert_eq!(house.redis.calls("evalsha").await, 0);
    house.redis.kill();
    house.postgres.kill();
    for _ in 0..1000 {
        assert!(users.recall(&who).is_some());
        assert!(matches!(
            users.know(&who, FirstSight::Wait).await,
            Sight::Known(_)
        ));
        assert!(matches!(users.verify_user(&who).await, Verified::Exists(_)));
    }
}

#[tokio::test]
async fn a_user_is_renewed_behind_the_requests_back_and_forgotten_when_gone() {
    let house = House::start().await;
    house.postgres.insert("u", "u@example.com").await;
    let clock = ManualClock::new(1_000_000);
    let users = open_at(&house, &clock).await;
    let who = caller("u", "u@example.com");
    assert!(matches!(
        users.know(&who, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    house.postgres.run(r#"DELETE FROM "User""#).await;
    clock.advance(299);
    assert!(users.recall(&who).is_some(), "fresh");
    clock.advance(1);
    assert!(
        users.recall(&who).is_some(),
        "the request itself is not held"
    );
    let gone = async || users.recall(&who).is_none().then_some(());
    eventually("the user is forgotten", gone).await;
}

#[tokio::test]
async fn a_known_user_outlives_an_outage_up_to_max_stale() {
    let mut house = House::start().await;
    house.postgres.insert("u", "u@example.com").await;
    let clock = ManualClock::new(1_000_000);
    let users = open_at(&house, &clock).await;
    let who = caller("u", "u@example.com");
    assert!(matches!(
        users.know(&who, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    house.postgres.kill();
    for _ in 0..24 {
        clock.advance(3600);
        let sight = users.know(&who, FirstSight::Wait).await;
        assert!(matches!(sight, Sight::Known(_)), "{sight:?}");
    }
    clock.advance(1);
    assert_eq!(users.know(&who, FirstSight::Wait).await, Sight::Unavailable);
    house.postgres.restart().await;
    eventually("the user is known again", async || {
        let sight = users.know(&who, FirstSight::Wait).await;
        matches!(sight, Sight::Known(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_is_remembered_as_missing() {
    let house = House::start().await;
    let users = house.open().await;
    let who = caller("u", "u@example.com");
    assert_eq!(
        users.know(&who, FirstSight::Background).await,
        Sight::SentPending
    );
    house.postgres.insert("u", "u@example.com").await;
    let sight = tokio::time::timeout(Duration::from_secs(2), users.know(&who, FirstSight::Wait));
    assert!(matches!(sight.await, Ok(Sight::Known(_))));
}
