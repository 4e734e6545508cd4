//! `usher check`: whether a configuration is good, and if not, all that is wrong with it.

mod peers;
mod start;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config, Loaded, Problem};

use super::{EX_CONFIG, runtime};

/// What is found beyond the file itself.
#[derive(Default)]
struct Found {
    /// What `serve` would end with, or go without.
    problems: Vec<String>,
    /// What is no more than a weakness.
    weaknesses: Vec<String>,
    /// What `serve` would do.
    notes: Vec<String>,
}

impl Found {
    /// Notes a problem, once.
    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Checks a file: problems and warnings on stderr, a summary on stdout.
pub(super) fn run(file: &Path, connect: bool) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let (good, written) = match config::load(file) {
        Ok(loaded) => {
            let found = look(&loaded.config, connect);
            for weakness in &found.weaknesses {
                let _ = writeln!(err, "{}: warning: {weakness}", file.display());
            }
            for problem in &found.problems {
                let _ = writeln!(err, "{}: {problem}", file.display());
            }
            let good = found.problems.is_empty();
            let written = list(&loaded.warnings, &mut err).and_then(|()| match good {
                true => summary(file, &loaded, &found.notes, &mut out),
                false => Ok(()),
            });
            (good, written)
        }
        Err(problems) => (false, bad(file, &problems, &mut err)),
    };
    match (good, written) {
        (true, Ok(())) => ExitCode::SUCCESS,
        (true, Err(_)) => ExitCode::FAILURE,
        (false, _) => ExitCode::from(EX_CONFIG),
    }
}

/// Reads what `serve` reads when it starts, and asks whom it will ask.
fn look(config: &Config, connect: bool) -> Found {
    let mut found = Found::default();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            found.problem(error);
            return found;
        }
    };
    runtime.block_on(async {
        start::read(config, &mut found).await;
        if connect {
            peers::ask(config, &mut found).await;
        }
        found
    })
}

fn bad(file: &Path, problems: &[Problem], err: &mut impl Write) -> io::Result<()> {
    list(problems, err)?;
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == config::Severity::Error)
        .count();
    writeln!(err, "{}: {}", file.display(), counted(errors, "problem"))
}

fn list(problems: &[Problem], err: &mut impl Write) -> io::Result<()> {
    problems
        .iter()
        .try_for_each(|problem| writeln!(err, "{problem}"))
}

fn summary(file: &Path, loaded: &Loaded, notes: &[String], out: &mut impl Write) -> io::Result<()> {
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        count => format!(", with {}", counted(count, "warning")),
    };
    writeln!(out, "{}: good{warnings}", file.display())?;
    let config = &loaded.config;
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
    writeln!(out, "  routes    {routes}; what matches none needs a token")?;
    notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
