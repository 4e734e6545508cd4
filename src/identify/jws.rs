//! A token taken apart (RFC 7515 §7.1), with nothing believed yet.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json;
use super::signed::Signed;
use crate::denial::{Denial, Reason};

/// The longest `kid` that is looked for.
const MAX_KID: usize = 256;

/// The three segments of a compact JWS.
pub(super) struct Segments<'a> {
    /// What the signature is made over.
    pub(super) signed: Signed<'a>,
    /// The header, encoded.
    pub(super) header: &'a str,
    /// The claims, encoded.
    pub(super) payload: &'a str,
    /// The signature, encoded.
    pub(super) signature: &'a str,
}

/// Splits a token into exactly three segments that are not empty.
pub(super) fn split(token: &str) -> Result<Segments<'_>, Denial> {
    let found = token
        .rsplit_once('.')
        .and_then(|(signed, signature)| Some((signed, signed.split_once('.')?, signature)));
    let Some((signed, (header, payload), signature)) = found else {
        return malformed("it does not have three segments");
    };
    if payload.contains('.') {
        return malformed("it has more than three segments");
    }
    if header.is_empty() || payload.is_empty() || signature.is_empty() {
        return malformed("one of its segments is empty");
    }
    Ok(Segments {
        signed: Signed::new(signed),
        header,
        payload,
        signature,
    })
}

/// Whether this is a compact JWS to begin with: three segments, the first of which is a JSON
/// object. Everything else is opaque, also where it has two dots.
pub(super) fn is_one(token: &str) -> bool {
    split(token).is_ok_and(|segments| object(segments.header).is_ok())
}

/// Strict base64url without padding (RFC 7515 §2): one spelling for each value.
pub(super) fn decode(segment: &str) -> Result<Vec<u8>, Denial> {
    BASE64URL_NOPAD
        .decode(segment.as_bytes())
        .or_else(|_| malformed("a segment is not base64url without padding"))
}

/// A segment that holds a JSON object.
pub(super) fn object(segment: &str) -> Result<Map<String, Value>, Denial> {
    // What the parser says may quote the token, so it is not repeated.
    json::object(&decode(segment)?)
        .or_else(|_| malformed("a segment is not one JSON object whose member names all differ"))
}

/// What usher reads in a token's header.
pub(super) struct Header {
    /// The algorithm's name, as the token says.
    pub(super) alg: String,
    /// The key's name, as the token says.
    pub(super) kid: Option<String>,
    /// The token's type, in lower case and without `application/`.
    pub(super) typ: Option<String>,
}

/// Reads a header; `jku`, `jwk`, `x5u`, `x5c` and whatever else names a key are not looked at.
pub(super) fn header(segment: &str) -> Result<Header, Denial> {
    let mut members = object(segment)?;
    // RFC 7515 §4.1.11: usher understands no extension, so each critical one is unknown.
    for (name, detail) in [
        (
            "crit",
            "its header has `crit`, and no extension is supported",
        ),
        ("b64", "its header has `b64`, which is not supported"),
        ("zip", "its header has `zip`, which is not supported"),
        (
            "enc",
            "its header has `enc`: it is encrypted, which is not supported",
        ),
    ] {
        if members.contains_key(name) {
            return Err(Denial::new(Reason::TokenHeaderRefused, detail));
        }
    }
    if let Some(cty) = optional(&mut members, "cty")?
        && media_type(&cty) == "jwt"
    {
        return refused("it is a token within a token, which is not supported");
    }
    let kid = optional(&mut members, "kid")?;
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return refused("its `kid` is too long");
    }
    let typ = optional(&mut members, "typ")?.map(|typ| media_type(&typ));
    match members.remove("alg") {
        Some(Value::String(alg)) => Ok(Header { alg, kid, typ }),
        _ => malformed("its header has no `alg`"),
    }
}

fn optional(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Denial> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Denial::because(
            Reason::TokenHeaderRefused,
            format!("its header's `{name}` is not a string"),
        )),
    }
}

/// Media types are compared without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("application/") {
        Some(short) => short.to_owned(),
        None => text,
    }
}

fn malformed<T>(detail: &'static str) -> Result<T, Denial> {
    Err(Denial::new(Reason::TokenMalformed, detail))
}

fn refused<T>(detail: &'static str) -> Result<T, Denial> {
    Err(Denial::new(Reason::TokenHeaderRefused, detail))
}
