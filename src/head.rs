//! A request as it is decided on, whichever front door it came through.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Method, Uri, Version, header};

use crate::fields::Fields;
use crate::wire::request;

/// The head of a request, as it was read.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method, exactly as sent.
    pub method: Method,
    /// The target, exactly as sent.
    pub target: Uri,
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
}

impl RequestHead<'_> {
    /// Whether a browser asks for permission before it sends the real request
    /// (Fetch standard, CORS protocol).
    pub fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.fields.contains(&header::ORIGIN)
            && self
                .fields
                .contains(&header::ACCESS_CONTROL_REQUEST_METHOD)
    }
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
