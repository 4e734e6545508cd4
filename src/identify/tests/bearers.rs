//! Where a token may be in a request, and what is left of the request without it.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Method};

use super::fixture::tokens;
use crate::config::TokenSource;
use crate::denial::Reason;
use crate::fields::Fields;
use crate::identify::{Asked, Bearer, Sources, token};

fn sources(from: Vec<TokenSource>) -> Sources {
    let mut tokens = tokens();
    tokens.from = from;
    tokens.cookie_origins = vec!["https://spa.example".to_owned()];
    Sources::new(&tokens)
}

fn all() -> Sources {
    sources(vec![
        TokenSource::Authorization,
        TokenSource::Cookie("t".to_owned()),
        TokenSource::Header(HeaderName::from_static("x-token")),
        TokenSource::Query("access_token".to_owned()),
    ])
}

fn fields(lines: &[(&'static str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        let value = HeaderValue::from_str(value).unwrap();
        fields.append(&HeaderName::from_static(name), &value);
    }
    fields
}

/// The token, nothing, or the reason.
fn find(
    sources: &Sources,
    method: &Method,
    lines: &[(&'static str, &str)],
    query: Option<&str>,
) -> Result<Option<String>, Reason> {
    let asked = Asked {
        method,
        fields: &fields(lines),
        query,
        scheme: "https",
        authority: "app.example",
        upgrade: lines.iter().any(|(name, _)| *name == "upgrade"),
    };
    let found = sources.find(&asked).and_then(|found| {
        let text = |bearer: Bearer<'_>| token::shape(&bearer.token).map(str::to_owned);
        found.map(text).transpose()
    });
    found.map_err(|denial| denial.reason)
}

fn get(lines: &[(&'static str, &str)]) -> Result<Option<String>, Reason> {
    find(&all(), &Method::GET, lines, None)
}

fn good(text: &str) -> Result<Option<String>, Reason> {
    Ok(Some(text.to_owned()))
}

#[test]
fn the_authorization_line() {
    let table = [
        ("Bearer a.b-c_d~e+f/g==", good("a.b-c_d~e+f/g==")),
        ("bearer x", good("x")),
        ("BEARER x", good("x")),
        ("Bearer", Err(Reason::TokenMalformed)),
        ("Bearer ", Err(Reason::TokenMalformed)),
        ("Bearer  x", Err(Reason::TokenMalformed)),
        ("Bearer\tx", Err(Reason::TokenMalformed)),
        ("Bearer x y", Err(Reason::TokenMalformed)),
        ("Bearer x,", Err(Reason::TokenMalformed)),
        ("Bearer,x", Err(Reason::TokenMalformed)),
        ("Bearer =", Err(Reason::TokenMalformed)),
        ("Bearer x=y", Err(Reason::TokenMalformed)),
        ("Bearer \"x\"", Err(Reason::TokenMalformed)),
        ("Bearer xé", Err(Reason::TokenMalformed)),
        ("Bearers x", Err(Reason::SchemeRefused)),
        ("Bearer-x y", Err(Reason::SchemeRefused)),
        ("Basic dTpw", Err(Reason::SchemeRefused)),
        ("x", Err(Reason::SchemeRefused)),
        ("", Err(Reason::TokenMissing)),
    ];
    for (line, expected) in table {
        assert_eq!(get(&[("authorization", line)]), expected, "{line:?}");
    }
    assert_eq!(get(&[]), Ok(None));
    let long = format!("Bearer {}", "é".repeat(8192));
    assert_eq!(get(&[("authorization", &long)]), Err(Reason::TokenTooLarge));
    let two = [("authorization", "Bearer x"), ("authorization", "Bearer x")];
    assert_eq!(get(&two), Err(Reason::TokenTwice));
}

#[test]
fn the_first_source_that_is_present_decides() {
    let both = [("cookie", "t=c"), ("x-token", "h")];
    assert_eq!(get(&both), good("c"));
    let basic = [("authorization", "Basic x"), ("cookie", "t=c")];
    assert_eq!(get(&basic), Err(Reason::SchemeRefused));
    let bad = [("cookie", "t=c c"), ("x-token", "h")];
    assert_eq!(get(&bad), Err(Reason::TokenMalformed));
    let empty = [("cookie", "t="), ("x-token", "h")];
    assert_eq!(get(&empty), good("h"));
    assert_eq!(get(&[("x-token", "")]), Err(Reason::TokenMissing));
    let only_header = sources(vec![TokenSource::Header(HeaderName::from_static(
        "x-token",
    ))]);
    let lines = [("authorization", "Basic x"), ("x-token", "h")];
    assert_eq!(find(&only_header, &Method::GET, &lines, None), good("h"));
}

#[test]
fn one_source_twice_is_ambiguous() {
    for lines in [
        [("cookie", "t=1; t=1"), ("a", "")],
        [("cookie", "t=1"), ("cookie", "a=1; t=2")],
        [("x-token", "1"), ("x-token", "1")],
    ] {
        assert_eq!(get(&lines), Err(Reason::TokenTwice), "{lines:?}");
    }
}

#[test]
fn queries() {
    let table = [
        ("access_token=x", good("x")),
        ("a=1&access_token=x&b", good("x")),
        ("access%5Ftoken=x%2Ey", good("x.y")),
        ("Access_Token=x", Ok(None)),
        ("access_token=x&access%5ftoken=y", Err(Reason::TokenTwice)),
        ("access_token=", Err(Reason::TokenMissing)),
        ("access_token", Err(Reason::TokenMissing)),
        ("access_token=%FF", Err(Reason::TokenMalformed)),
        ("access_token=x%20", Err(Reason::TokenMalformed)),
        ("", Ok(None)),
    ];
    for (query, expected) in table {
        let found = find(&all(), &Method::GET, &[], Some(query));
        assert_eq!(found, expected, "{query}");
    }
}

#[test]
fn a_cookie_counts_only_for_our_own_pages() {
    let cross = Err(Reason::CrossSite);
    let table: Vec<(Method, Vec<(&'static str, &str)>, _)> = vec![
        (Method::GET, vec![], good("c")),
        (
            Method::HEAD,
            vec![("origin", "https://evil.example")],
            good("c"),
        ),
        (Method::GET, vec![("upgrade", "websocket")], cross.clone()),
        (
            Method::GET,
            vec![("upgrade", "websocket"), ("origin", "https://app.example")],
            good("c"),
        ),
        (
            Method::GET,
            vec![("upgrade", "websocket"), ("origin", "https://evil.example")],
            cross.clone(),
        ),
        (Method::POST, vec![], cross.clone()),
        (
            Method::POST,
            vec![("origin", "https://app.example")],
            good("c"),
        ),
        (
            Method::POST,
            vec![("origin", "https://APP.example:443")],
            good("c"),
        ),
        (
            Method::POST,
            vec![("origin", "https://spa.example")],
            good("c"),
        ),
        (
            Method::POST,
            vec![("origin", "http://app.example")],
            cross.clone(),
        ),
        (
            Method::POST,
            vec![("origin", "https://app.example:8443")],
            cross.clone(),
        ),
        (
            Method::POST,
            vec![("origin", "https://app.example.evil")],
            cross.clone(),
        ),
        (Method::POST, vec![("origin", "null")], cross.clone()),
        (Method::POST, vec![("origin", "")], cross.clone()),
        (
            Method::POST,
            vec![("sec-fetch-site", "same-origin")],
            good("c"),
        ),
        (
            Method::POST,
            vec![("sec-fetch-site", "same-site")],
            cross.clone(),
        ),
        (
            Method::POST,
            vec![("sec-fetch-site", "none")],
            cross.clone(),
        ),
        (
            Method::POST,
            vec![
                ("origin", "https://evil.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            cross.clone(),
        ),
        (
            Method::POST,
            vec![
                ("origin", "https://app.example"),
                ("origin", "https://evil.example"),
            ],
            cross.clone(),
        ),
        (Method::DELETE, vec![], cross.clone()),
        (Method::from_bytes(b"get").unwrap(), vec![], cross),
    ];
    for (method, mut lines, expected) in table {
        lines.push(("cookie", "t=c"));
        assert_eq!(
            find(&all(), &method, &lines, None),
            expected,
            "{method} {lines:?}"
        );
    }
    // A page of another site cannot set a header, so one that is set is no accident.
    let lines = [("authorization", "Bearer a"), ("cookie", "t=c")];
    assert_eq!(find(&all(), &Method::POST, &lines, None), good("a"));
}

#[test]
fn every_source_is_taken_out() {
    let mut lines = fields(&[
        ("authorization", "Bearer x"),
        ("authorization", "Basic dTpw"),
        ("authorization", "bearer\tx"),
        ("cookie", "a=1; t=2;  b=3"),
        ("x-token", "x"),
        ("x-token", "y"),
        ("accept", "*/*"),
    ]);
    let query = all().strip(&mut lines, Some("a=1&access%5ftoken=x&b=%20&access_token"));
    assert_eq!(query.as_deref(), Some("a=1&b=%20"));
    let left: Vec<_> = lines.get_all(&AUTHORIZATION).collect();
    assert_eq!(left, [b"Basic dTpw"]);
    assert_eq!(lines.get(&COOKIE), Some(&b"a=1;  b=3"[..]));
    assert!(!lines.contains(&HeaderName::from_static("x-token")));
    assert_eq!(lines.len(), 3);
    assert_eq!(all().strip(&mut lines, Some("a=1")), None);
    assert_eq!(
        all().strip(&mut lines, Some("access_token=x")).as_deref(),
        Some("")
    );
}

#[test]
fn a_source_that_is_not_enabled_is_left_alone() {
    let sources = sources(vec![TokenSource::Authorization]);
    let mut lines = fields(&[("cookie", "t=1"), ("x-token", "x")]);
    assert_eq!(sources.strip(&mut lines, Some("access_token=x")), None);
    assert_eq!(lines.len(), 2);
}
