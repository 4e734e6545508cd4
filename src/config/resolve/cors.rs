//! Cross-origin rules.

use std::time::Duration;

use super::url::Url;
use super::{Context, bounds};
use crate::config::file::{self, List, OneOrMany};
use crate::config::{Cors, RouteCors};

const REMEDY: &str =
    "Write scheme, host and port exactly as a browser does: `https://app.example.com`.";

/// The rules of usher's own endpoints.
pub(super) fn resolve(file: &file::Cors, cx: &mut Context<'_>) -> Cors {
    Cors {
        origins: origins("cors.origins", file.origins.as_ref(), cx),
        max_age: bounds::any_time(file.max_age, Duration::from_secs(600)),
    }
}

/// The rules of a proxied route: `off`, `pass` or origins.
pub(super) fn route(
    key: &str,
    file: Option<&OneOrMany<String>>,
    cx: &mut Context<'_>,
) -> RouteCors {
    match file {
        None => RouteCors::Off,
        Some(OneOrMany::One(word)) => match word.as_str() {
            "off" => RouteCors::Off,
            "pass" => RouteCors::Pass,
            origin => RouteCors::Origins(origin_at(key, origin, cx).into_iter().collect()),
        },
        Some(OneOrMany::Many(list)) => RouteCors::Origins(origins(key, Some(list), cx)),
    }
}

/// The origins as they are written.
pub(super) fn list(file: Option<&List<String>>) -> Vec<String> {
    let listed = file.map(|list| list.keyed("")).unwrap_or_default();
    listed
        .into_iter()
        .map(|(_, origin)| origin.clone())
        .collect()
}

/// A list of exact origins.
pub(super) fn origins(key: &str, file: Option<&List<String>>, cx: &mut Context<'_>) -> Vec<String> {
    let listed = file.map(|list| list.keyed(key)).unwrap_or_default();
    listed
        .into_iter()
        .filter_map(|(key, origin)| origin_at(&key, origin, cx))
        .collect()
}

fn origin_at(key: &str, origin: &str, cx: &mut Context<'_>) -> Option<String> {
    match check(origin) {
        Ok(()) => Some(origin.to_owned()),
        Err((message, remedy)) => {
            cx.error(key, message, remedy);
            None
        }
    }
}

fn check(origin: &str) -> Result<(), (String, String)> {
    match origin {
        "*" => {
            return Err((
                "is `*`, which would let every web page call the app as its visitor".into(),
                "List the pages that may: `[https://app.example.com]`.".into(),
            ));
        }
        "null" => {
            return Err((
                "is `null`, which any page can send from a sandbox".into(),
                REMEDY.into(),
            ));
        }
        _ => {}
    }
    let url = Url::parse(origin).map_err(|(message, _)| (message.into(), REMEDY.into()))?;
    let canonical = canonical(&url);
    if origin != canonical {
        return Err((
            "is not how a browser writes an origin".into(),
            format!("Write `{canonical}`."),
        ));
    }
    Ok(())
}

/// Lower case, no path, no port that the scheme implies.
fn canonical(url: &Url) -> String {
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.clone()
    };
    match (url.scheme.as_str(), url.port) {
        (scheme, None) | (scheme @ "http", Some(80)) | (scheme @ "https", Some(443)) => {
            format!("{scheme}://{host}")
        }
        (scheme, Some(port)) => format!("{scheme}://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        for good in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "capacitor://localhost",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://App.example.com",
            "https://app.example.com:443",
            "app.example.com",
            "https://*.example.com/",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
