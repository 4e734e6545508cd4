//! Nobody else's signature passes, and no signature passes for another message.

use serde_json::json;
use usher::clock::{Clock, ManualClock};

use super::{Bench, NOW, payload};
use crate::common::forge::{decode, encode};
use crate::common::{App, Signer, Usher};

/// The order of P-256.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn with_signature(token: &str, made: &[u8]) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", encode(made))
}

#[test]
fn special_signatures_are_refused() {
    let bench = Bench::new();
    let token = bench.signer.token(payload(json!({})));
    let made = decode(token.rsplit_once('.').unwrap().1);
    let mut flipped = made.clone();
    flipped[40] ^= 1;
    let (r, s) = made.split_at(32);
    let mut der = vec![0x30, 0x46, 2, 0x21, 0];
    der.extend(r);
    der.extend([2, 0x21, 0]);
    der.extend(s);
    let table = [
        ("all zero", vec![0; 64]),
        ("r = n", [&N[..], s].concat()),
        ("s = n", [r, &N[..]].concat()),
        ("both n", [N, N].concat()),
        ("s zero", [r, &[0; 32]].concat()),
        ("one bit off", flipped),
        ("a byte short", made[..63].to_vec()),
        ("a byte long", [&made[..], &[0]].concat()),
        ("swapped", [s, r].concat()),
        ("DER", der),
        ("a byte", vec![1]),
    ];
    for (what, made) in table {
        bench.refuses(what, &with_signature(&token, &made), "signature_refused");
    }
    bench.passes("its own", &token);
}

#[test]
fn the_second_spelling_of_a_signature_is_the_same_token() {
    let bench = Bench::new();
    let token = bench.signer.token(payload(json!({})));
    let made = decode(token.rsplit_once('.').unwrap().1);
    let mut other = made.clone();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(N[place]) - i16::from(made[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        other[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let other = with_signature(&token, &other);
    assert_ne!(token, other);
    bench.passes("one", &token);
    bench.passes("the other", &other);
    let (one, other) = (bench.usher.line("/0"), bench.usher.line("/1"));
    assert_eq!(one["token"], other["token"]);
    assert_eq!(one["user"], other["user"]);
}

#[test]
fn a_signature_is_for_its_message() {
    let bench = Bench::new();
    let alice = bench.signer.token(payload(json!({})));
    let bob = bench.signer.token(payload(json!({ "sub": "bob" })));
    let made = decode(bob.rsplit_once('.').unwrap().1);
    bench.refuses("bob's", &with_signature(&alice, &made), "signature_refused");
    let late = bench.signer.token(payload(json!({ "exp": NOW - 1 })));
    // The signature comes first: what a forged token says is not worth a word.
    let forged = with_signature(&late, &made);
    bench.refuses("expired and forged", &forged, "signature_refused");
    bench.refuses("expired", &late, "token_expired");
    bench.still_passes();
}

#[test]
fn a_public_key_is_no_secret() {
    let app = App::start();
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new("RS256", b"");
    let path = folder.path().join("key.pem");
    let pem = signer.public_pem();
    std::fs::write(&path, &pem).unwrap();
    let usher = |algorithms: &str| {
        let yaml = format!(
            "upstream: http://{}\nissuers: [{{ issuer: \"https://idp.test/\", audiences: [app], \
             algorithms: [{algorithms}], public_key_file: {} }}]\n",
            app.address,
            path.display()
        );
        Usher::with_clock(&yaml, Clock::Manual(ManualClock::new(NOW)))
    };
    let der = signer.public_der();
    let secrets: [(&str, Vec<u8>); 10] = [
        ("the file", pem.clone().into_bytes()),
        ("no last newline", pem.trim_end().into()),
        ("another newline", format!("{pem}\n").into()),
        ("CRLF", pem.replace('\n', "\r\n").into()),
        ("a space before", format!(" {pem}").into()),
        (
            "no armour",
            pem.lines()
                .filter(|line| !line.starts_with('-'))
                .collect::<String>()
                .into(),
        ),
        ("DER", der.clone()),
        ("PKCS#1", der[24..].to_vec()),
        ("the modulus", der[33..33 + 256].to_vec()),
        ("nothing", Vec::new()),
    ];
    let usher = usher("RS256, PS256");
    for (what, secret) in secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let path = format!("/{}/{algorithm}", what.replace([' ', '#'], "-"));
            let token = Signer::new(algorithm, &secret).token(payload(json!({})));
            assert_eq!(usher.get(&path, &token).status, 401, "{path}");
            assert_eq!(usher.line(&path)["reason"], "algorithm_refused", "{path}");
        }
    }
    // The same key with the other padding is another algorithm.
    let crossed = signer.seal(r#"{"alg":"PS256"}"#, payload(json!({})));
    assert_eq!(usher.get("/crossed", &crossed).status, 401);
    assert_eq!(usher.line("/crossed")["reason"], "signature_refused");
    assert_eq!(app.count(), 0);
    let good = signer.token(payload(json!({})));
    assert_eq!(usher.get("/good", &good).status, 200);
}
