//! Each rule about a token, as a table.

use serde_json::{Value, json};

use super::fixture::{Fixture, ISS, NOW, claims, futures_now, issuer, raw, settings, token};
use crate::config::{Audiences, KeySource, RequiredClaim};
use crate::denial::Reason;
use crate::identify::Outcome;
use crate::identity::Thumbprint;
use crate::secret::Secret;

const HEADER: &[u8] = br#"{"alg":"HS256"}"#;

fn payload(changes: &Value) -> Vec<u8> {
    serde_json::to_vec(&claims(changes)).unwrap()
}

#[test]
fn a_good_token_passes() {
    let fixture = Fixture::shared();
    let verified = fixture
        .verify(&token(&json!({ "email": "ada@example.com" })))
        .unwrap();
    assert_eq!(verified.identity.id(), "42");
    assert_eq!(&*verified.identity.issuer, "idp");
    let headers: Vec<_> = verified.identity.headers().collect();
    let wanted = [("x-user-id", "42"), ("x-user-email", "ada@example.com")];
    assert_eq!(headers, wanted);
}

#[test]
fn a_bound_token_is_good_with_its_certificate_alone() {
    let fixture = Fixture::shared();
    let (own, other) = (Thumbprint::of(b"own"), Thumbprint::of(b"other"));
    let spelt = data_encoding::BASE64URL_NOPAD
        .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"own").as_ref());
    assert_eq!(Thumbprint::parse(&spelt), Some(own));
    let token = token(&json!({ "cnf": { "x5t#S256": spelt, "jkt": "x" } }));
    let ask = |certificate| {
        let identified = fixture.identify.identify(token.as_str(), certificate);
        futures_now(identified)
            .map(|_| ())
            .map_err(|denial| denial.reason)
    };
    // Verified, remembered, and remembered once more.
    for _ in 0..3 {
        assert_eq!(ask(None), Err(Reason::CertificateMismatch));
        assert_eq!(ask(Some(&other)), Err(Reason::CertificateMismatch));
        assert_eq!(ask(Some(&own)), Ok(()));
    }
}

#[test]
fn a_binding_that_cannot_be_read_refuses_the_token() {
    let fixture = Fixture::shared();
    for cnf in [
        json!("x"),
        json!(["x5t#S256"]),
        json!({ "x5t#S256": 5 }),
        json!({ "x5t#S256": "" }),
        json!({ "x5t#S256": "bm90IGEgaGFzaA" }),
        json!({ "x5t#S256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }),
    ] {
        let denial = fixture.verify(&token(&json!({ "cnf": cnf }))).unwrap_err();
        assert_eq!(denial.reason, Reason::ClaimRefused, "{cnf}");
    }
    // What is not about certificates is somebody else's.
    let other = token(&json!({ "cnf": { "kid": "k" } }));
    assert!(fixture.verify(&other).is_ok());
}

#[test]
fn headers_of_tokens() {
    let fixture = Fixture::shared();
    let good = payload(&json!({}));
    let table: &[(&str, Option<Reason>)] = &[
        (r#"{"alg":"HS256"}"#, None),
        (r#"{"alg":"HS256","typ":"at+JWT"}"#, None),
        (r#"{"alg":"HS256","typ":"application/at+jwt"}"#, None),
        (
            r#"{"alg":"HS256","typ":"rt+jwt"}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","typ":5}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","crit":["exp"]}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","crit":[]}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","crit":"x"}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","b64":false}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","zip":"DEF"}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","enc":"A128GCM"}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","cty":"JWT"}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","jku":"http://127.0.0.1:1/","jwk":{},"x5c":1}"#,
            None,
        ),
        (r#"{"alg":"HS256","kid":"../../dev/null"}"#, None),
        (
            r#"{"alg":"HS256","kid":5}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","kid":null}"#,
            Some(Reason::TokenHeaderRefused),
        ),
        (
            r#"{"alg":"HS256","alg":"HS256"}"#,
            Some(Reason::TokenMalformed),
        ),
        (
            r#"{"alg":"HS256","x":1,"\u0078":2}"#,
            Some(Reason::TokenMalformed),
        ),
        (r#"{"alg":"none"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":"None"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":"hs256"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":""}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":"HS384"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":"RS256"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":"ES512"}"#, Some(Reason::AlgorithmRefused)),
        (r#"{"alg":null}"#, Some(Reason::TokenMalformed)),
        (r#"{}"#, Some(Reason::TokenMalformed)),
        (r#"[]"#, Some(Reason::TokenMalformed)),
    ];
    for (head, reason) in table {
        assert_eq!(
            fixture.reason(&raw(head.as_bytes(), &good)),
            *reason,
            "{head}"
        );
    }
    let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
    let refused = fixture.reason(&raw(long.as_bytes(), &good));
    assert_eq!(refused, Some(Reason::TokenHeaderRefused));
}

#[test]
fn payloads_are_one_object() {
    let fixture = Fixture::shared();
    for text in [
        "[9999999999,0,\"u\",\"good\",\"me\"]",
        "\"a\"",
        "1",
        "null",
        "true",
        "",
        "{",
        r#"{"sub":"1","sub":"1"}"#,
        r#"{"role":1,"\u0072ole":2}"#,
        r#"{"a":{"b":1,"b":2}}"#,
    ] {
        let reason = fixture.reason(&raw(HEADER, text.as_bytes()));
        assert_eq!(reason, Some(Reason::TokenMalformed), "{text}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    assert_eq!(
        fixture.reason(&raw(HEADER, deep.as_bytes())),
        Some(Reason::TokenMalformed)
    );
}

#[test]
fn shapes_and_spellings() {
    let fixture = Fixture::shared();
    let good = token(&json!({}));
    assert!(fixture.verify(&good).is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}.x.y"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!(".{good}"),
        format!("{signed}.{signature}A"),
        format!("{signed}. {signature}"),
        good.replacen('e', "e+", 1),
        good.replacen('.', "=.", 1),
    ] {
        let reason = fixture.reason(&bad).unwrap();
        let known = [Reason::TokenMalformed, Reason::SignatureRefused].contains(&reason);
        assert!(known, "{bad:?} {reason:?}");
    }
    assert_eq!(
        fixture.reason(&"a".repeat(8193)),
        Some(Reason::TokenTooLarge)
    );
}

#[test]
fn every_prefix_and_every_flipped_bit_is_refused() {
    let fixture = Fixture::shared();
    let good = token(&json!({}));
    for end in 0..good.len() {
        assert!(fixture.verify(&good[..end]).is_err(), "{end}");
    }
    let mut tried = 0;
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(fixture.verify(&text).is_err(), "{place} {bit}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, good.len() * 7);
}

#[test]
fn times() {
    let plain = Fixture::shared();
    let lenient = Fixture::with(|issuer| issuer.exp_leeway = 60);
    let none = Fixture::with(|issuer| issuer.require_exp = false);
    let refused = Some(Reason::ClaimRefused);
    let expired = Some(Reason::TokenExpired);
    let early = Some(Reason::TokenNotYetValid);
    let table: Vec<(&Fixture, Value, Option<Reason>)> = vec![
        (&plain, json!({ "exp": NOW }), expired),
        (&plain, json!({ "exp": NOW + 1 }), None),
        (&plain, json!({ "exp": NOW as f64 + 0.9 }), expired),
        (&plain, json!({ "exp": NOW as f64 + 1.5 }), None),
        (&plain, json!({ "exp": 0 }), expired),
        (&plain, json!({ "exp": -1 }), refused),
        (&plain, json!({ "exp": -0.5 }), refused),
        (&plain, json!({ "exp": 1e300 }), None),
        (&plain, json!({ "exp": 1e19 }), None),
        (&plain, json!({ "exp": u64::MAX }), None),
        (&plain, json!({ "exp": "1900000000" }), refused),
        (&plain, json!({ "exp": true }), refused),
        (&plain, json!({ "exp": [] }), refused),
        (&plain, json!({ "exp": {} }), refused),
        (&plain, json!({ "exp": null }), refused),
        (&none, json!({ "exp": null }), None),
        (&none, json!({ "exp": NOW }), expired),
        (&none, json!({ "exp": "x" }), refused),
        (&lenient, json!({ "exp": NOW - 59 }), None),
        (&lenient, json!({ "exp": NOW - 60 }), expired),
        (&plain, json!({ "nbf": NOW + 5 }), None),
        (&plain, json!({ "nbf": NOW + 6 }), early),
        (&plain, json!({ "nbf": NOW as f64 + 5.1 }), early),
        (&plain, json!({ "nbf": "x" }), refused),
        (&plain, json!({ "nbf": -1 }), refused),
        (&plain, json!({ "nbf": 1e300 }), early),
        (&plain, json!({ "iat": NOW + 65 }), None),
        (&plain, json!({ "iat": NOW + 66 }), early),
        (&plain, json!({ "iat": "x" }), refused),
        (&plain, json!({ "iat": 0 }), None),
    ];
    for (fixture, changes, reason) in table {
        assert_eq!(fixture.reason(&token(&changes)), reason, "{changes}");
    }
    let mut null = payload(&json!({ "exp": null }));
    null.splice(0..1, br#"{"exp":null,"#.iter().copied());
    assert_eq!(none.reason(&raw(HEADER, &null)), refused);
}

#[test]
fn issuers_audiences_and_required_claims() {
    let fixture = Fixture::with(|issuer| {
        issuer.require = vec![RequiredClaim {
            claim: "token_type".to_owned(),
            values: vec![json!("access"), json!(1)],
        }];
    });
    let unknown = Some(Reason::IssuerUnknown);
    let audience = Some(Reason::AudienceRefused);
    let refused = Some(Reason::ClaimRefused);
    let table = [
        (json!({}), None),
        (json!({ "iss": null }), unknown),
        (json!({ "iss": "https://idp.example" }), unknown),
        (json!({ "iss": "https://idp.example/x" }), unknown),
        (json!({ "iss": "HTTPS://idp.example/" }), unknown),
        (json!({ "iss": [ISS] }), unknown),
        (json!({ "iss": 5 }), unknown),
        (json!({ "iss": {} }), unknown),
        (json!({ "aud": ["other", "app2"] }), None),
        (json!({ "aud": null }), audience),
        (json!({ "aud": [] }), audience),
        (json!({ "aud": [1, "app"] }), audience),
        (json!({ "aud": "ap" }), audience),
        (json!({ "aud": "app " }), audience),
        (json!({ "aud": { "app": "app" } }), audience),
        (json!({ "aud": 5 }), audience),
        (json!({ "token_type": ["x", "access"] }), None),
        (json!({ "token_type": 1 }), None),
        (json!({ "token_type": "refresh" }), refused),
        (json!({ "token_type": "ACCESS" }), refused),
        (json!({ "token_type": ["x"] }), refused),
        (json!({ "token_type": null }), refused),
    ];
    for (changes, reason) in table {
        let mut with_type = json!({ "token_type": "access" });
        let members = with_type.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        assert_eq!(fixture.reason(&token(&with_type)), reason, "{changes}");
    }
    let any = Fixture::with(|issuer| issuer.audiences = Audiences::Any);
    assert!(any.verify(&token(&json!({ "aud": null }))).is_ok());
}

#[test]
fn a_bad_signature_wins_over_an_old_token() {
    let fixture = Fixture::shared();
    let mut old = token(&json!({ "exp": 1, "aud": 5 }));
    assert_eq!(fixture.reason(&old), Some(Reason::TokenExpired));
    old.truncate(old.len() - 4);
    old.push_str("AAAA");
    assert_eq!(fixture.reason(&old), Some(Reason::SignatureRefused));
}

#[test]
fn issuers_do_not_share_keys_and_one_may_have_no_name() {
    let other = "another secret of another issuer, which is long enough";
    let mut first = issuer();
    first.issuer = None;
    let mut second = issuer();
    second.name = "second".to_owned();
    second.keys = KeySource::Secret(Secret::new(other));
    let fixture = Fixture::new(settings(vec![first, second]));
    let reason = fixture.reason(&token(&json!({})));
    assert_eq!(reason, Some(Reason::SignatureRefused));
    let verified = fixture.verify(&token(&json!({ "iss": null }))).unwrap();
    assert_eq!(&*verified.identity.issuer, "idp");
}

#[test]
fn an_explanation_ends_with_the_reason() {
    let fixture = Fixture::shared();
    let steps = futures_now(fixture.identify.explain(&token(&json!({ "aud": "x" }))));
    let names: Vec<_> = steps.iter().map(|step| step.name).collect();
    assert_eq!(
        names,
        [
            "size",
            "shape",
            "header",
            "payload",
            "issuer",
            "type",
            "algorithm",
            "keys",
            "key",
            "signature",
            "times",
            "audience"
        ]
    );
    let Outcome::Failed(text) = &steps.last().unwrap().outcome else {
        panic!("{steps:?}");
    };
    assert!(text.starts_with("audience_refused: "), "{text}");
    let steps = futures_now(fixture.identify.explain(&token(&json!({}))));
    assert!(
        steps
            .iter()
            .all(|step| matches!(step.outcome, Outcome::Passed(_)))
    );
}
