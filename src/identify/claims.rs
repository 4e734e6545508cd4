//! The claims of a token whose signature is good, checked one by one (RFC 7519 §4.1).
//!
//! The library's own checks accept a missing or ill-typed claim; these do not.

use std::time::Duration;

use serde_json::{Map, Number, Value};

use crate::config::{Audiences, RequiredClaim};
use crate::denial::{Denial, Reason};
use crate::identity::Thumbprint;

/// Seconds by which the issuer's clock may run ahead of ours in `iat`.
const IAT_AHEAD: i64 = 60;
/// Integers beyond this have no single reading in JSON (RFC 7493 §2.2).
const EXACT: u64 = 1 << 53;

/// Everything a token says.
pub(super) type Claims = Map<String, Value>;

/// Where a claim is: a top-level member of exactly this name, or else a path with dots.
#[derive(Clone, Debug)]
pub(super) struct ClaimPath(Box<str>);

impl ClaimPath {
    /// The place that `text` names.
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// What the configuration says.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim there. A path leads through objects only, never into arrays.
    pub(super) fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        if let Some(value) = claims.get(&*self.0) {
            return Some(value);
        }
        let (parents, last) = self.0.rsplit_once('.')?;
        let mut object = claims;
        for name in parents.split('.') {
            object = object.get(name)?.as_object()?;
        }
        object.get(last)
    }
}

/// When a token is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The first second at which it is good no more, leeway included; `i64::MAX`: never.
    pub(super) ends: i64,
    /// The first second at which it is good, leeway included; `i64::MIN`: always.
    pub(super) starts: i64,
}

impl Times {
    /// Whether the token is good at `now`.
    pub(super) fn check(self, now: i64) -> Result<(), Denial> {
        if now >= self.ends {
            return Err(Denial::new(Reason::TokenExpired, "its `exp` has passed"));
        }
        if now < self.starts {
            return Err(Denial::new(
                Reason::TokenNotYetValid,
                "its `nbf` or `iat` lies in the future",
            ));
        }
        Ok(())
    }
}

/// Reads `exp`, `nbf` and `iat`.
///
/// RFC 7519 §4.1.4: a token is not good "on or after" `exp`. A fraction of a second counts
/// against the token. `iat` may lie a minute ahead, beyond the leeway of `nbf`.
pub(super) fn times(
    claims: &Claims,
    require_exp: bool,
    exp_leeway: u32,
    nbf_leeway: u32,
) -> Result<Times, Denial> {
    let exp = seconds(claims, "exp", Rounding::Down)?;
    let nbf = seconds(claims, "nbf", Rounding::Up)?;
    let iat = seconds(claims, "iat", Rounding::Down)?;
    if exp.is_none() && require_exp {
        return Err(Denial::new(Reason::ClaimRefused, "it has no `exp`"));
    }
    let leeway = i64::from(nbf_leeway);
    let nbf = nbf.map_or(i64::MIN, |nbf| nbf.saturating_sub(leeway));
    let iat = iat.map_or(i64::MIN, |iat| iat.saturating_sub(leeway + IAT_AHEAD));
    Ok(Times {
        ends: exp.map_or(i64::MAX, |exp| exp.saturating_add(i64::from(exp_leeway))),
        starts: nbf.max(iat),
    })
}

/// Whether a token lives no longer than this, from `iat` to `exp`; both have to be there.
pub(super) fn life(claims: &Claims, most: Duration) -> Result<(), Denial> {
    let exp = seconds(claims, "exp", Rounding::Up)?;
    let (Some(exp), Some(iat)) = (exp, issued(claims)?) else {
        let detail =
            "it has no `iat` or no `exp`, so nobody knows whether it keeps to max_token_life";
        return Err(Denial::new(Reason::ClaimRefused, detail));
    };
    let life = u64::try_from(exp.saturating_sub(iat)).unwrap_or(0);
    match life <= most.as_secs() {
        true => Ok(()),
        false => claim_refused(format!(
            "it lives {life} s, and the issuer's max_token_life is {} s",
            most.as_secs()
        )),
    }
}

/// When it was issued (`iat`), if it says so. A fraction makes it older.
pub(super) fn issued(claims: &Claims) -> Result<Option<i64>, Denial> {
    seconds(claims, "iat", Rounding::Down)
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A `NumericDate` (RFC 7519 §2): finite, not negative; beyond the calendar means "very late".
fn seconds(claims: &Claims, name: &str, rounding: Rounding) -> Result<Option<i64>, Denial> {
    let number = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return claim_refused(format!("its `{name}` is not a number")),
    };
    match whole_seconds(number, rounding) {
        Some(seconds) => Ok(Some(seconds)),
        None => claim_refused(format!("its `{name}` is negative")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "casts from float to integer saturate, which is what is wanted"
)]
fn whole_seconds(number: &Number, rounding: Rounding) -> Option<i64> {
    if let Some(seconds) = number.as_u64() {
        return Some(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
    let float = number.as_f64().filter(|float| *float >= 0.0)?;
    Some(match rounding {
        Rounding::Up => float.ceil() as i64,
        Rounding::Down => float.floor() as i64,
    })
}

/// `aud` (RFC 7519 §4.1.3): a string, or an array of nothing but strings, with an exact match.
pub(super) fn audience(claims: &Claims, accepted: &Audiences) -> Result<(), Denial> {
    let Audiences::OneOf(accepted) = accepted else {
        return Ok(());
    };
    let refused = |detail| Err(Denial::new(Reason::AudienceRefused, detail));
    let is_ours = |one: &str| accepted.iter().any(|ours| ours == one);
    let found = match claims.get("aud") {
        None => return refused("it has no `aud`"),
        Some(Value::String(one)) => is_ours(one),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).any(is_ours)
        }
        Some(_) => return refused("its `aud` is neither a string nor an array of strings"),
    };
    if found {
        return Ok(());
    }
    refused("its `aud` is none of the issuer's `audiences`")
}

/// A claim that must have one of some values, or be an array that holds one.
pub(super) fn require(claims: &Claims, required: &RequiredClaim) -> Result<(), Denial> {
    let name = &required.claim;
    let wanted = |value: &Value| required.values.contains(value);
    match ClaimPath::new(name).find(claims) {
        None => claim_refused(format!("it has no `{name}`")),
        Some(Value::Array(members)) if members.iter().any(wanted) => Ok(()),
        Some(value) if wanted(value) => Ok(()),
        Some(_) => claim_refused(format!("its `{name}` does not have a required value")),
    }
}

/// The certificate that a token is bound to: `cnf` (RFC 7800 §3.1) with `x5t#S256` (RFC 8705 §3.1).
/// Other members of `cnf` are ignored, as the former says of what is not understood.
pub(super) fn holder(claims: &Claims) -> Result<Option<Box<Thumbprint>>, Denial> {
    let confirmation = match claims.get("cnf") {
        None => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => return claim_refused("its `cnf` is not an object".to_owned()),
    };
    let Some(thumbprint) = confirmation.get("x5t#S256") else {
        return Ok(None);
    };
    let parsed = thumbprint.as_str().and_then(Thumbprint::parse);
    match parsed {
        Some(thumbprint) => Ok(Some(Box::new(thumbprint))),
        None => claim_refused("its `x5t#S256` is no SHA-256 in base64url".to_owned()),
    }
}

/// The user's id: text as it is, or an integer in decimal.
pub(super) fn id(claims: &Claims, path: &ClaimPath) -> Result<Box<str>, Denial> {
    let refused = |detail| Err(Denial::new(Reason::IdentityRefused, detail));
    let text = match path.find(claims) {
        None => {
            let name = path.as_str();
            return Err(Denial::because(
                Reason::IdMissing,
                format!("it has no `{name}`"),
            ));
        }
        Some(Value::String(text)) => text.as_str(),
        Some(Value::Number(number)) => return integer(number),
        Some(_) => return refused("the user's id is neither a string nor an integer"),
    };
    if text.trim().is_empty() {
        return refused("the user's id is empty");
    }
    if text.trim() != text {
        return refused("the user's id begins or ends with a blank");
    }
    if text.chars().any(is_control) {
        return refused("the user's id holds control characters");
    }
    Ok(text.into())
}

fn integer(number: &Number) -> Result<Box<str>, Denial> {
    let exact = number.is_i64() || number.is_u64();
    let size = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
    if exact && size.is_some_and(|size| size <= EXACT) {
        return Ok(number.to_string().into());
    }
    Err(Denial::new(
        Reason::IdentityRefused,
        "the user's id is a number that has no exact reading",
    ))
}

/// Control characters, and the line separators that some programs treat as such.
pub(super) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn claim_refused<T>(detail: String) -> Result<T, Denial> {
    Err(Denial::because(Reason::ClaimRefused, detail))
}
