//! What a token's header may say, and what it may not.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{Bench, payload};
use crate::common::Signer;
use crate::common::forge::encode;

#[test]
fn a_token_without_a_signature_algorithm_is_no_token() {
    let bench = Bench::new();
    let good = payload(json!({}));
    let spellings = [
        (r#"{"alg":"none"}"#, "algorithm_refused"),
        (r#"{"alg":"None"}"#, "algorithm_refused"),
        (r#"{"alg":"NONE"}"#, "algorithm_refused"),
        (r#"{"alg":"nOnE"}"#, "algorithm_refused"),
        (r#"{"alg":""}"#, "algorithm_refused"),
        (r#"{"alg":"es256"}"#, "algorithm_refused"),
        (r#"{"alg":"ES256 "}"#, "algorithm_refused"),
        (r#"{"alg":"ES256K"}"#, "algorithm_refused"),
        (r#"{"alg":"ES512"}"#, "algorithm_refused"),
        (r#"{"alg":"Ed448"}"#, "algorithm_refused"),
        (r#"{"alg":null}"#, "token_malformed"),
        (r#"{"alg":["ES256"]}"#, "token_malformed"),
        (r#"{"alg":5}"#, "token_malformed"),
        (r#"{}"#, "token_malformed"),
    ];
    for (header, reason) in spellings {
        bench.refuses(header, &bench.signer.seal(header, &good), reason);
        let bare = format!("{}.{}.", encode(header), encode(&good));
        bench.refuses("without a signature", &bare, "token_malformed");
        let short = format!("{bare}AA");
        bench.refuses("with a byte for a signature", &short, reason);
    }
    bench.still_passes();
}

#[test]
fn a_key_in_the_token_is_not_looked_at() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let forger = Signer::new("ES256", b"");
    let der = forger.public_der();
    let (x, y) = (
        encode(&der[der.len() - 64..der.len() - 32]),
        encode(&der[der.len() - 32..]),
    );
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "k1" });
    let additions = [
        json!({}),
        json!({ "kid": "k1" }),
        json!({ "jwk": jwk }),
        json!({ "jwk": jwk, "kid": "k1" }),
        json!({ "jwk": "x" }),
        json!({ "jku": url }),
        json!({ "jku": url, "kid": "k1" }),
        json!({ "x5u": url }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "x5c": 7, "x5t": null }),
        json!({ "iss": url, "jwks_uri": url }),
    ];
    for addition in additions {
        let mut header = json!({ "alg": "ES256" });
        let members = header.as_object_mut().unwrap();
        members.extend(addition.as_object().unwrap().clone());
        let token = forger.seal(header.to_string(), payload(json!({})));
        bench.refuses(&header.to_string(), &token, "signature_refused");
        // The same fields beside a good signature change nothing.
        let token = bench.signer.seal(header.to_string(), payload(json!({})));
        bench.passes(&header.to_string(), &token);
    }
    let unknown = json!({ "alg": "ES256", "kid": "new", "jku": url, "jwk": jwk }).to_string();
    let token = forger.seal(unknown, payload(json!({})));
    bench.refuses("an unknown kid", &token, "key_unknown");
    let iss = forger.token(payload(json!({ "iss": url })));
    bench.refuses("an iss that is a URL", &iss, "issuer_unknown");
    let asked = listener.accept().map(|_| ()).unwrap_err();
    assert_eq!(
        asked.kind(),
        std::io::ErrorKind::WouldBlock,
        "{url} was asked"
    );
    bench.still_passes();
}

#[test]
fn what_the_header_asks_for_is_not_done() {
    let bench = Bench::new();
    let table = [
        r#"{"alg":"ES256","crit":["exp"]}"#,
        r#"{"alg":"ES256","crit":["x"],"x":1}"#,
        r#"{"alg":"ES256","crit":[]}"#,
        r#"{"alg":"ES256","crit":"exp"}"#,
        r#"{"alg":"ES256","crit":null}"#,
        r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"ES256","b64":false}"#,
        r#"{"alg":"ES256","b64":true}"#,
        r#"{"alg":"ES256","zip":"DEF"}"#,
        r#"{"alg":"ES256","enc":"A256GCM"}"#,
        r#"{"alg":"ES256","cty":"JWT"}"#,
        r#"{"alg":"ES256","cty":"application/jwt"}"#,
        r#"{"alg":"ES256","typ":"rt+jwt"}"#,
        r#"{"alg":"ES256","typ":"id+jwt"}"#,
        r#"{"alg":"ES256","typ":"logout+jwt"}"#,
        r#"{"alg":"ES256","typ":"secevent+jwt"}"#,
        r#"{"alg":"ES256","typ":"JOSE"}"#,
        r#"{"alg":"ES256","typ":""}"#,
        r#"{"alg":"ES256","typ":"JWT "}"#,
        r#"{"alg":"ES256","typ":null}"#,
        r#"{"alg":"ES256","typ":["JWT"]}"#,
        r#"{"alg":"ES256","kid":5}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"{"alg":"ES256","kid":["k1"]}"#,
        r#"{"alg":"ES256","kid":{"$ne":""}}"#,
    ];
    for header in table {
        let token = bench.signer.seal(header, payload(json!({})));
        bench.refuses(header, &token, "token_header_refused");
    }
    for header in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"jwt"}"#,
        r#"{"alg":"ES256","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","typ":"AT+JWT"}"#,
        r#"{"alg":"ES256","typ":"application/at+jwt"}"#,
        r#" { "typ" : "JWT" , "alg" : "ES256" , "x" : { "y" : [ 1 ] } } "#,
    ] {
        bench.passes(header, &bench.signer.seal(header, payload(json!({}))));
    }
}

#[test]
fn the_types_are_a_setting() {
    let bench = Bench::with("types: [rt+jwt], ");
    let with = |typ: &str| {
        let header = json!({ "alg": "ES256", "typ": typ }).to_string();
        bench.signer.seal(header, payload(json!({})))
    };
    bench.passes("the one in the list", &with("RT+jwt"));
    bench.refuses("the usual one", &with("JWT"), "token_header_refused");
    bench.still_passes();
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let bench = Bench::new();
    let table = [
        "../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "${jndi:ldap://127.0.0.1/x}",
        "k1\0",
        "k1\r\nX-Admin: 1",
        "K1",
        "",
        "__proto__",
        "\u{2028}",
    ];
    for kid in table {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        let token = bench.signer.seal(header, payload(json!({})));
        bench.refuses(kid, &token, "key_unknown");
    }
    let long = json!({ "alg": "ES256", "kid": "k".repeat(257) }).to_string();
    let token = bench.signer.seal(long, payload(json!({})));
    bench.refuses("a long one", &token, "token_header_refused");
    let longer = json!({ "alg": "ES256", "kid": "k".repeat(16 << 10) }).to_string();
    let token = bench.signer.seal(longer, payload(json!({})));
    bench.refuses("a longer one", &token, "token_too_large");
    let own = json!({ "alg": "ES256", "kid": "k1" }).to_string();
    bench.passes("its own", &bench.signer.seal(own, payload(json!({}))));
}

#[test]
fn a_header_is_one_json_object_with_one_reading() {
    let bench = Bench::new();
    let table: [&[u8]; 14] = [
        br#"{"alg":"ES256","alg":"ES256"}"#,
        br#"{"alg":"none","alg":"ES256"}"#,
        br#"{"alg":"ES256","\u0061lg":"none"}"#,
        br#"{"alg":"ES256","kid":"k1","kid":"k1"}"#,
        br#"{"alg":"ES256","x":1,"x":1}"#,
        br#"{"alg":"ES256","x":{"y":1,"y":1}}"#,
        br#"["ES256"]"#,
        br#""ES256""#,
        b"null",
        b"",
        br#"{"alg":"ES256"}x"#,
        br#"{"alg":"ES256"}{}"#,
        b"\xef\xbb\xbf{\"alg\":\"ES256\"}",
        b"{\"alg\":\"ES256\",\"x\":\"\xff\"}",
    ];
    for header in table {
        let what = String::from_utf8_lossy(header);
        let token = bench.signer.seal(header, payload(json!({})));
        bench.refuses(&what, &token, "token_malformed");
    }
    bench.still_passes();
}

#[test]
fn a_token_within_a_token_is_refused() {
    let bench = Bench::new();
    let inner = bench.signer.token(payload(json!({})));
    let quoted = Value::from(inner.as_str()).to_string();
    bench.refuses("quoted", &bench.signer.token(quoted), "token_malformed");
    bench.refuses("bare", &bench.signer.token(&inner), "token_malformed");
    bench.still_passes();
}
