//! A key set (RFC 7517 §5), read entry by entry: a bad entry costs itself, never the set.

use std::collections::HashMap;
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::algorithm::{self, Family};
use super::json;
use super::key::{BadKey, Key};
use super::public_key;
use crate::config::Algorithm;

/// More entries than this are not read.
const MAX_KEYS: usize = 100;

/// What came out of a key set.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The keys that can be used; never empty.
    pub(super) keys: Vec<Key>,
    /// The entries that cannot, for the log.
    pub(super) skipped: Vec<Skipped>,
}

/// An entry that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Its place in `keys`, from 0.
    pub(super) place: usize,
    /// Why.
    pub(super) reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.place, self.reason)
    }
}

/// Reads a key set; an error if it is none, or holds no key that can be used.
pub(super) fn parse(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Parsed, BadKey> {
    let set = json::object(bytes).map_err(|error| BadKey(format!("not a key set: {error}")))?;
    let Some(Value::Array(entries)) = set.get("keys") else {
        return Err(BadKey("not a key set: it has no list `keys`".to_owned()));
    };
    let mut parsed = Parsed::default();
    let mut places = Vec::new();
    for (place, entry) in entries.iter().enumerate().take(MAX_KEYS) {
        match read(entry, algorithms) {
            Ok(key) => {
                parsed.keys.push(key);
                places.push(place);
            }
            Err(BadKey(reason)) => parsed.skipped.push(Skipped { place, reason }),
        }
    }
    if entries.len() > MAX_KEYS {
        parsed.skipped.push(Skipped {
            place: MAX_KEYS,
            reason: format!("only the first {MAX_KEYS} keys are read"),
        });
    }
    drop_twins(&mut parsed, &places);
    if parsed.keys.is_empty() {
        let reasons: Vec<_> = parsed
            .skipped
            .iter()
            .take(5)
            .map(Skipped::to_string)
            .collect();
        let reasons = reasons.join("; ");
        return Err(BadKey(format!(
            "the key set holds no key that can be used ({reasons})"
        )));
    }
    Ok(parsed)
}

/// Two keys of one name: neither is the one that a token means, unless they are of different kinds
/// (RFC 7517 §4.5), of which its `alg` means one.
fn drop_twins(parsed: &mut Parsed, places: &[usize]) {
    let named = |key: &Key| key.kid.clone().map(|kid| (kid, key.family));
    let mut counts: HashMap<(Box<str>, Family), usize> = HashMap::new();
    for name in parsed.keys.iter().filter_map(named) {
        *counts.entry(name).or_default() += 1;
    }
    let keys = std::mem::take(&mut parsed.keys);
    for (key, place) in keys.into_iter().zip(places) {
        let twin = named(&key).and_then(|name| counts.get(&name)) > Some(&1);
        if twin {
            parsed.skipped.push(Skipped {
                place: *place,
                reason: "another key of its kind has the same `kid`".to_owned(),
            });
        } else {
            parsed.keys.push(key);
        }
    }
}

/// One entry (RFC 7517 §4).
fn read(entry: &Value, algorithms: &[Algorithm]) -> Result<Key, BadKey> {
    let Value::Object(entry) = entry else {
        return bad("it is not an object");
    };
    let kty = text(entry, "kty")?.unwrap_or_default();
    if kty == "oct" {
        return bad("a shared secret does not belong in a key set; use `secret_file`");
    }
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
        .iter()
        .any(|name| entry.contains_key(*name))
    {
        return bad("it holds a PRIVATE key, which everybody who can read the set now has");
    }
    check_use(entry)?;
    let kid = text(entry, "kid")?;
    let (family, bytes) = match kty {
        "RSA" => (Family::Rsa, rsa(entry)?),
        "EC" => curve_point(entry)?,
        "OKP" => (Family::Ed25519, ed25519(entry)?),
        other => return Err(BadKey(format!("its `kty` {other:?} is not supported"))),
    };
    match text(entry, "alg")? {
        None => Key::public(family, &bytes, kid, algorithms),
        Some(name) => Key::public(family, &bytes, kid, &bound(name, family, algorithms)?),
    }
}

/// The one algorithm that a key with `alg` may be used with (RFC 7517 §4.4).
fn bound(name: &str, family: Family, accepted: &[Algorithm]) -> Result<Vec<Algorithm>, BadKey> {
    // RFC 9864 §2.2 calls EdDSA over this curve by the curve's name.
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    let Some(algorithm) = algorithm::named(name) else {
        return Err(BadKey(format!("its `alg` {name:?} is not supported")));
    };
    if algorithm::family(algorithm) != family {
        return Err(BadKey(format!("its `alg` {name} does not fit its kind")));
    }
    if !accepted.contains(&algorithm) {
        return Err(BadKey(format!(
            "its `alg` {name} is not in the issuer's `algorithms`"
        )));
    }
    Ok(vec![algorithm])
}

/// `use` and `key_ops` (RFC 7517 §4.2, §4.3).
fn check_use(entry: &Map<String, Value>) -> Result<(), BadKey> {
    if text(entry, "use")?.is_some_and(|purpose| purpose != "sig") {
        return bad("its `use` is not `sig`");
    }
    match entry.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => Ok(()),
        Some(_) => bad("its `key_ops` do not hold `verify`"),
    }
}

/// RFC 7518 §6.3.1.
fn rsa(entry: &Map<String, Value>) -> Result<Vec<u8>, BadKey> {
    let key = public_key::rsa_of(&digits(entry, "n")?, &digits(entry, "e")?);
    key.ok_or_else(|| BadKey("its `n` or `e` is no number".to_owned()))
}

/// RFC 7518 §6.2.1: coordinates have the full length of the field.
fn curve_point(entry: &Map<String, Value>) -> Result<(Family, Vec<u8>), BadKey> {
    let (family, length) = match text(entry, "crv")? {
        Some("P-256") => (Family::P256, 32),
        Some("P-384") => (Family::P384, 48),
        other => return Err(BadKey(format!("its `crv` {other:?} is not supported"))),
    };
    let (x, y) = (digits(entry, "x")?, digits(entry, "y")?);
    if x.len() != length || y.len() != length {
        return bad("its coordinates have the wrong length");
    }
    // SEC 1 §2.3.3, uncompressed
    Ok((family, [&[4][..], &x, &y].concat()))
}

/// RFC 8037 §2.
fn ed25519(entry: &Map<String, Value>) -> Result<Vec<u8>, BadKey> {
    match text(entry, "crv")? {
        Some("Ed25519") => {}
        other => return Err(BadKey(format!("its `crv` {other:?} is not supported"))),
    }
    let x = digits(entry, "x")?;
    if x.len() != 32 {
        return bad("its `x` has the wrong length");
    }
    Ok(x)
}

fn text<'a>(entry: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, BadKey> {
    match entry.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(BadKey(format!("its `{name}` is not a string"))),
    }
}

fn digits(entry: &Map<String, Value>, name: &str) -> Result<Vec<u8>, BadKey> {
    let text = text(entry, name)?.ok_or_else(|| BadKey(format!("it has no `{name}`")))?;
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| BadKey(format!("its `{name}` is not base64url")))
}

fn bad<T>(reason: &str) -> Result<T, BadKey> {
    Err(BadKey(reason.to_owned()))
}

/// For `fuzz/`: how many keys of this set would be used, of how many entries.
#[cfg(feature = "fuzzing")]
pub fn fuzz(body: &[u8]) -> Option<(usize, usize)> {
    let parsed = parse(body, &Algorithm::ALL).ok()?;
    Some((parsed.keys.len(), parsed.skipped.len()))
}
