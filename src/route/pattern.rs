//! Path patterns: literal segments, `*` within a segment, `**` for the rest.

/// A compiled pattern.
///
/// `/a/*/c` matches one segment in the middle, `/static/*.css` one that ends so, `/a/**`
/// everything below `/a` and `/a` itself. A pattern without `**` also matches with one slash
/// at its end, since most apps serve both alike. Matching is exact, also in case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    rest: bool,
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
            rest,
        }
    }

    /// The first segment when every match starts with it; `None` when any may come.
    pub(super) fn first_literal(&self) -> Option<&str> {
        match self.segments.first() {
            Some(Segment::Literal(text)) => Some(text),
            Some(Segment::Glob(_)) => None,
            None if self.rest => None,
            None => Some(""),
        }
    }

    /// Whether a canonical path matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut given = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in &self.segments {
            match given.next() {
                Some(text) if segment.matches(text) => {}
                _ => return false,
            }
        }
        self.rest || matches!((given.next(), given.next()), (None | Some(""), None))
    }
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
    fn first_segments_are_known_where_they_can_be() {
        assert_eq!(Pattern::new("/a/**").first_literal(), Some("a"));
        assert_eq!(Pattern::new("/").first_literal(), Some(""));
        assert_eq!(Pattern::new("/**").first_literal(), None);
        assert_eq!(Pattern::new("/*/b").first_literal(), None);
    }
}
