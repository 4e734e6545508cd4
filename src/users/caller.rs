//! Who is asking, and in which form the directory and the engine see them.

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use serde_json::Value;

use crate::identity::{CallerClaims, Identity};
use crate::user::Known;

use super::settings::{IssuerUsers, MatchRule, Settings};

/// The longest id, e-mail or name that is looked at, in bytes.
///
/// A PostgreSQL index row ends at 2704 bytes, so something longer could not be stored under a
/// unique index anyway; no real id comes near.
pub const MAX_TEXT: usize = 1024;

/// Who a verified token speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The configured name of the issuer.
    pub issuer: &'a str,
    /// The user's id within the issuer.
    pub id: &'a str,
    /// The e-mail, if the token has one.
    pub email: Option<&'a str>,
    /// The display name, if the token has one.
    pub name: Option<&'a str>,
    /// Whether the token says that the e-mail was verified.
    pub email_verified: bool,
    /// Where what was found is kept between two requests of this caller.
    pub known: Option<&'a ArcSwapOption<Known>>,
}

/// A hash of (issuer, id, e-mail): the key of presence, single flight and marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The caller's key.
    pub(super) fn of(caller: &Caller<'_>) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [
            Some(caller.issuer),
            Some(caller.id),
            caller.email.filter(|email| !email.is_empty()),
        ] {
            // Lengths go first, so that no two callers share one text.
            let length = part.map_or(u64::MAX, |text| text.len() as u64);
            hash.update(&length.to_be_bytes());
            hash.update(part.unwrap_or_default().as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(hash.finish().as_ref());
        Self(key)
    }

    pub(super) fn to_hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }
}

/// A caller as the directory and the engine see them; owned, since it outlives the request.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) key: Key,
    pub(super) issuer: String,
    /// With the issuer's prefix.
    pub(super) id: String,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    /// Whether a row found by e-mail may be handed over to this id.
    pub(super) may_link: bool,
}

impl<'a> Caller<'a> {
    /// The caller that a verified token names.
    pub fn of(identity: &'a Identity, claims: CallerClaims) -> Self {
        let text = |slot| identity.claim(slot).and_then(Value::as_str);
        Self {
            issuer: &identity.issuer,
            id: identity.id(),
            email: text(claims.email),
            name: text(claims.name),
            email_verified: identity.claim(claims.email_verified) == Some(&Value::Bool(true)),
            known: Some(&identity.known),
        }
    }
}

impl Who {
    /// The caller by this issuer's rules, or why no row could ever belong to them.
    pub(super) fn new(caller: &Caller<'_>, settings: &Settings) -> Result<Self, &'static str> {
        let rules = settings
            .issuers
            .iter()
            .find(|rules| rules.issuer == caller.issuer);
        let prefix = rules.map_or("", |rules| rules.id_prefix.as_str());
        let who = Self {
            key: Key::of(caller),
            issuer: caller.issuer.to_owned(),
            id: format!("{prefix}{}", caller.id),
            email: stated(caller.email),
            // Only looked at where it is stored: a long display name is no reason to refuse.
            name: settings.table.name_column.as_ref().and(stated(caller.name)),
            may_link: settings.table.rule == MatchRule::IdOrEmail
                && rules.is_some_and(|rules| links(rules, caller)),
        };
        if caller.id.is_empty() {
            return Err("the id is empty");
        }
        for text in [Some(&who.id), who.email.as_ref(), who.name.as_ref()] {
            check(text.map_or("", String::as_str))?;
        }
        Ok(who)
    }
}

fn stated(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn links(rules: &IssuerUsers, caller: &Caller<'_>) -> bool {
    rules.link_by_email && (caller.email_verified || rules.trust_email)
}

/// PostgreSQL text cannot hold NUL; it is refused before any SQL is sent.
fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_TEXT {
        return Err("the id, e-mail or name is longer than 1024 bytes");
    }
    if text.contains('\0') {
        return Err("the id, e-mail or name holds a NUL character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller<'a>(issuer: &'a str, id: &'a str, email: Option<&'a str>) -> Caller<'a> {
        Caller {
            issuer,
            id,
            email,
            name: None,
            email_verified: false,
            known: None,
        }
    }

    #[test]
    fn no_two_callers_share_a_key() {
        let callers = [
            caller("a", "bc", None),
            caller("ab", "c", None),
            caller("a", "b", Some("c")),
            caller("a", "b", None),
            caller("a", "", Some("bc")),
        ];
        for (place, one) in callers.iter().enumerate() {
            for other in &callers[place + 1..] {
                assert_ne!(Key::of(one), Key::of(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn an_empty_email_is_no_email() {
        assert_eq!(
            Key::of(&caller("a", "b", Some(""))),
            Key::of(&caller("a", "b", None))
        );
    }
}
