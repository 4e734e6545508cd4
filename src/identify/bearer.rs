//! Finds the token in a request, and takes it out of what is forwarded.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderName, Method};
use percent_encoding::percent_decode_str;

use super::{cookie, protocol};
use crate::config::{TokenSource, Tokens};
use crate::denial::{Denial, Reason};
use crate::fields::Fields;
use crate::head::is_same_origin;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where tokens are read from, in order.
#[derive(Clone, Debug)]
pub struct Sources {
    from: Vec<TokenSource>,
    cookie_origins: Vec<String>,
    max_bytes: usize,
}

/// What decides about a token's presence.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's header fields.
    pub fields: &'a Fields,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The scheme that the client used, `http` or `https`.
    pub scheme: &'a str,
    /// The authority that the client asked for: a host, and a port unless it is the default.
    pub authority: &'a str,
    /// Whether the request asks to change the protocol of its connection.
    pub upgrade: bool,
}

/// A token as it was sent; nothing is known about it but its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer<'a> {
    /// The token.
    pub token: Cow<'a, [u8]>,
    /// Where it was.
    pub source: &'a TokenSource,
}

impl std::fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer")
            .field("source", self.source)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Resolves the settings.
    pub(super) fn new(tokens: &Tokens) -> Self {
        Self {
            from: tokens.from.clone(),
            cookie_origins: tokens.cookie_origins.clone(),
            max_bytes: tokens.max_bytes,
        }
    }

    /// The token of the first source that is present. If that one is bad, no other is asked.
    ///
    /// An empty cookie counts as absent, since that is how many apps log out.
    pub fn find<'a>(&'a self, asked: &Asked<'a>) -> Result<Option<Bearer<'a>>, Denial> {
        for source in &self.from {
            let found = match source {
                TokenSource::Authorization => authorization(asked.fields)?,
                TokenSource::Header(name) => header(asked.fields, name)?,
                TokenSource::Query(name) => query(asked.query, name)?,
                TokenSource::Cookie(name) => self.cookie(asked, name)?,
                TokenSource::WebsocketProtocol => protocol(asked)?,
            };
            if let Some(token) = found {
                self.check(&token)?;
                return Ok(Some(Bearer { token, source }));
            }
        }
        Ok(None)
    }

    /// Takes every source out of what is forwarded, whether it was read or not. Returns the
    /// new query if it changed; it is empty if nothing is left of it.
    ///
    /// `Authorization` with another scheme than `Bearer` is somebody else's, and stays.
    pub fn strip(&self, fields: &mut Fields, query: Option<&str>) -> Option<String> {
        let mut changed: Option<String> = None;
        for source in &self.from {
            match source {
                TokenSource::Authorization => fields.remove_if(&AUTHORIZATION, is_bearer),
                TokenSource::Header(name) => {
                    fields.remove(name);
                }
                TokenSource::Cookie(name) => cookie::remove(fields, name),
                TokenSource::WebsocketProtocol => protocol::remove(fields),
                TokenSource::Query(name) => {
                    let current = changed.as_deref().or(query);
                    if let Some(shorter) = current.and_then(|query| without(query, name)) {
                        changed = Some(shorter);
                    }
                }
            }
        }
        changed
    }

    /// What a WebSocket's client hears as the protocol that was chosen if the app chose none, but a
    /// token came among those that were offered (RFC 6455 §4.2.2): a browser closes otherwise.
    pub fn protocol_for(&self, fields: &Fields) -> Option<&'static str> {
        let read = self.from.contains(&TokenSource::WebsocketProtocol);
        (read && protocol::tokens(fields).next().is_some()).then_some(protocol::BEARER)
    }

    /// Its length; its characters are looked at when nobody knows it ([`super::token::shape`]).
    fn check(&self, token: &[u8]) -> Result<(), Denial> {
        if token.is_empty() {
            return Err(Denial::new(Reason::TokenMissing, "its place is empty"));
        }
        super::token::size(token, self.max_bytes)
    }

    /// A browser sends cookies whoever made it ask. So a cookie counts for what may change
    /// something only if the page that asked is known to be ours.
    fn cookie<'a>(&self, asked: &Asked<'a>, name: &str) -> Result<Option<Cow<'a, [u8]>>, Denial> {
        let filled = cookie::values(asked.fields, name).filter(|value| !value.is_empty());
        let Some(token) = single(filled)? else {
            return Ok(None);
        };
        let safe = matches!(*asked.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if (!safe || asked.upgrade) && !self.is_own_page(asked) {
            return Err(Denial::new(
                Reason::CrossSite,
                "its cookie came with an unsafe request that no page of ours has made",
            ));
        }
        Ok(Some(token.into()))
    }

    /// `Origin` decides; where a browser leaves it out, `Sec-Fetch-Site` does.
    fn is_own_page(&self, asked: &Asked<'_>) -> bool {
        let mut origins = asked.fields.get_all(&ORIGIN);
        if let Some(origin) = origins.next() {
            return origins.next().is_none() && self.is_own_origin(asked, origin);
        }
        let mut sites = asked.fields.get_all(&SEC_FETCH_SITE);
        sites.next().is_some_and(|site| site == b"same-origin") && sites.next().is_none()
    }

    fn is_own_origin(&self, asked: &Asked<'_>, origin: &[u8]) -> bool {
        let Ok(origin) = str::from_utf8(origin) else {
            return false;
        };
        if self.cookie_origins.iter().any(|known| known == origin) {
            return true;
        }
        is_same_origin(origin, asked.scheme, asked.authority)
    }
}

/// `Authorization: Bearer <token>`: the scheme in any case, one space, the token.
fn authorization(fields: &Fields) -> Result<Option<Cow<'_, [u8]>>, Denial> {
    let Some(line) = fields.single(&AUTHORIZATION).map_err(|_| twice())? else {
        return Ok(None);
    };
    if line.is_empty() {
        return Err(Denial::new(
            Reason::TokenMissing,
            "`Authorization` is empty",
        ));
    }
    if !is_bearer(line) {
        return Err(Denial::new(
            Reason::SchemeRefused,
            "the scheme of `Authorization` is not `Bearer`",
        ));
    }
    match line.get(SCHEME.len()..).and_then(|rest| rest.split_first()) {
        Some((b' ', token)) if !token.is_empty() => Ok(Some(token.into())),
        _ => malformed("`Authorization` is not `Bearer`, one space, and a token"),
    }
}

const SCHEME: &[u8] = b"bearer";

/// Whether the scheme is `Bearer`, whatever follows it.
fn is_bearer(line: &[u8]) -> bool {
    let Some((scheme, rest)) = line.split_at_checked(SCHEME.len()) else {
        return false;
    };
    let ends = match rest.first() {
        None | Some(b' ') => true,
        // The characters of a `token` (RFC 9110 §5.6.2): `Bearer-x` is another scheme.
        Some(byte) => !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(byte),
    };
    ends && scheme.eq_ignore_ascii_case(SCHEME)
}

fn header<'a>(fields: &'a Fields, name: &HeaderName) -> Result<Option<Cow<'a, [u8]>>, Denial> {
    let value = fields.single(name).map_err(|_| twice())?;
    Ok(value.map(Cow::Borrowed))
}

/// Where the request is no WebSocket's beginning, the protocols are nobody's business.
fn protocol<'a>(asked: &Asked<'a>) -> Result<Option<Cow<'a, [u8]>>, Denial> {
    if !asked.upgrade {
        return Ok(None);
    }
    Ok(single(protocol::tokens(asked.fields))?.map(Cow::Borrowed))
}

/// RFC 6750 §2.3, with names and values percent-encoded.
fn query<'a>(query: Option<&'a str>, name: &str) -> Result<Option<Cow<'a, [u8]>>, Denial> {
    let parts = query.unwrap_or_default().split('&');
    let value = single(parts.filter_map(|part| parameter(part, name)))?;
    Ok(value.map(|value| percent_decode_str(value).into()))
}

/// The value, if the part of a query has this name once it is decoded.
fn parameter<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = part.split_once('=').unwrap_or((part, ""));
    let found = percent_decode_str(found);
    found.eq(name.bytes()).then_some(value)
}

/// The query without a parameter, if it has it.
fn without(query: &str, name: &str) -> Option<String> {
    let parts = || query.split('&');
    let mut found = parts().filter_map(|part| parameter(part, name));
    found.next()?;
    let kept: Vec<_> = parts()
        .filter(|part| parameter(part, name).is_none())
        .collect();
    Some(kept.join("&"))
}

/// The only one, if there is one; two are ambiguous, and the client's mistake.
fn single<T>(mut found: impl Iterator<Item = T>) -> Result<Option<T>, Denial> {
    let first = found.next();
    match found.next() {
        Some(_) => Err(twice()),
        None => Ok(first),
    }
}

const fn twice() -> Denial {
    Denial::new(Reason::TokenTwice, "its place is there twice")
}

fn malformed<T>(detail: &'static str) -> Result<T, Denial> {
    Err(Denial::new(Reason::TokenMalformed, detail))
}
