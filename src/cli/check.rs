//! `usher check`: whether a configuration is good, and if not, all that is wrong with it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config, Listen, Loaded, Problem};

use super::EX_CONFIG;

/// Checks a file: problems and warnings on stderr, a summary on stdout.
pub(super) fn run(file: &Path) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let (good, written) = match config::load(file) {
        Ok(loaded) => (true, good(file, &loaded, &mut out, &mut err)),
        Err(problems) => (false, bad(file, &problems, &mut err)),
    };
    match (good, written) {
        (true, Ok(())) => ExitCode::SUCCESS,
        (true, Err(_)) => ExitCode::FAILURE,
        (false, _) => ExitCode::from(EX_CONFIG),
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
    for listen in &config.listeners {
        writeln!(out, "  listen    {}", address(listen))?;
    }
    let admin = config.admin.as_ref().map_or("off".into(), address);
    writeln!(out, "  admin     {admin}")?;
    writeln!(
        out,
        "  upstream  {}:{}",
        config.upstream.host, config.upstream.port
    )?;
    let issuers: Vec<&str> = config
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .collect();
    writeln!(out, "  issuers   {}", issuers.join(", "))?;
    let routes = counted(config.routes.len(), "route");
    writeln!(out, "  routes    {routes}; what matches none needs a token")
}

fn address(listen: &Listen) -> String {
    let Listen::Tcp(address) = listen;
    address.to_string()
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
