//! What is remembered, for how long, and at what price.

use std::sync::Arc;

use serde_json::json;

use super::fixture::{
    Fixture, NOW, SECRET, claims, futures_now, issuer, secret_key, settings, token,
};
use crate::config::{Algorithm, KeySource};
use crate::denial::Reason;
use crate::identify::issuer::Issuer;
use crate::identify::key::Key;
use crate::identify::keys::{KeySet, Keys};
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
            scope.spawn(|| assert!(futures_now(fixture.identify.identify(&token)).is_ok()));
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
    let future = std::pin::pin!(fixture.identify.identify(token));
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
        Issuer::new(&changed, keys, &settings.headers, &settings.kept).generation
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

/// The promise: at most 400 bytes beyond the claims that are used, whatever the
/// allocator. Measured as the growth of the process over many entries.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "the other tests of the process would be measured too: run it alone"]
fn an_entry_costs_no_more_than_promised() {
    const ENTRIES: usize = 50_000;
    let mut settings = settings(vec![issuer()]);
    settings.tokens.cache_weight = 1 << 30;
    let fixture = Fixture::new(settings);
    let key = secret_key();
    let mint = |number: usize| {
        let changes = json!({ "sub": format!("{number:08}"), "email": "ada@example.com" });
        key.mint(&claims(&changes), None, None).unwrap()
    };
    for number in 0..1000 {
        fixture.verify(&mint(number)).unwrap();
    }
    let before = resident();
    let waker = std::task::Waker::noop();
    for number in 1000..1000 + ENTRIES {
        let token = mint(number);
        let future = std::pin::pin!(fixture.identify.identify(&token));
        assert!(
            future
                .poll(&mut std::task::Context::from_waker(waker))
                .is_ready()
        );
    }
    let each = (resident() - before) / ENTRIES;
    let used = 8 + 8 + 15;
    println!("{each} bytes an entry, of which {used} are claims");
    assert!(each - used <= 400, "{each}");
}

#[cfg(target_os = "linux")]
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
