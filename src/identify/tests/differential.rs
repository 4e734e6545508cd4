//! jsonwebtoken as the reference: whatever usher accepts, it accepts.

use jsonwebtoken::{Algorithm as Alg, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fixture::{Fixture, ISS, NOW, SECRET, raw};
use crate::config::{Algorithm, KeySource};
use crate::secret::Secret;

/// The reference's verdict, with the clock of the test: it has none of its own, so times are
/// left to the last step.
fn reference(token: &str) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(Alg::HS256);
    // Not `sub`: usher takes an integer too, which the reference calls missing.
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[ISS]);
    validation.set_audience(&["app", "app2"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation).ok()?;
    let claims = decoded.claims.as_object()?.clone();
    let exp = claims.get("exp")?.as_f64()?;
    let nbf = claims.get("nbf").map_or(Some(0.0), Value::as_f64)?;
    #[expect(clippy::cast_precision_loss, reason = "the test's time is exact")]
    let now = NOW as f64;
    (now < exp && nbf <= now + 5.0).then_some(claims)
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!(ISS)),
        Just(json!(["app"])),
        Just(json!(["x", "app2"])),
        Just(json!([1, "app"])),
        (NOW - 10..NOW + 10).prop_map(Value::from),
        (-10.0..10.0).prop_map(|delta: f64| json!(NOW as f64 + delta)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["iss", "aud", "sub", "exp", "nbf", "iat", "email", "x"])
            .prop_map(str::to_owned),
        1 => "[a-z]{1,4}",
    ]
}

/// Good claims, with up to three of them changed or taken away.
fn odd_claims() -> impl Strategy<Value = Map<String, Value>> {
    let change = (name(), prop::option::of(odd_value()));
    prop::collection::vec(change, 0..3).prop_map(|changes| {
        let mut claims = super::fixture::claims(&json!({ "email": "a@b" }));
        for (name, value) in changes {
            match value {
                Some(value) => claims.insert(name, value),
                None => claims.remove(&name),
            };
        }
        claims
    })
}

fn odd_header() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just(r#"{"alg":"HS256","typ":"JWT"}"#.to_owned()),
        1 => Just(r#"{"alg":"HS384"}"#.to_owned()),
        1 => Just(r#"{"alg":"none"}"#.to_owned()),
        1 => Just(r#"{"alg":"HS256","kid":"k"}"#.to_owned()),
        1 => Just(r#"{"alg":"HS256","kid":1}"#.to_owned()),
    ]
}

/// A change to the finished token: nothing, a byte, or the end.
fn mutate(token: &str, mutation: Option<(prop::sample::Index, u8)>) -> String {
    let Some((place, byte)) = mutation else {
        return token.to_owned();
    };
    let mut bytes = token.as_bytes().to_vec();
    let place = place.index(bytes.len());
    match byte {
        0 => bytes.truncate(place),
        byte => bytes[place] = byte,
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn whatever_we_accept_the_reference_accepts() {
    let fixture = Fixture::shared();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let mutation = prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0_u8..128));
    let counted = std::cell::Cell::new(0_u32);
    let outcome = runner.run(
        &(odd_header(), odd_claims(), mutation),
        |(header, claims, change)| {
            let payload = serde_json::to_vec(&claims).unwrap();
            let token = mutate(&raw(header.as_bytes(), &payload), change);
            let ours = fixture.verify(&token);
            let theirs = reference(&token);
            // The reference reads no number beyond 64 bits; for usher that is just very late.
            let beyond = |name: &str| claims.get(name).and_then(Value::as_f64) > Some(1.8e19);
            if let Ok(verified) = ours
                && !beyond("exp")
            {
                counted.set(counted.get() + 1);
                let theirs = theirs.expect("we accept what the reference refuses");
                let sub = match &theirs["sub"] {
                    Value::String(sub) => sub.clone(),
                    number => number.to_string(),
                };
                prop_assert_eq!(sub, verified.identity.id());
            }
            Ok(())
        },
    );
    let accepted = counted.get();
    outcome.unwrap();
    assert!(
        accepted > 300,
        "only {accepted} were accepted: the test tests nothing"
    );
}

#[test]
fn another_secret_is_never_accepted() {
    let other = Fixture::with(|issuer| {
        issuer.keys = KeySource::Secret(Secret::new("f".repeat(64)));
        issuer.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    });
    proptest!(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() },
    |(header in odd_header(), claims in odd_claims())| {
        let payload = serde_json::to_vec(&claims).unwrap();
        prop_assert!(other.verify(&raw(header.as_bytes(), &payload)).is_err());
    });
}
