//! `usher serve`: run until told to end.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::assemble::Options;
use crate::config::Config;
use crate::run::{Bound, Ended, Source, bind};
use crate::telemetry;

use super::fail;

/// Reads the file and serves.
pub(super) fn run(file: &Path) -> ExitCode {
    let started = Instant::now();
    let loaded = match super::load(file) {
        Ok(loaded) => loaded,
        Err(failure) => return failure.exit(),
    };
    telemetry::start_events(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let control = loaded.config.control.as_ref();
    let control = control.map(|it| it.listener.listen.clone());
    let source = Source {
        file: file.to_owned(),
        asked: Arc::default(),
    };
    serve(loaded.config, Some(source), |bound| {
        for address in bound.places() {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = bound.admin_address() {
            tracing::info!(%address, "admin: /livez /readyz /metrics");
        }
        if let Some(address) = bound.ext_authz_address() {
            tracing::info!(%address, "ext_authz: Envoy asks by gRPC");
        }
        if let Some(control) = &control {
            tracing::info!(address = %control, "control: POST /revocations");
        }
        tracing::info!(after = ?started.elapsed(), "started");
    })
}

/// Binds, tells, and serves until a signal.
pub(super) fn serve(
    settings: Config,
    source: Option<Source>,
    tell: impl FnOnce(&Bound),
) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    runtime.block_on(async {
        let (first, second) = match signals() {
            Ok(signals) => signals,
            Err(error) => return fail(format_args!("cannot listen for signals: {error}")),
        };
        let bound = match bind(settings, Options::default()).await {
            Ok(bound) => bound,
            Err(error) => return fail(error),
        };
        let bound = match source {
            Some(source) => match hang_ups(&source) {
                Ok(()) => bound.following(source),
                Err(error) => return fail(format_args!("cannot listen for signals: {error}")),
            },
            None => bound,
        };
        tell(&bound);
        match bound.run(reached(first), reached(second)).await {
            Ok(Ended::Drained) => ExitCode::SUCCESS,
            Ok(Ended::Cut) => {
                tracing::warn!("ended at once: what was still under way is cut off");
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        }
    })
}

type Reached = watch::Receiver<bool>;

/// One that turns true at the first signal to end, one at the second.
fn signals() -> std::io::Result<(Reached, Reached)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first_sender, first) = watch::channel(false);
    let (second_sender, second) = watch::channel(false);
    tokio::spawn(async move {
        for sender in [first_sender, second_sender] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_replace(true);
        }
    });
    Ok((first, second))
}

/// Asks for a reload at every SIGHUP.
fn hang_ups(source: &Source) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let asked = source.asked.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            asked.notify_one();
        }
    });
    Ok(())
}

async fn reached(mut signal: Reached) {
    // The sender lives until both signals came; without it nothing can come any more.
    if signal.wait_for(|reached| *reached).await.is_err() {
        std::future::pending::<()>().await;
    }
}
