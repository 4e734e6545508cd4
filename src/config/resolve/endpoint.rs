//! What usher answers itself.

use super::{Context, pattern};
use crate::config::file::{self, BackchannelLogout, TextOr, Verify};
use crate::config::{Audiences, Endpoints, LogoutEndpoint, Route, VerifyEndpoint};

const KEY: &str = "endpoints.verify";
const LOGOUT: &str = "endpoints.backchannel_logout";

/// Resolves the endpoints.
pub(super) fn resolve(
    file: &file::Endpoints,
    routes: &[Route],
    users: bool,
    revocation: bool,
    cx: &mut Context<'_>,
) -> Endpoints {
    distinct(file, cx);
    let logout = file.backchannel_logout.as_ref();
    Endpoints {
        backchannel_logout: logout.and_then(|file| self::logout(file, routes, revocation, cx)),
        verify_user: of_users("verify_user", file.verify_user.as_ref(), routes, users, cx),
        ensure_user: of_users("ensure_user", file.ensure_user.as_ref(), routes, users, cx),
        verify: file
            .verify
            .as_ref()
            .and_then(|verify| self::verify(verify, routes, cx)),
    }
}

fn verify(file: &TextOr<Verify>, routes: &[Route], cx: &mut Context<'_>) -> Option<VerifyEndpoint> {
    let (key, path, user_id, username) = match file {
        TextOr::Text(path) => (KEY.to_owned(), Some(path), None, None),
        TextOr::Full(full) => (
            format!("{KEY}.path"),
            full.path.as_ref(),
            full.user_id.clone(),
            full.username.clone(),
        ),
    };
    let Some(path) = path else {
        cx.report
            .missing(&key, "Write the path, such as `/api/auth/verify`.");
        return None;
    };
    check(&key, path, routes, cx);
    Some(VerifyEndpoint {
        path: path.clone(),
        user_id: claim("user_id", user_id, cx),
        username: claim("username", username, cx),
    })
}

/// An endpoint that needs to know users.
fn of_users(
    name: &str,
    path: Option<&String>,
    routes: &[Route],
    users: bool,
    cx: &mut Context<'_>,
) -> Option<String> {
    let path = path?;
    let key = format!("endpoints.{name}");
    check(&key, path, routes, cx);
    if !users {
        cx.error(
            &key,
            "needs users, and nobody is looked up",
            "Write `users:` with its `directory`.",
        );
    }
    Some(path.clone())
}

fn logout(
    file: &TextOr<BackchannelLogout>,
    routes: &[Route],
    revocation: bool,
    cx: &mut Context<'_>,
) -> Option<LogoutEndpoint> {
    if !revocation {
        cx.error(
            LOGOUT,
            "needs `revocation`: somebody who logs out is revoked",
            "Write `revocation: { stream: redis://redis:6379 }`.",
        );
    }
    let (key, path, audiences) = match file {
        TextOr::Text(path) => (LOGOUT.to_owned(), Some(path), None),
        TextOr::Full(full) => (
            format!("{LOGOUT}.path"),
            full.path.as_ref(),
            full.audiences.as_ref(),
        ),
    };
    let Some(path) = path else {
        let remedy = "Write the path, such as `/auth/backchannel-logout`.";
        cx.report.missing(&key, remedy);
        return None;
    };
    check(&key, path, routes, cx);
    let key = format!("{LOGOUT}.audiences");
    let listed: Option<Vec<String>> = audiences.map(|listed| {
        let listed = listed.keyed(&key);
        listed.into_iter().map(|(_, one)| one.clone()).collect()
    });
    if listed
        .as_ref()
        .is_some_and(|all| all.is_empty() || all.iter().any(String::is_empty))
    {
        let remedy = "Write the id of the client, such as `audiences: [my-app]`.";
        cx.error(&key, "names nobody", remedy);
    }
    Some(LogoutEndpoint {
        path: path.clone(),
        audiences: listed.map(Audiences::OneOf),
    })
}

/// Two endpoints cannot answer on one path.
fn distinct(file: &file::Endpoints, cx: &mut Context<'_>) {
    let verify = match &file.verify {
        Some(TextOr::Text(path)) => Some(path),
        Some(TextOr::Full(full)) => full.path.as_ref(),
        None => None,
    };
    let logout = match &file.backchannel_logout {
        Some(TextOr::Text(path)) => Some(path),
        Some(TextOr::Full(full)) => full.path.as_ref(),
        None => None,
    };
    let paths = [
        (LOGOUT, logout),
        ("endpoints.verify", verify),
        ("endpoints.verify_user", file.verify_user.as_ref()),
        ("endpoints.ensure_user", file.ensure_user.as_ref()),
    ];
    for (place, (key, path)) in paths.iter().enumerate() {
        if path.is_some() && paths[..place].iter().any(|(_, other)| other == path) {
            cx.error(
                key,
                "is the path of another endpoint",
                "Choose another path.",
            );
        }
    }
}

/// An exact path of usher's own, where no route is.
pub(super) fn check(key: &str, path: &str, routes: &[Route], cx: &mut Context<'_>) {
    if let Err((message, remedy)) = pattern::check_path(path) {
        cx.error(key, message, remedy);
    } else if path.contains('*') {
        cx.error(key, "has `*`", "Write one exact path.");
    } else if routes
        .iter()
        .any(|route| route.paths.iter().any(|pattern| pattern == path))
    {
        cx.error(
            key,
            format!("has the path of a route too: {path}"),
            "Remove the route, whose requests would never arrive, or choose another path.",
        );
    }
}

fn claim(name: &str, given: Option<String>, cx: &mut Context<'_>) -> String {
    let claim = given.unwrap_or_else(|| name.to_owned());
    if claim.is_empty() {
        cx.error(
            &format!("{KEY}.{name}"),
            "is empty",
            "Write a claim such as `id`.",
        );
    }
    claim
}
