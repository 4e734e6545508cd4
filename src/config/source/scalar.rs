//! What an unquoted word means: the core schema of YAML 1.2, without its odd corners.

use super::Content;

/// `true`, `5`, `1.5` and nothing are special; everything else, `yes`, `0123` and `1e3`
/// included, is text.
pub(super) fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Bool(true),
        "false" | "False" | "FALSE" => Content::Bool(false),
        _ => number(text).unwrap_or_else(|| Content::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Content> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    match fraction {
        None => text.parse().ok().map(Content::Int),
        Some(fraction) if is_number(fraction) => text.parse().ok().map(Content::Float),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_and_booleans_are_not_text() {
        assert_eq!(plain("8080"), Content::Int(8080));
        assert_eq!(plain("-1"), Content::Int(-1));
        assert_eq!(plain("1.5"), Content::Float(1.5));
        assert_eq!(plain("true"), Content::Bool(true));
        assert_eq!(plain("~"), Content::Null);
        for text in [
            "yes",
            "off",
            "0123",
            "1e3",
            "0x1f",
            "1.2.3",
            "5m",
            ".5",
            "-",
            "99999999999999999999",
        ] {
            assert_eq!(plain(text), Content::Text(text.into()), "{text}");
        }
    }
}
