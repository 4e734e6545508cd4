//! The cookie that keeps a refresh token in a browser (RFC 6265).

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderValue, header};

use crate::config::accounts::Cookie;
use crate::fields::Fields;

/// Sets and clears it; both with the same attributes, or browsers would keep two.
#[derive(Debug)]
pub(super) struct Jar(Cookie);

impl Jar {
    pub(super) const fn new(cookie: Cookie) -> Self {
        Self(cookie)
    }

    /// The cookie's name.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Keeps a token until it ends.
    pub(super) fn keep(&self, fields: &mut Fields, token: &str, now: i64, ends: i64) {
        self.set(fields, token, ends.saturating_sub(now).max(0), ends);
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&self, fields: &mut Fields) {
        self.set(fields, "", 0, 0);
    }

    fn set(&self, fields: &mut Fields, value: &str, age: i64, ends: i64) {
        let cookie = &self.0;
        let domain = match &cookie.domain {
            Some(domain) => format!(" Domain={domain};"),
            None => String::new(),
        };
        // The last second of the year 9999, the last that can be written.
        let ends = u64::try_from(ends).unwrap_or(0).min(253_402_300_799);
        let expires = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(ends));
        let secure = if cookie.secure { " Secure;" } else { "" };
        let line = format!(
            "{}={value}; Max-Age={age};{domain} Path=/; Expires={expires}; HttpOnly;{secure} SameSite={}",
            cookie.name,
            cookie.same_site.as_str()
        );
        // Names and domains are checked at start, and a token is base64url with dots.
        if let Ok(line) = HeaderValue::from_str(&line) {
            fields.append(&header::SET_COOKIE, &line);
        }
    }
}
