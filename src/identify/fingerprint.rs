//! A name for a token that may be logged.

use std::fmt;

use aws_lc_rs::digest::{self, Digest};

use super::jws;

/// The first half of the SHA-256 of a token: of a JWT without its signature, of any other whole.
///
/// It names the same token in every log line, and nobody can make a token from it. The
/// signature is left out because an ECDSA signature has a second valid spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

/// The fingerprint of `token`, which may be anything that was sent as one. What is no JWT is
/// opaque, and counts whole: its last part may be all that is its own.
pub fn fingerprint(token: impl AsRef<[u8]>) -> Fingerprint {
    let token = token.as_ref();
    let is_jwt = str::from_utf8(token).is_ok_and(jws::is_one);
    let named = match token.iter().rposition(|byte| *byte == b'.') {
        Some(last) if is_jwt => &token[..last],
        _ => token,
    };
    Fingerprint::of(&digest::digest(&digest::SHA256, named))
}

impl Fingerprint {
    /// From the SHA-256 of what names a token.
    pub(super) fn of(sha256: &Digest) -> Self {
        Self(sha256.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Its bytes, which its digits spell.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", data_encoding::HEXLOWER.encode_display(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_does_not_count() {
        assert_eq!(fingerprint("e30.b.c"), fingerprint("e30.b.d"));
        assert_ne!(fingerprint("e30.b.c"), fingerprint("e30.c.c"));
        assert_ne!(fingerprint("a.b"), fingerprint("a.c"));
        assert_ne!(fingerprint("a.b.c.d.e"), fingerprint("a.b.c.d.f"));
        assert_eq!(fingerprint("").to_string().len(), 32);
    }

    #[test]
    fn an_opaque_token_counts_whole() {
        assert_ne!(fingerprint("v2.local.c"), fingerprint("v2.local.d"));
        let whole = digest::digest(&digest::SHA256, b"gho_16C7e42F292c6912E7");
        let half = data_encoding::HEXLOWER.encode(&whole.as_ref()[..16]);
        assert_eq!(fingerprint("gho_16C7e42F292c6912E7").to_string(), half);
    }
}
