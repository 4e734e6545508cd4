//! The front doors beside the proxy's own.

use std::time::Duration;

use super::{Context, bounds, endpoint, listen};
use crate::config::file::{self, ObjectOrList, TextOr};
use crate::config::{Dialect, ExtAuthz, ForwardAuth, Listen, Route};

const PATH: &str = "/_usher/auth";

/// What of a yes may be late: a revoked token passes for as long.
const LONGEST: Duration = Duration::from_secs(5);

/// The paths where other proxies ask.
pub(super) fn forward_auth(
    file: Option<&ObjectOrList<file::ForwardAuth>>,
    endpoints: &[String],
    routes: &[Route],
    cx: &mut Context<'_>,
) -> Vec<ForwardAuth> {
    let mut doors: Vec<ForwardAuth> = Vec::new();
    for (key, door) in file.map_or_else(Vec::new, |file| file.keyed("forward_auth")) {
        let Some(door) = one(&key, door, routes, cx) else {
            continue;
        };
        let key = format!("{key}.path");
        if endpoints.contains(&door.path) {
            cx.error(&key, "is the path of an endpoint", "Choose another path.");
        }
        if doors.iter().any(|other| other.path == door.path) {
            cx.error(
                &key,
                format!("is there twice: {}", door.path),
                "Give each dialect a path of its own.",
            );
        }
        doors.push(door);
    }
    doors
}

fn one(
    key: &str,
    file: &file::ForwardAuth,
    routes: &[Route],
    cx: &mut Context<'_>,
) -> Option<ForwardAuth> {
    let path = file.path.clone().unwrap_or_else(|| PATH.to_owned());
    let path_key = format!("{key}.path");
    if path.ends_with('/') {
        cx.error(&path_key, "ends with `/`", "Write it without.");
    } else {
        endpoint::check(&path_key, &path, routes, cx);
    }
    let Some(dialect) = file.dialect else {
        cx.report.missing(
            &format!("{key}.dialect"),
            "Write the proxy that asks: `nginx`, `ingress-nginx`, `traefik`, `caddy`, `haproxy` or `envoy`.",
        );
        return None;
    };
    if dialect == Dialect::Envoy {
        check_below(&path_key, &path, routes, cx);
    }
    Some(ForwardAuth {
        cache: cache(&format!("{key}.cache"), file.cache, cx),
        path,
        dialect,
    })
}

/// Envoy's requests stand below the path; a route there would never see one.
fn check_below(key: &str, path: &str, routes: &[Route], cx: &mut Context<'_>) {
    let below = |pattern: &&String| {
        pattern
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let mut patterns = routes.iter().flat_map(|route| &route.paths);
    if let Some(pattern) = patterns.find(below) {
        cx.error(
            key,
            format!("has the path of a route below it: {pattern}"),
            "Remove the route, whose requests would never arrive, or choose another path.",
        );
    }
}

fn cache(key: &str, file: Option<file::Time>, cx: &mut Context<'_>) -> Duration {
    let cache = bounds::any_time(file, Duration::ZERO);
    if cache > LONGEST {
        cx.error(
            key,
            format!("is too large: {}", humantime::format_duration(cache)),
            "Write 5s or less.",
        );
    } else if cache.subsec_nanos() != 0 {
        cx.error(
            key,
            "is not in whole seconds",
            "Write `1s` to `5s`, or leave it out.",
        );
    } else if cache > Duration::ZERO {
        cx.report.warn(
            key,
            format!(
                "lets the proxy keep a yes: what is revoked or taken away still passes for up to {}",
                humantime::format_duration(cache)
            ),
            "Leave it out where that is too late.",
        );
    }
    cache
}

/// Where Envoy asks by gRPC.
pub(super) fn ext_authz(
    file: Option<&TextOr<file::ExtAuthz>>,
    taken: &[Listen],
    cx: &mut Context<'_>,
) -> Option<ExtAuthz> {
    let (key, text) = match file? {
        TextOr::Text(text) => ("ext_authz", Some(text)),
        TextOr::Full(full) => ("ext_authz.listen", full.listen.as_ref()),
    };
    let Some(text) = text else {
        cx.report
            .missing(key, "Write an address, such as `127.0.0.1:9902`.");
        return None;
    };
    listen::apart(key, text, taken, cx).map(|listen| ExtAuthz { listen })
}

/// Whoever asks decides, by what it says, so somebody has to be named who may.
pub(super) fn check_trust(forward_auth: bool, ext_authz: bool, trusts: bool, cx: &mut Context<'_>) {
    for (key, asks) in [("forward_auth", forward_auth), ("ext_authz", ext_authz)] {
        if asks && !trusts && !cx.report.is_spoilt("trusted_proxies") {
            cx.error(
                key,
                "cannot be asked by anybody: `trusted_proxies` names nobody",
                "Write the proxy's address there, such as `trusted_proxies: [10.1.2.3]`.",
            );
        }
    }
}
