//! Where tokens are read from and how they are remembered.

use std::time::Duration;

use http::HeaderName;

use super::{Context, bounds, cors, flag, header};
use crate::config::file::{self, List, Source};
use crate::config::{IdentityHeader, TokenSource, Tokens};

/// Resolves the sources and the memory.
pub(super) fn resolve(
    file: &file::Tokens,
    limits: &file::Limits,
    headers: &[IdentityHeader],
    cx: &mut Context<'_>,
) -> Tokens {
    let default = file::Cache::default();
    let cache = file.cache.as_ref().unwrap_or(&default);
    let least = Duration::from_millis(1);
    Tokens {
        from: sources(file.from.as_ref(), headers, cx),
        pass: flag(file.pass, false),
        max_bytes: bounds::size(
            "limits.token_bytes",
            limits.token_bytes,
            8 << 10,
            256..=1 << 20,
            cx,
        ),
        cookie_origins: cors::origins("tokens.cookie_origins", file.cookie_origins.as_ref(), cx),
        cache_weight: cache.weight.map_or(64 << 20, |size| size.0),
        cache_life: bounds::any_time(cache.max_life, Duration::from_secs(600)),
        refused_life: bounds::any_time(cache.refused_life, Duration::from_secs(10)),
        refused_count: cache.refused_count.map_or(10_000, |count| count.0),
        max_waiters: bounds::whole(
            "tokens.max_waiters",
            file.max_waiters,
            1000,
            1..=1_000_000,
            cx,
        ),
        key_wait: bounds::time(
            "tokens.key_wait",
            file.key_wait,
            Duration::from_secs(2),
            least,
            cx,
        ),
    }
}

fn sources(
    file: Option<&List<Source>>,
    headers: &[IdentityHeader],
    cx: &mut Context<'_>,
) -> Vec<TokenSource> {
    const KEY: &str = "tokens.from";
    let Some(list) = file else {
        return vec![TokenSource::Authorization];
    };
    let mut sources = Vec::new();
    for (key, source) in list.keyed(KEY) {
        let Some(source) = one(&key, source, headers, cx) else {
            continue;
        };
        if sources.contains(&source) {
            cx.error(&key, "is in the list already", "Remove one of the two.");
        }
        sources.push(source);
    }
    if sources.is_empty() && !cx.report.is_spoilt(KEY) {
        cx.error(
            KEY,
            "is an empty list, so no token would be found",
            "Write `[authorization]`.",
        );
    }
    sources
}

fn one(
    key: &str,
    source: &Source,
    headers: &[IdentityHeader],
    cx: &mut Context<'_>,
) -> Option<TokenSource> {
    match source {
        Source::Authorization => Some(TokenSource::Authorization),
        Source::Cookie(name) => cookie(key, name, cx),
        Source::Header(name) => header_source(key, name, headers, cx),
        Source::Query(name) => query(key, name, cx),
        Source::WebsocketProtocol => Some(TokenSource::WebsocketProtocol),
    }
}

/// RFC 6265 §4.1.1: the name is a token, and so is the name of a header.
fn cookie(key: &str, name: &str, cx: &mut Context<'_>) -> Option<TokenSource> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        cx.error(
            key,
            format!("is not the name of a cookie: {name:?}"),
            "Write one such as `access_token`.",
        );
        return None;
    }
    Some(TokenSource::Cookie(name.to_owned()))
}

fn header_source(
    key: &str,
    text: &str,
    headers: &[IdentityHeader],
    cx: &mut Context<'_>,
) -> Option<TokenSource> {
    const REMEDY: &str = "Write a name of its own, such as `{ header: X-Access-Token }`.";
    let Ok(name) = text.parse::<HeaderName>() else {
        cx.error(
            key,
            format!("is not the name of a header: {text:?}"),
            REMEDY,
        );
        return None;
    };
    if name == http::header::AUTHORIZATION {
        cx.error(
            key,
            "is the header that `authorization` reads",
            "Write `authorization` instead.",
        );
        return None;
    }
    if name == http::header::COOKIE {
        cx.error(
            key,
            "is the header that cookies come in",
            "Write `{ cookie: name }` instead.",
        );
        return None;
    }
    if header::is_reserved(&name) {
        cx.error(
            key,
            "has a meaning of its own in HTTP or to proxies",
            REMEDY,
        );
        return None;
    }
    if headers
        .iter()
        .any(|other| header::fold(&other.name) == header::fold(&name))
    {
        cx.error(
            key,
            "is one of the headers usher sets, which callers cannot send",
            REMEDY,
        );
        return None;
    }
    Some(TokenSource::Header(name))
}

fn query(key: &str, name: &str, cx: &mut Context<'_>) -> Option<TokenSource> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        cx.error(
            key,
            format!("is not a plain name: {name:?}"),
            "Write one such as `{ query: access_token }`.",
        );
        return None;
    }
    cx.report.warn(
        key,
        "reads tokens from the query, which ends up in logs and browser histories",
        "Prefer `authorization` or a cookie; keep it only where a client can do nothing else.",
    );
    Some(TokenSource::Query(name.to_owned()))
}
