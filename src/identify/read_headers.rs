//! The headers of tokens that were read last.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::jws::{self, Header};
use crate::denial::Denial;

/// How many there are: the tokens of one key share a header, and few issuers have more than two keys.
const MAX_HEADERS: usize = 64;

/// The longest that is kept, encoded.
const MAX_BYTES: usize = 256;

/// What headers say, by how they are encoded.
///
/// A header is kept before anybody knows whether its token is good: what it says is the same either way.
pub(super) struct ReadHeaders(Cache<Box<str>, Arc<Header>>);

impl ReadHeaders {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_HEADERS))
    }

    /// What the segment says, as [`jws::header`] reads it.
    pub(super) fn read(&self, segment: &str) -> Result<Arc<Header>, Denial> {
        if let Some(header) = self.0.get(segment) {
            return Ok(header);
        }
        let header = Arc::new(jws::header(segment)?);
        if segment.len() <= MAX_BYTES {
            self.0.insert(segment.into(), header.clone());
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_no_more() {
        let headers = ReadHeaders::new();
        let encoded = |kid: &str| {
            let json = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
            BASE64URL_NOPAD.encode(json.as_bytes())
        };
        let first = headers.read(&encoded("0")).unwrap();
        assert_eq!(first.kid.as_deref(), Some("0"));
        assert!(Arc::ptr_eq(&first, &headers.read(&encoded("0")).unwrap()));
        for n in 0..10 * MAX_HEADERS {
            let kid = n.to_string();
            let header = headers.read(&encoded(&kid)).unwrap();
            assert_eq!(header.kid, Some(kid));
        }
        assert!(headers.0.len() <= MAX_HEADERS);
    }

    #[test]
    fn long_ones_and_bad_ones_are_not_kept() {
        let headers = ReadHeaders::new();
        let long = format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(MAX_BYTES));
        headers
            .read(&BASE64URL_NOPAD.encode(long.as_bytes()))
            .unwrap();
        assert!(headers.read("e30").is_err());
        assert!(headers.read("e30").is_err());
        assert_eq!(headers.0.len(), 0);
    }
}
