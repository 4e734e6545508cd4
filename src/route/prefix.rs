//! What becomes of the front of a path on its way to the app.
//!
//! The rules were asked about the canonical path, and the bytes that came are forwarded, less those
//! that the prefix stood for: the rest is neither decoded nor encoded, so it has the one reading
//! that it was decided on.

use http::{HeaderName, HeaderValue};

use crate::config;
use crate::denial::{Denial, Reason};
use crate::head::{Head, Target};

/// What the app is told that was taken off.
static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What a route takes off the front of a path, and puts in front of it.
#[derive(Debug)]
pub struct Prefix {
    strip: Box<str>,
    add: Box<str>,
}

impl Prefix {
    /// `None` where paths stay as they are.
    pub(super) fn new(settings: &config::Prefix) -> Option<Self> {
        (!settings.is_empty()).then(|| Self {
            strip: settings.strip.as_str().into(),
            add: settings.add.as_str().into(),
        })
    }

    /// Changes the target of an admitted request, and tells the app what was taken off.
    ///
    /// # Errors
    /// `BadPath` when what is left would begin with two slashes: to many it names a host.
    pub fn apply(&self, head: &mut Head) -> Result<(), Denial> {
        let path = head.target.path();
        let rest = self.rest(path).ok_or_else(|| {
            Denial::new(
                Reason::Internal,
                "the path does not begin with the route's `strip_prefix`",
            )
        })?;
        if rest.starts_with("//") {
            return Err(Denial::new(
                Reason::BadPath,
                "two slashes after the route's `strip_prefix`",
            ));
        }
        let slash = if rest.is_empty() && self.add.is_empty() {
            "/"
        } else {
            ""
        };
        let query = head.target.query().map(|query| format!("?{query}"));
        let query = query.unwrap_or_default();
        let target = format!("{}{rest}{slash}{query}", self.add);
        head.target = Target::parse(&target)
            .ok_or_else(|| Denial::new(Reason::Internal, "a path that is none was made"))?;
        self.tell(head);
        Ok(())
    }

    /// The bytes after the prefix: nothing, or from a slash on.
    fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = match path.strip_prefix(&*self.strip) {
            Some(rest) => rest,
            None => &path[escaped_length(path.as_bytes(), self.strip.as_bytes())?..],
        };
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Proxies before us may have taken off something too; whoever is not trusted was not heard.
    fn tell(&self, head: &mut Head) {
        if self.strip.is_empty() {
            return;
        }
        let before = head.fields.get(&X_FORWARDED_PREFIX).unwrap_or_default();
        let told = [before, self.strip.as_bytes()].concat();
        if let Ok(told) = HeaderValue::from_bytes(&told) {
            head.fields.insert(&X_FORWARDED_PREFIX, &told);
        }
    }
}

/// How many bytes of a path stand for a prefix, where somebody has escaped what needs no escape, or
/// has written escapes in lower case.
fn escaped_length(path: &[u8], prefix: &[u8]) -> Option<usize> {
    let mut place = 0;
    let mut wanted = prefix;
    while let Some(&byte) = wanted.first() {
        let came = path.get(place..)?;
        let (taken, stood_for) = match (byte, came) {
            (b'%', _) => {
                let same = came.get(..3)?.eq_ignore_ascii_case(wanted.get(..3)?);
                same.then_some((3, 3))?
            }
            (_, [first, ..]) if *first == byte => (1, 1),
            // A slash that is escaped is none.
            (_, [b'%', high, low, ..]) if byte != b'/' => {
                let value = 16 * hex(*high)? + hex(*low)?;
                (value == u32::from(byte)).then_some((3, 1))?
            }
            _ => return None,
        };
        place += taken;
        wanted = &wanted[stood_for..];
    }
    Some(place)
}

fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::canonical_path;

    fn changed(strip: &str, add: &str, target: &str) -> Result<String, Reason> {
        let prefix = Prefix {
            strip: strip.into(),
            add: add.into(),
        };
        let mut head = Head::parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        let applied = prefix.apply(&mut head);
        applied.map_err(|denial| denial.reason)?;
        Ok(head.target.path_and_query().to_owned())
    }

    #[test]
    fn the_rest_is_the_bytes_that_came() {
        for (strip, add, target, wanted) in [
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/api?q=/api", "/?q=/api"),
            ("/api", "", "/api/users?x", "/users?x"),
            ("/api", "", "/api/api", "/api"),
            ("/api", "/v2", "/api", "/v2"),
            ("/api", "/v2", "/api/", "/v2/"),
            ("/api", "/v2", "/api/a/%62?%2F", "/v2/a/%62?%2F"),
            ("", "/v2", "/a", "/v2/a"),
            ("/a/b", "", "/%61/%62/%63%2Fd", "/%63%2Fd"),
            ("/caf%C3%A9", "", "/caf%c3%a9/x", "/x"),
        ] {
            let changed = changed(strip, add, target);
            assert_eq!(changed.as_deref(), Ok(wanted), "{target}");
        }
    }

    #[test]
    fn what_would_name_a_host_or_is_not_below_is_refused() {
        for target in ["/api//evil.test", "/%61pi//evil.test", "/api//"] {
            assert_eq!(
                changed("/api", "", target),
                Err(Reason::BadPath),
                "{target}"
            );
            assert_eq!(
                changed("/api", "/v2", target),
                Err(Reason::BadPath),
                "{target}"
            );
        }
        for target in ["/apix", "/ap", "/", "/x/api", "/api%2Fx"] {
            assert_eq!(
                changed("/api", "", target),
                Err(Reason::Internal),
                "{target}"
            );
        }
    }

    proptest! {
        /// The app reads what was decided on, less the prefix, whatever the escapes.
        #[test]
        fn the_rest_has_the_reading_that_was_decided_on(
            front in "/(a|%61)(p|%70)(i|%69)",
            rest in "(/([a-c.;]|%6[1-3]|%2[Ff]|%c3%a9){1,6}){0,4}",
        ) {
            let path = format!("{front}{rest}");
            if let Ok(decided) = canonical_path(&path) {
                let wanted = decided.text.strip_prefix("/api").unwrap();
                let wanted = if wanted.is_empty() { "/" } else { wanted };
                let forwarded = changed("/api", "", &path).unwrap();
                let read = canonical_path(&forwarded).unwrap();
                prop_assert_eq!(&*read.text, wanted);
            }
        }
    }
}
