//! Key files in every form that is accepted, and key sets with good and bad entries.

use serde_json::{Value, json};

use super::fixture::{ED25519, P256, P384, RSA, key_set, new_p256};
use crate::config::Algorithm;
use crate::identify::key::{self, Key};
use crate::identify::mint::SigningKey;
use crate::identify::signed::Signed;
use crate::identify::{jwks, public_key};

const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn entry(key: &SigningKey, kid: &str) -> Value {
    Value::Object(key.public_jwk(kid).unwrap())
}

/// Skipped reasons and how many keys are left.
fn parse(entries: &Value) -> (usize, Vec<String>) {
    let set = json!({ "keys": entries }).to_string();
    match jwks::parse(set.as_bytes(), &ALL) {
        Ok(parsed) => {
            let reasons = parsed.skipped.into_iter().map(|skipped| skipped.reason);
            (parsed.keys.len(), reasons.collect())
        }
        Err(error) => (0, vec![error.0]),
    }
}

fn with(mut entry: Value, name: &str, value: Value) -> Value {
    entry[name] = value;
    entry
}

#[test]
fn a_bad_entry_costs_itself_only() {
    let good = entry(&P256, "good");
    let other = entry(&new_p256(), "other");
    let rsa = entry(&RSA, "rsa");
    let n = rsa["n"].as_str().unwrap();
    let table = [
        (json!(5), "not an object"),
        (json!({}), "`kty` \"\" is not supported"),
        (json!({ "kty": "oct", "k": "AAAA" }), "shared secret"),
        (
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }),
            "not supported",
        ),
        (
            with(other.clone(), "kid", json!(5)),
            "`kid` is not a string",
        ),
        (with(other.clone(), "use", json!("enc")), "`use`"),
        (with(other.clone(), "key_ops", json!(["sign"])), "`key_ops`"),
        (with(other.clone(), "key_ops", json!("verify")), "`key_ops`"),
        (with(other.clone(), "alg", json!("ES384")), "does not fit"),
        (with(other.clone(), "alg", json!("RS256")), "does not fit"),
        (with(other.clone(), "alg", json!("ES512")), "not supported"),
        (with(other.clone(), "crv", json!("P-384")), "wrong length"),
        (with(other.clone(), "crv", json!("P-521")), "not supported"),
        (
            with(other.clone(), "crv", json!("secp256k1")),
            "not supported",
        ),
        (with(other.clone(), "x", json!("AQ")), "wrong length"),
        (
            with(other.clone(), "y", other["x"].clone()),
            "not on its curve",
        ),
        (with(other.clone(), "x", json!("=")), "not base64url"),
        (with(other.clone(), "d", json!("AQ")), "PRIVATE"),
        (with(other.clone(), "kty", json!("RSA")), "no `n`"),
        (
            json!({ "kty": "OKP", "crv": "X25519", "x": "AQ" }),
            "not supported",
        ),
        (
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQ" }),
            "wrong length",
        ),
        (with(rsa.clone(), "e", json!("AQ")), ""),
        (with(rsa.clone(), "e", json!("BA")), ""),
        (with(rsa.clone(), "n", json!(&n[..170])), ""),
        (with(rsa.clone(), "n", json!(n.repeat(5))), ""),
    ];
    for (bad, reason) in table {
        let (left, reasons) = parse(&json!([bad, good]));
        assert_eq!(left, 1, "{bad}");
        assert!(
            reasons.len() == 1 && reasons[0].contains(reason),
            "{bad} {reasons:?}"
        );
    }
}

#[test]
fn twins_are_both_refused_and_the_number_is_bounded() {
    let (left, reasons) = parse(&json!([
        entry(&P256, "a"),
        entry(&new_p256(), "b"),
        entry(&P256, "b"),
        entry(&RSA, "b"),
        entry(&RSA, "a"),
    ]));
    // The RSA keys are no twins: no token could mean either of two.
    assert_eq!((left, reasons.len()), (3, 2));
    let one = entry(&P256, "0");
    let many: Vec<_> = (0..150)
        .map(|kid| with(one.clone(), "kid", json!(kid.to_string())))
        .collect();
    assert_eq!(parse(&json!(many)).0, 100);
    assert_eq!(parse(&json!([])).0, 0);
}

#[test]
fn the_id_of_a_key_is_its_material_its_name_and_its_algorithms() {
    let id = |entry: Value, algorithms: &[Algorithm]| {
        let set = json!({ "keys": [entry] }).to_string();
        jwks::parse(set.as_bytes(), algorithms).unwrap().keys[0].id
    };
    let plain = id(entry(&P256, "a"), &ALL);
    assert_eq!(plain, id(with(entry(&P256, "a"), "x-note", json!(1)), &ALL));
    assert_ne!(plain, id(entry(&P256, "b"), &ALL));
    assert_ne!(plain, id(entry(&new_p256(), "a"), &ALL));
    let mut rsa = entry(&RSA, "a");
    rsa.as_object_mut().unwrap().remove("alg");
    assert_ne!(id(rsa.clone(), &ALL), id(rsa, &[Algorithm::RS256]));
}

/// The public halves, as `SubjectPublicKeyInfo`.
fn spki(key: &SigningKey) -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::ParsedPublicKey;
    let jwk = entry(key, "k");
    let digits = |name: &str| {
        data_encoding::BASE64URL_NOPAD
            .decode(jwk[name].as_str().unwrap().as_bytes())
            .unwrap()
    };
    let bytes = match jwk["kty"].as_str().unwrap() {
        "RSA" => public_key::rsa_of(&digits("n"), &digits("e")).unwrap(),
        "EC" => [vec![4], digits("x"), digits("y")].concat(),
        _ => digits("x"),
    };
    let verification = crate::identify::algorithm::verification(key.algorithm()).unwrap();
    let key = ParsedPublicKey::new(verification, bytes).unwrap();
    key.as_der().unwrap().as_ref().to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = data_encoding::BASE64_MIME.encode(der);
    format!("text before\n-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn verifies(file: &[u8], key: &SigningKey) -> bool {
    let parsed: Key = match key::from_file(file, &ALL) {
        Ok(parsed) => parsed,
        Err(error) => panic!("{error}"),
    };
    let token = key.mint(&serde_json::Map::new(), None, None).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = data_encoding::BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .unwrap();
    parsed.verifies(key.algorithm(), &Signed::new(signed), &signature)
}

#[test]
fn public_keys_come_in_several_forms() {
    for key in [&*RSA, &*P256, &*P384, &*ED25519] {
        let der = spki(key);
        assert!(verifies(&der, key), "DER {key:?}");
        assert!(
            verifies(pem("PUBLIC KEY", &der).as_bytes(), key),
            "PEM {key:?}"
        );
    }
    let (info, rsa) = (spki(&RSA), &*RSA);
    let key = public_key::rsa(&info).unwrap();
    let pkcs1 = public_key::rsa_of(key.modulus.as_bytes(), key.exponent.as_bytes()).unwrap();
    assert!(verifies(&pkcs1, rsa));
    assert!(verifies(pem("RSA PUBLIC KEY", &pkcs1).as_bytes(), rsa));
}

#[test]
fn a_certificate_will_do() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["idp.example".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&pair).unwrap();
    let key = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    assert!(verifies(certificate.pem().as_bytes(), &key));
}

#[test]
fn what_is_no_public_key_is_refused_in_words() {
    let secret = crate::identify::mint::generate_es256().unwrap();
    let rsa_only = [Algorithm::RS256];
    let table: [(&[u8], &[Algorithm], &str); 6] = [
        (secret.expose(), &ALL, "openssl pkey -pubout"),
        (
            b"-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----",
            &ALL,
            "damaged",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA", &ALL, "damaged"),
        (
            b"-----BEGIN X-----\nAAAA\n-----END X-----",
            &ALL,
            "not a public key",
        ),
        (b"", &ALL, "no public key"),
        (
            &spki(&P256),
            &rsa_only,
            "a key for ES256, and one for RS256 is wanted",
        ),
    ];
    for (file, algorithms, words) in table {
        let error = key::from_file(file, algorithms).unwrap_err().0;
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn minted_sets_hold_no_private_member() {
    let set = key_set(&[("a", &RSA), ("b", &P256), ("c", &P384), ("d", &ED25519)]);
    let parsed = jwks::parse(set.as_bytes(), &ALL).unwrap();
    assert_eq!((parsed.keys.len(), parsed.skipped.len()), (4, 0));
}
