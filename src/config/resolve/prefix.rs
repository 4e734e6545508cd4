//! What becomes of the front of a path on its way to the app.

use super::{Context, pattern};
use crate::config::report::{element, member};
use crate::config::{Prefix, Route, Upstream, file};

const REMEDY: &str = "Write a path without a slash at its end, such as `/api`.";

/// What a route takes off and puts in front, which has to fit all its paths.
pub(super) fn resolve(
    key: &str,
    file: &file::Route,
    paths: &[String],
    cx: &mut Context<'_>,
) -> Prefix {
    let strip_key = member(key, "strip_prefix");
    let strip = one(&strip_key, file.strip_prefix.as_deref(), cx);
    let outside = |path: &&String| !stands_below(path, &strip);
    if let Some(path) = paths.iter().find(outside) {
        cx.error(
            &strip_key,
            format!("is not the beginning of the route's path {path}"),
            "Let every path of the route begin with it, without `*`, or make two routes.",
        );
    }
    Prefix {
        add: one(&member(key, "add_prefix"), file.add_prefix.as_deref(), cx),
        strip,
    }
}

fn one(key: &str, text: Option<&str>, cx: &mut Context<'_>) -> String {
    let Some(text) = text else {
        return String::new();
    };
    if let Err((message, remedy)) = pattern::check_path(text) {
        cx.error(key, message, remedy);
    } else if text.ends_with('/') || text.contains('*') {
        cx.error(key, "ends with `/` or has `*`", REMEDY);
    } else {
        return text.to_owned();
    }
    String::new()
}

/// Whether all that a pattern matches is a prefix, or stands below it.
fn stands_below(path: &str, prefix: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(below)
}

/// Another way to a path of the app has rules of its own; where those differ, somebody has to
/// have meant it.
pub(in crate::config) fn check_ways(
    routes: &[Route],
    global: Option<&Upstream>,
    cx: &mut Context<'_>,
) {
    let app = |route: &Route| {
        route
            .upstream
            .as_ref()
            .or(global)
            .map(|app| app.address.clone())
    };
    for (place, route) in routes.iter().enumerate() {
        if route.prefix.is_empty() {
            continue;
        }
        let meets = |other: &&Route| {
            let differs = (other.access, &other.require) != (route.access, &route.require);
            let inner = |path: &String| inside(path, &route.prefix);
            let overlaps = |path: &String| {
                let mut others = other.paths.iter().map(|path| inside(path, &other.prefix));
                others.any(|other| pattern::overlap(&inner(path), &other))
            };
            differs && app(other) == app(route) && route.paths.iter().any(overlaps)
        };
        let others = routes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place);
        if let Some(other) = others.map(|(_, other)| other).find(meets) {
            let key = match route.prefix.strip.is_empty() {
                true => "add_prefix",
                false => "strip_prefix",
            };
            let key = member(&element("routes", place), key);
            let message = format!(
                "leads to paths of the app that the route `{}` guards by other rules",
                other.name
            );
            let remedy = "The rules of the route count by which a request came, and of no other: \
                make sure that these are enough.";
            cx.report.warn(&key, message, remedy);
        }
    }
}

/// A pattern as the app sees what it matches.
fn inside(path: &str, prefix: &Prefix) -> String {
    let rest = path.strip_prefix(prefix.strip.as_str()).unwrap_or(path);
    match format!("{}{rest}", prefix.add) {
        empty if empty.is_empty() => "/".to_owned(),
        path => path,
    }
}
