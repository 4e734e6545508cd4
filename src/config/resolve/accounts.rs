//! External users: the store, the limits, and what only makes sense together.

mod cookie;
mod issued;
mod project;
mod route;

use std::time::Duration;

pub(super) use self::route::{check_routes, paths};
use super::{Context, bounds, cors, flag, pattern, users};
use crate::config::accounts::{OWN_ISSUER, RateLimit, Settings, Standing, Store};
use crate::config::file::{self, File, IssuedPreset, TextOr};
use crate::config::report::member;
use crate::config::users::IssuerUsers;
use crate::config::{Issuer, KeySource};

const STORE: &str = "Write `accounts: sqlite:/var/lib/usher/accounts.db` or `accounts: postgres://app@db/accounts`.";
const TOKENS: &str = "issued_tokens";
const MILLISECOND: Duration = Duration::from_millis(1);

/// Resolves external users; `None` when the file has none. Their tokens are of one more issuer.
pub(super) fn resolve(
    file: &File,
    issuers: &mut Vec<Issuer>,
    cx: &mut Context<'_>,
) -> Option<Settings> {
    let any = file.accounts.is_some() || file.projects.is_some() || file.issued_tokens.is_some();
    let base_path = base_path(file, any, cx);
    if !any {
        return None;
    }
    let default = file::IssuedTokens::default();
    let tokens = file.issued_tokens.as_ref().unwrap_or(&default);
    if file.issued_tokens.is_none() {
        let remedy = "Write what signs them: `issued_tokens: { access: { secret_file: … }, refresh: { secret_file: … } }`.";
        cx.report.missing(TOKENS, remedy);
    }
    let preset = tokens.preset == Some(IssuedPreset::Replyke);
    let issued = issued::resolve(tokens, preset, issuers, cx);
    if let Some(issued) = &issued {
        issuers.push(issued::issuer(issued));
    }
    let cors = file.cors.as_ref();
    let settings = Settings {
        store: store(file, cx)?,
        projects: project::all(file.projects.as_ref(), preset, cx),
        tokens: issued?,
        base_path,
        rate_limit: rate_limit(tokens, trusts_somebody(file), cx),
        max_body: bounds::size(
            "issued_tokens.max_body",
            tokens.max_body,
            2 << 20,
            1 << 10..=16 << 20,
            cx,
        ),
        provision: flag(tokens.provision, false),
        standing: standing(tokens.standing.as_ref(), cx),
        // What is wrong with them is told where they stand.
        origins: cors::list(cors.and_then(|cors| cors.origins.as_ref())),
    };
    if settings.provision && !has_provisioner(file) {
        cx.error(
            "issued_tokens.provision",
            "needs a provisioner, and there is none",
            "Write `users:` with its `directory` and `provisioner`, or remove it.",
        );
    }
    Some(settings)
}

fn has_provisioner(file: &File) -> bool {
    let named = file
        .users
        .as_ref()
        .and_then(|users| users.provisioner.as_ref());
    named.is_some_and(|named| !matches!(named, TextOr::Text(word) if word == "none"))
}

fn store(file: &File, cx: &mut Context<'_>) -> Option<Store> {
    let (found, full) = match &file.accounts {
        None => {
            cx.report.missing("accounts", STORE);
            return None;
        }
        Some(TextOr::Text(url)) => (Some(("accounts".to_owned(), url.clone())), None),
        Some(TextOr::Full(full)) => {
            let (url, url_file) = (full.url.as_ref(), full.url_file.as_deref());
            let found = users::one_url("accounts", url, url_file, STORE, cx);
            (found, Some(full))
        }
    };
    let (key, url) = found?;
    if let Some(path) = url.strip_prefix("sqlite:") {
        if path.is_empty() {
            cx.error(&key, "names no file", STORE);
        }
        return Some(Store::Sqlite(cx.path(path)));
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        cx.error(&key, "is neither `sqlite:` nor `postgres://`", STORE);
        return None;
    }
    Some(Store::Postgres(users::postgres("accounts", url, full, cx)))
}

fn base_path(file: &File, any: bool, cx: &mut Context<'_>) -> String {
    const KEY: &str = "endpoints.base_path";
    let given = file.endpoints.as_ref();
    let Some(path) = given.and_then(|endpoints| endpoints.base_path.clone()) else {
        return String::new();
    };
    if let Err((message, remedy)) = pattern::check_path(&path) {
        cx.error(KEY, message, remedy);
    } else if path.ends_with('/') || path.contains('*') {
        cx.error(KEY, "ends with `/`, or has `*`", "Write it as `/api/v5`.");
    } else if !any {
        cx.error(
            KEY,
            "precedes the paths of external users, and there are none",
            "Write `accounts`, `projects` and `issued_tokens`, or remove it.",
        );
    }
    path
}

/// Whether a proxy's word on its client's address counts.
fn trusts_somebody(file: &File) -> bool {
    let trusted = file.trusted_proxies.as_ref();
    trusted.is_some_and(|list| !list.keyed("").is_empty())
}

fn rate_limit(file: &file::IssuedTokens, trusts: bool, cx: &mut Context<'_>) -> Option<RateLimit> {
    const KEY: &str = "issued_tokens.rate_limit";
    let default = file::RateLimit::default();
    let full = match &file.rate_limit {
        None => &default,
        Some(TextOr::Full(full)) => full,
        Some(TextOr::Text(word)) if word == "off" => return None,
        Some(TextOr::Text(_)) => {
            cx.error(
                KEY,
                "is another word than `off`",
                "Write `off`, or `{ calls: 25, per: 5m }`.",
            );
            return None;
        }
    };
    if !trusts {
        let key = if file.rate_limit.is_some() {
            KEY
        } else {
            TOKENS
        };
        cx.report.warn(
            key,
            "limits logins by the address of the peer, since `trusted_proxies` is empty: behind a proxy all callers count as one",
            "Name the proxies in `trusted_proxies`, or write `rate_limit: off` if none of this is meant.",
        );
    }
    let calls = bounds::whole(
        "issued_tokens.rate_limit.calls",
        full.calls,
        25,
        1..=1_000_000,
        cx,
    );
    let (clients, most) = (full.clients, 1..=10_000_000);
    let clients = bounds::whole(
        "issued_tokens.rate_limit.clients",
        clients,
        100_000,
        most,
        cx,
    );
    Some(RateLimit {
        calls: u32::try_from(calls).unwrap_or(u32::MAX),
        per: bounds::time(
            "issued_tokens.rate_limit.per",
            full.per,
            Duration::from_secs(300),
            Duration::from_secs(1),
            cx,
        ),
        clients: clients as u64,
    })
}

fn standing(file: Option<&file::Standing>, cx: &mut Context<'_>) -> Standing {
    let default = file::Standing::default();
    let file = file.unwrap_or(&default);
    let (fresh, stale) = (Duration::from_secs(30), Duration::from_secs(300));
    let key = |name| member("issued_tokens.standing", name);
    let standing = Standing {
        fresh: bounds::time(&key("fresh"), file.fresh, fresh, MILLISECOND, cx),
        max_stale: bounds::time(&key("max_stale"), file.max_stale, stale, MILLISECOND, cx),
        capacity: bounds::whole(
            &key("capacity"),
            file.capacity,
            100_000,
            1..=100_000_000,
            cx,
        ),
    };
    if standing.max_stale < standing.fresh {
        cx.error(
            &key("max_stale"),
            "is shorter than `fresh`",
            "Write a time of at least `issued_tokens.standing.fresh`.",
        );
    }
    standing
}

/// What `users` has to know of the own issuer; it has no entry under `issuers`.
pub(super) fn rules(file: &File, cx: &mut Context<'_>) -> Option<IssuerUsers> {
    let tokens = file.issued_tokens.as_ref()?;
    let id_prefix = tokens.id_prefix.clone().unwrap_or_default();
    users::check_prefix("issued_tokens.id_prefix", &id_prefix, cx);
    Some(IssuerUsers {
        issuer: OWN_ISSUER.to_owned(),
        id_prefix,
        ..IssuerUsers::default()
    })
}

/// Whether two secrets of different purposes are one.
fn is_shared_with(key: &KeySource, secret: &crate::secret::Secret) -> bool {
    matches!(key, KeySource::Secret(other) if other == secret)
}
