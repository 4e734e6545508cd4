//! I: keys and signatures.

use serde_json::{Value, json};

use super::forge_stage::{
    SIGNATURE, Stage, does_not_start, issuer_refused, issuer_starts, payload, starts,
};
use super::vectors;
use crate::accounts::stage::{CUSTOMER, REFRESH, Stage as Accounts};
use crate::common::command::run;
use crate::common::forge::{decode, encode};
use crate::common::{App, Issuer, Served, Signer, Usher};

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order less a number that is smaller.
fn order_less(number: &[u8]) -> Vec<u8> {
    let (mut rest, mut borrow) = (vec![0; 32], 0);
    for at in (0..32).rev() {
        let digit = i32::from(ORDER[at]) - i32::from(number[at]) - borrow;
        borrow = i32::from(digit < 0);
        rest[at] = u8::try_from(digit + 256 * borrow).unwrap();
    }
    rest
}

/// What was signed, and the signature.
fn taken_apart(token: &str) -> (&str, Vec<u8>) {
    let (signed, made) = token.rsplit_once('.').unwrap();
    (signed, decode(made))
}

#[test]
fn i01_signatures_of_zero() {
    let stage = Stage::new();
    let good = stage.token(&json!({}));
    let (signed, made) = taken_apart(&good);
    let (r, s) = made.split_at(32);
    let zero = [0; 32];
    let one = order_less(&order_less(&[[0; 31].as_slice(), &[1]].concat()));
    // DER, as other libraries write it.
    let der = [&[0x30, 0x45, 2, 0x21, 0][..], r, &[2, 0x20], s].concat();
    let forged: [(&str, Vec<u8>); 14] = [
        ("r = s = 0", [zero, zero].concat()),
        ("r = 0", [&zero[..], s].concat()),
        ("s = 0", [r, &zero].concat()),
        ("r = n", [&ORDER[..], s].concat()),
        ("s = n", [r, &ORDER].concat()),
        ("r = s = n", [ORDER, ORDER].concat()),
        ("r = s = 1", [&one[..], &one].concat()),
        ("all ones", vec![0xff; 64]),
        ("one byte short", made[..63].to_vec()),
        ("one byte long", [&made[..], &[0]].concat()),
        ("a zero in front", [&[0][..], &made].concat()),
        ("half", r.to_vec()),
        ("r and s exchanged", [s, r].concat()),
        ("DER", der),
    ];
    for (what, made) in forged {
        stage.refuses(what, &format!("{signed}.{}", encode(made)), SIGNATURE);
    }
    stage.passes("the true one", &good);
}

#[test]
fn i02_second_signature_of_the_same_words() {
    let stage = Stage::new();
    let good = stage.token(&json!({ "roles": ["user"] }));
    let (signed, made) = taken_apart(&good);
    let (r, s) = made.split_at(32);
    let other = format!("{signed}.{}", encode([r, &order_less(s)].concat()));
    assert_ne!(good, other);
    // ECDSA gives everybody a second signature: it says the same about the same user, and logs call
    // it by the same name, which is made of what was signed.
    assert_eq!(
        (stage.passes("one", &good), stage.passes("two", &other)),
        ("alice".into(), "alice".into())
    );
    let names = ["/0", "/1"].map(|path| stage.usher.line(path)["token"].clone());
    assert_eq!(names[0], names[1]);
    assert!(names[0].is_string());
    // Of other words it is none.
    let bob = stage.token(&json!({ "sub": "bob" }));
    let forged = format!(
        "{}.{}",
        bob.rsplit_once('.').unwrap().0,
        other.rsplit_once('.').unwrap().1
    );
    stage.refuses("of other words", &forged, SIGNATURE);
}

#[test]
fn i03_rsa_padding() {
    let stage = Stage::signed_by(Signer::new("RS256", b""), "", "");
    let good = stage.token(&json!({}));
    let (signed, made) = taken_apart(&good);
    let modulus = decode(stage.signer.jwk("k")["n"].as_str().unwrap());
    let mut forged = vec![
        vec![0; 256],
        [&[0; 255][..], &[1]].concat(),
        modulus.clone(),
        vec![0xff; 256],
        made[..255].to_vec(),
        made[1..].to_vec(),
        [&made[..], &[0]].concat(),
        [&[0][..], &made].concat(),
    ];
    forged.extend((0..256).map(|at| {
        let mut other = made.clone();
        other[at] ^= 1;
        other
    }));
    let tokens = forged
        .into_iter()
        .map(|made| format!("{signed}.{}", encode(made)));
    assert_eq!(stage.refuses_all(tokens), 264);
    stage.passes("the true one", &good);
}

/// All of Wycheproof's invalid signatures, each in front of an usher that trusts the key it is about, and
/// over claims that are good: `wycheproof.py` makes them again, so that nothing but the fault decides. Where
/// the key itself is the fault, what it has rightly signed is refused.
#[test]
fn i03_tokens_of_wycheproof() {
    let Some(folder) = vectors::folder("wycheproof") else {
        return;
    };
    let mut seen = Counts::default();
    for file in ["json_web_signature_test.json", "json_web_key_test.json"] {
        let output = std::process::Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/hostile/wycheproof.py"
            ))
            .arg(folder.join(file))
            .arg(payload(&json!({})))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            seen.judge(&serde_json::from_str(line).unwrap());
        }
    }
    let wanted = Counts {
        trusted: 15,
        distrusted: 15,
        by_signature: 291,
        otherwise: 42,
    };
    assert_eq!(seen, wanted);
}

/// What came of the groups of Wycheproof.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    /// Groups whose key usher takes: what it has signed passes.
    trusted: usize,
    /// Groups whose key it does not take.
    distrusted: usize,
    /// Tokens that were refused for nothing but their signature.
    by_signature: usize,
    /// Tokens that are none in their form, or of an algorithm or a key that is not to be used.
    otherwise: usize,
}

impl Counts {
    fn judge(&mut self, group: &Value) {
        let what = group["comment"].as_str().unwrap();
        let texts = |name: &str| -> Vec<String> {
            let all = group[name].as_array().unwrap().iter();
            all.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let own = Signer::new("EdDSA", b"");
        let mut entries = group["keys"].as_array().unwrap().clone();
        entries.push(own.jwk("our own"));
        let all = "[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]";
        let stage = Stage::with_set_named(own, &json!(entries), all, "our own");
        let trusted = stage.usher.metric("usher_keys{issuer=\"idp\"}") == 2.0;
        let good = group["good"].as_str();
        match (trusted, good) {
            (true, Some(good)) => assert_eq!(stage.passes(what, good), "alice"),
            (true, None) => panic!("{what}: nothing shows that its key is used"),
            (false, Some(good)) => {
                stage.refuses(what, good, &["key_unknown", "algorithm_refused"]);
            }
            (false, None) => {}
        }
        let (forged, odd) = (texts("forged"), texts("odd"));
        let count = stage.refuses_all(forged.into_iter().chain(odd));
        let reason = |reason: &str| {
            let name = format!(
                "usher_requests_total{{route=\"default\",outcome=\"denied\",reason=\"{reason}\"}}"
            );
            stage.usher.metric(&name) as usize
        };
        let by_signature = reason("signature_refused");
        self.by_signature += by_signature;
        self.otherwise += count - by_signature;
        match trusted {
            true => self.trusted += 1,
            false => self.distrusted += 1,
        }
    }
}

#[test]
fn i04_keys_of_no_strength() {
    let key = |bytes: usize, e: &[u8]| {
        let mut n = vec![0xc5; bytes];
        n[bytes - 1] |= 1;
        json!({ "kty": "RSA", "kid": format!("{bytes}-{}", encode(e)), "n": encode(n), "e": encode(e) })
    };
    let weak = [
        key(64, &[1, 0, 1]),
        key(128, &[1, 0, 1]),
        key(255, &[1, 0, 1]),
        key(2048, &[1, 0, 1]),
        key(1025, &[1, 0, 1]),
        key(256, &[1]),
        key(256, &[2]),
        key(256, &[0]),
        key(256, &[]),
        json!({ "kty": "EC", "crv": "P-256", "kid": "off the curve", "x": encode([1; 32]), "y": encode([1; 32]) }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "infinity", "x": encode([0; 32]), "y": encode([0; 32]) }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "k", "x": encode([1; 32]), "y": encode([1; 32]) }),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "short", "x": encode([1; 31]) }),
    ];
    let signer = Signer::new("ES256", b"");
    let mut entries = weak.to_vec();
    entries.push(signer.jwk("good"));
    let stage = Stage::with_set(signer, &json!(entries), "[RS256, ES256, EdDSA]");
    assert_eq!(stage.usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
    stage.passes("the good key", &stage.good());
    for entry in &weak {
        let header = json!({ "alg": "ES256", "kid": entry["kid"] }).to_string();
        let token = stage.signer.seal(header, payload(&json!({})));
        stage.refuses("a key that is not there", &token, &["key_unknown"]);
    }
    let skipped = stage.usher.metric("usher_keys_skipped{issuer=\"idp\"}");
    assert_eq!(skipped, weak.len() as f64, "and it is counted");
    // An exponent of 3 is small, and sound with this padding: the library has no fault that needs more.
    let (pem, three) = small_exponent();
    let stage = Stage::with_set(Signer::new("ES256", b""), &json!([three]), "[RS256, ES256]");
    assert_eq!(stage.usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
    let header = json!({ "alg": "RS256", "kid": "three" }).to_string();
    let signed = format!("{}.{}", encode(header), encode(payload(&json!({}))));
    let token = format!("{signed}.{}", encode(openssl_sign(&pem, signed.as_bytes())));
    stage.passes("an exponent of 3", &token);
    // Alone they are no keys: usher says so and does not start.
    let folder = tempfile::tempdir().unwrap();
    for entry in &weak {
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, json!({ "keys": [entry] }).to_string()).unwrap();
        let told = issuer_refused(&format!(
            "issuer: a, audiences: [x], algorithms: [RS256, ES256, EdDSA], name: a, jwks_file: '{}'",
            file.display()
        ));
        assert!(told.contains("no key that can be used"), "{told}");
    }
    // Where others are beside them, each has its warning.
    let app = App::start();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, json!({ "keys": entries }).to_string()).unwrap();
    let served = Served::start(&format!(
        "upstream: http://{}\nissuers: [{{ name: idp, issuer: '{}', audiences: [app], \
         algorithms: [RS256, ES256, EdDSA], jwks_file: '{}' }}]\n",
        app.address,
        Issuer::NAME,
        file.display()
    ));
    let warnings = served.log().matches("\"key skipped\"").count();
    assert_eq!(warnings, weak.len(), "{}", served.log());
    issuer_starts(&format!(
        "issuer: a, audiences: [x], algorithms: [RS256, ES256, EdDSA], name: a, jwks_file: '{}'",
        file.display()
    ));
}

/// An RSA key whose public exponent is 3, and its entry in a set.
fn small_exponent() -> (tempfile::NamedTempFile, Value) {
    let pem = tempfile::NamedTempFile::new().unwrap();
    let run = |arguments: &str| {
        let words = arguments.split(' ');
        let output = std::process::Command::new("openssl")
            .args(words)
            .arg(pem.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out");
    let modulus = run("rsa -noout -modulus -in");
    let digits = modulus.trim().strip_prefix("Modulus=").unwrap();
    let n = data_encoding::HEXUPPER.decode(digits.as_bytes()).unwrap();
    let entry = json!({ "kty": "RSA", "kid": "three", "n": encode(n), "e": encode([3]) });
    (pem, entry)
}

fn openssl_sign(pem: &tempfile::NamedTempFile, message: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), message).unwrap();
    let output = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .args([pem.path(), file.path()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn i05_weak_shared_secrets() {
    for (secret, phrase) in [
        ("''", ""),
        ("secret", "well-known sample"),
        ("password", "well-known sample"),
        ("your-256-bit-secret", "well-known sample"),
        ("0123456789abcdefghijklmnopqrstu", "too short"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "over and over"),
        (
            "abcabcabcabcabcabcabcabcabcabcabcabcabcabc",
            "over and over",
        ),
        ("'${USHER_HOSTILE_UNSET}'", "not set"),
    ] {
        let told = issuer_refused(&format!("name: a, audiences: [x], secret: {secret}"));
        assert!(
            told.contains("issuers[0].secret") && told.contains(phrase),
            "{secret}: {told}"
        );
        assert!(
            secret.len() < 10 || secret.contains('$') || !told.contains(secret),
            "{told}"
        );
    }
    let told = issuer_refused("name: a, audiences: [x], secret_env: USHER_HOSTILE_UNSET");
    assert!(told.contains("not set"), "{told}");
    // There is no default that would be taken instead.
    let told = issuer_refused("name: a, issuer: me, audiences: [x], algorithms: [HS256]");
    assert!(told.contains("issuers[0]"), "{told}");
    issuer_starts("name: a, audiences: [x], secret: kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4");
}

#[test]
fn i06_newline_in_a_secret_file() {
    let secret = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let yaml = format!(
        "upstream: http://127.0.0.1:1\nissuers: [{{ name: idp, audiences: any, secret_file: '{}' }}]\n",
        file.display()
    );
    let config = folder.path().join("usher.yaml");
    std::fs::write(&config, &yaml).unwrap();
    let (code, out, err) = run(&["check", config.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        format!("{out}{err}").contains("ends with a newline"),
        "{out}{err}"
    );
    let app = App::start();
    let usher = Usher::configured(&yaml.replace("127.0.0.1:1", &app.address.to_string()));
    let token = |secret: &str| {
        Signer::new("HS256", secret.as_bytes())
            .token(json!({ "sub": "a", "exp": 4_000_000_000_u32 }).to_string())
    };
    assert_eq!(
        usher.get("/", &token(secret)).status,
        401,
        "the bytes are taken as they are"
    );
    assert_eq!(usher.get("/", &token(&format!("{secret}\n"))).status, 200);
}

/// Comparing takes the same time wherever two values differ: by construction, since no statistics
/// on a shared machine would tell.
#[test]
fn i07_comparisons_take_constant_time() {
    let source = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let secret = source("src/secret.rs");
    assert!(secret.contains("constant_time::verify_slices_are_equal(&self.0, &other.0)"));
    let key = source("src/identify/key.rs");
    for verifies in [
        "hmac::verify(key, signed.bytes(), signature)",
        "key.verify_sig(signed.bytes(), signature)",
        "key.verify_digest_sig(signed.sha256(), signature)",
    ] {
        assert!(key.contains(verifies), "{verifies}");
    }
    // Nobody takes the bytes out and compares them by hand.
    for (path, text) in super::operation::sources() {
        let text = text.split("#[cfg(test)]").next().unwrap();
        for hand in [
            "expose() ==",
            "== self.expose()",
            "expose().eq(",
            "expose().starts_with(",
        ] {
            assert!(!text.contains(hand), "{path}: {hand}");
        }
    }
    // And a token that shares all but the last byte of a tag is refused like any other.
    let stage = Accounts::sqlite();
    let usher = stage.usher();
    let ada = stage.login(&usher, "ada", json!({}));
    let (signed, made) = taken_apart(&ada.refresh);
    for at in [0, made.len() / 2, made.len() - 1] {
        let mut other = made.clone();
        other[at] ^= 1;
        let reply = crate::accounts::stage::renew(&usher, &format!("{signed}.{}", encode(other)));
        assert_eq!(reply.status, 403);
    }
    assert_eq!(
        crate::accounts::stage::renew(&usher, &ada.refresh).status,
        200
    );
    stage.login(&usher, "good", json!({}));
}

#[test]
fn i08_the_crate_with_the_timing_leak() {
    let locked = super::stack::locked();
    assert!(locked.len() > 200, "{}", locked.len());
    let rsa: Vec<_> = locked.iter().filter(|(name, _)| name == "rsa").collect();
    assert!(rsa.is_empty(), "RUSTSEC-2023-0071 has no fix: {rsa:?}");
}

#[test]
fn i09_no_algorithm_is_allowed() {
    for (list, phrase) in [
        ("[]", "empty list"),
        ("[none]", "not known"),
        ("[None]", "not known"),
        ("''", "algorithms"),
        ("[ES512]", "not known"),
        ("[hs256]", "not known"),
    ] {
        let told = issuer_refused(&format!(
            "issuer: 'https://a.example', audiences: [x], algorithms: {list}"
        ));
        assert!(
            told.contains("algorithms") && told.contains(phrase),
            "{list}: {told}"
        );
    }
    // Left out, it is not everything.
    let stage = Stage::signed_by(Signer::new("ES256", b""), "", "");
    let rsa = Signer::new("RS256", b"").token(payload(&json!({})));
    stage.refuses(
        "an algorithm that nobody listed",
        &rsa,
        &["algorithm_refused"],
    );
}

#[test]
fn i10_key_of_another_issuer() {
    let app = App::start();
    let (one, two) = (Issuer::new(), Issuer::new());
    let second = two
        .yaml()
        .replace("name: idp", "name: two")
        .replace(Issuer::NAME, "https://two.test/");
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}, {second}]\n",
        app.address,
        one.yaml()
    );
    let usher = Usher::configured(&yaml);
    let says = |signer: &Issuer, iss: &str| signer.token_with("alice", json!({ "iss": iss }));
    for (signer, iss, status) in [
        (&one, Issuer::NAME, 200),
        (&two, "https://two.test/", 200),
        (&one, "https://two.test/", 401),
        (&two, Issuer::NAME, 401),
    ] {
        assert_eq!(usher.get("/", &says(signer, iss)).status, status, "{iss}");
    }
    assert_eq!(app.count(), 2);
    // Nor is a customer's key good for the app, or an issuer's key for a customer.
    let stage = Accounts::sqlite();
    let usher = stage.usher_with("", "", "routes: [{ path: /feed/**, projects: acme }]\n");
    let vouched = stage.vouch("root", json!({}));
    assert_eq!(usher.get("/", &vouched).status, 401);
    assert_eq!(usher.get("/feed/1", &vouched).status, 401);
    let login = crate::accounts::stage::login(
        &usher,
        &stage.issuer.token_with("root", json!({ "iss": "acme" })),
    );
    assert_eq!(login.status, 403);
    assert_eq!(stage.app.count(), 0);
    stage.login(&usher, "ada", json!({}));
}

#[test]
fn i11_private_keys_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let openssl = |arguments: &str| {
        let words = arguments
            .split(' ')
            .map(|word| word.replace("FILE", file.to_str().unwrap()));
        let output = std::process::Command::new("openssl")
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let own = |accounts: &str| {
        format!(
            "upstream: http://127.0.0.1:1\nissuers: [{{ name: a, issuer: a, audiences: [x], secret: {REFRESH}x }}]\n\
             accounts: 'sqlite:{}'\nprojects: [{{ id: acme }}]\nissued_tokens: {{ \
             access: {{ key_file: '{}' }}, refresh: {{ secret: {REFRESH} }} }}\n{accounts}",
            folder.path().join("accounts.db").display(),
            file.display()
        )
    };
    let refused = |phrase: &str| {
        let told = does_not_start(&own(""));
        let content = std::fs::read_to_string(&file).unwrap();
        let line = content.lines().nth(1).unwrap_or("no line");
        assert!(
            told.contains(phrase) && !told.contains(line),
            "{phrase}: {told}"
        );
    };
    std::fs::write(&file, CUSTOMER.public_pem()).unwrap();
    refused("holds no private key in PEM");
    openssl("ecparam -name prime256v1 -genkey -noout -out FILE");
    refused("openssl pkcs8 -topk8 -nocrypt");
    openssl(
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes128 -pass pass:x -out FILE",
    );
    refused("encrypted");
    std::fs::write(&file, "junk\nmore junk").unwrap();
    refused("holds no private key in PEM");
    // The other way around: a private key where a public one belongs.
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE");
    let told = issuer_refused(&format!(
        "issuer: a, name: a, audiences: [x], algorithms: [ES256], public_key_file: '{}'",
        file.display()
    ));
    assert!(told.contains("private key"), "{told}");
    // Each where it belongs.
    starts(&own(""));
    std::fs::write(&file, CUSTOMER.public_pem()).unwrap();
    issuer_starts(&format!(
        "issuer: a, name: a, audiences: [x], algorithms: [RS256], public_key_file: '{}'",
        file.display()
    ));
}
