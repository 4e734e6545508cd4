//! Sent, not sent, perhaps sent: never mixed up.

use usher::clock::Clock;
use usher::secret::Secret;
use usher::users::metrics::Metrics;
use usher::users::settings::RedisAddress;
use usher::users::{Ensured, FirstSight, Sight, Users};

use super::house::{House, caller, settings, short};
use crate::common::cut::Cut;

/// Users whose way to Redis loses answers when told to; the script is loaded already.
async fn behind(cut: &Cut, house: &House) -> (Users, Metrics) {
    let address = RedisAddress::Single(Secret::new(cut.url()));
    let mut settings = short(settings(&house.postgres, address), 2500);
    settings.ensure_per_minute = 10_000;
    let metrics = Metrics::default();
    let users = Users::open(settings, metrics.clone(), Clock::System).await;
    let users = users.expect("opens");
    let first = caller("first", "first");
    let sight = users.know(&first, FirstSight::Background).await;
    assert_eq!(sight, Sight::SentPending);
    (users, metrics)
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let house = House::start().await;
    let cut = Cut::start(&house.redis.url()).await;
    let (users, metrics) = behind(&cut, &house).await;
    cut.lose(1);
    let who = caller("u", "u@example.com");
    let sight = users.know(&who, FirstSight::Background).await;
    assert_eq!(sight, Sight::SentPending);
    assert_eq!(house.requests().await, 2, "one each");
    cut.lose(2);
    let ensured = users.ensure_user(&who).await;
    assert_eq!(ensured, Ensured::Initiated);
    assert_eq!(house.requests().await, 3, "one more");
    assert_eq!((metrics.sent.get(), metrics.in_doubt.get()), (3, 0));
}

#[tokio::test]
async fn doubt_is_not_certainty_and_a_repeat_keeps_the_id() {
    let house = House::start().await;
    let cut = Cut::start(&house.redis.url()).await;
    let (users, metrics) = behind(&cut, &house).await;
    let who = caller("u", "u@example.com");
    cut.lose(usize::MAX);
    assert_eq!(users.ensure_user(&who).await, Ensured::Unavailable);
    assert_eq!(house.requests().await, 2, "it is there, and nobody knows");
    assert_eq!((metrics.sent.get(), metrics.in_doubt.get()), (1, 1));
    // Redis is left alone by now: nothing is sent, but what was in doubt still is.
    assert_eq!(users.ensure_user(&who).await, Ensured::Unavailable);
    assert_eq!((metrics.not_sent.get(), metrics.in_doubt.get()), (0, 2));
    // Somebody else's request was certainly not sent.
    let other = caller("v", "v@example.com");
    assert_eq!(users.ensure_user(&other).await, Ensured::Unavailable);
    assert_eq!(metrics.not_sent.get(), 1);
    cut.lose(0);
    let initiated = async || {
        let ensured = users.ensure_user(&who).await;
        (ensured == Ensured::Initiated).then_some(())
    };
    crate::common::eventually_async("it is certain", initiated).await;
    assert_eq!(house.requests().await, 2, "the repeat of the same request");
    assert_eq!(users.ensure_user(&who).await, Ensured::Initiated);
    assert_eq!(house.requests().await, 3, "a new one");
}
