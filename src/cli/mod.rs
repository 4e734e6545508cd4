//! The commands.
//!
//! Exit codes: 0 well, 1 the command's answer is no or it failed, 2 the arguments are off,
//! 78 the configuration is off (`EX_CONFIG` of sysexits.h).

mod account;
mod check;
mod dev;
mod failure;
mod pasted;
mod probe;
mod revoke;
mod serve;
mod token;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, Loaded};

use failure::Failure;

/// The configuration is off.
const EX_CONFIG: u8 = 78;

/// usher stands in front of an app: it checks each request's bearer token and tells the app
/// who is calling in headers that no client can forge.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "First steps:\n  \
    usher dev                              try it: an app, personas and tokens on 127.0.0.1\n  \
    usher check usher.yaml                 every problem of a configuration at once\n  \
    usher serve --config usher.yaml        run it\n  \
    usher token verify --config usher.yaml TOKEN   why a token passes or fails")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run usher with a configuration file.
    ///
    /// Ends on SIGTERM or SIGINT: unready first, then no new connections, then requests under
    /// way are finished until `shutdown.deadline`. A second signal ends at once.
    ///
    /// Reads the file again on SIGHUP, or when it or a file that it names has changed. A bad one
    /// changes nothing; a good one is used for the next request on every connection. `listen`,
    /// `admin`, `ext_authz.listen`, `control`, `revocation`, `workers`, `traces` and `log` take a
    /// restart.
    Serve {
        /// The configuration file (YAML or JSON).
        #[arg(long, short, env = "USHER_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file: every problem, with its line and what to write instead.
    ///
    /// Exits with 78 when there are problems. Warnings do not fail.
    Check {
        /// The configuration file (YAML or JSON).
        file: PathBuf,
        /// Ask everybody usher will ask, and change nothing there: issuers for their keys and about
        /// a token, the directory, the accounts, Redis. Missing tables and columns are told by name.
        #[arg(long)]
        connect: bool,
    },
    /// Try usher, or develop an app behind it: personas and tokens on 127.0.0.1.
    Dev(dev::Arguments),
    /// Make, read and check tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// List, show, suspend, delete and export external users.
    #[command(subcommand)]
    Account(account::Command),
    /// Revoke a token, or all tokens of a session, a user, a key or an issuer, everywhere and now.
    Revoke(revoke::Arguments),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Ask a running usher how it is; exits with 0 or 1. For exec probes.
    Probe(probe::Arguments),
    /// Print completions for a shell.
    ///
    /// For bash: `usher completions bash > /etc/bash_completion.d/usher`
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve { config } => return serve::run(&config),
            Command::Check { file, connect } => return check::run(&file, connect),
            Command::Dev(arguments) => return dev::run(&arguments),
            Command::Probe(arguments) => return probe::run(&arguments),
            Command::Token(command) => token::run(command),
            Command::Account(command) => account::run(command),
            Command::Revoke(arguments) => revoke::run(&arguments),
            Command::Schema => say(format_args!("{:#}", config::schema())).map_err(Failure::from),
            Command::Completions { shell } => completions(shell),
        };
        outcome.map_or_else(Failure::exit, |()| ExitCode::SUCCESS)
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "usher", &mut text);
    Ok(io::stdout().write_all(&text)?)
}

/// Reads a configuration.
fn load(file: &Path) -> Result<Loaded, Failure> {
    config::load(file).map_err(Failure::Config)
}

/// Where a command waits for others.
fn runtime() -> Result<Runtime, String> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.map_err(|error| format!("no runtime: {error}"))
}

/// Prints a line.
fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Prints what went wrong and fails.
fn fail(error: impl Display) -> ExitCode {
    // Whoever closed it does not want to know.
    let _ = writeln!(io::stderr().lock(), "usher: {error}");
    ExitCode::FAILURE
}
