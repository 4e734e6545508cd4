//! What an app is told about its caller, for proxies that tell it in usher's place.

use http::HeaderName;

use crate::config::IdentityHeader;
use crate::headers::X_USER_PROVISIONED;

/// The names of all identity headers.
#[derive(Debug)]
pub struct Announced {
    names: Vec<HeaderName>,
}

impl Announced {
    /// The configured headers, and the one that says that a user is still to come.
    pub fn new(headers: &[IdentityHeader]) -> Self {
        let configured = headers.iter().map(|header| header.name.clone());
        let mut names: Vec<_> = configured.collect();
        if !names.contains(&X_USER_PROVISIONED) {
            names.push(X_USER_PROVISIONED);
        }
        Self { names }
    }

    /// Every identity header with what `lines` of a head say of it; `None` where they say
    /// nothing. A proxy that sets all of them leaves none that a client has sent.
    pub fn headers<'a>(
        &'a self,
        lines: &'a [u8],
    ) -> impl Iterator<Item = (&'a HeaderName, Option<&'a str>)> {
        let mut said = Vec::with_capacity(self.names.len());
        said.extend(pairs(str::from_utf8(lines).unwrap_or_default()));
        self.names.iter().map(move |name| {
            let pair = said.iter().find(|(found, _)| *found == name.as_str());
            (name, pair.map(|(_, value)| *value))
        })
    }
}

/// Names and values, as lines of a head have them.
fn pairs(mut lines: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\r', lines.as_bytes())?;
        let (line, rest) = lines.split_at_checked(end)?;
        lines = rest.get(2..)?;
        let colon = memchr::memchr(b':', line.as_bytes())?;
        Some((line.get(..colon)?, line.get(colon + 2..)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderSource;

    #[test]
    fn every_header_is_there_with_its_value_or_without() {
        let header = |name| IdentityHeader {
            name: HeaderName::from_static(name),
            value: HeaderSource::Claim("id".into()),
        };
        let announced = Announced::new(&[header("x-a"), header("x-b")]);
        let headers: Vec<_> = announced.headers(b"x-b: 1: 2\r\nx-c: 3\r\n").collect();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        assert_eq!(
            headers,
            [
                ("x-a", None),
                ("x-b", Some("1: 2")),
                ("x-user-provisioned", None)
            ]
        );
    }
}
