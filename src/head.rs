//! A request as it is decided on, whichever front door it came through.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Method, Uri, Version, header};

use crate::fields::Fields;
use crate::identity::Thumbprint;
use crate::wire::request;

/// The head of a request, as it was read.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method, exactly as sent.
    pub method: Method,
    /// The target, exactly as sent.
    pub target: Target,
    /// The version that the client speaks.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

impl Head {
    /// Reads a head from its text, with the empty line at its end; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let limits = request::Limits {
            bytes: text.len() + 1,
            fields: text.len(),
        };
        let read = request::read(text.as_bytes(), limits).ok()?;
        read.map(|(head, _)| head)
    }
}

/// What a request asks for.
///
/// Almost every target is a path and perhaps a query, of characters that need no second look;
/// any other is read by `http`'s parser.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Path and query.
    text: Box<str>,
    /// Where the query begins, after its question mark.
    query: Option<usize>,
    /// All of it, if it is more, or something else, than path and query.
    odd: Option<Box<Odd>>,
}

/// A target that needed a second look.
#[derive(Clone, Debug)]
struct Odd {
    uri: Uri,
    /// Whether there was a fragment, which is dropped.
    fragment: bool,
}

impl Target {
    /// Reads a target; `None` if it is none.
    pub fn parse(given: &str) -> Option<Self> {
        let plain = |byte: u8| PLAIN[usize::from(byte)];
        if given.starts_with('/') && given.bytes().all(plain) {
            return Some(Self::plain(given, None));
        }
        let uri: Uri = given.parse().ok()?;
        let text = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        let fragment = given.contains('#');
        Some(Self::plain(&text, Some(Box::new(Odd { uri, fragment }))))
    }

    fn plain(text: &str, odd: Option<Box<Odd>>) -> Self {
        Self {
            query: memchr::memchr(b'?', text.as_bytes()).map(|place| place + 1),
            text: text.into(),
            odd,
        }
    }

    /// Path and query: what the app is asked for.
    pub fn path_and_query(&self) -> &str {
        &self.text
    }

    /// The path.
    pub fn path(&self) -> &str {
        let end = self.query.map_or(self.text.len(), |query| query - 1);
        self.text.get(..end).unwrap_or_default()
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query?..)
    }

    /// The authority, where the target names one.
    pub fn authority(&self) -> Option<&str> {
        let uri = &self.odd.as_ref()?.uri;
        uri.authority().map(http::uri::Authority::as_str)
    }

    /// The scheme, where the target names one.
    pub fn scheme(&self) -> Option<&str> {
        self.odd.as_ref()?.uri.scheme_str()
    }

    /// Whether it had a fragment, which no client should send (RFC 9112 §3.2) and which is not
    /// part of what this tells.
    pub fn had_fragment(&self) -> bool {
        self.odd.as_ref().is_some_and(|odd| odd.fragment)
    }
}

/// The characters of a path and a query (RFC 3986 §3.3 and §3.4) and `%`.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let plain = b"-._~!$&'()*+,;=:@/?%";
    let mut place = 0;
    while place < plain.len() {
        table[plain[place] as usize] = true;
        place += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// What `route` and `gate` read of a request. Never its body.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The method, exactly as sent.
    pub method: &'a Method,
    /// `http` or `https`, as the client sees it.
    pub scheme: Scheme,
    /// The host: lower case, without port and trailing dot.
    pub host: Cow<'a, str>,
    /// `Host` as it was sent, with its port; what `Origin` is compared with.
    pub authority: &'a str,
    /// The canonical path that patterns are matched against.
    pub path: Cow<'a, str>,
    /// Whether the path may only pass routes that say `paths: opaque`.
    pub opaque: bool,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The header fields, identity headers already stripped.
    pub fields: &'a Fields,
    /// Whether the request asks to change the protocol of its connection.
    pub upgrade: bool,
    /// The client, as the last proxy that is trusted saw it.
    pub client: Option<IpAddr>,
    /// The certificate by which whoever sent it has proved who it is.
    pub certificate: Option<&'a Thumbprint>,
}

impl RequestHead<'_> {
    /// Whether a browser asks for permission before it sends the real request
    /// (Fetch standard, CORS protocol).
    pub fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.fields.contains(&header::ORIGIN)
            && self.fields.contains(&header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// Whether `origin` (Fetch standard) is what a client that speaks `scheme` to `authority` would
/// send from a page of ours; the scheme's usual port may be left out on either side.
pub fn is_same_origin(origin: &str, scheme: &str, authority: &str) -> bool {
    let Some((its_scheme, its_authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    let bare = |authority: &str| {
        let bare = authority.strip_suffix(port).unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    !its_authority.is_empty() && its_scheme == scheme && bare(its_authority) == bare(authority)
}

/// How the client speaks to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_http_reads_it() {
        for text in [
            "/",
            "/a",
            "/a?b",
            "/?",
            "/a?b?c",
            "/a%2f;x=1?y",
            "//a",
            "/a|b",
            "/a#b?c",
            "/é?é",
            "http://h/x?y",
            "http://h",
            "http://h?q",
            "*",
            "h:80",
            "https://u@h:1/",
        ] {
            let (target, uri) = (Target::parse(text).unwrap(), text.parse::<Uri>().unwrap());
            assert_eq!(target.path(), uri.path(), "{text}");
            assert_eq!(target.query(), uri.query(), "{text}");
            assert_eq!(target.scheme(), uri.scheme_str(), "{text}");
            assert_eq!(target.had_fragment(), text.contains('#'), "{text}");
            let authority = uri.authority().map(http::uri::Authority::as_str);
            assert_eq!(target.authority(), authority, "{text}");
        }
        for text in ["", "a b", "/a b", "/\0", "/<", "http://", "://"] {
            assert_eq!(
                Target::parse(text).is_some(),
                text.parse::<Uri>().is_ok(),
                "{text}"
            );
        }
    }
}
