//! One canonical host, or none.

use std::borrow::Cow;

use http::header;

use crate::denial::{Denial, Reason};
use crate::head::Head;

/// What `Host` says.
#[derive(Debug)]
pub(super) struct Host<'a> {
    /// The name: lower case, without port and trailing dot.
    pub(super) name: Cow<'a, str>,
    /// All of it, as it was sent.
    pub(super) authority: &'a str,
}

/// The host that a request is for.
///
/// # Errors
/// `BadHost` unless there is exactly one well-formed `Host` (RFC 9112 §3.2), equal to the
/// target's authority where the target has one.
pub(super) fn canonical(head: &Head) -> Result<Host<'_>, Denial> {
    let value = head
        .fields
        .single(&header::HOST)
        .map_err(|_| refused("Host is repeated"))?
        .ok_or_else(|| refused("Host is missing"))?;
    // Those that are UTF-8 and not ASCII have no valid name either.
    let authority = str::from_utf8(value).map_err(|_| refused("Host is not ASCII"))?;
    let name = read(authority)?;
    if let Some(wanted) = head.target.authority()
        && !authority.eq_ignore_ascii_case(wanted)
    {
        return Err(refused("the target names another authority than Host"));
    }
    Ok(Host { name, authority })
}

fn read(text: &str) -> Result<Cow<'_, str>, Denial> {
    if is_plain(text) {
        return Ok(Cow::Borrowed(text));
    }
    let (name, port) = split_port(text)?;
    // `parse` alone would take `+80`.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let good = digits && (port.is_empty() || port.parse::<u16>().is_ok());
    if !good {
        return Err(refused("Host has no valid port"));
    }
    if name.starts_with('[') {
        let inner = name.trim_start_matches('[').trim_end_matches(']');
        inner
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| refused("Host is not an IPv6 address"))?;
    } else if name.is_empty() || !name.bytes().all(is_name_byte) {
        return Err(refused("Host is not a name"));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    // Some strip one dot at the end, others all of them.
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(refused("Host has an empty label"));
    }
    Ok(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

/// Whether it is its own canonical form, as most are: a name in lower case and no more.
fn is_plain(text: &str) -> bool {
    let mut dot = true;
    let plain = text.bytes().all(|byte| {
        let repeated = dot;
        dot = byte == b'.';
        PLAIN[usize::from(byte)] & !(dot & repeated)
    });
    plain && !dot
}

/// The bytes of a name in lower case.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = is_name_byte(byte) && !byte.is_ascii_uppercase();
        byte += 1;
    }
    table
};

fn split_port(text: &str) -> Result<(&str, &str), Denial> {
    let after_literal = match text.starts_with('[') {
        true => text.rfind(']').map_or(0, |end| end + 1),
        false => 0,
    };
    match text[after_literal..].find(':') {
        Some(colon) => Ok((
            &text[..after_literal + colon],
            &text[after_literal + colon + 1..],
        )),
        None if after_literal == 0 || after_literal == text.len() => Ok((text, "")),
        None => Err(refused("Host has characters after an address")),
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn refused(detail: &'static str) -> Denial {
    Denial::new(Reason::BadHost, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(target: &str, hosts: &[&str]) -> Option<String> {
        let mut fields = crate::fields::Fields::default();
        for host in hosts {
            let value = http::HeaderValue::from_bytes(host.as_bytes()).unwrap();
            fields.append(&header::HOST, &value);
        }
        let head = Head {
            method: http::Method::GET,
            target: crate::head::Target::parse(target).unwrap(),
            version: http::Version::HTTP_11,
            fields,
        };
        canonical(&head).ok().map(|host| host.name.into_owned())
    }

    #[test]
    fn one_spelling_for_one_host() {
        for spelling in [
            "admin.example",
            "ADMIN.example",
            "admin.example.",
            "admin.example:443",
            "Admin.Example.:80",
        ] {
            assert_eq!(
                host("/", &[spelling]).as_deref(),
                Some("admin.example"),
                "{spelling}"
            );
        }
        assert_eq!(host("/", &["[::1]:80"]).as_deref(), Some("[::1]"));
        assert_eq!(host("/", &["127.0.0.1"]).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn odd_hosts_are_refused() {
        for odd in [
            "", "a, b", "a b", "u@a", "a:99999", "a:b", "a:1:2", "[::1", "[::1]x", "[zz]", "a/b",
            "é", ":80", "a;b", "a?b",
        ] {
            assert_eq!(host("/", &[odd]), None, "{odd}");
        }
        assert_eq!(host("/", &[]), None);
        assert_eq!(host("/", &["a", "a"]), None);
    }

    #[test]
    fn the_target_cannot_name_another_host() {
        assert_eq!(host("http://a/x", &["a"]).as_deref(), Some("a"));
        assert_eq!(host("http://evil/x", &["a"]), None);
        assert_eq!(host("http://u@a/x", &["a"]), None);
    }
}
