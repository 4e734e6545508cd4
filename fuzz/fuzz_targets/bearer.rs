//! Whatever a head holds: at most one token is found in it, and none is left when it is taken out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::head::Head;
use usher::identify::Asked;
use usher_fuzz::{PARTS, head};

/// The question that the gate asks about such a head.
fn asked<'a>(head: &'a Head, query: Option<&'a str>) -> Asked<'a> {
    Asked {
        method: &head.method,
        fields: &head.fields,
        query,
        scheme: "http",
        authority: "app.test",
        upgrade: head.fields.contains(&http::header::UPGRADE),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(mut head) = head(bytes) else { return };
    let sources = PARTS.identify.sources();
    let query = head.target.query().map(str::to_owned);
    if let Ok(Some(found)) = sources.find(&asked(&head, query.as_deref())) {
        assert!(!found.token.is_empty() && found.token.len() <= PARTS.config.tokens.max_bytes);
        // Its characters are looked at by whoever reads it.
        let odd = |byte: &u8| !byte.is_ascii_graphic() || b",;\"\\".contains(byte);
        if found.token.iter().any(odd) {
            assert!(PARTS.now(PARTS.identify.identify(&found.token, None)).is_err());
        }
    }
    let left = sources.strip(&mut head.fields, query.as_deref());
    let query = left.or(query);
    // What stays of `Authorization` has another scheme, which is refused and is no token.
    if let Ok(Some(found)) = sources.find(&asked(&head, query.as_deref())) {
        panic!("a token is left in {:?}", found.source);
    }
});
