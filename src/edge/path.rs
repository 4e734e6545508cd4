//! One canonical path, or none.
//!
//! What is decided on is what is forwarded: the bytes that go to the app are the bytes that
//! came, and the rules are asked about the one reading that every app makes of them. A path
//! that two apps could read differently is refused rather than repaired.

use std::borrow::Cow;

use crate::denial::{Denial, Reason};

/// A path that has one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The path with escapes of printable ASCII undone, save for those that carry meaning
    /// (`%2F`, `%3B`, `%3F`, `%23`, `%25`, `%20`); other escapes in upper case.
    pub text: Cow<'a, str>,
    /// Whether it holds `%2F`, `;` or an empty segment, which only some routes let through.
    pub opaque: bool,
}

/// Reads the path of a request target.
///
/// # Errors
/// `BadPath` for dot segments in any encoding, backslashes, control characters, broken
/// escapes, and bytes that are not UTF-8.
pub fn canonical(raw: &str) -> Result<Path<'_>, Denial> {
    if !raw.starts_with('/') {
        return Err(refused("the path does not start with a slash"));
    }
    if is_plain(raw) {
        let text = Cow::Borrowed(raw);
        let opaque = false;
        return Ok(Path { text, opaque });
    }
    let text = match raw.bytes().any(|byte| byte == b'%') {
        false => Cow::Borrowed(raw),
        true => Cow::Owned(decode(raw)?),
    };
    let opaque = inspect(&text)?;
    Ok(Path { text, opaque })
}

/// Whether a path holds nothing that needs a second look: its bytes mean themselves, and no
/// segment but the last is empty.
fn is_plain(raw: &str) -> bool {
    let mut slash = false;
    raw.bytes().all(|byte| {
        let repeated = slash;
        slash = byte == b'/';
        PLAIN[usize::from(byte)] | (slash & !repeated)
    })
}

/// The unreserved characters of RFC 3986 §2.3 but for the dot.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// Undoes the escapes that may be undone and checks the rest.
fn decode(raw: &str) -> Result<String, Denial> {
    let mut text = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    let mut encoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            flush(&mut encoded, &mut text)?;
            text.push(char::from(byte));
            continue;
        }
        let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
            return Err(refused("an escape is broken"));
        };
        let value = high * 16 + low;
        if value >= 0x80 {
            encoded.push(value);
            continue;
        }
        flush(&mut encoded, &mut text)?;
        match value {
            0..=0x1f | 0x7f => return Err(refused("an escaped control character")),
            b'\\' => return Err(refused("an escaped backslash")),
            b' ' | b'/' | b';' | b'?' | b'#' | b'%' => push_escape(&mut text, value),
            _ => text.push(char::from(value)),
        }
    }
    flush(&mut encoded, &mut text)?;
    Ok(text)
}

/// Writes a run of escaped bytes outside ASCII back, if together they are UTF-8.
fn flush(encoded: &mut Vec<u8>, text: &mut String) -> Result<(), Denial> {
    if encoded.is_empty() {
        return Ok(());
    }
    if std::str::from_utf8(encoded).is_err() {
        return Err(refused("escaped bytes that are not UTF-8"));
    }
    for value in encoded.drain(..) {
        push_escape(text, value);
    }
    Ok(())
}

fn push_escape(text: &mut String, value: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(HEX[usize::from(value >> 4)]));
    text.push(char::from(HEX[usize::from(value & 15)]));
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

/// Checks a decoded path byte by byte; tells whether it is opaque.
fn inspect(text: &str) -> Result<bool, Denial> {
    let bytes = text.as_bytes();
    let mut opaque = false;
    let mut start = 1;
    for (place, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'/' => {
                check_segment(&bytes[start..place])?;
                opaque |= start == place;
                start = place + 1;
            }
            b';' => opaque = true,
            b'%' => {
                opaque |= matches!(
                    &bytes[place + 1..],
                    [b'2', b'F' | b'3', ..] | [b'3', b'B', ..]
                )
            }
            b'\\' => return Err(refused("a backslash")),
            0..=0x20 | 0x7f.. => return Err(refused("a byte that must be escaped")),
            _ => {}
        }
    }
    check_segment(&bytes[start..])?;
    Ok(opaque)
}

/// Refuses `.` and `..`, also where an app that splits at `;` or an escaped slash would see one.
fn check_segment(segment: &[u8]) -> Result<(), Denial> {
    if !segment.contains(&b'.') {
        return Ok(());
    }
    let mut rest = segment;
    loop {
        let end = rest
            .iter()
            .enumerate()
            .position(|(place, byte)| *byte == b';' || is_escaped_separator(&rest[place..]))
            .unwrap_or(rest.len());
        if matches!(&rest[..end], b"." | b"..") {
            return Err(refused("a dot segment"));
        }
        match rest.get(end) {
            None => return Ok(()),
            Some(b';') => rest = &rest[end + 1..],
            Some(_) => rest = &rest[end + 3..],
        }
    }
}

fn is_escaped_separator(rest: &[u8]) -> bool {
    rest.starts_with(b"%2F") || rest.starts_with(b"%3B")
}

fn refused(detail: &'static str) -> Denial {
    Denial::new(Reason::BadPath, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(raw: &str) -> Option<(String, bool)> {
        canonical(raw)
            .ok()
            .map(|path| (path.text.into_owned(), path.opaque))
    }

    #[test]
    fn plain_paths_are_themselves() {
        for raw in [
            "/",
            "/a",
            "/a/",
            "/a.b/..c/c..",
            "/a:b@c,d=e&f!$'()*+~",
            "/...",
        ] {
            assert_eq!(text(raw), Some((raw.into(), false)), "{raw}");
        }
    }

    #[test]
    fn escapes_of_printable_ascii_are_undone() {
        let cases = [
            ("/%61dmin", "/admin"),
            ("/pu%62lic/%7Ex", "/public/~x"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a%3fb", "/a%3Fb"),
            ("/%2561", "/%2561"),
            ("/%40me", "/@me"),
        ];
        for (raw, wanted) in cases {
            assert_eq!(text(raw), Some((wanted.into(), false)), "{raw}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for raw in [
            "",
            "a",
            "*",
            "/.",
            "/..",
            "/./a",
            "/a/./b",
            "/a/..",
            "/a/../b",
            "/%2e",
            "/%2e%2E/a",
            "/.%2e",
            "/a/%2e./b",
            "/\\a",
            "/%5c",
            "/%5Ca",
            "/%00",
            "/%0a",
            "/%0d%0a",
            "/%7f",
            "/%09",
            "/%",
            "/a%2",
            "/%zz",
            "/%c0%af",
            "/%ff",
            "/%c3",
            "/%c3/%a9",
            "/é",
            "/a b",
            "/a\tb",
            "/..;/a",
            "/a/..;x=1/b",
            "/..%2fa",
            "/a%2f..%2fb",
            "/a%2F..",
            "/..%3b/a",
            "/.%2Fa",
            "/%2e%2e%2f",
        ] {
            assert_eq!(text(raw), None, "{raw}");
        }
    }

    #[test]
    fn opaque_paths_are_told_apart() {
        for raw in [
            "/a%2fb", "/a%2Fb", "/a;x=1", "/a%3bx", "//", "//a", "/a//b", "/a//", "/a%23b",
        ] {
            assert!(text(raw).is_some_and(|(_, opaque)| opaque), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(raw in "\\PC*") {
            let _ = canonical(&raw);
        }

        /// Reading a canonical path again changes nothing, so there is no second reading.
        #[test]
        fn canonical_paths_are_stable(raw in "/([a-c./;%]|%2[eEfF5]|%6[1-3]|%3[bB]|%c3%a9){0,24}") {
            if let Ok(path) = canonical(&raw) {
                let again = canonical(&path.text).unwrap();
                prop_assert_eq!(&again.text, &path.text);
                prop_assert_eq!(again.opaque, path.opaque);
            }
        }

        /// No path that resolves to another one by dot segments is accepted.
        #[test]
        fn no_dot_segment_survives(raw in "/([ab./]|%2[eEfF]){0,16}") {
            if let Ok(path) = canonical(&raw) {
                let decoded = path.text.replace("%2F", "/");
                prop_assert!(decoded.split('/').all(|s| s != "." && s != ".."));
            }
        }
    }
}
