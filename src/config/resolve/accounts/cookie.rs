//! How browsers keep the refresh token.

use http::HeaderName;

use crate::config::accounts::{Cookie, SameSite};
use crate::config::file;
use crate::config::report::member;
use crate::config::resolve::{Context, flag};

const KEY: &str = "issued_tokens.cookie";

/// Resolves the cookie: the contract's with the preset, else one that only its host gets.
pub(super) fn resolve(file: Option<&file::Cookie>, preset: bool, cx: &mut Context<'_>) -> Cookie {
    let default = file::Cookie::default();
    let file = file.unwrap_or(&default);
    let secure = flag(file.secure, true);
    let bound = secure && file.domain.is_none();
    let usual = match (preset, bound) {
        (true, _) => "replyke-refresh-jwt",
        (false, true) => "__Host-usher-refresh",
        (false, false) => "usher-refresh",
    };
    let same_site = if preset {
        SameSite::None
    } else {
        SameSite::Lax
    };
    let cookie = Cookie {
        name: file.name.clone().unwrap_or_else(|| usual.to_owned()),
        secure,
        same_site: file.same_site.unwrap_or(same_site),
        domain: file.domain.clone(),
    };
    check(&cookie, cx);
    cookie
}

fn check(cookie: &Cookie, cx: &mut Context<'_>) {
    // RFC 6265 §4.1.1: the name is a token, and so is the name of a header.
    if HeaderName::from_bytes(cookie.name.as_bytes()).is_err() {
        let message = format!("is not the name of a cookie: {:?}", cookie.name);
        cx.error(
            &member(KEY, "name"),
            message,
            "Write one such as `refresh`.",
        );
    }
    if cookie.same_site == SameSite::None && !cookie.secure {
        cx.error(
            &member(KEY, "same_site"),
            "is `none` without `secure`, and browsers drop such a cookie",
            "Write `secure: true`, or `same_site: lax`.",
        );
    }
    let bound = cookie.name.starts_with("__Host-");
    if bound && (!cookie.secure || cookie.domain.is_some()) {
        cx.error(
            &member(KEY, "name"),
            "begins with `__Host-`, which browsers take only with `secure` and without `domain`",
            "Choose another name, or remove the two.",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if cookie
        .domain
        .as_ref()
        .is_some_and(|domain| domain.is_empty() || !domain.chars().all(plain))
    {
        cx.error(
            &member(KEY, "domain"),
            "is not a domain",
            "Write it as `example.com`.",
        );
    }
}
