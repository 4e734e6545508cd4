//! Public vectors: the RFCs' examples, Wycheproof, JSONTestSuite.
//!
//! The suites are found by `USHER_VECTORS`; the RFCs' examples are here.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::fixture::{Fixture, raw};
use crate::config::Algorithm;
use crate::denial::Reason;
use crate::identify::key::Key;
use crate::identify::key_set::KeySet;
use crate::identify::step::Trace;
use crate::identify::{algorithm, json as strict, jwks, jws, token};
use crate::secret::Secret;

/// The payload of a JWS that one of the keys has signed.
fn verify_jws(keys: Vec<Key>, jws: &str) -> Option<Vec<u8>> {
    let set = KeySet::new(keys, 1, 0, i64::MAX);
    let segments = jws::split(jws).ok()?;
    let header = jws::header(segments.header).ok()?;
    let algorithm = algorithm::named(&header.alg)?;
    let payload = jws::decode(segments.payload).ok()?;
    token::signature(&set, 0, algorithm, &header, &segments, &mut Trace::off()).ok()?;
    Some(payload)
}

fn public(entries: &Value) -> Vec<Key> {
    let algorithms: Vec<_> = Algorithm::ALL
        .into_iter()
        .filter(|one| !one.is_shared())
        .collect();
    let set = json!({ "keys": entries }).to_string();
    jwks::parse(set.as_bytes(), &algorithms).map_or_else(|_| Vec::new(), |parsed| parsed.keys)
}

fn shared(jwk: &Value) -> Option<Key> {
    let secret = data_encoding::BASE64URL_NOPAD
        .decode(jwk["k"].as_str()?.as_bytes())
        .ok()?;
    let algorithm = algorithm::named(jwk["alg"].as_str()?)?;
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if jwk
        .get("key_ops")
        .is_some_and(|ops| !ops.to_string().contains("\"verify\""))
    {
        return None;
    }
    let mut key = Key::shared(&Secret::new(secret), &[algorithm]).ok()?;
    key.kid = jwk["kid"].as_str().map(Box::from);
    Some(key)
}

const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

#[test]
fn rfc_7515_a1_hs256() {
    let key = shared(&json!({ "alg": "HS256", "k":
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }));
    let jws = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    assert!(
        verify_jws(vec![key.unwrap()], &jws)
            .unwrap()
            .starts_with(b"{\"iss\":\"joe\"")
    );
}

#[test]
fn rfc_7515_a2_rs256() {
    let keys = public(&json!([{ "kty": "RSA", "e": "AQAB", "n":
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" }]));
    let jws = format!(
        "eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    assert!(verify_jws(keys, &jws).is_some());
}

#[test]
fn rfc_7515_a3_es256() {
    let keys = public(&json!([{ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }]));
    let jws = format!(
        "eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    assert!(verify_jws(keys, &jws).is_some());
}

#[test]
fn rfc_7515_a5_none() {
    let key = shared(&json!({ "alg": "HS256", "k":
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }));
    let unsecured = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    assert!(verify_jws(vec![key.unwrap()], &unsecured).is_none());
}

/// The payload of RFC 7520 §4.
const ROAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

/// The key of RFC 7520 §3.3.
const BILBO: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";

fn bilbo() -> Vec<Key> {
    public(
        &json!([{ "kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig",
        "n": BILBO, "e": "AQAB" }]),
    )
}

#[track_caller]
fn leads_to_the_road(keys: Vec<Key>, jws: &str) {
    let payload = verify_jws(keys, jws).expect("it is good");
    assert!(payload.ends_with(b"where you might be swept off to."));
    // In another form of the key, or with any other signature, it is not.
    let (signed, _) = jws.rsplit_once('.').unwrap();
    assert!(verify_jws(bilbo(), &format!("{signed}.AAAA")).is_none());
}

#[test]
fn rfc_7520_4_1_rs256() {
    let jws = format!(
        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{ROAD}.MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
    );
    leads_to_the_road(bilbo(), &jws);
}

#[test]
fn rfc_7520_4_2_ps384() {
    let jws = format!(
        "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{ROAD}.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
    );
    leads_to_the_road(bilbo(), &jws);
}

/// ES512 is not supported: it is refused, and nobody panics.
#[test]
fn rfc_7520_4_3_es512() {
    let keys = public(
        &json!([{ "kty": "EC", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1" }]),
    );
    assert!(keys.is_empty());
    let jws = format!(
        "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{ROAD}.AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
    );
    assert!(verify_jws(bilbo(), &jws).is_none());
}

#[test]
fn rfc_7520_4_4_hs256() {
    let key = shared(
        &json!({ "kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig",
        "alg": "HS256", "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg" }),
    );
    let jws = format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.{ROAD}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
    );
    leads_to_the_road(vec![key.unwrap()], &jws);
}

#[test]
fn rfc_8037_a_ed25519() {
    let keys = public(&json!([{ "kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }]));
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(
        verify_jws(keys, jws).unwrap(),
        b"Example of Ed25519 signing"
    );
}

/// The folder with the suites, or a loud complaint.
fn vectors(part: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("USHER_VECTORS") else {
        // Past what the test runner captures: a test that did not run is not one that passed.
        let _ = writeln!(
            std::io::stderr(),
            "\n=== USHER_VECTORS is not set: {part} was NOT run ==="
        );
        return None;
    };
    Some(PathBuf::from(folder).join(part))
}

/// The keys of a Wycheproof group; private members are left out, as in a published set.
fn wycheproof_keys(group: &Value) -> Vec<Key> {
    let jwk = group
        .get("public")
        .or_else(|| group.get("private"))
        .unwrap();
    let entries = match jwk.get("keys") {
        Some(entries) => entries.as_array().unwrap().clone(),
        None => vec![jwk.clone()],
    };
    if entries.iter().all(|entry| entry["kty"] == "oct") {
        return entries.iter().filter_map(shared).collect();
    }
    let publish = |mut entry: Value| {
        let members = entry.as_object_mut().unwrap();
        members.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
        entry
    };
    public(&entries.into_iter().map(publish).collect())
}

/// Runs a suite: how many cases there were, and those in which it and we differ.
fn wycheproof(file: &str) -> Option<(usize, BTreeSet<u64>)> {
    let bytes = std::fs::read(vectors(file)?).unwrap();
    let suite: Value = serde_json::from_slice(&bytes).unwrap();
    let mut ran = 0;
    let mut differ = BTreeSet::new();
    for group in suite["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            ran += 1;
            // One case is a JSON serialisation, which is not text.
            let jws = test["jws"]
                .as_str()
                .map_or_else(|| test["jws"].to_string(), str::to_owned);
            let accepted = verify_jws(wycheproof_keys(group), &jws).is_some();
            if accepted != (test["result"] == "valid") {
                differ.insert(test["tcId"].as_u64().unwrap());
            }
        }
    }
    Some((ran, differ))
}

#[test]
fn wycheproof_signatures() {
    let Some((ran, differ)) = wycheproof("wycheproof/json_web_signature_test.json") else {
        return;
    };
    assert_eq!(ran, 401);
    let expected = [
        259, 264, 268, 272, 320, 325, // an empty payload, which is no token
        346, 350, // the key says PS256, the token PS384: `alg` is bound to the key
        347, 351, // ES512 is not supported
        367, 370, // well formed and correctly signed, though labelled invalid
        372, 373, // hold `?`, which is not base64url, though labelled valid
    ];
    assert_eq!(differ, expected.into());
}

#[test]
fn wycheproof_keys_of_sets() {
    let Some((ran, differ)) = wycheproof("wycheproof/json_web_key_test.json") else {
        return;
    };
    assert_eq!(ran, 26);
    let expected = [
        4, // two shared secrets of one name: usher reads no shared secrets from sets
        7, // a ROCA modulus is not looked for
    ];
    assert_eq!(differ, expected.into());
}

#[test]
fn json_test_suite() {
    let Some(folder) = vectors("jsontestsuite/test_parsing") else {
        return;
    };
    let fixture = Fixture::shared();
    let (mut refused, mut objects) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = std::fs::read(entry.path()).unwrap();
        let parsed = strict::object(&text);
        let in_token = fixture.reason(&raw(br#"{"alg":"HS256"}"#, &text));
        let as_header = fixture.reason(&raw(&text, b"{}"));
        assert!(in_token.is_some() && as_header.is_some(), "{name}");
        if name.starts_with("n_") {
            assert!(parsed.is_err(), "{name}");
            let reasons = [Some(Reason::TokenMalformed), Some(Reason::TokenTooLarge)];
            assert!(
                reasons.contains(&in_token) && reasons.contains(&as_header),
                "{name}"
            );
            refused += 1;
        }
        // The suite calls equal names valid JSON; usher does not.
        if name.starts_with("y_object") && !name.starts_with("y_object_duplicated_key") {
            assert!(parsed.is_ok(), "{name}");
            objects += 1;
        }
    }
    assert_eq!((refused, objects), (188, 10));
}

/// Every text that is JSON, as the value of a claim: accepted, whatever it is; where the suite leaves
/// it open, a verdict, and the same one again.
#[test]
fn json_test_suite_as_claims() {
    let Some(folder) = vectors("jsontestsuite/test_parsing") else {
        return;
    };
    let fixture = Fixture::shared();
    let good = serde_json::Value::Object(super::fixture::claims(&json!({}))).to_string();
    let good = good.strip_suffix('}').unwrap();
    let (mut accepted, mut open, mut twice) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = std::fs::read(entry.path()).unwrap();
        let payload = [good.as_bytes(), b",\"x\":", &text, b"}"].concat();
        let token = raw(br#"{"alg":"HS256"}"#, &payload);
        let verdict = fixture.reason(&token);
        assert_eq!(verdict, fixture.reason(&token), "{name}");
        match name.split('_').next().unwrap() {
            // The suite calls equal names valid JSON; usher does not.
            "y" if name.starts_with("y_object_duplicated_key") => {
                assert_eq!(verdict, Some(Reason::TokenMalformed), "{name}");
                twice += 1;
            }
            "y" => {
                assert_eq!(verdict, None, "{name}");
                accepted += 1;
            }
            "i" => open += 1,
            // Some that are no JSON by themselves become some in here: `json_test_suite` has them.
            _ => {}
        }
    }
    assert_eq!((accepted, open, twice), (93, 35, 2));
}
