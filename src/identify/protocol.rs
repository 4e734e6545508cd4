//! A token among the protocols that a WebSocket offers (RFC 6455 §4.1): browsers let a page set
//! no other header there. By convention the protocol `bearer` stands before it.

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::fields::{Fields, members};

/// The protocol that says that the next one is a token, and what the client hears if the app
/// chose none.
pub(super) const BEARER: &str = "bearer";

/// Each token that is offered.
pub(super) fn tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let mut offered = offered(fields);
    std::iter::from_fn(move || {
        offered.find(|name| is_bearer(name))?;
        // Nothing after the word is an empty token, which is refused as such.
        Some(offered.next().unwrap_or_default())
    })
}

/// Takes the tokens out, and the words before them.
pub(super) fn remove(fields: &mut Fields) {
    if tokens(fields).next().is_none() {
        return;
    }
    let left = others(fields).join(&b", "[..]);
    // Pieces of a good value, with what stands between them in one.
    let left = HeaderValue::from_bytes(&left).ok();
    fields.remove(&SEC_WEBSOCKET_PROTOCOL);
    if let Some(left) = left.filter(|left| !left.is_empty()) {
        fields.append(&SEC_WEBSOCKET_PROTOCOL, &left);
    }
}

/// What is offered beside tokens.
fn others(fields: &Fields) -> Vec<&[u8]> {
    let mut others = Vec::new();
    let mut offered = offered(fields);
    while let Some(name) = offered.next() {
        if is_bearer(name) {
            offered.next();
        } else {
            others.push(name);
        }
    }
    others
}

fn offered(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.get_all(&SEC_WEBSOCKET_PROTOCOL).flat_map(members)
}

fn is_bearer(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(BEARER.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(lines: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for line in lines {
            fields.append(&SEC_WEBSOCKET_PROTOCOL, &line.parse().unwrap());
        }
        fields
    }

    #[test]
    fn a_token_stands_after_its_word() {
        for (lines, wanted, left) in [
            (&["bearer, a.b.c"][..], &["a.b.c"][..], None),
            (&["chat, Bearer,a.b.c , v2"], &["a.b.c"], Some("chat, v2")),
            (&["chat", "bearer", "a.b.c"], &["a.b.c"], Some("chat")),
            (&["bearer"], &[""], None),
            (&["bearer, bearer"], &["bearer"], None),
            (&["bearer, a, bearer, b"], &["a", "b"], None),
            (&["chat, bearer2, a"], &[], Some("chat, bearer2, a")),
            (&[], &[], None),
        ] {
            let mut fields = with(lines);
            let found: Vec<_> = tokens(&fields).map(<[u8]>::to_vec).collect();
            let wanted: Vec<_> = wanted
                .iter()
                .map(|token| token.as_bytes().to_vec())
                .collect();
            assert_eq!(found, wanted, "{lines:?}");
            remove(&mut fields);
            let kept = fields.get(&SEC_WEBSOCKET_PROTOCOL).map(<[u8]>::to_vec);
            assert_eq!(kept, left.map(|left| left.as_bytes().to_vec()), "{lines:?}");
        }
    }
}
