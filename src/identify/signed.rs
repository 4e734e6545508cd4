//! What the signature of a token is made over.

use std::cell::OnceCell;

use aws_lc_rs::digest::{self, Digest};

/// The first two segments of a JWS with the dot between (RFC 7515 §5.2).
///
/// Their SHA-256 is what most algorithms verify, and the token's name in logs: it is made once for both.
pub(super) struct Signed<'a> {
    text: &'a str,
    sha256: OnceCell<Digest>,
}

impl<'a> Signed<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            sha256: OnceCell::new(),
        }
    }

    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub(super) fn sha256(&self) -> &Digest {
        let make = || digest::digest(&digest::SHA256, self.bytes());
        self.sha256.get_or_init(make)
    }
}
