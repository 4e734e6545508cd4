//! `ensure_user`: every row of the contract's table.

use usher::secret::Secret;
use usher::users::settings::RedisAddress;
use usher::users::{Ensured, Verified};

use super::engine::{Engine, Habits};
use super::house::{House, caller, open, settings, short};
use crate::common::eventually_async as eventually;

#[tokio::test]
async fn it_always_sends_a_request_of_its_own() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let users = house.open().await;
    let who = caller("u", "u@example.com");
    assert!(matches!(users.verify_user(&who).await, Verified::Exists(_)));
    assert_eq!(house.requests().await, 1);
    for sent in 2..5 {
        assert_eq!(users.ensure_user(&who).await, Ensured::Confirmed);
        assert_eq!(house.requests().await, sent);
    }
}

#[tokio::test]
async fn engines_old_and_new_confirm() {
    for (old, says) in [(true, None), (false, Some("user Already Exist"))] {
        let house = House::start().await;
        let habits = Habits {
            old,
            says,
            ..Habits::default()
        };
        let _engine = Engine::start(&house.redis, &house.postgres, habits).await;
        let users = house.open().await;
        let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
        assert_eq!(ensured, Ensured::Confirmed, "old {old}");
    }
}

#[tokio::test]
async fn another_text_or_none_is_initiated() {
    for (no_reply, says) in [
        (true, None),
        (false, Some("somebody else")),
        (false, Some("")),
    ] {
        let house = House::start().await;
        let habits = Habits {
            no_reply,
            says,
            ..Habits::default()
        };
        let _engine = Engine::start(&house.redis, &house.postgres, habits).await;
        let users = open(short(house.settings(), 700)).await;
        let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
        assert_eq!(ensured, Ensured::Initiated, "{says:?}");
    }
}

#[tokio::test]
async fn sent_and_unheard_is_told_apart_from_not_sent() {
    let mut house = House::start().await;
    let users = std::sync::Arc::new(open(short(house.settings(), 2500)).await);
    let asking = tokio::spawn({
        let users = users.clone();
        async move { users.ensure_user(&caller("u", "u@example.com")).await }
    });
    eventually("it is sent", async || {
        (house.requests().await == 1).then_some(())
    })
    .await;
    house.redis.kill();
    assert_eq!(asking.await.expect("answered"), Ensured::Unheard);
    let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
    assert_eq!(ensured, Ensured::Unavailable);
}

#[tokio::test]
async fn a_user_may_ask_thirty_times_a_minute() {
    let house = House::start().await;
    // Nobody listens there: the limit counts calls, not successes.
    let nowhere = RedisAddress::Single(Secret::new("redis://127.0.0.1:1"));
    let users = open(settings(&house.postgres, nowhere)).await;
    for _ in 0..30 {
        let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
        assert_eq!(ensured, Ensured::Unavailable);
    }
    let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
    assert!(matches!(ensured, Ensured::Limited(1..=60)), "{ensured:?}");
    let other = users.ensure_user(&caller("v", "v@example.com")).await;
    assert_eq!(other, Ensured::Unavailable, "per user");
}
