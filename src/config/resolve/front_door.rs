//! The front doors beside the proxy's own.

use std::time::Duration;

use super::{Context, bounds, endpoint, listen};
use crate::config::file::{self, ObjectOrList, TextOr};
use crate::config::report::member;
use crate::config::{Dialect, ExtAuthz, ForwardAuth, Listen, Route, RouteCors, TokenSource};

const PATH: &str = "/_usher/auth";

/// What of a yes may be late: a revoked token passes for as long.
const LONGEST: Duration = Duration::from_secs(5);

/// `Vary` longer than this keeps nginx from keeping anything.
const LONGEST_VARY: usize = 128;

/// What else has a path of its own.
pub(super) struct Neighbours<'a> {
    pub(super) endpoints: Vec<String>,
    pub(super) accounts: Vec<String>,
    pub(super) routes: &'a [Route],
}

/// The paths where other proxies ask, each with its key.
pub(super) fn forward_auth(
    file: Option<&ObjectOrList<file::ForwardAuth>>,
    neighbours: &Neighbours<'_>,
    cx: &mut Context<'_>,
) -> Vec<(String, ForwardAuth)> {
    let listed = file.map_or_else(Vec::new, |file| file.keyed("forward_auth"));
    let resolved = listed.into_iter();
    let resolved = resolved.filter_map(|(key, door)| one(&key, door, cx).map(|door| (key, door)));
    let doors: Vec<(String, ForwardAuth)> = resolved.collect();
    for (place, (key, door)) in doors.iter().enumerate() {
        let key = &member(key, "path");
        check_alone(key, door, neighbours, cx);
        for (other_place, (_, other)) in doors.iter().enumerate() {
            if place == other_place || !door.holds(other.path.as_bytes()) {
                continue;
            }
            if other.path != door.path {
                let message = format!("has another door below it: {}", other.path);
                cx.error(key, message, "Give each dialect a path beside the others.");
            } else if other_place < place {
                let message = format!("is there twice: {}", door.path);
                cx.error(key, message, "Give each dialect a path of its own.");
            }
        }
    }
    doors
}

fn one(key: &str, file: &file::ForwardAuth, cx: &mut Context<'_>) -> Option<ForwardAuth> {
    let path = file.path.clone().unwrap_or_else(|| PATH.to_owned());
    let path_key = member(key, "path");
    if path.ends_with('/') {
        cx.error(&path_key, "ends with `/`", "Write it without.");
    } else {
        endpoint::check(&path_key, &path, &[], cx);
    }
    let Some(dialect) = file.dialect else {
        cx.report.missing(
            &member(key, "dialect"),
            "Write the proxy that asks: `nginx`, `ingress-nginx`, `traefik`, `caddy`, `haproxy` or `envoy`.",
        );
        return None;
    };
    Some(ForwardAuth {
        cache: cache(&member(key, "cache"), file.cache, cx),
        path,
        dialect,
    })
}

/// Whatever comes at a door or below is the door's: what else is there would never see a request.
fn check_alone(key: &str, door: &ForwardAuth, neighbours: &Neighbours<'_>, cx: &mut Context<'_>) {
    let routes = neighbours.routes.iter().flat_map(|route| &route.paths);
    let routes = routes.map(|path| ("a route", path));
    let endpoints = neighbours.endpoints.iter();
    let endpoints = endpoints.map(|path| ("an endpoint", path));
    let accounts = neighbours.accounts.iter();
    let accounts = accounts.map(|path| ("an endpoint of external users", path));
    let mut all = routes.chain(endpoints).chain(accounts);
    if let Some((what, path)) = all.find(|(_, path)| door.holds(path.as_bytes())) {
        let place = match *path == door.path {
            true => "has the path of",
            false => "has below it the path of",
        };
        cx.error(
            key,
            format!("{place} {what}, whose requests would never arrive: {path}"),
            "Choose another path for one of the two.",
        );
    }
}

/// What a dialect cannot do, where the configuration counts on it.
pub(super) fn check_reach(
    doors: &[(String, ForwardAuth)],
    routes: &[Route],
    from: &[TokenSource],
    cx: &mut Context<'_>,
) {
    let pages = |route: &Route| matches!(route.cors, RouteCors::Origins(_));
    for (place, route) in routes.iter().enumerate() {
        let key = format!("routes[{place}]");
        let mut dialects = doors.iter().map(|(_, door)| door.dialect);
        if pages(route)
            && dialects
                .clone()
                .any(|dialect| !dialect.gives_204_to_clients())
        {
            cx.report.warn(
                &member(&key, "cors"),
                "does not answer preflights that come by nginx, Traefik or Caddy, which take every such answer for a yes: there they need a token, which browsers do not send with them",
                "Write `cors: pass`, and let the app answer them.",
            );
        }
        if !route.hosts.is_empty() && dialects.any(|dialect| dialect == Dialect::IngressNginx) {
            cx.report.warn(
                &member(&key, "host"),
                "does not hold behind ingress-nginx: it tells the header `Host`, and a client can name another host in the request's line, by which it routes",
                "Tell routes apart by their paths, or give each host a usher of its own.",
            );
        }
    }
    let pages = routes.iter().any(pages);
    for (key, door) in doors {
        let vary = door.vary(from, pages).len();
        if door.cache > Duration::ZERO && door.dialect.is_nginx() && vary > LONGEST_VARY {
            cx.report.warn(
                &member(key, "cache"),
                format!("has no effect: nginx keeps nothing whose `Vary` is longer than {LONGEST_VARY} bytes, and with all of `tokens.from` it has {vary}"),
                "Read tokens from fewer places, or leave `cache` out.",
            );
        }
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
