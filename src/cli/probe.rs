//! `usher probe`: a health check for images without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::fail;

/// What is asked, and where.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// `live`: the process runs. `ready`: it may get traffic.
    question: Question,
    /// The admin listener.
    #[arg(long, default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Question {
    Live,
    Ready,
}

/// Asks, prints the answer when it is no, and exits with 0 or 1.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let path = match arguments.question {
        Question::Live => "/livez",
        Question::Ready => "/readyz",
    };
    let timeout = Duration::from_secs(arguments.timeout);
    match ask(arguments.admin, path, timeout) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(answer) => fail(answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim()),
        Err(error) => fail(format_args!(
            "no answer from {}: {error}. Is usher running, and is `admin` that address?",
            arguments.admin
        )),
    }
}

fn ask(address: SocketAddr, path: &str, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    // A report is small; whoever sends more is not our admin listener.
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
