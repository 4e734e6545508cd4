//! Who is calling, as the token says.

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::user::Known;

/// The verified (issuer, id) and the claims that somebody asked for.
///
/// Only `identify` builds one from a token; it is kept in the cache of verified tokens, so
/// everything here has been checked once and costs a request nothing but a clone.
#[derive(Debug)]
pub struct Identity {
    /// The configured name of the issuer.
    pub issuer: std::sync::Arc<str>,
    /// The user's id, and the identity headers.
    pub words: Words,
    /// The values of the claims that are used, by [`Slot`].
    pub kept: Box<[Option<Value>]>,
    /// The certificate that the token is bound to (RFC 8705 §3): it is good for nobody else.
    pub holder: Option<Box<Thumbprint>>,
    /// What `users` found when it was asked for this caller.
    pub known: ArcSwapOption<Known>,
}

/// An id, and behind it the lines of identity headers. They share one piece of memory, since a cache
/// holds a hundred thousand of them.
#[derive(Debug)]
pub struct Words {
    text: Box<str>,
    id_bytes: usize,
}

impl Words {
    /// Joins them.
    pub fn join(id: &str, lines: &str) -> Self {
        Self {
            text: [id, lines].concat().into_boxed_str(),
            id_bytes: id.len(),
        }
    }

    fn split(&self) -> (&str, &str) {
        self.text.split_at(self.id_bytes)
    }

    /// What it takes beside itself, in bytes.
    pub fn heap(&self) -> usize {
        self.text.len()
    }
}

/// The SHA-256 of a certificate in DER, by which a token names its holder (RFC 8705 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// As a token spells it: base64url without padding; `None` if that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

/// The place of a claim among those that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) usize);

impl Identity {
    /// The value of a kept claim.
    pub fn claim(&self, slot: Slot) -> Option<&Value> {
        self.kept.get(slot.0).and_then(Option::as_ref)
    }

    /// The user's id within the issuer: not empty, not padded, no control characters.
    pub fn id(&self) -> &str {
        self.words.split().0
    }

    /// The identity headers as they are sent: lines of a head, each with its end. A header
    /// whose claim the token has not is left out.
    pub fn lines(&self) -> &str {
        self.words.split().1
    }

    /// Names and values of the identity headers that are there.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.lines().lines();
        lines.filter_map(|line| line.split_once(": "))
    }
}

/// Where a token says who its user is.
#[derive(Clone, Copy, Debug)]
pub struct CallerClaims {
    /// The id as the token spells it: a string, or an integer.
    pub id: Slot,
    /// The e-mail.
    pub email: Slot,
    /// The display name.
    pub name: Slot,
    /// Whether the e-mail was verified.
    pub email_verified: Slot,
}

impl CallerClaims {
    /// The slots, so that the claims are kept.
    pub fn new(kept: &mut Kept) -> Self {
        Self {
            id: kept.slot("id"),
            email: kept.slot("email"),
            name: kept.slot("name"),
            email_verified: kept.slot("email_verified"),
        }
    }
}

/// The claims that headers, rules and endpoints use, by name; each has a [`Slot`].
///
/// Collected once at start, so that a verified token keeps nothing that nobody reads.
#[derive(Clone, Debug, Default)]
pub struct Kept(Vec<String>);

impl Kept {
    /// The slot of `name`, which is a name in an issuer's `claims` or a claim itself.
    pub fn slot(&mut self, name: &str) -> Slot {
        if let Some(place) = self.0.iter().position(|known| known == name) {
            return Slot(place);
        }
        self.0.push(name.to_owned());
        Slot(self.0.len() - 1)
    }

    /// All names, by slot.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}
