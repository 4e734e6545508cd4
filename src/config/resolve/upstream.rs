//! The protected app.

use std::time::Duration;

use super::url::Url;
use super::{Context, bounds, listen, tls};
use crate::config::file::{self, TextOr};
use crate::config::report::member;
use crate::config::{Address, Listen, Listener, Upstream};

const REMEDY: &str = "Write where the app listens: `upstream: http://127.0.0.1:3000`, \
    `upstream: https://app.internal`, `upstream: h2c://127.0.0.1:50051` for gRPC, or \
    `upstream: unix:/run/app.sock`.";

/// Resolves the app's address, which whoever only decides needs not know.
pub(super) fn global(
    file: Option<&TextOr<file::Upstream>>,
    decides: bool,
    listeners: &[Listener],
    cx: &mut Context<'_>,
) -> Option<Upstream> {
    match file {
        Some(file) => Some(resolve("upstream", file, listeners, cx)),
        None if decides => None,
        None => {
            cx.report.missing("upstream", REMEDY);
            None
        }
    }
}

/// Resolves the address of an app at `key`.
pub(super) fn resolve(
    key: &str,
    file: &TextOr<file::Upstream>,
    listeners: &[Listener],
    cx: &mut Context<'_>,
) -> Upstream {
    let (url_key, url, full) = match file {
        TextOr::Text(url) => (key.to_owned(), Some(url), None),
        TextOr::Full(full) => (member(key, "url"), full.url.as_ref(), Some(full)),
    };
    if url.is_none() {
        cx.report.missing(&url_key, REMEDY);
    }
    let begins = |scheme: &str| url.is_some_and(|url| url.starts_with(scheme));
    let spoken = begins("https:") || begins("h2:");
    let address = url.and_then(|url| address(&url_key, url, listeners, cx));
    let max_idle = full.and_then(|full| full.max_idle);
    let idle = full.and_then(|full| full.idle);
    let max_age = full.and_then(|full| full.max_age);
    Upstream {
        address: address.unwrap_or_default(),
        max_idle: bounds::whole(&member(key, "max_idle"), max_idle, 256, 0..=100_000, cx),
        idle: bounds::any_time(idle, Duration::from_secs(60)),
        max_age: bounds::time(
            &member(key, "max_age"),
            max_age,
            Duration::from_secs(600),
            Duration::from_secs(1),
            cx,
        ),
        http2: begins("h2c:") || begins("h2:"),
        tls: tls::client(key, full, spoken, cx),
        host: host(
            &member(key, "host"),
            full.and_then(|full| full.host.as_deref()),
            cx,
        ),
    }
}

fn address(key: &str, text: &str, listeners: &[Listener], cx: &mut Context<'_>) -> Option<Address> {
    let own = (
        "is usher's own address: requests would go round and round",
        REMEDY,
    );
    if let Some(path) = text.strip_prefix("unix:") {
        let path = listen::path_of(key, path, cx)?;
        if listen::is_taken(listeners, &path) {
            cx.error(key, own.0, own.1);
        }
        return Some(Address::Unix(path));
    }
    match check(text) {
        Ok(url) => {
            let port = url.port.unwrap_or(match url.scheme.as_str() {
                "https" | "h2" => 443,
                _ => 80,
            });
            if listeners
                .iter()
                .any(|door| is_own(&url, port, &door.listen))
            {
                cx.error(key, own.0, own.1);
            }
            Some(Address::Tcp(url.host, port))
        }
        Err((message, remedy)) => {
            cx.error(key, message, remedy);
            None
        }
    }
}

fn check(text: &str) -> Result<Url, (String, &'static str)> {
    let url = Url::parse(text).map_err(|(message, _)| (message.to_owned(), REMEDY))?;
    if !matches!(url.scheme.as_str(), "http" | "https" | "h2" | "h2c") {
        return Err((
            format!("uses {}, which is not supported", url.scheme),
            REMEDY,
        ));
    }
    if url.path != "/" {
        return Err((
            format!("has a path, {:?}", url.path),
            "Remove it: the app gets the path the caller asked for.",
        ));
    }
    Ok(url)
}

/// What the app gets as `Host` instead of what the client sent.
fn host(key: &str, text: Option<&str>, cx: &mut Context<'_>) -> Option<String> {
    let text = text.filter(|text| *text != "keep")?;
    let authority = text.parse::<http::uri::Authority>();
    // A host, and perhaps a port (RFC 9110 §7.2); a user name has no place in it.
    if authority.is_err() || text.contains('@') {
        cx.error(
            key,
            format!("is not a host: {text:?}"),
            "Write a host and perhaps a port, such as `app.internal`, or `keep`.",
        );
        return None;
    }
    Some(text.to_owned())
}

fn is_own(url: &Url, port: u16, listen: &Listen) -> bool {
    let Listen::Tcp(listen) = listen else {
        return false;
    };
    let this_machine = url.is_loopback() || url.ip().is_some_and(|ip| ip.is_unspecified());
    let same = url.ip() == Some(listen.ip());
    port == listen.port()
        && (same || this_machine && (listen.ip().is_unspecified() || listen.ip().is_loopback()))
}
