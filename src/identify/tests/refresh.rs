//! Keys that are fetched, from a server that rotates, hangs and lies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{ISS, NOW, P256, claims, fetch, issuer, key_set, new_p256, settings};
use super::issuer_server::{Answer, IssuerServer};
use crate::clock::{Clock, ManualClock};
use crate::config::{self, Algorithm, KeySource};
use crate::denial::Reason;
use crate::identify::mint::SigningKey;
use crate::identify::{Identify, Metrics};

struct Fetched {
    server: IssuerServer,
    identify: Arc<Identify>,
    clock: ManualClock,
    metrics: Metrics,
    refresher: tokio::task::JoinHandle<()>,
}

impl Fetched {
    /// With keys from a server, and `fetch` and `tokens` changed for the test.
    async fn start(
        answer: Answer,
        change: impl FnOnce(&mut config::Fetch, &mut config::Tokens),
    ) -> Self {
        let server = IssuerServer::start(answer).await;
        let url = server.url("/jwks");
        Self::run(server, change, |fetch| KeySource::JwksUri {
            urls: vec![url],
            fetch,
        })
    }

    fn run(
        server: IssuerServer,
        change: impl FnOnce(&mut config::Fetch, &mut config::Tokens),
        source: impl FnOnce(config::Fetch) -> KeySource,
    ) -> Self {
        let mut issuer = issuer();
        issuer.algorithms = vec![Algorithm::ES256];
        let mut settings = settings(Vec::new());
        let mut fetch = fetch();
        change(&mut fetch, &mut settings.tokens);
        issuer.keys = source(fetch);
        settings.issuers = vec![issuer];
        let clock = ManualClock::new(NOW);
        let metrics = Metrics::default();
        let (identify, mut refreshers) =
            Identify::new(settings, Clock::Manual(clock.clone()), metrics.clone()).unwrap();
        let refresher = tokio::spawn(refreshers.remove(0).run());
        Self {
            server,
            identify: Arc::new(identify),
            clock,
            metrics,
            refresher,
        }
    }

    async fn good(kids: &[(&str, &SigningKey)]) -> Self {
        let fetched = Self::start(Answer::document(key_set(kids)), |_, _| {}).await;
        fetched.until_ready().await;
        fetched
    }

    async fn until_ready(&self) {
        eventually(|| self.identify.ready()[0].has_keys).await;
    }

    async fn until_fetch_failed(&self) {
        eventually(|| self.identify.ready()[0].last_error.is_some()).await;
    }

    async fn reason(&self, token: &str) -> Option<Reason> {
        self.identify
            .identify(token, None)
            .await
            .err()
            .map(|denial| denial.reason)
    }
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn sign(key: &SigningKey, kid: &str) -> String {
    key.mint(&claims(&json!({})), Some(kid), None).unwrap()
}

#[tokio::test]
async fn a_rotation_is_noticed_by_the_first_token_and_evicts_nothing() {
    let new = new_p256();
    let fetched = Fetched::good(&[("old", &P256)]).await;
    let old_token = sign(&P256, "old");
    assert_eq!(fetched.reason(&old_token).await, None);
    fetched
        .server
        .set(Answer::document(key_set(&[("old", &P256), ("new", &new)])));
    assert_eq!(fetched.reason(&sign(&new, "new")).await, None);
    let hits = fetched.metrics.hits.get();
    assert_eq!(fetched.reason(&old_token).await, None);
    assert_eq!(fetched.metrics.hits.get(), hits + 1);
}

#[tokio::test]
async fn a_withdrawn_key_ends_its_cached_tokens() {
    let new = new_p256();
    let fetched = Fetched::good(&[("old", &P256)]).await;
    let old_token = sign(&P256, "old");
    assert_eq!(fetched.reason(&old_token).await, None);
    fetched
        .server
        .set(Answer::document(key_set(&[("new", &new)])));
    assert_eq!(fetched.reason(&sign(&new, "new")).await, None);
    let reason = fetched.reason(&old_token).await.unwrap();
    assert!(
        [Reason::KeyUnknown, Reason::KeyPending].contains(&reason),
        "{reason:?}"
    );
    // The same name with another key is another key.
    fetched
        .server
        .set(Answer::document(key_set(&[("old", &new)])));
    eventually_reason(&fetched, &old_token, Reason::SignatureRefused).await;
}

async fn eventually_reason(fetched: &Fetched, token: &str, wanted: Reason) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while fetched.reason(token).await != Some(wanted) {
        assert!(Instant::now() < deadline, "never {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_unknown_names_fetches_once_a_cooldown() {
    let answer = Answer::document(key_set(&[("good", &P256)]));
    let fetched = Fetched::start(answer, |fetch, tokens| {
        fetch.cooldown = Duration::from_secs(5);
        tokens.max_waiters = 5000;
        tokens.key_wait = Duration::from_millis(200);
    })
    .await;
    fetched.until_ready().await;
    let before = fetched.server.fetches();
    let begun = Instant::now();
    let mut storm = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let identify = Arc::clone(&fetched.identify);
        let token = sign(&P256, &format!("unknown-{number}"));
        storm.spawn(async move { identify.identify(&token, None).await.unwrap_err() });
    }
    let good = sign(&P256, "good");
    assert_eq!(fetched.reason(&good).await, None);
    let mut denials = 0;
    while let Some(denial) = storm.join_next().await {
        let denial = denial.unwrap();
        assert_eq!(denial.reason, Reason::KeyPending);
        assert!(denial.retry_after.unwrap() <= 5);
        denials += 1;
    }
    assert_eq!(denials, 1000);
    let cooldowns = usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
    assert!(fetched.server.fetches() - before <= cooldowns + 1);
}

#[tokio::test]
async fn an_unknown_name_is_401_after_a_fresh_set_and_then_at_once() {
    let fetched = Fetched::good(&[("good", &P256)]).await;
    let bad = sign(&P256, "bad");
    let before = fetched.server.fetches();
    assert_eq!(fetched.reason(&bad).await, Some(Reason::KeyUnknown));
    assert_eq!(fetched.server.fetches(), before + 1);
    for _ in 0..100 {
        assert_eq!(fetched.reason(&bad).await, Some(Reason::KeyUnknown));
    }
    assert_eq!(fetched.server.fetches(), before + 1);
}

#[tokio::test]
async fn waiting_is_bounded() {
    let answer = Answer::document(key_set(&[("good", &P256)]));
    let fetched = Fetched::start(answer, |_, tokens| tokens.max_waiters = 0).await;
    fetched.until_ready().await;
    let denial = fetched
        .identify
        .identify(&sign(&P256, "bad"), None)
        .await
        .unwrap_err();
    assert_eq!(denial.reason, Reason::Overloaded);
    assert!(denial.retry_after.is_some());
}

#[tokio::test]
async fn cannot_tell_is_503_and_known_keys_go_on() {
    let fetched = Fetched::good(&[("good", &P256)]).await;
    for answer in [
        Answer::Status(500),
        Answer::Status(404),
        Answer::Status(204),
        Answer::Status(302),
        Answer::Hang,
        Answer::Drip,
        Answer::Huge,
        Answer::document("<html>"),
        Answer::document("[]"),
        Answer::document("{}"),
        Answer::document(r#"{"keys":[]}"#),
        Answer::document(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"bad"}]}"#),
        Answer::document(r#"{"keys":[],"keys":[]}"#),
    ] {
        fetched.server.set(answer.clone());
        let before = fetched.server.fetches();
        let bad = sign(&new_p256(), "bad");
        let denial = fetched.identify.identify(&bad, None).await.unwrap_err();
        assert_eq!(denial.reason, Reason::KeyPending, "{answer:?}");
        assert!(denial.retry_after.is_some());
        let good = fetched.reason(&sign(&P256, "good")).await;
        assert_eq!(good, None, "{answer:?}");
        assert!(fetched.server.fetches() <= before + 3, "{answer:?}");
    }
    assert!(fetched.identify.ready()[0].last_error.is_some());
}

#[tokio::test]
async fn without_any_keys_it_is_503_until_they_come() {
    let fetched = Fetched::start(Answer::Status(503), |_, _| {}).await;
    fetched.until_fetch_failed().await;
    let token = sign(&P256, "good");
    let denial = fetched.identify.identify(&token, None).await.unwrap_err();
    assert_eq!(denial.reason, Reason::KeysUnavailable);
    assert!(denial.retry_after.is_some());
    assert!(!fetched.identify.ready()[0].has_keys);
    fetched
        .server
        .set(Answer::document(key_set(&[("good", &P256)])));
    fetched.until_ready().await;
    assert_eq!(fetched.reason(&token).await, None);
}

#[tokio::test]
async fn keys_are_not_used_for_ever() {
    let fetched = Fetched::good(&[("good", &P256)]).await;
    let token = P256.mint(
        &claims(&json!({ "exp": NOW + 1_000_000 })),
        Some("good"),
        None,
    );
    let token = token.unwrap();
    assert_eq!(fetched.reason(&token).await, None);
    // fresh for 300 s, and then for another hour while nothing can be fetched
    fetched.clock.advance(3900);
    assert_eq!(fetched.reason(&token).await, None);
    fetched.clock.advance(1);
    assert_eq!(fetched.reason(&token).await, Some(Reason::KeysUnavailable));
}

#[tokio::test]
async fn an_unchanged_set_is_not_sent_again() {
    let answer = Answer::Document {
        body: key_set(&[("good", &P256)]),
        etag: Some("\"1\""),
    };
    let fetched = Fetched::start(answer, |_, _| {}).await;
    fetched.until_ready().await;
    assert_eq!(
        fetched.reason(&sign(&P256, "bad")).await,
        Some(Reason::KeyUnknown)
    );
    assert_eq!(fetched.server.not_modified(), 1);
    assert_eq!(fetched.reason(&sign(&P256, "good")).await, None);
}

#[tokio::test]
async fn discovery_must_name_the_issuer() {
    let server = IssuerServer::start(Answer::document(key_set(&[("good", &P256)]))).await;
    let jwks_uri = server.url("/jwks");
    let document = |issuer: &str| json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string();
    server.set_discovery(document("https://evil.example/"));
    let url = server.url("/discovery");
    let fetched = Fetched::run(
        server,
        |_, _| {},
        |fetch| KeySource::Discovery { url, fetch },
    );
    fetched.until_fetch_failed().await;
    assert_eq!(fetched.server.fetches(), 0);
    assert!(!fetched.identify.ready()[0].has_keys);
    fetched.server.set_discovery(document(ISS));
    fetched.until_ready().await;
    assert_eq!(fetched.reason(&sign(&P256, "good")).await, None);
}

#[tokio::test]
async fn the_refresher_ends_with_its_owner() {
    let fetched = Fetched::good(&[("good", &P256)]).await;
    drop(fetched.identify);
    tokio::time::timeout(Duration::from_secs(5), fetched.refresher)
        .await
        .unwrap()
        .unwrap();
}
