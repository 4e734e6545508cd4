//! `usher schema`: the JSON Schema of the configuration, for editors.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config;

/// Prints the schema.
pub(super) fn run() -> ExitCode {
    match writeln!(io::stdout().lock(), "{:#}", config::schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
