//! Path patterns: what may be written, and which covers which.

/// What is wrong, and what to do.
type Wrong = (&'static str, &'static str);

/// Checks the path of an endpoint: absolute and canonical.
pub(super) fn check_path(path: &str) -> Result<(), Wrong> {
    if !path.starts_with('/') {
        return Err((
            "does not start with `/`",
            "Write the whole path, such as `/api/auth/verify`.",
        ));
    }
    if path.contains(['?', '#']) {
        return Err(("has a query or fragment", "Write the path alone."));
    }
    if path.contains("//") {
        return Err((
            "has an empty segment",
            "Write one `/`: requests with `//` are refused.",
        ));
    }
    if path.contains([';', '\\']) {
        return Err((
            "has `;` or `\\`, which apps read in different ways",
            "Remove it: requests with it are refused.",
        ));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(("has a dot segment", "Write the path it leads to."));
    }
    if path
        .bytes()
        .any(|b| !b.is_ascii_graphic() || b"\"<>^`{|}".contains(&b))
    {
        return Err((
            "has characters that a path cannot hold",
            "Write them percent-encoded, as they stand in a request.",
        ));
    }
    check_escapes(path)
}

/// Escapes must be whole, upper case, and only of what cannot stand for itself.
fn check_escapes(path: &str) -> Result<(), Wrong> {
    for escape in path.split('%').skip(1) {
        let Some(byte) = escape.get(..2).and_then(hex) else {
            return Err((
                "has `%` without two hex digits",
                "Write `%25` for the character itself.",
            ));
        };
        if escape[..2].bytes().any(|b| b.is_ascii_lowercase()) {
            return Err((
                "has a lower-case escape",
                "Write it in upper case, such as `%C3`.",
            ));
        }
        if b"/\\;".contains(&byte) || byte.is_ascii_control() {
            return Err((
                "has an encoded separator or control character",
                "Remove it: requests with it are refused, or pass as they are with `paths: opaque`.",
            ));
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return Err((
                "has an escape that is not needed",
                "Write the character itself.",
            ));
        }
    }
    Ok(())
}

/// Two hex digits; unlike the library's, without a sign.
fn hex(digits: &str) -> Option<u8> {
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Checks the pattern of a route.
pub(super) fn check(pattern: &str) -> Result<(), Wrong> {
    check_path(pattern)?;
    let below = pattern.strip_suffix("/**").unwrap_or(pattern);
    if below.contains("**") {
        return Err((
            "has `**` that is not the whole last segment",
            "Write `/api/**` for everything below, or `*` for anything within one segment.",
        ));
    }
    Ok(())
}

/// Whether everything that matches `later` matches `earlier` too. Says no when unsure.
pub(super) fn covers(earlier: &str, later: &str) -> bool {
    let everything_below = |earlier: &str| {
        earlier.strip_suffix("**").is_some_and(|folder| {
            !folder.contains('*') && later.starts_with(folder) && later != folder
        })
    };
    earlier == later || everything_below(earlier)
}

/// Whether one of two patterns stands below the fixed beginning of the other.
pub(super) fn overlap(left: &str, right: &str) -> bool {
    let (left, right) = (fixed(left), fixed(right));
    left.iter().zip(&right).all(|(left, right)| left == right)
}

/// The segments before the first that varies.
fn fixed(pattern: &str) -> Vec<&str> {
    pattern
        .split('/')
        .skip(1)
        .take_while(|segment| !segment.contains('*'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_canonical_paths_with_stars() {
        for good in [
            "/",
            "/a",
            "/a/",
            "/a/*",
            "/a/*.js",
            "/**",
            "/a/**",
            "/a/*/b",
            "/caf%C3%A9",
            "/a-b.c~d/@x:y",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "**",
            "/a/../b",
            "/.",
            "/a//b",
            "/a;b",
            "/a\\b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5Cb",
            "/a%3Bb",
            "/%2e%2e/a",
            "/a?b",
            "/a#b",
            "/a b",
            "/é",
            "/a%",
            "/a%zz",
            "/a%é",
            "/%c3",
            "/%61",
            "/a/**/b",
            "/a**",
            "/**a",
            "/a/***",
            "/%00",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn covering() {
        assert!(covers("/a", "/a"));
        assert!(covers("/**", "/a"));
        assert!(covers("/a/**", "/a/b"));
        assert!(covers("/a/**", "/a/*/c"));
        assert!(!covers("/a/**", "/ab"));
        assert!(!covers("/a/**", "/a/"));
        assert!(!covers("/a/**", "/a"));
        assert!(!covers("/a/*", "/a/b"));
    }

    #[test]
    fn overlapping() {
        assert!(overlap("/a/**", "/a/b/c"));
        assert!(overlap("/**", "/a"));
        assert!(overlap("/a/*/c", "/a/b/**"));
        assert!(!overlap("/a/**", "/b/**"));
        assert!(!overlap("/a/**", "/ab/**"));
    }
}
