//! The protected app.

use std::time::Duration;

use super::url::Url;
use super::{Context, bounds};
use crate::config::file::{self, TextOr};
use crate::config::{Listen, Upstream};

const REMEDY: &str = "Write where the app listens: `upstream: http://127.0.0.1:3000`.";

/// Resolves the app's address.
pub(super) fn resolve(
    file: Option<&TextOr<file::Upstream>>,
    listeners: &[Listen],
    cx: &mut Context<'_>,
) -> Upstream {
    let (key, url, max_idle, idle) = match file {
        None => ("upstream", None, None, None),
        Some(TextOr::Text(url)) => ("upstream", Some(url), None, None),
        Some(TextOr::Full(full)) => ("upstream.url", full.url.as_ref(), full.max_idle, full.idle),
    };
    if url.is_none() {
        cx.report.missing(key, REMEDY);
    }
    let (host, port) = url
        .and_then(|url| address(key, url, listeners, cx))
        .unwrap_or_default();
    Upstream {
        host,
        port,
        max_idle: bounds::whole("upstream.max_idle", max_idle, 256, 0..=100_000, cx),
        idle: bounds::any_time(idle, Duration::from_secs(60)),
    }
}

fn address(
    key: &str,
    text: &str,
    listeners: &[Listen],
    cx: &mut Context<'_>,
) -> Option<(String, u16)> {
    match check(text) {
        Ok(url) => {
            let port = url.port.unwrap_or(80);
            if listeners.iter().any(|listen| is_own(&url, port, listen)) {
                cx.error(
                    key,
                    "is usher's own address: requests would go round and round",
                    REMEDY,
                );
            }
            Some((url.host, port))
        }
        Err((message, remedy)) => {
            cx.error(key, message, remedy);
            None
        }
    }
}

fn check(text: &str) -> Result<Url, (String, &'static str)> {
    let later = ["https", "h2c", "unix"].into_iter().find(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| rest.starts_with(':'))
    });
    if let Some(scheme) = later {
        return Err((format!("uses {scheme}, which is not supported yet"), REMEDY));
    }
    let url = Url::parse(text).map_err(|(message, _)| (message.to_owned(), REMEDY))?;
    if url.scheme != "http" {
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

fn is_own(url: &Url, port: u16, listen: &Listen) -> bool {
    let Listen::Tcp(listen) = listen;
    let this_machine = url.is_loopback() || url.ip().is_some_and(|ip| ip.is_unspecified());
    let same = url.ip() == Some(listen.ip());
    port == listen.port()
        && (same || this_machine && (listen.ip().is_unspecified() || listen.ip().is_loopback()))
}
