//! Single cookies in `Cookie` lines (RFC 6265 §4.2), found and taken out.

use http::HeaderValue;
use http::header::COOKIE;

use crate::fields::Fields;

/// The values of all cookies named `name`, over all lines: several lines are one list.
pub fn values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = fields.get_all(&COOKIE);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| value(pair, name))
}

/// The value, if the pair has this name.
fn value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let place = pair.iter().position(|byte| *byte == b'=')?;
    let (found, value) = pair.split_at_checked(place)?;
    let value = value.get(1..).unwrap_or_default();
    (found.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}

/// Takes out every cookie named `name`; what else the lines hold stays byte for byte.
pub fn remove(fields: &mut Fields, name: &str) {
    if values(fields, name).next().is_none() {
        return;
    }
    let lines = fields.get_all(&COOKIE);
    let lines: Vec<_> = lines.filter_map(|line| without(line, name)).collect();
    fields.remove(&COOKIE);
    for line in lines {
        fields.append(&COOKIE, &line);
    }
}

/// The line without the cookie; `None` if nothing is left.
fn without(line: &[u8], name: &str) -> Option<HeaderValue> {
    let pairs = || line.split(|byte| *byte == b';');
    if !pairs().any(|pair| value(pair, name).is_some()) {
        return HeaderValue::from_bytes(line).ok();
    }
    let kept: Vec<_> = pairs().filter(|pair| value(pair, name).is_none()).collect();
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(kept).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(lines: &[&'static str]) -> Vec<String> {
        let mut fields = Fields::default();
        for line in lines {
            fields.append(&COOKIE, &HeaderValue::from_static(line));
        }
        remove(&mut fields, "t");
        let left = fields.get_all(&COOKIE);
        left.map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn only_the_one_cookie_goes() {
        let table: &[(&[&'static str], &[&str])] = &[
            (&["t=1"], &[]),
            (&["a=1; t=2; b=3"], &["a=1; b=3"]),
            (&["t=1; a=1"], &["a=1"]),
            (&["a=1;t=1"], &["a=1"]),
            (&["a=1; t=1; t=2"], &["a=1"]),
            (&[" t = 1 ;a=\"x y\";  b"], &["a=\"x y\";  b"]),
            (&["tt=1; xt=2; T=3; t"], &["tt=1; xt=2; T=3; t"]),
            (&["a=t=1"], &["a=t=1"]),
            (&["a=1", "t=2", "b=3;;"], &["a=1", "b=3;;"]),
        ];
        for (lines, left) in table {
            assert_eq!(strip(lines), *left, "{lines:?}");
        }
    }
}
