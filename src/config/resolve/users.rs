//! Users: the directory and its table, and what issuers that share it must say.

use std::time::Duration;

use super::{Context, bounds, flag, key_source, provisioner};
use crate::config::file::{
    self, Directory, Hidden, List, MatchBy, Named, OneOrMany, TextOr, UsersPreset,
};
use crate::config::postgres_url::{PostgresUrl, Tls};
use crate::config::report::member;
use crate::config::users::{
    DirectorySettings, IssuerUsers, MatchRule, PostgresSettings, PresenceSettings, Settings, Table,
};
use crate::config::{Column, HeaderSource, IdentityHeader, Issuer};
use crate::secret::Secret;

const DIRECTORY: &str =
    "Write `directory: sqlite:/var/lib/usher/users.db` or `directory: postgres://app@db/app`.";
const MILLISECOND: Duration = Duration::from_millis(1);

/// Resolves users; `None` when the file has none.
pub(super) fn resolve(
    file: Option<&file::Users>,
    mirrors: Option<&List<file::Issuer>>,
    issuers: &[Issuer],
    own: Option<IssuerUsers>,
    cx: &mut Context<'_>,
) -> Option<Settings> {
    let file = file?;
    let directory = directory(file, cx);
    let table = table(file, &directory, cx);
    let provisioner = provisioner::resolve(file, cx);
    let mut settings = Settings::new(directory, table, provisioner);
    settings.issuers = rules(file, mirrors, issuers, cx);
    settings.issuers.extend(own);
    settings.wait = bounds::time("users.wait", file.wait, settings.wait, MILLISECOND, cx);
    settings.max_waiters = bounds::whole(
        "users.max_waiters",
        file.max_waiters,
        settings.max_waiters,
        1..=1_000_000,
        cx,
    );
    settings.presence = presence(file.presence.as_ref(), cx);
    let ensure = bounds::whole(
        "users.ensure_per_minute",
        file.ensure_per_minute,
        30,
        1..=100_000,
        cx,
    );
    settings.ensure_per_minute = u32::try_from(ensure).unwrap_or(u32::MAX);
    told_apart(file, &settings, issuers, cx);
    Some(settings)
}

fn directory(file: &file::Users, cx: &mut Context<'_>) -> DirectorySettings {
    let none = DirectorySettings::Sqlite {
        path: std::path::PathBuf::new(),
        own_table: false,
    };
    let (found, full) = match &file.directory {
        None => {
            cx.report.missing("users.directory", DIRECTORY);
            return none;
        }
        Some(TextOr::Text(url)) => (Some(("users.directory".to_owned(), url.clone())), None),
        Some(TextOr::Full(full)) => {
            let found = one_url(
                "users.directory",
                full.url.as_ref(),
                full.url_file.as_deref(),
                DIRECTORY,
                cx,
            );
            (found, Some(full))
        }
    };
    let Some((key, url)) = found else {
        return none;
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        if path.is_empty() {
            cx.error(&key, "names no file", DIRECTORY);
        }
        return DirectorySettings::Sqlite {
            path: cx.path(path),
            own_table: file.preset.is_none() && file.table.is_none(),
        };
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        cx.error(&key, "is neither `sqlite:` nor `postgres://`", DIRECTORY);
        return none;
    }
    DirectorySettings::Postgres(postgres("users.directory", url, full, cx))
}

/// A PostgreSQL server, as the object at `key` says.
pub(super) fn postgres(
    key: &str,
    url: String,
    file: Option<&Directory>,
    cx: &mut Context<'_>,
) -> PostgresSettings {
    let ca_file = file.is_some_and(|file| file.ca_file.is_some());
    encrypted(key, &url, ca_file, cx);
    let mut settings = PostgresSettings::new(Secret::new(url));
    let Some(file) = file else {
        return settings;
    };
    settings.ca_file = file.ca_file.as_deref().map(|path| cx.file(path));
    settings.pool = bounds::whole(&member(key, "pool"), file.pool, settings.pool, 1..=1000, cx);
    settings.statement_timeout = bounds::time(
        &member(key, "statement_timeout"),
        file.statement_timeout,
        settings.statement_timeout,
        MILLISECOND,
        cx,
    );
    settings.connect_timeout = bounds::time(
        &member(key, "connect_timeout"),
        file.connect_timeout,
        settings.connect_timeout,
        MILLISECOND,
        cx,
    );
    settings
}

/// Whether what is said there stays between the two.
fn encrypted(key: &str, url: &str, ca_file: bool, cx: &mut Context<'_>) {
    const REMEDY: &str = "Write `?sslmode=verify-full` at the end of the URL";
    let read = match PostgresUrl::read(url) {
        Ok(read) => read,
        Err(why) => {
            let remedy = "Write it as `postgres://app@db:5432/app?sslmode=verify-full`.";
            return cx.error(key, format!("is no URL of PostgreSQL: {why}"), remedy);
        }
    };
    let clear = match read.tls(ca_file) {
        Tls::Always => return,
        Tls::Off => "`sslmode=disable` sends all of it in clear",
        Tls::Offered => {
            "`sslmode=prefer` goes on in clear whenever the answer is that there is no TLS"
        }
    };
    if ca_file {
        let message = format!("has a `ca_file`, and {clear}");
        cx.error(key, message, format!("{REMEDY}, or remove `ca_file`."));
    } else if !read.is_local() {
        let message = format!("is on another machine, and {clear}");
        let remedy = format!("{REMEDY}, unless nobody else can listen on the way.");
        cx.report.warn(key, message, remedy);
    }
}

/// A URL in the file, or in a file of its own since it may hold a password; and the key that
/// says so.
pub(super) fn one_url(
    key: &str,
    url: Option<&Hidden>,
    file: Option<&str>,
    remedy: &str,
    cx: &mut Context<'_>,
) -> Option<(String, String)> {
    match (url, file) {
        (Some(_), Some(_)) => {
            cx.error(key, "has both `url` and `url_file`", "Remove one of them.");
            None
        }
        (Some(url), None) => Some((format!("{key}.url"), url.0.clone())),
        (None, Some(path)) => {
            let key = format!("{key}.url_file");
            let path = cx.file(path);
            let bytes = key_source::read_file(&key, &path, cx)?;
            match String::from_utf8(bytes) {
                Ok(text) => Some((key, text.trim().to_owned())),
                Err(_) => {
                    cx.error(&key, "names a file that is not text", remedy);
                    None
                }
            }
        }
        (None, None) => {
            cx.report.missing(&format!("{key}.url"), remedy);
            None
        }
    }
}

fn table(file: &file::Users, directory: &DirectorySettings, cx: &mut Context<'_>) -> Table {
    let own = matches!(
        directory,
        DirectorySettings::Sqlite {
            own_table: true,
            ..
        }
    );
    let mut table = match file.preset {
        Some(UsersPreset::Exness) => Table::exness(),
        None => Table {
            schema: None,
            name: "users".to_owned(),
            id_column: "id".to_owned(),
            email_column: "email".to_owned(),
            name_column: own.then(|| "name".to_owned()),
            issuer_column: own.then(|| "issuer".to_owned()),
            extra_columns: Vec::new(),
            rule: MatchRule::Id,
        },
    };
    let postgres = matches!(directory, DirectorySettings::Postgres(_));
    if postgres && file.preset.is_none() && file.table.is_none() {
        cx.report.missing(
            "users.table",
            "Write the table that holds your users, e.g. `table: users`, or `preset: exness`.",
        );
    }
    set(&mut table.name, "table", file.table.as_ref(), cx);
    set(
        &mut table.id_column,
        "id_column",
        file.id_column.as_ref(),
        cx,
    );
    set(
        &mut table.email_column,
        "email_column",
        file.email_column.as_ref(),
        cx,
    );
    set_optional(&mut table.schema, "schema", file.schema.as_ref(), cx);
    set_optional(
        &mut table.name_column,
        "name_column",
        file.name_column.as_ref(),
        cx,
    );
    set_optional(
        &mut table.issuer_column,
        "issuer_column",
        file.issuer_column.as_ref(),
        cx,
    );
    match file.match_by {
        Some(MatchBy::Id) => table.rule = MatchRule::Id,
        Some(MatchBy::IdOrEmail) => table.rule = MatchRule::IdOrEmail,
        None => {}
    }
    table
}

fn set(name: &mut String, key: &str, given: Option<&String>, cx: &mut Context<'_>) {
    if let Some(given) = given {
        identifier(&format!("users.{key}"), given, cx);
        name.clone_from(given);
    }
}

fn set_optional(
    name: &mut Option<String>,
    key: &str,
    given: Option<&String>,
    cx: &mut Context<'_>,
) {
    if let Some(given) = given {
        identifier(&format!("users.{key}"), given, cx);
        *name = Some(given.clone());
    }
}

/// Names are quoted wherever they are used, so almost anything is a name; PostgreSQL cuts at
/// 63 bytes, and then means another one.
fn identifier(key: &str, name: &str, cx: &mut Context<'_>) {
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        cx.error(
            key,
            "is no name of a table or column",
            "Write the name as the database shows it, without quotes, at most 63 bytes.",
        );
    }
}

fn presence(file: Option<&file::Presence>, cx: &mut Context<'_>) -> PresenceSettings {
    let default = PresenceSettings::default();
    let Some(file) = file else {
        return default;
    };
    let capacity = usize::try_from(default.capacity).unwrap_or(usize::MAX);
    let capacity = bounds::whole(
        "users.presence.capacity",
        file.capacity,
        capacity,
        1..=100_000_000,
        cx,
    );
    let settings = PresenceSettings {
        fresh: bounds::time(
            "users.presence.fresh",
            file.fresh,
            default.fresh,
            MILLISECOND,
            cx,
        ),
        max_stale: bounds::time(
            "users.presence.max_stale",
            file.max_stale,
            default.max_stale,
            MILLISECOND,
            cx,
        ),
        capacity: capacity as u64,
    };
    if settings.max_stale < settings.fresh {
        cx.error(
            "users.presence.max_stale",
            "is shorter than `fresh`",
            "Write a time of at least `users.presence.fresh`.",
        );
    }
    settings
}

/// What each issuer says about its users.
fn rules(
    file: &file::Users,
    mirrors: Option<&List<file::Issuer>>,
    issuers: &[Issuer],
    cx: &mut Context<'_>,
) -> Vec<IssuerUsers> {
    let exness = file.preset == Some(UsersPreset::Exness);
    let mirrors = mirrors
        .map(|list| list.keyed("issuers"))
        .unwrap_or_default();
    let mut rules = Vec::new();
    for (issuer, (key, mirror)) in issuers.iter().zip(mirrors) {
        let prefix = mirror.id_prefix.clone().unwrap_or_default();
        check_prefix(&format!("{key}.id_prefix"), &prefix, cx);
        rules.push(IssuerUsers {
            issuer: issuer.name.clone(),
            id_prefix: prefix,
            link_by_email: flag(mirror.link_by_email, exness),
            trust_email: flag(mirror.trust_email, exness),
        });
    }
    rules
}

/// What stands before ids is short and plain.
pub(super) fn check_prefix(key: &str, prefix: &str, cx: &mut Context<'_>) {
    if prefix.len() > 64 || prefix.chars().any(char::is_control) {
        cx.error(
            key,
            "is longer than 64 bytes, or holds control characters",
            "Write something like `idp:`.",
        );
    }
}

/// Two issuers may give one id to two people: something must tell them apart (threats J09).
fn told_apart(file: &file::Users, settings: &Settings, issuers: &[Issuer], cx: &mut Context<'_>) {
    let shared = flag(file.shared_ids, false);
    if issuers.len() < 2 || shared || settings.table.issuer_column.is_some() {
        return;
    }
    let prefixes: Vec<_> = settings
        .issuers
        .iter()
        .map(|rules| rules.id_prefix.as_str())
        .collect();
    // One prefix that starts with another does not tell `a` + `b1` from `ab` + `1`.
    let apart = prefixes.iter().enumerate().all(|(place, one)| {
        prefixes
            .iter()
            .enumerate()
            .all(|(other_place, other)| place == other_place || !other.starts_with(one))
    });
    if !apart {
        cx.error(
            "users",
            "has several issuers, and nothing tells equal ids of theirs apart",
            "Write `issuer_column`, an `id_prefix` for each issuer (none the start of another), or \
             `shared_ids: true` if equal ids are one user.",
        );
    }
}

/// Headers that take a column (`user.<column>`) become such, and the columns are collected where
/// somebody is looked up.
pub(super) fn headers(
    file: Option<&Named<OneOrMany<String>>>,
    mut headers: Vec<IdentityHeader>,
    mut columns: Option<&mut Vec<String>>,
    cx: &mut Context<'_>,
) -> Vec<IdentityHeader> {
    for header in &mut headers {
        let HeaderSource::Claim(claim) = &header.value else {
            continue;
        };
        let Some(name) = claim.strip_prefix("user.") else {
            continue;
        };
        let key = key_of(header, file);
        let Some(columns) = columns.as_deref_mut() else {
            cx.error(
                &key,
                "takes a column of the user's row, but nobody is looked up",
                "Write `users:` with its `directory`, or name a claim.",
            );
            continue;
        };
        header.value = HeaderSource::User(match name {
            "id" => Column::Id,
            "email" => Column::Email,
            name => {
                identifier(&key, name, cx);
                Column::Extra(place(columns, name))
            }
        });
    }
    headers
}

/// A header's key as the file spells it: by that its line is found.
fn key_of(header: &IdentityHeader, file: Option<&Named<OneOrMany<String>>>) -> String {
    let members = file.map(|named| named.keyed("headers")).unwrap_or_default();
    let name = header.name.as_str();
    let mut keys = members
        .into_iter()
        .filter_map(|(key, given, _)| given.eq_ignore_ascii_case(name).then_some(key));
    keys.next().unwrap_or_else(|| format!("headers.{name}"))
}

fn place(columns: &mut Vec<String>, name: &str) -> usize {
    columns
        .iter()
        .position(|known| known == name)
        .unwrap_or_else(|| {
            columns.push(name.to_owned());
            columns.len() - 1
        })
}
