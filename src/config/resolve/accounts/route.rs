//! What routes say about external users.

use crate::config::accounts::Settings;
use crate::config::file::{self, List, Suspended};
use crate::config::near::nearest;
use crate::config::report::member;
use crate::config::resolve::Context;
use crate::config::{Access, Route};

/// The paths of the endpoints, below `base_path` and a project's id.
const ENDPOINTS: [&str; 3] = [
    "auth/verify-external-user",
    "auth/request-new-access-token",
    "auth/sign-out",
];

/// Where the endpoints answer: for each project, and the public keys.
pub(in crate::config::resolve) fn paths(settings: &Settings) -> Vec<String> {
    let base = &settings.base_path;
    let of = |id: &String| ENDPOINTS.map(|endpoint| format!("{base}/{id}/{endpoint}"));
    let mut paths: Vec<_> = settings
        .projects
        .iter()
        .flat_map(|one| of(&one.id))
        .collect();
    if settings.has_public_keys() {
        paths.push("/.well-known/jwks.json".to_owned());
    }
    paths
}

/// What routes say about external users, compared with the projects.
pub(in crate::config::resolve) fn check_routes(
    file: &List<file::Route>,
    routes: &[Route],
    settings: Option<&Settings>,
    cx: &mut Context<'_>,
) {
    let known: Vec<&str> = settings
        .map(|settings| settings.projects.iter().map(|project| project.id.as_str()))
        .into_iter()
        .flatten()
        .collect();
    for ((key, file), route) in file.keyed("routes").into_iter().zip(routes) {
        serves(&member(&key, "projects"), file, &known, cx);
        suspended(&member(&key, "suspended"), file, route, cx);
        if let Some(settings) = settings {
            hidden(&member(&key, "path"), route, settings, cx);
        }
    }
}

fn serves(key: &str, file: &file::Route, known: &[&str], cx: &mut Context<'_>) {
    let Some(projects) = &file.projects else {
        return;
    };
    if file.access == Some(Access::Public) {
        cx.error(
            key,
            "is never looked at on a public route",
            "Remove it, or `access: public`.",
        );
    }
    for (key, project) in projects.keyed(key) {
        if known.contains(&project.as_str()) {
            continue;
        }
        let remedy = match nearest(project, known.iter().copied()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "Write the `id` of one of `projects`.".to_owned(),
        };
        cx.error(&key, format!("names no project: {project:?}"), remedy);
    }
}

fn suspended(key: &str, file: &file::Route, route: &Route, cx: &mut Context<'_>) {
    if file.suspended == Some(Suspended::Deny) && route.projects.is_empty() {
        cx.error(
            key,
            "refuses nobody on a route that serves no project",
            "Write `projects: [acme]` beside it, or remove it.",
        );
    }
}

/// The endpoints come before every route: one on their paths would never be reached.
fn hidden(key: &str, route: &Route, settings: &Settings, cx: &mut Context<'_>) {
    let base = &settings.base_path;
    let own = |path: &String| {
        let rest = path
            .strip_prefix(base.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        let endpoint = rest.and_then(|rest| rest.split_once('/'));
        endpoint.is_some_and(|(_, endpoint)| ENDPOINTS.contains(&endpoint))
            || settings.has_public_keys() && path == "/.well-known/jwks.json"
    };
    if route.paths.iter().any(own) {
        cx.error(
            key,
            "is the path of an endpoint of external users",
            "Remove the route, whose requests would never arrive, or write `endpoints.base_path`.",
        );
    }
}
