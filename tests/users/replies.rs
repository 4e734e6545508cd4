//! Replies are hints: early, late, doubled, missing, somebody else's, unreadable.

use std::time::{Duration, Instant};

use usher::clock::Clock;
use usher::users::metrics::Metrics;
use usher::users::{Ensured, FirstSight, Sight, Users};

use super::engine::{Engine, Habits};
use super::house::{House, caller, open, short};

async fn is_known_with(habits: Habits) -> Duration {
    let house = House::start().await;
    let engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let users = house.open().await;
    let begun = Instant::now();
    let sight = users
        .know(&caller("u", "u@example.com"), FirstSight::Wait)
        .await;
    assert!(matches!(sight, Sight::Known(_)), "{sight:?}");
    assert_eq!(engine.seen(), 1);
    begun.elapsed()
}

#[tokio::test]
async fn the_engine_answers_before_the_row_is_written() {
    for row_after in [50, 200, 500] {
        let row_after = Duration::from_millis(row_after);
        let habits = Habits {
            row_after,
            ..Habits::default()
        };
        let took = is_known_with(habits).await;
        assert!(
            took >= row_after && took < row_after + Duration::from_millis(700),
            "{took:?}"
        );
    }
}

#[tokio::test]
async fn the_engine_says_nothing_but_the_row_comes() {
    let habits = Habits {
        no_reply: true,
        ..Habits::default()
    };
    is_known_with(habits).await;
}

#[tokio::test]
async fn the_engine_answers_twice_and_among_noise() {
    let habits = Habits {
        twice: true,
        noisy: true,
        ..Habits::default()
    };
    is_known_with(habits).await;
}

#[tokio::test]
async fn a_reply_without_a_row_lets_nobody_in() {
    let house = House::start().await;
    let habits = Habits {
        no_row: true,
        ..Habits::default()
    };
    let _engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let users = open(short(house.settings(), 1000)).await;
    let begun = Instant::now();
    let sight = users
        .know(&caller("u", "u@example.com"), FirstSight::Wait)
        .await;
    assert_eq!(sight, Sight::Pending);
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn junk_is_counted_and_stops_nobody() {
    let house = House::start().await;
    let habits = Habits {
        noisy: true,
        ..Habits::default()
    };
    let _engine = Engine::start(&house.redis, &house.postgres, habits).await;
    let metrics = Metrics::default();
    let users = Users::open(house.settings(), metrics.clone(), Clock::System).await;
    let users = users.expect("opens");
    let ensured = users.ensure_user(&caller("u", "u@example.com")).await;
    assert_eq!(ensured, Ensured::Confirmed);
    assert_eq!(metrics.replies_matched.get(), 1);
    assert_eq!(metrics.replies_unmatched.get(), 1, "somebody else's");
    // The trade's requestId is a number, so it is not a reply as the contract has it.
    assert_eq!(metrics.replies_unreadable.get(), 7);
}

#[tokio::test]
async fn a_million_older_replies_make_no_difference() {
    let house = House::start().await;
    let fill = "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'message', ARGV[1]) end";
    let old = r#"{"function":"createUser","message":"u","requestId":"old"}"#;
    for _ in 0..10 {
        let words = ["EVAL", fill, "1", "stream:exnessReceive", old];
        let _: redis::Value = house.redis.run(&words).await;
    }
    let length: u64 = house.redis.run(&["XLEN", "stream:exnessReceive"]).await;
    assert_eq!(length, 1_000_000);
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let metrics = Metrics::default();
    let users = Users::open(house.settings(), metrics.clone(), Clock::System).await;
    let begun = Instant::now();
    let ensured = users
        .expect("opens")
        .ensure_user(&caller("u", "u@example.com"))
        .await;
    assert_eq!(ensured, Ensured::Confirmed);
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        metrics.replies_unmatched.get(),
        0,
        "not one old entry was read"
    );
}
