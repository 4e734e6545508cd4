//! From the mirror to [`Config`]: defaults are filled in, rules are checked, and whatever is
//! wrong is reported with its key, all of it.

mod accounts;
mod bounds;
mod control;
mod cors;
mod endpoint;
mod front_door;
mod header;
mod introspection;
mod issuer;
mod key_source;
mod listen;
mod pattern;
mod prefix;
mod provisioner;
mod proxy;
mod revocation;
mod route;
mod secret;
mod tls;
mod token;
mod traces;
mod upstream;
mod url;
mod users;

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::file::{File, Flag, Log as LogFile};
use super::files::Files;
use super::report::Report;
use super::revocation::Settings as RevocationSettings;
use super::source::Environment;
use super::users::Settings as UserSettings;
use super::{Config, IdentityHeader, Issuer, Listen, Listener, Log};

/// What resolving needs beside the mirror.
pub(super) struct Context<'a> {
    pub(super) report: Report,
    pub(super) env: Environment<'a>,
    /// Where relative paths start; the working directory if there is none.
    pub(super) folder: Option<&'a Path>,
    /// What is read beside it.
    pub(super) files: &'a mut Files,
}

impl Context<'_> {
    /// A path as the file means it.
    fn path(&self, text: &str) -> PathBuf {
        match self.folder {
            Some(folder) => folder.join(text),
            None => PathBuf::from(text),
        }
    }

    /// The path of a file whose change is a change of the configuration.
    fn file(&mut self, text: &str) -> PathBuf {
        let path = self.path(text);
        self.files.note(&path);
        path
    }

    fn error(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.report.error(key, message, remedy);
    }
}

/// Resolves the mirror; the result counts only if the report has no errors.
pub(super) fn resolve(mut file: File, cx: &mut Context<'_>) -> Config {
    let listeners = listen::listeners(file.listen.as_ref(), cx);
    let admin = listen::admin(file.admin.as_deref(), &listeners, cx);
    let decides = file.forward_auth.is_some() || file.ext_authz.is_some();
    let upstream = upstream::global(file.upstream.as_ref(), decides, &listeners, cx);
    let mut issuers = issuer::all(file.issuers.as_ref(), file.issued_tokens.is_some(), cx);
    let accounts = accounts::resolve(&file, &mut issuers, cx);
    let listed = file.routes.take().unwrap_or_default();
    let routes = route::all(&listed, &listeners, cx);
    route::check_ways(&routes, upstream.as_ref(), cx);
    accounts::check_routes(&listed, &routes, accounts.as_ref(), cx);
    let (headers, users) = headers_and_users(&file, &listeners, &issuers, cx);
    let endpoints = endpoint::resolve(
        &file.endpoints.take().unwrap_or_default(),
        &routes,
        users.is_some(),
        file.revocation.is_some(),
        cx,
    );
    let mut taken: Vec<_> = listeners.iter().map(|one| one.listen.clone()).collect();
    taken.extend(admin.map(Listen::Tcp));
    let ext_authz = front_door::ext_authz(file.ext_authz.as_ref(), &taken, cx);
    let neighbours = front_door::Neighbours {
        endpoints: endpoints.paths(),
        accounts: accounts.as_ref().map_or_else(Vec::new, accounts::paths),
        routes: &routes,
    };
    let doors = front_door::forward_auth(file.forward_auth.as_ref(), &neighbours, cx);
    let trusted_proxies = proxy::trusted(&file.trusted_proxies.take().unwrap_or_default(), cx);
    front_door::check_trust(
        file.forward_auth.is_some(),
        file.ext_authz.is_some(),
        !trusted_proxies.is_empty(),
        cx,
    );
    let state_dir = state_dir(file.state_dir.as_deref(), cx);
    taken.extend(ext_authz.as_ref().map(|door| Listen::Tcp(door.listen)));
    let excepted = file.header_exceptions.take().unwrap_or_default();
    let first_sight = file.users.as_ref().and_then(|users| users.first_sight);
    let limits = file.limits.take().unwrap_or_default();
    let tokens = file.tokens.take().unwrap_or_default();
    let tokens = token::resolve(&tokens, &limits, &headers, cx);
    front_door::check_reach(&doors, &routes, &tokens.from, cx);
    Config {
        header_exceptions: header::exceptions(&excepted, &headers, cx),
        first_sight: first_sight.unwrap_or_default(),
        tokens,
        cors: cors::resolve(&file.cors.take().unwrap_or_default(), cx),
        revocation: revoked(&file, &issuers, state_dir.is_some(), cx),
        control: control::resolve(file.control.as_ref(), &taken, file.revocation.is_some(), cx),
        limits: bounds::limits(&limits, cx),
        timeouts: bounds::timeouts(&file.timeouts.take().unwrap_or_default(), cx),
        shutdown: bounds::shutdown(&file.shutdown.take().unwrap_or_default()),
        log: log(file.log.take().unwrap_or_default(), cx),
        traces: traces::resolve(file.traces.as_ref(), cx),
        workers: bounds::whole("workers", file.workers, processors(), 1..=256, cx),
        listeners,
        admin,
        upstream,
        issuers,
        headers,
        users,
        accounts,
        endpoints,
        routes,
        trusted_proxies,
        forward_auth: doors.into_iter().map(|(_, door)| door).collect(),
        ext_authz,
        state_dir,
        files: cx.files.clone(),
        // The text is not here.
        hash: 0,
    }
}

/// Together, since headers may take columns of the users' table.
fn headers_and_users(
    file: &File,
    listeners: &[Listener],
    issuers: &[Issuer],
    cx: &mut Context<'_>,
) -> (Vec<IdentityHeader>, Option<UserSettings>) {
    let own = accounts::rules(file, cx);
    let headers = header::identity(file.headers.as_ref(), file.headers_preset, cx);
    header::check_certificates(&headers, listeners, cx);
    let mirrors = file.issuers.as_ref();
    let mut users = users::resolve(file.users.as_ref(), mirrors, issuers, own, cx);
    let columns = users.as_mut().map(|users| &mut users.table.extra_columns);
    let headers = users::headers(file.headers.as_ref(), headers, columns, cx);
    (headers, users)
}

fn revoked(
    file: &File,
    issuers: &[Issuer],
    has_state: bool,
    cx: &mut Context<'_>,
) -> Option<RevocationSettings> {
    let mirrors = file.issuers.as_ref().map_or(0, |list| list.keyed("").len());
    revocation::resolve(file.revocation.as_ref(), issuers, mirrors, has_state, cx)
}

/// A folder that is there, or whose place is. Whether usher may write in it shows at start, when
/// it is opened by whoever usher then runs as.
fn state_dir(text: Option<&str>, cx: &mut Context<'_>) -> Option<PathBuf> {
    const REMEDY: &str = "Write a folder of usher's own, such as `state_dir: /var/lib/usher`.";
    let text = text?;
    if text.is_empty() {
        cx.error("state_dir", "is empty", REMEDY);
        return None;
    }
    let path = cx.path(text);
    let nearest = path.ancestors().find(|folder| folder.exists());
    if nearest.is_some_and(|nearest| !nearest.is_dir()) {
        let message = format!("is not a folder, nor can it become one: {}", path.display());
        cx.error("state_dir", message, REMEDY);
    }
    Some(path)
}

/// The processors usher may use: honours affinity and the quota of a container.
fn processors() -> usize {
    available_parallelism().map_or(1, |count| count.get().min(256))
}

fn log(file: LogFile, cx: &mut Context<'_>) -> Log {
    let level = file.level.unwrap_or_else(|| "info".into());
    if !is_filter(&level) {
        cx.error(
            "log.level",
            format!("is not a filter: {level:?}"),
            "Write `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,usher=debug`.",
        );
    }
    let denials = bounds::whole(
        "log.denials_per_second",
        file.denials_per_second,
        100,
        1..=1_000_000,
        cx,
    );
    Log {
        format: file.format.unwrap_or_default(),
        level,
        access: flag(file.access, true),
        denials_per_second: u32::try_from(denials).unwrap_or(u32::MAX),
    }
}

/// A lone word that is no level would count as a target, and silence everything else.
fn is_filter(level: &str) -> bool {
    let lone = |directive: &str| !directive.contains(['=', '[']);
    EnvFilter::builder().parse(level).is_ok()
        && level
            .split(',')
            .filter(|directive| lone(directive))
            .all(|directive| directive.trim().parse::<LevelFilter>().is_ok())
}

fn flag(value: Option<Flag>, default: bool) -> bool {
    value.map_or(default, |flag| flag.0)
}
