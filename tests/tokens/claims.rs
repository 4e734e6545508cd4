//! What a token says is checked claim by claim; a claim of the wrong type is no claim.

use serde_json::json;

use super::{Bench, NOW, payload, payload_and, payload_with};

/// Signs each payload and expects the verdict: a reason, or `""` for passing.
#[track_caller]
fn judge(bench: &Bench, table: &[(String, &str)]) {
    for (payload, verdict) in table {
        let token = bench.signer.token(payload);
        match *verdict {
            "" => bench.passes(payload, &token),
            reason => bench.refuses(payload, &token, reason),
        }
    }
    bench.still_passes();
}

/// The same for values of one claim, as JSON text.
#[track_caller]
fn judge_values(bench: &Bench, claim: &str, table: &[(&str, &str)]) {
    let table: Vec<_> = table
        .iter()
        .map(|(value, verdict)| (payload_with(claim, value), *verdict))
        .collect();
    judge(bench, &table);
}

#[test]
fn the_end_is_a_number_that_lies_ahead() {
    let bench = Bench::new();
    let now = NOW.to_string();
    let (after, before, half) = (
        format!("{}", NOW + 1),
        format!("{}", NOW - 1),
        format!("{NOW}.5"),
    );
    judge_values(
        &bench,
        "exp",
        &[
            ("\"1900000000\"", "claim_refused"),
            ("null", "claim_refused"),
            ("true", "claim_refused"),
            ("[]", "claim_refused"),
            ("[1900000000]", "claim_refused"),
            ("{}", "claim_refused"),
            ("-1", "claim_refused"),
            ("-1e300", "claim_refused"),
            ("0", "token_expired"),
            (&before, "token_expired"),
            (&now, "token_expired"),
            (&half, "token_expired"),
            (&after, ""),
            ("1e300", ""),
            ("1e19", ""),
            ("9007199254740991", ""),
            ("9007199254740993", ""),
            ("18446744073709551615", ""),
            ("18446744073709551616", ""),
            ("1e999", "token_malformed"),
            ("NaN", "token_malformed"),
            ("Infinity", "token_malformed"),
            ("01900000000", "token_malformed"),
        ],
    );
    judge(
        &bench,
        &[(payload(json!({ "exp": null })), "claim_refused")],
    );
}

#[test]
fn the_end_is_needed_unless_the_issuer_says_otherwise() {
    let bench = Bench::with("require_exp: false, ");
    judge(
        &bench,
        &[
            (payload(json!({ "exp": null })), ""),
            (payload(json!({ "exp": NOW })), "token_expired"),
            (payload_with("exp", "null"), "claim_refused"),
        ],
    );
}

#[test]
fn the_beginning_may_lie_five_seconds_ahead() {
    let bench = Bench::new();
    let table: Vec<_> = [
        (json!(NOW), ""),
        (json!(NOW + 5), ""),
        (json!(NOW as f64 + 5.5), "token_not_yet_valid"),
        (json!(NOW + 6), "token_not_yet_valid"),
        (json!(u64::MAX), "token_not_yet_valid"),
        (json!(0), ""),
        (json!(-1), "claim_refused"),
        (json!("0"), "claim_refused"),
        (json!(false), "claim_refused"),
        (json!([]), "claim_refused"),
        (json!({}), "claim_refused"),
    ]
    .into_iter()
    .map(|(value, verdict)| (payload(json!({ "nbf": value })), verdict))
    .collect();
    judge(&bench, &table);
    judge_values(&bench, "nbf", &[("null", "claim_refused")]);
}

#[test]
fn a_token_is_not_issued_much_later_than_now() {
    let bench = Bench::new();
    let table: Vec<_> = [
        (json!(NOW), ""),
        (json!(NOW + 65), ""),
        (json!(NOW + 66), "token_not_yet_valid"),
        (json!(0), ""),
        (json!(-1), "claim_refused"),
        (json!("1"), "claim_refused"),
        (json!([1]), "claim_refused"),
    ]
    .into_iter()
    .map(|(value, verdict)| (payload(json!({ "iat": value })), verdict))
    .collect();
    judge(&bench, &table);
}

#[test]
fn the_leeway_is_a_setting() {
    let bench = Bench::with("leeway: { exp: 60s, nbf: 0s }, ");
    judge(
        &bench,
        &[
            (payload(json!({ "exp": NOW })), ""),
            (payload(json!({ "exp": NOW - 59 })), ""),
            (payload(json!({ "exp": NOW - 60 })), "token_expired"),
            (payload(json!({ "exp": NOW - 61 })), "token_expired"),
            (payload(json!({ "nbf": NOW })), ""),
            (payload(json!({ "nbf": NOW + 1 })), "token_not_yet_valid"),
        ],
    );
}

#[test]
fn the_issuer_is_one_string_byte_for_byte() {
    let bench = Bench::new();
    judge_values(
        &bench,
        "iss",
        &[
            ("\"https://idp.test\"", "issuer_unknown"),
            ("\"https://idp.test//\"", "issuer_unknown"),
            ("\"https://idp.test/x\"", "issuer_unknown"),
            ("\"https://IDP.test/\"", "issuer_unknown"),
            ("\"HTTPS://idp.test/\"", "issuer_unknown"),
            ("\" https://idp.test/\"", "issuer_unknown"),
            ("\"https://idp.test/\\u0000\"", "issuer_unknown"),
            ("\"https://ıdp.test/\"", "issuer_unknown"),
            ("\"\"", "issuer_unknown"),
            ("[\"https://idp.test/\"]", "issuer_unknown"),
            ("[\"evil\",\"https://idp.test/\"]", "issuer_unknown"),
            ("7", "issuer_unknown"),
            ("null", "issuer_unknown"),
            ("{}", "issuer_unknown"),
            // Another spelling of the same string is the same string.
            ("\"https:\\/\\/idp.test\\u002f\"", ""),
        ],
    );
    judge(
        &bench,
        &[(payload(json!({ "iss": null })), "issuer_unknown")],
    );
}

const AUDIENCES: [(&str, &str); 15] = [
    ("\"app\"", ""),
    ("[\"app\"]", ""),
    ("[\"other\",\"app\"]", ""),
    ("[]", "audience_refused"),
    ("[\"other\"]", "audience_refused"),
    ("[1,\"app\"]", "audience_refused"),
    ("[[\"app\"]]", "audience_refused"),
    ("\"ap\"", "audience_refused"),
    ("\"apps\"", "audience_refused"),
    ("\"app app\"", "audience_refused"),
    ("\"APP\"", "audience_refused"),
    ("\"\"", "audience_refused"),
    ("7", "audience_refused"),
    ("null", "audience_refused"),
    ("{\"app\":true}", "audience_refused"),
];

#[test]
fn the_token_is_meant_for_us() {
    let bench = Bench::new();
    judge_values(&bench, "aud", &AUDIENCES);
    judge(
        &bench,
        &[(payload(json!({ "aud": null })), "audience_refused")],
    );
}

#[test]
fn any_audience_is_a_setting() {
    let bench = Bench::with("audiences: any, ");
    let table = AUDIENCES.map(|(value, _)| (value, ""));
    judge_values(&bench, "aud", &table);
    judge(&bench, &[(payload(json!({ "aud": null })), "")]);
}

#[test]
fn required_claims_have_a_required_value() {
    let bench = Bench::with("require: { token_type: access, tenant: [7, eight], ok: true }, ");
    let good = json!({ "token_type": "access", "tenant": 7, "ok": true });
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        payload(claims)
    };
    let table = [
        (payload(good.clone()), ""),
        (with("token_type", json!(["refresh", "access"])), ""),
        (with("tenant", json!("eight")), ""),
        (with("token_type", json!("refresh")), "claim_refused"),
        (with("token_type", json!("Access")), "claim_refused"),
        (with("token_type", json!(["access "])), "claim_refused"),
        (
            with("token_type", json!({ "access": true })),
            "claim_refused",
        ),
        (with("token_type", json!(null)), "claim_refused"),
        (with("tenant", json!("7")), "claim_refused"),
        (with("tenant", json!(8)), "claim_refused"),
        (with("ok", json!("true")), "claim_refused"),
        (with("ok", json!(1)), "claim_refused"),
    ];
    for (payload, verdict) in table {
        let token = bench.signer.token(&payload);
        match verdict {
            "" => bench.passes(&payload, &token),
            reason => bench.refuses(&payload, &token, reason),
        }
    }
}

#[test]
fn the_id_is_clean_text_or_an_exact_integer() {
    let bench = Bench::new();
    judge_values(
        &bench,
        "sub",
        &[
            ("42", ""),
            ("-42", ""),
            ("9007199254740992", ""),
            ("9007199254740993", "identity_refused"),
            ("18446744073709551616", "identity_refused"),
            ("5.5", "identity_refused"),
            ("5.0", "identity_refused"),
            ("true", "identity_refused"),
            ("null", "identity_refused"),
            ("[]", "identity_refused"),
            ("{}", "identity_refused"),
            ("\"\"", "identity_refused"),
            ("\" \"", "identity_refused"),
            ("\" alice\"", "identity_refused"),
            ("\"alice \"", "identity_refused"),
            ("\"alice\\u00a0\"", "identity_refused"),
            ("\"a\\u0000b\"", "identity_refused"),
            ("\"a\\r\\nX-Admin: 1\"", "identity_refused"),
            ("\"a\\u007fb\"", "identity_refused"),
            ("\"a\\u0085b\"", "identity_refused"),
            ("\"a\\u2028b\"", "identity_refused"),
            ("\"\\ud800\"", "token_malformed"),
        ],
    );
    judge(&bench, &[(payload(json!({ "sub": null })), "id_missing")]);
    let long = bench
        .signer
        .token(payload(json!({ "sub": "a".repeat(5000) })));
    bench.passes("a long one", &long);
    assert_eq!(bench.app.last().header("x-user-id").unwrap().len(), 5000);
}

#[test]
fn the_payload_is_one_json_object_with_one_reading() {
    let bench = Bench::new();
    let good = payload(json!({}));
    let deep = format!("\"x\":{}{}", "[".repeat(2000), "]".repeat(2000));
    let table = [
        format!("[{},0,\"alice\",\"https://idp.test/\",\"app\"]", NOW + 600),
        "\"text\"".to_owned(),
        "7".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        good.replace(',', ",,"),
        good.replace('}', ",}"),
        good.replace('"', "'"),
        payload_and("\"sub\":\"root\""),
        payload_and("\"\\u0073ub\":\"root\""),
        payload_and("\"role\":\"user\",\"role\":\"admin\""),
        payload_and("\"role\":\"user\",\"\\u0072ole\":\"admin\""),
        payload_and("\"x\":{\"role\":1,\"role\":2}"),
        payload_and("\"x\":[{\"role\":1,\"role\":2}]"),
        payload_and("\"x\":\"\\ud800\""),
        payload_and("\"x\":\"\\x\""),
        payload_and("\"x\":.5"),
        payload_and("\"x\":+1"),
        payload_and("\"x\":1."),
        payload_and("\"x\":tru"),
        payload_and("\"x\":\"a\tb\""),
        payload_and(&deep),
        payload_and("/* x */\"x\":1"),
    ];
    for text in table {
        bench.refuses(&text, &bench.signer.token(&text), "token_malformed");
    }
    let mut bytes = good.clone().into_bytes();
    bytes.splice(1..1, b"\"x\":\"\xff\",".iter().copied());
    bench.refuses("not UTF-8", &bench.signer.token(bytes), "token_malformed");
    bench.passes("blanks", &bench.signer.token(format!("\r\n\t {good} ")));
}
