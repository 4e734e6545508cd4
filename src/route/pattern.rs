//! Path patterns: literal segments, `*` within a segment, `**` for the rest.

/// A compiled pattern.
///
/// `/a/*/c` matches one segment in the middle, `/static/*.css` one that ends so, `/a/**`
/// everything below `/a` and `/a` itself. A pattern without `**` also matches with one slash
/// at its end, since most apps serve both alike. Matching is exact, also in case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    end: End,
}

/// What may follow the segments.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Nothing.
    Nothing,
    /// Nothing, or one slash.
    Slash,
    /// Anything below, or nothing.
    Rest,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// The pieces between the stars of a segment; at least two.
    Glob(Vec<String>),
}

impl Pattern {
    /// Compiles a pattern that the configuration has checked.
    pub(super) fn new(pattern: &str) -> Self {
        let trimmed = pattern.trim_start_matches('/');
        let mut segments: Vec<&str> = trimmed.split('/').collect();
        let rest = segments.last() == Some(&"**");
        // A slash at the end of a pattern says no more than none.
        if rest || segments.last() == Some(&"") {
            segments.pop();
        }
        Self {
            segments: segments.into_iter().map(Segment::new).collect(),
            end: if rest { End::Rest } else { End::Slash },
        }
    }

    /// One path and no other, as our own endpoints have it.
    pub(super) fn exact(path: &str) -> Self {
        let segments = path.trim_start_matches('/').split('/');
        Self {
            segments: segments
                .map(|text| Segment::Literal(text.to_owned()))
                .collect(),
            end: End::Nothing,
        }
    }

    /// What every match starts with: the literal segments up to the first wildcard.
    pub(super) fn prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            let Segment::Literal(text) = segment else {
                break;
            };
            prefix.push('/');
            prefix.push_str(text);
        }
        prefix
    }

    /// Whether a canonical path matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut given = segments(path.strip_prefix('/').unwrap_or(path));
        for segment in &self.segments {
            match given.next() {
                Some(text) if segment.matches(text) => {}
                _ => return false,
            }
        }
        match self.end {
            End::Nothing => given.next().is_none(),
            End::Slash => matches!((given.next(), given.next()), (None | Some(""), None)),
            End::Rest => true,
        }
    }
}

/// What stands between the slashes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let slash = text.bytes().position(|byte| byte == b'/');
        rest = slash.and_then(|slash| text.get(slash + 1..));
        text.get(..slash.unwrap_or(text.len()))
    })
}

impl Segment {
    fn new(text: &str) -> Self {
        match text.contains('*') {
            false => Self::Literal(text.to_owned()),
            true => Self::Glob(text.split('*').map(str::to_owned).collect()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Glob(pieces) => !text.is_empty() && matches_glob(pieces, text),
        }
    }
}

/// The first piece starts the text, the last one ends it, the others follow one another.
fn matches_glob(pieces: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return false;
    };
    let Some(rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else {
        return false;
    };
    for piece in middle {
        match rest.find(piece.as_str()) {
            Some(place) => rest = &rest[place + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "/public",
                &["/public", "/public/"],
                &["/publicity", "/public/x", "/public//", "/Public", "/"],
            ),
            (
                "/public/**",
                &["/public", "/public/", "/public/a/b"],
                &["/publicity", "/x/public", "/"],
            ),
            ("/**", &["/", "/a", "/a/b"], &[]),
            ("/", &["/"], &["/a", "//"]),
            (
                "/a/*/c",
                &["/a/b/c", "/a/b/c/"],
                &["/a//c", "/a/c", "/a/b/b/c"],
            ),
            (
                "/s/*.css",
                &["/s/x.css"],
                &["/s/.css/x", "/s/x.css.map", "/s/x/y.css"],
            ),
            ("/v*-b*/x", &["/v1-b2/x", "/v-b/x"], &["/v1/x", "/w-b/x"]),
            ("/ab*ba", &["/abba", "/abxba"], &["/aba"]),
        ];
        for (pattern, good, bad) in cases {
            let compiled = Pattern::new(pattern);
            for path in *good {
                assert!(compiled.matches(path), "{pattern} should match {path}");
            }
            for path in *bad {
                assert!(!compiled.matches(path), "{pattern} should not match {path}");
            }
        }
    }

    #[test]
    fn an_exact_path_is_one_path() {
        let exact = Pattern::exact("/api/auth/verify");
        assert!(exact.matches("/api/auth/verify"));
        for other in ["/api/auth/verify/", "/api/auth", "/api/auth/verify/x", "/"] {
            assert!(!exact.matches(other), "{other}");
        }
    }

    #[test]
    fn prefixes_end_at_the_first_wildcard() {
        for (pattern, prefix) in [
            ("/a/b/**", "/a/b"),
            ("/", ""),
            ("/**", ""),
            ("/*/b", ""),
            ("/a/x*/b", "/a"),
        ] {
            assert_eq!(Pattern::new(pattern).prefix(), prefix, "{pattern}");
        }
    }
}
