//! Claims as header values, with one reading only.

use data_encoding::BASE64URL_NOPAD;
use http::HeaderName;
use serde_json::Value;

use super::claims::{self, ClaimPath, Claims};
use crate::denial::{Denial, Reason};

/// What one header of one issuer holds: names are resolved to claims.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// These claims, joined by commas; those that are missing are left out.
    Claims(Vec<ClaimPath>),
    /// All claims as base64url JSON.
    All,
    /// Text that is the same for every token.
    Fixed(String),
}

/// The lines of all headers, in order, each with its end; those that the token has nothing for
/// are left out.
///
/// Text is percent-encoded where it is not ASCII, at `%`, and at spaces around it; in a list
/// also at `,`. Numbers and booleans are written as in JSON. An object, null, an empty array
/// and an array that holds another array, an object or null count as absent.
pub(super) fn lines(
    claims: &Claims,
    headers: &[(HeaderName, Source)],
    budget: usize,
) -> Result<String, Denial> {
    let mut text = String::new();
    let mut spent = 0;
    for (name, source) in headers {
        let line = text.len();
        text.push_str(name.as_str());
        text.push_str(": ");
        let value = text.len();
        if !write(&mut text, claims, source)? {
            text.truncate(line);
            continue;
        }
        let written = text.get(value..).unwrap_or_default();
        // What cannot end a line early or be read in two ways (RFC 9110 §5.5).
        if !written.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Denial::new(
                Reason::IdentityRefused,
                "a claim fits no header",
            ));
        }
        spent += name.as_str().len() + written.len();
        text.push_str("\r\n");
    }
    if spent > budget {
        return Err(Denial::because(
            Reason::IdentityTooLarge,
            format!("its identity headers take {spent} bytes, and {budget} are allowed"),
        ));
    }
    Ok(text)
}

fn write(text: &mut String, claims: &Claims, source: &Source) -> Result<bool, Denial> {
    match source {
        Source::Fixed(fixed) => text.push_str(fixed),
        Source::All => {
            let json = serde_json::to_vec(claims)
                .map_err(|_| Denial::new(Reason::Internal, "the claims cannot be written"))?;
            BASE64URL_NOPAD.encode_append(&json, text);
        }
        Source::Claims(paths) => return write_claims(text, claims, paths),
    }
    Ok(true)
}

fn write_claims(text: &mut String, claims: &Claims, paths: &[ClaimPath]) -> Result<bool, Denial> {
    if let [path] = paths
        && let Some(value) = path.find(claims)
        && !value.is_array()
    {
        return write_scalar(text, value, Encode::Single);
    }
    let mut any = false;
    for value in paths.iter().filter_map(|path| path.find(claims)) {
        let members = match value {
            Value::Array(members) => members.as_slice(),
            one => std::slice::from_ref(one),
        };
        if members.iter().all(is_scalar) {
            for member in members {
                if any {
                    text.push(',');
                }
                any = true;
                write_scalar(text, member, Encode::Member)?;
            }
        }
    }
    Ok(any)
}

const fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encode {
    Single,
    Member,
}

fn write_scalar(text: &mut String, value: &Value, how: Encode) -> Result<bool, Denial> {
    match value {
        Value::String(value) => encode(text, value, how)?,
        Value::Number(value) => text.push_str(&value.to_string()),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => return Ok(false),
    }
    Ok(true)
}

/// Upper-case percent-encoding (RFC 3986 §2.1) of what would be read in two ways.
pub(super) fn encode_text(value: &str) -> Result<String, Denial> {
    let mut text = String::with_capacity(value.len());
    encode(&mut text, value, Encode::Single)?;
    Ok(text)
}

fn encode(text: &mut String, value: &str, how: Encode) -> Result<(), Denial> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if value.chars().any(claims::is_control) {
        return Err(Denial::new(
            Reason::IdentityRefused,
            "a claim for a header holds control characters",
        ));
    }
    let inner = value.trim_matches(' ');
    let start = value.len() - value.trim_start_matches(' ').len();
    let end = start + inner.len();
    for (place, byte) in value.bytes().enumerate() {
        let outer_space = byte == b' ' && !(start..end).contains(&place);
        let comma = byte == b',' && how == Encode::Member;
        if byte == b'%' || !byte.is_ascii() || outer_space || comma {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            text.push(char::from(byte));
        }
    }
    Ok(())
}
