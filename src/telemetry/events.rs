//! Events: what happens beside requests, as JSON lines or as text for people.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts writing events to standard error. Does nothing when somebody has started already.
pub fn start(settings: &Log) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Where to, if standard error cannot be written? And saying so there would be a panic.
        .log_internal_errors(false);
    // An error here means that a subscriber is installed, as in tests.
    let _ = match settings.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .try_init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    };
    tell_panics();
}

/// A panic is an event as any. What it says may quote what somebody sent, so that only its place is told.
/// Nothing here may panic: that would end the process.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("unknown");
        let backtrace = std::backtrace::Backtrace::capture();
        match backtrace.status() {
            // Only where RUST_BACKTRACE asks for one.
            std::backtrace::BacktraceStatus::Captured => {
                tracing::error!(place, %backtrace, "a panic: please report it");
            }
            _ => tracing::error!(place, "a panic: please report it"),
        }
    }));
}
