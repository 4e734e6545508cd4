//! The command line: arguments → command → exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use usher::cli::Cli;

/// The allocator, chosen by measurement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
