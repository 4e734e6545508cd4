//! Q: what the libraries underneath would let through, and usher does not.
//!
//! Each test shows the library's answer first, so that the day it changes is noticed: then the code
//! of ours that stands in for it may go.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forge_stage::{NOW, SHAPE, Stage, issuer_refused, issuer_starts, payload, payload_with};
use crate::common::Signer;

const SECRET: &[u8] = b"kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";

/// What the library's users write first.
fn usual() -> Validation {
    let mut usual = Validation::new(Algorithm::HS256);
    usual.set_issuer(&["https://idp.test/"]);
    usual.set_audience(&["app"]);
    usual
}

/// The library's verdict on exactly this header and payload.
fn library(
    header: &str,
    payload: &str,
    rules: &Validation,
) -> Result<TokenData<Value>, jsonwebtoken::errors::Error> {
    let token = Signer::new("HS256", SECRET).seal(header, payload);
    decode(&token, &DecodingKey::from_secret(SECRET), rules)
}

fn accepts(payload: &str) -> bool {
    library(r#"{"alg":"HS256"}"#, payload, &usual()).is_ok()
}

/// Our own good token, for the positive control.
fn plain() -> String {
    payload(&json!({ "exp": 4_000_000_000_u32 }))
}

/// Name and version of every crate that is linked.
pub fn locked() -> Vec<(String, String)> {
    locked_in(include_str!("../../Cargo.lock"))
}

/// The same of another lock file.
pub fn locked_in(text: &str) -> Vec<(String, String)> {
    let packages = text.split("[[package]]").skip(1);
    let value = |package: &str, key: &str| {
        let start = format!("{key} = \"");
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(start.as_str()));
        line.map_or_else(String::new, |line| line.trim_end_matches('"').to_owned())
    };
    packages
        .map(|package| (value(package, "name"), value(package, "version")))
        .collect()
}

#[test]
fn q01_claims_of_another_type() {
    assert!(accepts(&plain()));
    let stage = Stage::new();
    for (claim, values) in [
        ("iss", ["7", "null", "{}", r#"[1,"https://idp.test/"]"#]),
        ("aud", ["7", "null", "{}", r#"[1,"app"]"#]),
    ] {
        for value in values {
            assert!(
                accepts(&payload_with(claim, value).replace("1800000600", "4000000000")),
                "{claim}: {value}"
            );
            let ours = stage.signer.token(payload_with(claim, value));
            stage.refuses(value, &ours, &["issuer_unknown", "audience_refused"]);
        }
        let without = payload(&json!({ claim: null, "exp": 4_000_000_000_u32 }));
        assert!(accepts(&without), "without {claim}");
        stage.refuses(
            "without",
            &stage.signer.token(&without),
            &["issuer_unknown", "audience_refused"],
        );
    }
}

#[test]
fn q02_list_of_issuers() {
    let both = payload_with("iss", r#"["https://evil.test/","https://idp.test/"]"#);
    assert!(accepts(&both.replace("1800000600", "4000000000")));
    let stage = Stage::new();
    stage.refuses("a list", &stage.signer.token(both), &["issuer_unknown"]);
}

#[test]
fn q03_array_in_place_of_claims() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "what matters is that it can be read")]
    struct Claims {
        exp: u64,
        nbf: u64,
        sub: String,
        iss: String,
        aud: String,
    }
    let array = r#"[4000000000,0,"alice","https://idp.test/","app"]"#;
    let token = Signer::new("HS256", SECRET).token(array);
    let read = decode::<Claims>(&token, &DecodingKey::from_secret(SECRET), &usual());
    assert!(read.is_ok(), "{:?}", read.err());
    let stage = Stage::new();
    stage.refuses("an array", &stage.signer.token(array), SHAPE);
}

#[test]
fn q04_critical_extension_that_nobody_knows() {
    let stage = Stage::new();
    for more in [
        r#""crit":["x"]"#,
        r#""crit":["b64"],"b64":false"#,
        r#""crit":[]"#,
    ] {
        assert!(
            library(&format!(r#"{{"alg":"HS256",{more}}}"#), &plain(), &usual()).is_ok(),
            "{more}"
        );
        let header = format!(r#"{{"alg":"ES256",{more}}}"#);
        stage.refuses(
            more,
            &stage.signer.seal(header, plain()),
            &["token_header_refused"],
        );
    }
}

#[test]
fn q05_type_and_keys_in_the_header() {
    let stage = Stage::new();
    assert!(library(r#"{"alg":"HS256","typ":"rt+jwt"}"#, &plain(), &usual()).is_ok());
    let refresh = stage
        .signer
        .seal(r#"{"alg":"ES256","typ":"rt+jwt"}"#, plain());
    stage.refuses("another type", &refresh, &["token_header_refused"]);
    // Both leave key-bearing fields alone.
    let more = r#""jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/""#;
    assert!(library(&format!(r#"{{"alg":"HS256",{more}}}"#), &plain(), &usual()).is_ok());
    stage.passes(
        "fields for keys",
        &stage
            .signer
            .seal(format!(r#"{{"alg":"ES256",{more}}}"#), plain()),
    );
}

#[test]
fn q06_time_of_issue_is_nobodys() {
    let stage = Stage::new();
    for (claim, value) in [
        ("iat", "4000000000"),
        ("iat", r#""today""#),
        ("nbf", "3999999999"),
    ] {
        let text = payload_with(claim, value).replace("1800000600", "4000000000");
        assert!(accepts(&text), "{claim}: {value}");
        stage.refuses(
            value,
            &stage.signer.token(&text),
            &["token_not_yet_valid", "claim_refused"],
        );
    }
}

#[test]
fn q07_leeway_that_nobody_asked_for() {
    let now = crate::common::issuer::now();
    let late = |by: i64| payload(&json!({ "exp": now - by }));
    assert_eq!(usual().leeway, 60);
    assert!(accepts(&late(30)), "half a minute late");
    let stage = Stage::new();
    for by in [0, 1, 30, 60] {
        let token = stage.token(&json!({ "exp": NOW - by }));
        stage.refuses("late", &token, &["token_expired"]);
    }
}

#[test]
fn q08_ends_beyond_all_calendars() {
    let stage = Stage::with(
        "leeway: { exp: 10m, nbf: 5s }, ",
        "tokens: { cache: { max_life: 10m } }\n",
    );
    for exp in ["18446744073709551615", "1e19", "4000000000.5"] {
        assert!(accepts(&payload_with("exp", exp)), "{exp}");
        // Good, and remembered for no longer than any other.
        let token = stage.signer.token(payload_with("exp", exp));
        stage.clock.set(NOW);
        stage.passes(exp, &token);
        let verified = stage.usher.metric("usher_token_verifications_total");
        stage.clock.advance(599);
        stage.passes(exp, &token);
        assert_eq!(
            stage.usher.metric("usher_token_verifications_total"),
            verified,
            "{exp}"
        );
        stage.clock.advance(1);
        stage.passes(exp, &token);
        assert_eq!(
            stage.usher.metric("usher_token_verifications_total"),
            verified + 1.0,
            "{exp}"
        );
    }
}

#[test]
fn q09_names_twice() {
    let twice = plain().replace('}', r#","role":"user","role":"admin"}"#);
    let read = library(r#"{"alg":"HS256"}"#, &twice, &usual()).unwrap();
    assert_eq!(read.claims["role"], "admin", "the last one counts");
    assert!(library(r#"{"alg":"HS256","x":1,"x":2}"#, &plain(), &usual()).is_ok());
    let stage = Stage::new();
    stage.refuses("claims", &stage.signer.token(&twice), SHAPE);
    stage.refuses(
        "header",
        &stage.signer.seal(r#"{"alg":"ES256","x":1,"x":2}"#, plain()),
        SHAPE,
    );
}

#[test]
fn q10_secrets_of_no_length() {
    let claims = json!({ "exp": 4_000_000_000_u32 });
    for secret in [&b""[..], b"k"] {
        let made = encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(secret),
        )
        .unwrap();
        assert!(
            decode::<Value>(
                &made,
                &DecodingKey::from_secret(secret),
                &Validation::new(Algorithm::HS256)
            )
            .is_ok()
        );
    }
    for (algorithm, length) in [("HS256", 31), ("HS384", 47), ("HS512", 63)] {
        let secret: String = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4".repeat(2)[..length].to_owned();
        let told = issuer_refused(&format!(
            "name: a, audiences: [x], algorithms: [{algorithm}], secret: {secret}"
        ));
        assert!(told.contains("too short"), "{algorithm}: {told}");
        issuer_starts(&format!(
            "name: a, audiences: [x], algorithms: [{algorithm}], secret: {secret}W"
        ));
    }
}

#[test]
fn q11_odd_entries_of_a_key_set() {
    let other = Signer::new("ES256", b"");
    let with = |name: &str, value: Value| {
        let mut entry = other.jwk(&format!("odd {name}"));
        entry[name] = value;
        entry
    };
    let odd = [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("key_ops", json!([])),
        with("alg", json!("ES384")),
        with("alg", json!("RS256")),
        with("d", json!("AAAA")),
        json!({ "kty": "oct", "kid": "oct", "k": "a3EzWnI4VnRYdzFZYjZOZDBGbTVIczlMYzJQajdHYTQ", "alg": "HS256" }),
    ];
    // The library reads every one of them.
    let set: JwkSet = serde_json::from_value(json!({ "keys": odd })).unwrap();
    assert!(
        set.keys
            .iter()
            .all(|jwk| DecodingKey::from_jwk(jwk).is_ok())
    );
    let signer = Signer::new("ES256", b"");
    let mut entries = odd.to_vec();
    entries.push(signer.jwk("good"));
    let stage = Stage::with_set(signer, &json!(entries), "[ES256, ES384, RS256]");
    assert_eq!(stage.usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
    for entry in odd {
        let header = json!({ "alg": "ES256", "kid": entry["kid"] }).to_string();
        stage.refuses(&header, &other.seal(&header, plain()), &["key_unknown"]);
    }
    let shared = Signer::new("HS256", b"kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4");
    stage.refuses(
        "oct",
        &shared.seal(r#"{"alg":"HS256","kid":"oct"}"#, plain()),
        &["algorithm_refused"],
    );
}

#[test]
fn q12_one_entry_that_spoils_the_set() {
    let signer = Signer::new("ES256", b"");
    let good = signer.jwk("good");
    for odd in [
        json!(7),
        json!(null),
        json!({ "kty": "EC", "kid": 5 }),
        json!({ "kty": "RSA", "x5c": "x" }),
    ] {
        let set = json!({ "keys": [odd, good] });
        assert!(serde_json::from_value::<JwkSet>(set).is_err(), "{odd}");
    }
    let odd = json!([
        7, null, [], {}, { "kty": 5 }, { "kty": "EC", "kid": 5 }, { "kty": "RSA", "x5c": "x" }, { "kty": "RSA" },
        { "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }, { "kty": "OKP", "crv": "Ed448", "x": "AAAA" }, good,
    ]);
    let stage = Stage::with_set(signer, &odd, "[ES256]");
    stage.passes("the good key", &stage.good());
}

#[test]
fn q13_algorithms_that_nobody_supports() {
    let stage = Stage::new();
    for name in [
        "ES512",
        "ES256K",
        "Ed448",
        "none",
        "hs256",
        "ML-DSA-44",
        "dir",
        "A128KW",
    ] {
        assert!(
            library(&format!(r#"{{"alg":"{name}"}}"#), &plain(), &usual()).is_err(),
            "{name}"
        );
        let header = format!(r#"{{"alg":"{name}"}}"#);
        // 401, as for any token: not 500.
        stage.refuses(
            name,
            &stage.signer.seal(header, plain()),
            &["algorithm_refused"],
        );
    }
}

#[test]
fn q14_every_family_against_every_other() {
    let all = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    for signs in ["RS256", "ES256", "ES384", "EdDSA"] {
        let stage = Stage::signed_by(Signer::new(signs, b""), "", "");
        let pem = stage.signer.public_pem();
        for name in all.into_iter().filter(|name| *name != signs) {
            let header = format!(r#"{{"alg":"{name}"}}"#);
            stage.refuses(
                name,
                &stage.signer.seal(&header, plain()),
                &["algorithm_refused"],
            );
            if name.starts_with("HS") {
                let forged = Signer::new(name, pem.as_bytes()).token(plain());
                stage.refuses(name, &forged, &["algorithm_refused"]);
            }
        }
        stage.passes(signs, &stage.good());
    }
}

#[test]
fn q15_base64_has_one_spelling() {
    let token = Signer::new("HS256", SECRET).token(plain());
    let key = DecodingKey::from_secret(SECRET);
    let last = char::from(token.as_bytes()[token.len() - 1] + 1);
    for odd in [
        format!("{token}="),
        format!("{}{last}", &token[..token.len() - 1]),
        format!("{token}\n"),
        format!("{token}.x"),
        format!("{token}.x.y"),
    ] {
        assert!(decode::<Value>(&odd, &key, &usual()).is_err(), "{odd}");
    }
    let stage = Stage::new();
    let good = stage.token(&json!({}));
    let last = char::from(good.as_bytes()[good.len() - 1] + 1);
    for odd in [
        format!("{good}="),
        format!("{}{last}", &good[..good.len() - 1]),
        format!("{good}.x"),
        format!("{good}.x.y"),
    ] {
        stage.refuses(&odd, &odd, SHAPE);
    }
}

#[test]
fn q16_families_in_one_list() {
    let mut mixed = usual();
    mixed.algorithms = vec![Algorithm::HS256, Algorithm::RS256];
    assert!(
        library(r#"{"alg":"HS256"}"#, &plain(), &mixed).is_err(),
        "the library then refuses everything"
    );
    // Ours may list several families of public keys: each key has its own.
    let (p256, rsa, edwards) = (
        Signer::new("ES256", b""),
        Signer::new("RS256", b""),
        Signer::new("EdDSA", b""),
    );
    let set = json!([p256.jwk("a"), rsa.jwk("b"), edwards.jwk("c")]);
    let stage = Stage::with_set(p256, &set, "[ES256, RS256, EdDSA]");
    for token in [rsa.token(plain()), edwards.token(plain()), stage.good()] {
        stage.passes("each family", &token);
    }
    let told = issuer_refused("name: a, audiences: [x], algorithms: [HS256, RS256], secret: x");
    assert!(told.contains("mixes shared secrets"), "{told}");
    stage.passes("a good one", &stage.good());
}

#[test]
fn q27_flaw_that_no_database_knows() {
    // CVE-2026-25537 is in no advisory of RustSec: deny.toml refuses the versions by name.
    let locked = locked();
    let versions: Vec<_> = locked
        .iter()
        .filter(|(name, _)| name == "jsonwebtoken")
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
    let major: u32 = versions[0].1.split('.').next().unwrap().parse().unwrap();
    assert!(major >= 11, "{versions:?}");
    let rules = include_str!("../../deny.toml");
    assert!(
        rules.contains(r#"{ crate = "jsonwebtoken:<11.1.0""#),
        "deny.toml does not ban it"
    );
    // The flaw: a time of the wrong type counted as none.
    let stage = Stage::new();
    for claim in ["exp", "nbf"] {
        for value in [r#""0""#, r#""4000000000""#, "null", "[]", "{}", "true"] {
            let token = stage.signer.token(payload_with(claim, value));
            stage.refuses(value, &token, &["claim_refused"]);
        }
    }
}
