//! What is revoked, under a name of 16 bytes.

use std::fmt;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

/// Names what is revoked.
///
/// It is the first half of a SHA-256, so neither a user's id nor a token's leaves the process
/// with it, and everything takes as much room. A fingerprint is its own mark.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark([u8; 16]);

/// What a token says, as far as it can be revoked by it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The configured name of its issuer.
    pub issuer: &'a str,
    /// The user's id within the issuer.
    pub id: &'a str,
    /// Its name in logs.
    pub fingerprint: [u8; 16],
    /// The claim `jti`.
    pub jti: Option<&'a str>,
    /// The claim `sid`.
    pub session: Option<&'a str>,
    /// The name of the key that made it.
    pub key: Option<&'a str>,
    /// The claim `iat`, in seconds since 1970.
    pub issued: Option<i64>,
}

/// The marks of a token, made once when it is verified.
#[derive(Clone, Debug)]
pub struct Marks {
    always: [Mark; 3],
    some: [Option<Mark>; 3],
    pub(super) issued: Option<i64>,
}

impl Marks {
    /// Of what a token says.
    pub fn of(said: &Said<'_>) -> Self {
        let issuer = said.issuer;
        Self {
            always: [
                Mark::of_fingerprint(said.fingerprint),
                Mark::of_user(issuer, said.id),
                Mark::of_issuer(issuer),
            ],
            some: [
                said.jti.map(|jti| Mark::of_token(issuer, jti)),
                said.session
                    .map(|session| Mark::of_session(issuer, session)),
                said.key.map(|key| Mark::of_key(issuer, key)),
            ],
            issued: said.issued,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Mark> {
        self.always.iter().chain(self.some.iter().flatten())
    }
}

impl Mark {
    /// One token, by its `jti`.
    pub fn of_token(issuer: &str, jti: &str) -> Self {
        Self::hashed("jti", issuer, jti)
    }

    /// One token, by its fingerprint.
    pub const fn of_fingerprint(fingerprint: [u8; 16]) -> Self {
        Self(fingerprint)
    }

    /// Every token of a user.
    pub fn of_user(issuer: &str, id: &str) -> Self {
        Self::hashed("user", issuer, id)
    }

    /// Every token of a session.
    pub fn of_session(issuer: &str, session: &str) -> Self {
        Self::hashed("sid", issuer, session)
    }

    /// Every token made with a key.
    pub fn of_key(issuer: &str, kid: &str) -> Self {
        Self::hashed("kid", issuer, kid)
    }

    /// Every token of an issuer.
    pub fn of_issuer(issuer: &str) -> Self {
        Self::hashed("issuer", issuer, "")
    }

    /// As [`fmt::Display`] writes it; capitals too, since people paste.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn halves(self) -> (u64, u64) {
        let whole = u128::from_be_bytes(self.0);
        #[expect(clippy::cast_possible_truncation, reason = "each half is cut out")]
        let (high, low) = ((whole >> 64) as u64, whole as u64);
        // An empty place has 0 there. Nobody finds a mark that begins with it.
        (high.max(1), low)
    }

    pub(super) fn of_halves(high: u64, low: u64) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }

    /// Each part with its length, so that no two ways to cut a text meet.
    fn hashed(kind: &str, issuer: &str, name: &str) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in ["usher revocation", kind, issuer, name] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finish();
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", HEXLOWER.encode_display(&self.0))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
