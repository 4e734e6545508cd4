//! Routes: each by itself, then against those before it.

use http::Method;

use super::{Context, cors, flag, issuer, pattern, prefix, upstream};
use crate::config::file::{self, List, OneOrMany, Paths, Suspended};
use crate::config::report::member;
use crate::config::{Access, Listener, Require, Route};

pub(super) use prefix::check_ways;

/// Resolves every route, and compares them with each other.
pub(super) fn all(
    file: &List<file::Route>,
    listeners: &[Listener],
    cx: &mut Context<'_>,
) -> Vec<Route> {
    let mut routes: Vec<(String, Route)> = Vec::new();
    for (key, file) in file.keyed("routes") {
        let route = one(&key, file, listeners, cx);
        reachable(&key, file, &route, &routes, cx);
        routes.push((key, route));
    }
    for (key, route) in routes.iter().filter(|(_, route)| route.opaque_paths) {
        alone(key, route, &routes, cx);
    }
    routes.into_iter().map(|(_, route)| route).collect()
}

fn one(key: &str, file: &file::Route, listeners: &[Listener], cx: &mut Context<'_>) -> Route {
    let paths = paths(&member(key, "path"), file.path.as_ref(), cx);
    let at = member(key, "upstream");
    let own = file.upstream.as_ref();
    let access = file.access.unwrap_or_default();
    let require = require(&member(key, "require"), file.require.as_ref(), access, cx);
    Route {
        name: name(&member(key, "name"), file.name.as_deref(), &paths, cx),
        methods: methods(&member(key, "methods"), file.methods.as_ref(), cx),
        hosts: hosts(&member(key, "host"), file.host.as_ref(), cx),
        access,
        require,
        opaque_paths: file.paths == Some(Paths::Opaque),
        cors: cors::route(&member(key, "cors"), file.cors.as_ref(), cx),
        first_sight: file.first_sight,
        outlives_token: flag(file.outlive_token, false),
        upstream: own.map(|own| upstream::resolve(&at, own, listeners, cx)),
        prefix: prefix::resolve(key, file, &paths, cx),
        projects: words(&member(key, "projects"), file.projects.as_ref(), cx),
        deny_suspended: file.suspended == Some(Suspended::Deny),
        paths,
    }
}

fn name(key: &str, given: Option<&str>, paths: &[String], cx: &mut Context<'_>) -> String {
    match given {
        Some(name) if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) => {
            cx.error(
                key,
                "is empty, too long, or holds control characters",
                "Write a short name, or remove the key.",
            );
            String::new()
        }
        Some(name) => name.to_owned(),
        None => paths.first().cloned().unwrap_or_default(),
    }
}

fn paths(key: &str, file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Vec<String> {
    const REMEDY: &str = "Write a pattern such as `path: /public/**`.";
    let Some(file) = file else {
        cx.report.missing(key, REMEDY);
        return Vec::new();
    };
    let listed = file.keyed(key);
    if listed.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", REMEDY);
    }
    for (key, path) in &listed {
        if let Err((message, remedy)) = pattern::check(path) {
            cx.error(key, message, remedy);
        }
    }
    listed.into_iter().map(|(_, path)| path.clone()).collect()
}

fn methods(key: &str, file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Vec<Method> {
    let mut methods = Vec::new();
    for (key, text) in some(
        key,
        file,
        "Write methods such as `[GET, HEAD]`, or remove the key for all.",
        cx,
    ) {
        let upper = text.to_ascii_uppercase();
        match text.parse::<Method>() {
            Ok(method) if upper == *text => methods.push(method),
            Ok(_) => cx.error(
                &key,
                "is not in upper case, and methods are compared exactly",
                format!("Write `{upper}`."),
            ),
            Err(_) => cx.error(
                &key,
                format!("is not a method: {text:?}"),
                "Write one such as `GET`.",
            ),
        }
    }
    methods
}

fn hosts(key: &str, file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (key, text) in some(
        key,
        file,
        "Write a host name, or remove the key for all.",
        cx,
    ) {
        match host(text) {
            Ok(host) => hosts.push(host),
            Err((message, remedy)) => cx.error(&key, message, remedy),
        }
    }
    hosts
}

fn host(text: &str) -> Result<String, (&'static str, &'static str)> {
    const REMEDY: &str = "Write a name such as `app.example.com` or `*.example.com`.";
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.starts_with('[') && name.ends_with(']') && name == text {
        let ip = name[1..name.len() - 1].parse::<std::net::Ipv6Addr>();
        return ip
            .map(|ip| format!("[{ip}]"))
            .map_err(|_| ("is not an address", REMEDY));
    }
    if name.contains(':') {
        return Err((
            "has a port or a scheme",
            "Write the name alone: the port never counts.",
        ));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(label) {
        return Err(("is not a host name", REMEDY));
    }
    Ok(text.to_ascii_lowercase())
}

/// The elements of a list that is missing or has some: an empty list would match nothing to one
/// reader and everything to another.
fn some<'f>(
    key: &str,
    file: Option<&'f OneOrMany<String>>,
    remedy: &str,
    cx: &mut Context<'_>,
) -> Vec<(String, &'f String)> {
    let Some(file) = file else {
        return Vec::new();
    };
    let listed = file.keyed(key);
    if listed.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", remedy);
    }
    listed
}

fn require(
    key: &str,
    file: Option<&file::Require>,
    access: Access,
    cx: &mut Context<'_>,
) -> Require {
    let Some(file) = file else {
        return Require::default();
    };
    let require = Require {
        roles: words(&member(key, "roles"), file.roles.as_ref(), cx),
        scopes: words(&member(key, "scopes"), file.scopes.as_ref(), cx),
        claims: issuer::required(&member(key, "claims"), file.claims.as_ref(), cx),
    };
    if require.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(
            key,
            "asks for nothing",
            "Write `roles`, `scopes` or `claims`, or remove it.",
        );
    }
    match access {
        Access::Public => cx.error(
            key,
            "is never looked at on a public route",
            "Remove it, or `access: public`.",
        ),
        Access::Optional => cx.error(
            key,
            "protects nothing where callers without a token pass",
            "Remove it, or `access: optional`.",
        ),
        Access::Required => {}
    }
    require
}

fn words(key: &str, file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Vec<String> {
    const REMEDY: &str = "Write what is asked for, or remove the key.";
    let listed = some(key, file, REMEDY, cx);
    for (key, word) in &listed {
        if word.is_empty() {
            cx.error(key, "is empty", REMEDY);
        }
    }
    listed.into_iter().map(|(_, word)| word.clone()).collect()
}

/// A pattern that an earlier route takes whole is a mistake, and mostly a dangerous one.
fn reachable(
    key: &str,
    file: &file::Route,
    route: &Route,
    before: &[(String, Route)],
    cx: &mut Context<'_>,
) {
    let Some(file) = &file.path else {
        return;
    };
    for (path_key, path) in file.keyed(&member(key, "path")) {
        let earlier = before
            .iter()
            .find(|(_, earlier)| takes(earlier, route, path));
        if let Some((earlier, _)) = earlier {
            cx.error(
                &path_key,
                format!("is never reached: {earlier} takes all its requests"),
                "Put the narrower route first, or remove one of the two.",
            );
        }
    }
}

fn takes(earlier: &Route, later: &Route, path: &str) -> bool {
    let within = |small: bool, empty: bool| empty || small;
    let methods = later
        .methods
        .iter()
        .all(|method| earlier.methods.contains(method));
    let hosts = later.hosts.iter().all(|host| earlier.hosts.contains(host));
    within(methods && !later.methods.is_empty(), earlier.methods.is_empty())
        && within(hosts && !later.hosts.is_empty(), earlier.hosts.is_empty())
        // An opaque route takes paths that a strict one before it refuses.
        && (earlier.opaque_paths || !later.opaque_paths)
        && earlier.paths.iter().any(|earlier| pattern::covers(earlier, path))
}

/// An app that decodes `%2F` sees another path than the one the route was found by, so all
/// that it could see must ask for the same.
fn alone(key: &str, route: &Route, routes: &[(String, Route)], cx: &mut Context<'_>) {
    if route.access != Access::Required {
        cx.report.warn(
            &member(key, "paths"),
            "is opaque on a route that asks for no token",
            "Make sure that the app does not decode `%2F`: it could take the path for another one.",
        );
    }
    let differs = |other: &Route| other.access != route.access || other.require != route.require;
    let near = |other: &Route| {
        route.paths.iter().any(|path| {
            other
                .paths
                .iter()
                .any(|other| pattern::overlap(path, other))
        })
    };
    let other = routes
        .iter()
        .find(|(_, other)| differs(other) && near(other));
    if let Some((other, _)) = other {
        cx.error(
            &member(key, "paths"),
            format!("is opaque beside {other}, which asks for something else under the same path"),
            "Let both ask for the same, or give the opaque one a path of its own: an app that decodes `%2F` would mix them up.",
        );
    }
}
