//! Whose a token is that says nothing by itself.

use super::jws;
use crate::config::{Issuer, KeySource};

/// The issuers that are asked about opaque tokens, the longest prefix first.
#[derive(Debug)]
pub(super) struct Opaque(Vec<(Box<str>, usize)>);

impl Opaque {
    /// Those of the configuration; one without prefixes gets what no prefix fits.
    pub(super) fn new(issuers: &[Issuer]) -> Self {
        let mut all: Vec<(Box<str>, usize)> = Vec::new();
        for (place, issuer) in issuers.iter().enumerate() {
            let KeySource::Introspection(settings) = &issuer.keys else {
                continue;
            };
            if settings.prefixes.is_empty() {
                all.push(("".into(), place));
            }
            let prefixes = settings.prefixes.iter();
            all.extend(prefixes.map(|prefix| (prefix.as_str().into(), place)));
        }
        all.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self(all)
    }

    /// Whether nobody is asked about anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose the token is, if it is opaque and somebody's. A JWT is never opaque: it names its
    /// issuer itself.
    pub(super) fn choose(&self, token: &str) -> Option<usize> {
        if self.is_empty() || jws::is_one(token) {
            return None;
        }
        let mut fitting = self.0.iter();
        let (_, place) = fitting.find(|(prefix, _)| token.starts_with(&**prefix))?;
        Some(*place)
    }
}
