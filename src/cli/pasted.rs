//! A token as people paste it.

use std::io::Read as _;

/// The longest input that is read; far beyond any token that usher accepts.
const MAX_INPUT: u64 = 1024 * 1024;

/// A token, or with `-` what stands on standard input; without what people copy along.
///
/// # Errors
/// When there is none.
pub(super) fn token(text: &str) -> Result<String, String> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            let input = std::io::stdin().take(MAX_INPUT).read_to_string(&mut read);
            input.map_err(|error| format!("standard input: {error}"))?;
            read.as_str()
        }
        text => text,
    };
    match bare(text) {
        "" => Err("there is no token".to_owned()),
        token => Ok(token.to_owned()),
    }
}

/// Without the name of the header field, the scheme, and space around it.
fn bare(text: &str) -> &str {
    let text = without(text.trim(), "authorization:");
    without(text, "bearer ")
}

fn without<'a>(text: &'a str, start: &str) -> &'a str {
    match text.split_at_checked(start.len()) {
        Some((found, rest)) if found.eq_ignore_ascii_case(start) => rest.trim_start(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_along_is_left_out() {
        for text in [
            "a.b.c",
            " a.b.c\n",
            "Bearer a.b.c",
            "bearer   a.b.c ",
            "Authorization: Bearer a.b.c\r\n",
            "authorization:Bearer a.b.c",
            "authorization: a.b.c",
        ] {
            assert_eq!(token(text).as_deref(), Ok("a.b.c"), "{text:?}");
        }
        // What is no such thing is the token's own affair.
        assert_eq!(token("Bearer").as_deref(), Ok("Bearer"));
        assert_eq!(token("ba\u{e9}rer x").as_deref(), Ok("ba\u{e9}rer x"));
        for text in ["", " ", "Authorization:"] {
            assert!(token(text).is_err(), "{text:?}");
        }
    }
}
