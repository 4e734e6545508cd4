//! What is remembered, for how long, and at what price.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::fixture::{Fixture, NOW, SECRET, futures_now, issuer, settings, token};
use crate::config::{Algorithm, KeySource};
use crate::denial::Reason;
use crate::identify::held::Held;
use crate::identify::issuer::{Issuer, Proof};
use crate::identify::key::Key;
use crate::identify::key_set::KeySet;
use crate::identify::keys::{Keys, Patience};
use crate::secret::Secret;

#[test]
fn the_second_time_is_a_hit_and_nothing_is_verified() {
    let fixture = Fixture::shared();
    let token = token(&json!({}));
    let first = fixture.verify(&token).unwrap();
    let second = fixture.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(fixture.metrics.verifications.get(), 1);
    assert_eq!(fixture.metrics.hits.get(), 1);
}

#[test]
fn a_cached_token_ends_when_it_says_so() {
    let fixture = Fixture::shared();
    let token = token(&json!({ "nbf": NOW }));
    assert_eq!(fixture.reason(&token), None);
    fixture.clock.set(NOW + 59);
    assert_eq!(fixture.reason(&token), None);
    fixture.clock.set(NOW + 60);
    assert_eq!(fixture.reason(&token), Some(Reason::TokenExpired));
    fixture.clock.set(NOW - 6);
    assert_eq!(fixture.reason(&token), Some(Reason::TokenNotYetValid));
    fixture.clock.set(-1);
    assert_eq!(fixture.reason(&token), Some(Reason::TokenNotYetValid));
    fixture.clock.set(i64::MAX);
    assert_eq!(fixture.reason(&token), Some(Reason::TokenExpired));
    assert_eq!(fixture.metrics.verifications.get(), 1);
}

#[test]
fn what_is_not_yet_good_is_good_later() {
    let fixture = Fixture::shared();
    let token = token(&json!({ "nbf": NOW + 10 }));
    assert_eq!(fixture.reason(&token), Some(Reason::TokenNotYetValid));
    fixture.clock.set(NOW + 5);
    assert_eq!(fixture.reason(&token), None);
}

#[test]
fn refusals_are_remembered_apart() {
    let fixture = Fixture::shared();
    let bad = token(&json!({ "aud": "x" }));
    for _ in 0..3 {
        assert_eq!(fixture.reason(&bad), Some(Reason::AudienceRefused));
    }
    assert_eq!(fixture.metrics.verifications.get(), 1);
    assert_eq!(fixture.metrics.refused_hits.get(), 2);
}

#[test]
fn tokens_that_share_a_part_share_no_verdict() {
    let fixture = Fixture::shared();
    let good = token(&json!({}));
    assert_eq!(fixture.reason(&good), None);
    let mut bad = good.clone();
    bad.replace_range(good.len() - 2.., "AA");
    assert_eq!(fixture.reason(&bad), Some(Reason::SignatureRefused));
    assert_eq!(fixture.reason(&good), None);
}

#[test]
fn many_first_sights_at_once_verify_once() {
    let fixture = Fixture::shared();
    let token = token(&json!({}));
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| assert!(futures_now(fixture.identify.identify(&token, None)).is_ok()));
        }
    });
    assert_eq!(fixture.metrics.verifications.get(), 1);
}

#[test]
fn a_flood_of_bad_tokens_evicts_no_good_one() {
    let fixture = Fixture::shared();
    let good: Vec<_> = (0..100)
        .map(|number| token(&json!({ "sub": number })))
        .collect();
    for token in &good {
        assert_eq!(fixture.reason(token), None);
    }
    for number in 0..20_000 {
        assert!(futures_ready(&fixture, &format!("e30.e30.{number:08}")));
    }
    for token in &good {
        assert_eq!(fixture.reason(token), None);
    }
    assert_eq!(fixture.metrics.hits.get(), 100);
}

fn futures_ready(fixture: &Fixture, token: &str) -> bool {
    use std::task::{Context, Poll, Waker};
    let future = std::pin::pin!(fixture.identify.identify(token, None));
    matches!(
        future.poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(Err(_))
    )
}

#[test]
fn a_setting_that_matters_changes_the_generation() {
    let settings = settings(vec![issuer()]);
    let generation = |change: &dyn Fn(&mut crate::config::Issuer)| {
        let mut changed = issuer();
        change(&mut changed);
        let key = Key::shared(&Secret::new(SECRET), &[Algorithm::HS256]).unwrap();
        let keys = Arc::new(Keys::fixed(KeySet::new(vec![key], 1, NOW, i64::MAX)));
        let patience = Patience {
            max_waiters: 0,
            key_wait: Duration::ZERO,
        };
        let held = Held::of(&changed, Proof::Keys(keys), patience);
        Issuer::new(&changed, held, &settings).generation
    };
    let plain = generation(&|_| {});
    assert_eq!(plain, generation(&|_| {}));
    assert_ne!(plain, generation(&|issuer| issuer.exp_leeway = 1));
    assert_ne!(
        plain,
        generation(&|issuer| issuer.audiences = crate::config::Audiences::Any)
    );
    assert_ne!(
        plain,
        generation(&|issuer| issuer.claims[0].claim = "uid".to_owned())
    );
}

#[test]
fn a_short_secret_and_a_missing_file_are_start_errors() {
    let mut short = issuer();
    short.keys = KeySource::Secret(Secret::new("short"));
    let mut missing = issuer();
    missing.name = "files".to_owned();
    missing.keys = KeySource::JwksFile("/nowhere/jwks.json".into());
    let started = crate::identify::Identify::new(
        settings(vec![short, missing]),
        crate::clock::Clock::System,
        crate::identify::Metrics::default(),
    );
    let Err(error) = started else {
        panic!("it started");
    };
    assert_eq!(error.problems().len(), 2);
    assert!(error.to_string().contains("HS256 needs 32"), "{error}");
    assert!(
        error
            .to_string()
            .contains("/nowhere/jwks.json cannot be read"),
        "{error}"
    );
}

/// Everything that an entry allocates is counted, and the cache's own part by the most that was
/// measured (`seen::NODE`); what stands here keeps an entry from growing unseen.
#[test]
fn the_weight_of_an_entry_is_what_it_costs() {
    let mut settings = settings(vec![issuer()]);
    settings.kept = crate::identity::Kept::default();
    let fixture = Fixture::new(settings);
    let weigh = |changes| {
        let verified = fixture.verify(&token(&changes)).unwrap();
        crate::identify::seen::weight(&verified)
    };
    let ada = "ada@example.com";
    let plain = weigh(json!({ "sub": "00000000", "email": ada, "name": "Ada Lovelace" }));
    assert!((350..=385).contains(&plain), "{plain}");
    let unused = json!({ "sub": "00000000", "email": ada, "name": "Ada Lovelace",
        "nobody": "reads this".repeat(100) });
    assert_eq!(weigh(unused), plain);
    let longer = json!({ "sub": "00000000", "email": ada, "name": "Augusta Ada Lovelace" });
    assert_eq!(weigh(longer), plain + 8);
}
