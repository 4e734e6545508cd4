//! `usher check`: whether a configuration is good, and if not, all that is wrong with it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::accounts::{self, Accounts};
use crate::clock::Clock;
use crate::config::accounts::Store;
use crate::config::users::DirectorySettings;
use crate::config::{self, Address, Config, Issuer, KeySource, Loaded, Problem, revocation};
use crate::identify::{self, Identify};
use crate::identity::Kept;
use crate::revocation::Revocation;
use crate::tls;
use crate::users::Users;
use crate::users::metrics::Metrics;

use super::EX_CONFIG;

/// Checks a file: problems and warnings on stderr, a summary on stdout.
pub(super) fn run(file: &Path, connect: bool) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let (good, written) = match config::load(file) {
        Ok(loaded) => {
            let mut missing = certificates(&loaded.config);
            if connect {
                let (problems, weaknesses) = peers(&loaded.config);
                missing.extend(problems);
                for weakness in weaknesses {
                    let _ = writeln!(err, "{}: warning: {weakness}", file.display());
                }
            }
            for problem in &missing {
                let _ = writeln!(err, "{}: {problem}", file.display());
            }
            let written = match missing.is_empty() {
                true => good(file, &loaded, &mut out, &mut err),
                false => list(&loaded.warnings, &mut err),
            };
            (missing.is_empty(), written)
        }
        Err(problems) => (false, bad(file, &problems, &mut err)),
    };
    match (good, written) {
        (true, Ok(())) => ExitCode::SUCCESS,
        (true, Err(_)) => ExitCode::FAILURE,
        (false, _) => ExitCode::from(EX_CONFIG),
    }
}

/// What is wrong with certificates and keys.
fn certificates(config: &Config) -> Vec<String> {
    let listeners = config.listeners.iter();
    let listeners = listeners.filter_map(|listener| {
        let name = listener.listen.to_string();
        tls::server(name, listener.tls.as_ref()?).err()
    });
    let upstreams = config.upstreams();
    let apps = upstreams.iter().filter_map(|upstream| {
        let (Some(tls), Address::Tcp(host, _)) = (&upstream.tls, &upstream.address) else {
            return None;
        };
        tls::client(host, tls, upstream.http2).err()
    });
    let problems = listeners.chain(apps);
    problems.map(|problem| format!("TLS: {problem}")).collect()
}

/// What the directory and Redis say is wrong, by name; and what is weak about them.
fn peers(config: &Config) -> (Vec<String>, Vec<String>) {
    let fetched = config.issuers.iter().any(is_on_the_network);
    let revocation = config.revocation.as_ref();
    let nobody = config.users.is_none() && config.accounts.is_none() && revocation.is_none();
    if nobody && !fetched {
        let nobody = "--connect: there is nobody to ask, since `users` is not configured, and no issuer's keys are fetched";
        return (vec![nobody.to_owned()], Vec::new());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return (vec![format!("no runtime: {error}")], Vec::new()),
    };
    runtime.block_on(async {
        let mut problems = Vec::new();
        if fetched {
            problems.extend(issuers(config).await);
        }
        if let Some(settings) = config.users.clone() {
            problems.extend(users(settings).await);
        }
        if let Some(settings) = config.accounts.clone() {
            problems.extend(accounts(settings).await);
        }
        let mut weaknesses = Vec::new();
        if let Some(settings) = revocation {
            let (wrong, weak) = revocations(settings).await;
            problems.extend(wrong);
            weaknesses.extend(weak);
        }
        (problems, weaknesses)
    })
}

fn is_on_the_network(issuer: &Issuer) -> bool {
    matches!(
        issuer.keys,
        KeySource::Discovery { .. } | KeySource::JwksUri { .. } | KeySource::Introspection(_)
    )
}

/// Whether keys can be fetched, and issuers asked about tokens.
async fn issuers(config: &Config) -> Vec<String> {
    let settings = identify::Settings {
        issuers: config.issuers.clone(),
        tokens: config.tokens.clone(),
        headers: Vec::new(),
        kept: Kept::default(),
        identity_bytes: config.limits.identity_bytes,
        files: config.files.clone(),
        users: 0,
        // What was fetched before is no sign that it can be fetched now.
        state: None,
        revoked: None,
    };
    let metrics = identify::Metrics::default();
    let (identify, refreshers) = match Identify::new(settings, Clock::System, metrics) {
        Ok(made) => made,
        Err(error) => return error.problems().to_vec(),
    };
    let mut problems = identify.check().await;
    for refresher in refreshers {
        if let Err(error) = refresher.try_once().await {
            let name = refresher.name();
            problems.push(format!(
                "the keys of issuer `{name}` cannot be fetched: {error}"
            ));
        }
    }
    problems
}

async fn revocations(settings: &revocation::Settings) -> (Vec<String>, Vec<String>) {
    let metrics = crate::revocation::metrics::Metrics::default();
    // Without the folder: a snapshot is the business of the usher that serves.
    match Revocation::open(settings, None, metrics, Clock::System) {
        Ok(revocation) => revocation.check().await,
        Err(error) => (vec![format!("revocation: {error}")], Vec::new()),
    }
}

async fn users(mut settings: config::users::Settings) -> Vec<String> {
    if let DirectorySettings::Sqlite { path, .. } = &mut settings.directory {
        leave_no_file(path);
    }
    match Users::open(settings, Metrics::default(), Clock::System).await {
        Ok(users) => users.check().await,
        Err(error) => vec![format!("users: {error}")],
    }
}

async fn accounts(mut settings: config::accounts::Settings) -> Vec<String> {
    if let Store::Sqlite(path) = &mut settings.store {
        leave_no_file(path);
    }
    let metrics = accounts::metrics::Metrics::default();
    match Accounts::open(&settings, metrics, Clock::System).await {
        Ok(accounts) => accounts.check().await,
        Err(error) => vec![format!("accounts: {error}")],
    }
}

/// A file that is not there yet is made by the usher that serves, who may run as somebody else;
/// here it is only tried out.
fn leave_no_file(path: &mut PathBuf) {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if !path.exists() && folder.is_none_or(Path::exists) {
        *path = ":memory:".into();
    }
}

fn good(
    file: &Path,
    loaded: &Loaded,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<()> {
    list(&loaded.warnings, err)?;
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        count => format!(", with {}", counted(count, "warning")),
    };
    writeln!(out, "{}: good{warnings}", file.display())?;
    summary(&loaded.config, out)
}

fn bad(file: &Path, problems: &[Problem], err: &mut impl Write) -> io::Result<()> {
    list(problems, err)?;
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == config::Severity::Error)
        .count();
    writeln!(err, "{}: {}", file.display(), counted(errors, "problem"))
}

/// Prints problems for a command that cannot go on with them.
pub(super) fn print(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

fn list(problems: &[Problem], err: &mut impl Write) -> io::Result<()> {
    problems
        .iter()
        .try_for_each(|problem| writeln!(err, "{problem}"))
}

fn summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    for listener in &config.listeners {
        writeln!(out, "  listen    {}", listener.listen)?;
    }
    let admin = config.admin.map_or("off".into(), |it| it.to_string());
    writeln!(out, "  admin     {admin}")?;
    for door in &config.forward_auth {
        writeln!(out, "  asked at  {} ({:?})", door.path, door.dialect)?;
    }
    if let Some(door) = &config.ext_authz {
        writeln!(out, "  asked at  {} (Envoy, gRPC)", door.listen)?;
    }
    for upstream in config.upstreams() {
        writeln!(out, "  upstream  {}", upstream.address)?;
    }
    let issuers: Vec<&str> = config
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .collect();
    writeln!(out, "  issuers   {}", issuers.join(", "))?;
    if let Some(accounts) = &config.accounts {
        let projects: Vec<&str> = accounts
            .projects
            .iter()
            .map(|project| project.id.as_str())
            .collect();
        writeln!(out, "  projects  {}", projects.join(", "))?;
    }
    let routes = counted(config.routes.len(), "route");
    writeln!(out, "  routes    {routes}; what matches none needs a token")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
