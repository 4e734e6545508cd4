//! What an app is told about its caller, for proxies that tell it in usher's place.

use http::HeaderName;

use crate::config::IdentityHeader;
use crate::fields::Fields;
use crate::gate::Admission;
use crate::headers::X_USER_PROVISIONED;
use crate::upstream::Upstream;

/// What a yes has beside: room for so many fields, of so many bytes, or it grows.
const MORE: usize = 4;
const LINE: usize = 64;

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

    /// What the app is told about who was admitted.
    pub fn said(&self, upstream: &Upstream, admission: &Admission) -> Fields {
        let mut lines = Vec::with_capacity((self.names.len() + MORE) * LINE);
        upstream.announce(admission, &mut lines);
        Fields::of_lines(lines, self.names.len() + MORE)
    }

    /// The identity headers of which nothing is said. A proxy that removes them, and sets the others,
    /// leaves none that a client has sent.
    pub fn missing<'a>(&'a self, said: &'a Fields) -> impl Iterator<Item = &'a HeaderName> {
        self.names.iter().filter(|name| !said.contains(name))
    }

    /// Sets these to nothing, for a proxy that overwrites what it is told and removes nothing.
    pub fn empty_others(&self, said: &mut Fields) {
        for name in &self.names {
            if !said.contains(name) {
                said.append_read(name, b"");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderSource;

    #[test]
    fn every_header_is_said_or_missing() {
        let header = |name| IdentityHeader {
            name: HeaderName::from_static(name),
            value: HeaderSource::Claim("id".into()),
        };
        let announced = Announced::new(&[header("x-a"), header("x-b")]);
        let mut said = Fields::of_lines(b"x-b: 1: 2\r\nx-c: 3\r\n".to_vec(), 4);
        let values: Vec<_> = said.iter().collect();
        assert_eq!(values, [(&b"x-b"[..], &b"1: 2"[..]), (b"x-c", b"3")]);
        let missing: Vec<_> = announced.missing(&said).collect();
        assert_eq!(missing, ["x-a", "x-user-provisioned"]);
        announced.empty_others(&mut said);
        assert_eq!(announced.missing(&said).count(), 0);
        assert_eq!(
            said.iter().last(),
            Some((&b"x-user-provisioned"[..], &b""[..]))
        );
    }
}
