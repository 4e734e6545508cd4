//! A name for a token that may be logged.

use std::fmt;

use aws_lc_rs::digest;

/// The first half of the SHA-256 of a token without its signature.
///
/// It names the same token in every log line, and nobody can make a token from it. The
/// signature is left out because an ECDSA signature has a second valid spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

/// The fingerprint of `token`, which may be anything that was sent as one.
pub fn fingerprint(token: impl AsRef<[u8]>) -> Fingerprint {
    let token = token.as_ref();
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    let signed = match token.iter().rposition(|byte| *byte == b'.') {
        Some(last) if dots == 2 => &token[..last],
        _ => token,
    };
    of_signed(signed)
}

/// The fingerprint of a token of three segments, from the first two of them.
pub(super) fn of_signed(signed: &[u8]) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, signed);
    Fingerprint(digest.as_ref().first_chunk().copied().unwrap_or_default())
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
        assert_eq!(fingerprint("a.b.c"), fingerprint("a.b.d"));
        assert_ne!(fingerprint("a.b.c"), fingerprint("a.c.c"));
        assert_ne!(fingerprint("a.b"), fingerprint("a.c"));
        assert_ne!(fingerprint("a.b.c.d.e"), fingerprint("a.b.c.d.f"));
        assert_eq!(fingerprint("").to_string().len(), 32);
    }
}
