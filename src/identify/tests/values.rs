//! Ids and header values, and the algorithms that vouch for them.

use serde_json::{Value, json};

use super::fixture::{
    ED25519, Fixture, P256, P384, RSA, claims, header, issuer, key_set, settings, token,
};
use crate::config::{Algorithm, HeaderSource, KeySource};
use crate::denial::Reason;

#[test]
fn ids() {
    let fixture = Fixture::shared();
    let refused = Some(Reason::IdentityRefused);
    let table = [
        (json!({ "sub": "a b" }), None),
        (json!({ "sub": 7 }), None),
        (json!({ "sub": -7 }), None),
        (json!({ "sub": 9_007_199_254_740_992_u64 }), None),
        (json!({ "sub": 9_007_199_254_740_993_u64 }), refused),
        (json!({ "sub": 7.0 }), refused),
        (json!({ "sub": "" }), refused),
        (json!({ "sub": " " }), refused),
        (json!({ "sub": " a" }), refused),
        (json!({ "sub": "a\u{a0}" }), refused),
        (json!({ "sub": "a\tb" }), refused),
        (json!({ "sub": "a\u{0}b" }), refused),
        (json!({ "sub": "a\u{85}b" }), refused),
        (json!({ "sub": "a\u{2028}b" }), refused),
        (json!({ "sub": true }), refused),
        (json!({ "sub": ["a"] }), refused),
        (json!({ "sub": {} }), refused),
        (json!({ "sub": null }), Some(Reason::IdMissing)),
        (
            json!({ "sub": "x".repeat(9000) }),
            Some(Reason::TokenTooLarge),
        ),
        (json!({ "email": "a\nb" }), refused),
    ];
    for (changes, reason) in table {
        assert_eq!(fixture.reason(&token(&changes)), reason, "{changes}");
    }
    let verified = fixture.verify(&token(&json!({ "sub": -7 }))).unwrap();
    assert_eq!(verified.identity.id(), "-7");
}

#[test]
fn header_values() {
    let claim = |name: &str| HeaderSource::Claim(name.to_owned());
    let joined = HeaderSource::Joined(vec!["a".to_owned(), "nothing".to_owned(), "b".to_owned()]);
    let mut settings = settings(vec![issuer()]);
    settings.headers = vec![
        header("x-a", claim("a")),
        header("x-roles", claim("roles")),
        header("x-both", joined),
        header("x-issuer", HeaderSource::Issuer),
    ];
    let fixture = Fixture::new(settings);
    let table = [
        (
            json!({ "a": "plain, text" }),
            [Some("plain, text"), None, Some("plain%2C text")],
        ),
        (
            json!({ "a": " é% " }),
            [Some("%20%C3%A9%25%20"), None, Some("%20%C3%A9%25%20")],
        ),
        (
            json!({ "a": ["x", "y,z", " w", 5, true] }),
            [
                Some("x,y%2Cz,%20w,5,true"),
                None,
                Some("x,y%2Cz,%20w,5,true"),
            ],
        ),
        (json!({ "a": "", "b": 1.5 }), [Some(""), None, Some(",1.5")]),
        (json!({ "a": [], "b": [""] }), [None, None, Some("")]),
        (json!({ "a": { "b": 1 } }), [None, None, None]),
        (json!({ "a": ["x", null] }), [None, None, None]),
        (
            json!({ "a": ["x", ["y"]] , "b": "z"}),
            [None, None, Some("z")],
        ),
        (
            json!({ "a": "1", "b": ["2", "3"] }),
            [Some("1"), None, Some("1,2,3")],
        ),
        (
            json!({ "realm": { "roles": ["r", "s"] } }),
            [None, Some("r,s"), None],
        ),
        (
            json!({ "realm": { "roles": 1 }, "realm.roles": "top" }),
            [None, Some("top"), None],
        ),
    ];
    for (changes, values) in table {
        let verified = fixture.verify(&token(&changes)).unwrap();
        let value = |wanted: &str| {
            let mut headers = verified.identity.headers();
            headers
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.to_owned())
        };
        for (name, expected) in ["x-a", "x-roles", "x-both"].into_iter().zip(values) {
            assert_eq!(value(name).as_deref(), expected, "{changes}");
        }
        assert_eq!(value("x-issuer").as_deref(), Some("idp"));
    }
}

#[test]
fn all_claims_and_the_budget() {
    let mut settings = settings(vec![issuer()]);
    settings.headers = vec![header("x-claims", HeaderSource::AllClaims)];
    settings.identity_bytes = 300;
    let fixture = Fixture::new(settings);
    let verified = fixture.verify(&token(&json!({ "n": "é" }))).unwrap();
    let (_, value) = verified.identity.headers().next().unwrap();
    let json = data_encoding::BASE64URL_NOPAD
        .decode(value.as_bytes())
        .unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json, Value::Object(claims(&json!({ "n": "é" }))));
    let reason = fixture.reason(&token(&json!({ "n": "x".repeat(200) })));
    assert_eq!(reason, Some(Reason::IdentityTooLarge));
}

#[test]
fn every_algorithm_verifies_with_its_own_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("rsa", &*RSA),
        ("p256", &*P256),
        ("p384", &*P384),
        ("ed", &*ED25519),
    ];
    let path = folder.path().join("jwks.json");
    let mut set: Value = serde_json::from_str(&key_set(&keys)).unwrap();
    // Without `alg`, a key may be used with every algorithm of its kind.
    for key in set["keys"].as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("alg");
    }
    std::fs::write(&path, set.to_string()).unwrap();
    let fixture = Fixture::with(|issuer| {
        issuer.keys = KeySource::JwksFile(path);
        issuer.algorithms = Algorithm::ALL
            .into_iter()
            .filter(|alg| !alg.is_shared())
            .collect();
    });
    let mut passed = 0;
    for algorithm in Algorithm::ALL {
        for (kid, key) in keys {
            let Ok(key) = key.clone().with_algorithm(algorithm) else {
                continue;
            };
            let claims = claims(&json!({}));
            for (named, reason) in keys.map(|(name, _)| {
                (
                    Some(name),
                    (name != kid).then_some(Reason::AlgorithmRefused),
                )
            }) {
                let token = key.mint(&claims, named, None).unwrap();
                assert_eq!(fixture.reason(&token), reason, "{algorithm:?} {named:?}");
            }
            let token = key.mint(&claims, None, None).unwrap();
            assert_eq!(fixture.reason(&token), None, "{algorithm:?}");
            let token = key.mint(&claims, Some("other"), None).unwrap();
            assert_eq!(fixture.reason(&token), Some(Reason::KeyUnknown));
            passed += 1;
        }
    }
    assert_eq!(passed, 9);
}
