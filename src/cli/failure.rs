//! How a command ends, other than well.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::Problem;

use super::{EX_CONFIG, fail};

/// Why a command does not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed, for this reason.
    Told(String),
    /// The answer is no, and stands on standard output.
    No,
    /// The configuration is off.
    Config(Vec<Problem>),
    /// What it prints cannot be written.
    Output(io::Error),
}

impl Failure {
    /// Says what has to be said.
    pub(super) fn exit(self) -> ExitCode {
        match self {
            Self::Told(why) => fail(why),
            Self::No => ExitCode::FAILURE,
            Self::Config(problems) => {
                for problem in problems {
                    // Nobody may be reading any more.
                    let _ = writeln!(io::stderr(), "{problem}");
                }
                ExitCode::from(EX_CONFIG)
            }
            // Whoever reads has seen enough, as `head` has.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(error) => fail(format_args!("standard output: {error}")),
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Told(why)
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self::Told(why.to_owned())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
