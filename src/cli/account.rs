//! `usher account`: what an operator does to external users.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::accounts::metrics::Metrics;
use crate::accounts::{Account, Accounts, Exported, Unavailable, parse_date, render_date};
use crate::clock::Clock;
use crate::config;

use super::{EX_CONFIG, check, fail};

/// Accounts that are read from the database at once.
const PAGE: i64 = 100;

/// What to do with external users. USER is an id, the customer's id, or an e-mail.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the users of a project: id, the customer's id, e-mail, and whether they are suspended.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show a user as the endpoints answer it, in JSON.
    Show {
        #[command(flatten)]
        whom: Whom,
    },
    /// Suspend a user: it shows in answers at once, and routes with `suspended: deny` refuse them
    /// once what they remember is older than `issued_tokens.standing.fresh`.
    Suspend {
        #[command(flatten)]
        whom: Whom,
        /// Why; users see it.
        #[arg(long)]
        reason: Option<String>,
        /// For how long, such as `7d`. Default: until `unsuspend`.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "until")]
        r#for: Option<Duration>,
        /// Until when, such as `2027-01-31` or `2027-01-31T12:00:00Z`.
        #[arg(long, value_name = "DATE", value_parser = date)]
        until: Option<i64>,
    },
    /// End every suspension of a user, also those that are still to come.
    Unsuspend {
        #[command(flatten)]
        whom: Whom,
    },
    /// Delete a user, their refresh tokens and suspensions. It cannot be undone: `export` first.
    Delete {
        #[command(flatten)]
        whom: Whom,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
    /// Everything that is stored of a user, or of all of a project, as JSON: one object a line.
    /// `secureMetadata` is among it.
    Export {
        #[command(flatten)]
        place: Place,
        /// The user; without one, all.
        user: Option<String>,
    },
}

/// Which accounts.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The configuration file.
    #[arg(long, short, env = "USHER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The project; may be left out if there is only one.
    #[arg(long, short)]
    project: Option<String>,
}

/// Whose account.
#[derive(Debug, Args)]
pub(super) struct Whom {
    #[command(flatten)]
    place: Place,
    /// An id, the customer's id, or an e-mail.
    user: String,
}

/// Runs the command.
pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::List { place } => within(&place, async |accounts, project| {
            list(&accounts, &project).await
        }),
        Command::Show { whom } => one(
            &whom,
            async |accounts, project, user| accounts.export(&project, &user).await,
            |found| print(&found.account),
        ),
        Command::Suspend {
            whom,
            reason,
            r#for,
            until,
        } => {
            let now = Clock::System.now_millis();
            let lasting = |time: Duration| {
                now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
            };
            let end = r#for.map(lasting).or(until);
            if end.is_some_and(|end| end <= now) {
                return fail("the suspension would have ended already");
            }
            one(
                &whom,
                async |accounts, project, user| {
                    accounts.suspend(&project, &user, reason.clone(), end).await
                },
                |found| print(&found.account),
            )
        }
        Command::Unsuspend { whom } => one(
            &whom,
            async |accounts, project, user| accounts.unsuspend(&project, &user).await,
            |found| print(&found.account),
        ),
        Command::Delete { yes: false, .. } => {
            fail("deleting cannot be undone: `usher account export` first, and then say --yes")
        }
        Command::Delete { whom, .. } => one(
            &whom,
            async |accounts, project, user| accounts.delete(&project, &user).await,
            |found| {
                println!("deleted {}", found.account.id);
                Ok(())
            },
        ),
        Command::Export { place, user: None } => within(&place, async |accounts, project| {
            export_all(&accounts, &project).await
        }),
        Command::Export {
            place,
            user: Some(user),
        } => {
            let whom = Whom { place, user };
            one(
                &whom,
                async |accounts, project, user| accounts.export(&project, &user).await,
                |found| line(&found),
            )
        }
    }
}

/// Finds one user, does something, and shows what is there then.
fn one(
    whom: &Whom,
    work: impl AsyncFn(&Accounts, String, String) -> Result<Option<Exported>, Unavailable>,
    show: impl Fn(Exported) -> Result<(), String>,
) -> ExitCode {
    within(&whom.place, async |accounts, project| {
        let user = whom.user.clone();
        match work(&accounts, project.clone(), user.clone()).await {
            Ok(Some(found)) => show(found),
            Ok(None) => Err(format!("the project `{project}` has no user {user:?}")),
            Err(Unavailable) => Err(unavailable()),
        }
    })
}

/// Opens the accounts of a configuration, and runs `work` with the project that is meant.
fn within<F>(place: &Place, work: impl FnOnce(Accounts, String) -> F) -> ExitCode
where
    F: Future<Output = Result<(), String>>,
{
    let loaded = match config::load(&place.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            check::print(&problems);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let Some(settings) = loaded.config.accounts else {
        return fail("the configuration has no `accounts`");
    };
    let known: Vec<_> = settings
        .projects
        .iter()
        .map(|project| project.id.clone())
        .collect();
    let project = match (&place.project, known.as_slice()) {
        (Some(project), _) => project.clone(),
        (None, [only]) => only.clone(),
        (None, _) => {
            return fail(format!(
                "which project? --project one of {}",
                known.join(", ")
            ));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("no runtime: {error}")),
    };
    let done = runtime.block_on(async {
        let opened = Accounts::visit(&settings, Metrics::default(), Clock::System).await;
        let accounts = opened.map_err(|error| format!("accounts: {error}"))?;
        match accounts.problem().await {
            Some(problem) => Err(problem),
            None => work(accounts, project).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn list(accounts: &Accounts, project: &str) -> Result<(), String> {
    each(accounts, project, async |account| {
        let suspended = match account.suspensions.as_slice() {
            [] => "-".to_owned(),
            [.., last] => match last.end_date {
                Some(end) => format!("suspended until {}", render_date(end)),
                None => "suspended".to_owned(),
            },
        };
        // Blanks and control characters within are escaped: one user is one line.
        let shown = |text: &Option<String>| {
            text.as_ref()
                .map_or("-".to_owned(), |text| format!("{text:?}"))
        };
        let (foreign, email) = (shown(&account.foreign_id), shown(&account.email));
        println!("{}  {foreign}  {email}  {suspended}", account.id);
        Ok(())
    })
    .await
}

async fn export_all(accounts: &Accounts, project: &str) -> Result<(), String> {
    each(accounts, project, async |account| {
        match accounts.export(project, &account.id).await {
            // Who was deleted in between is not there to be exported.
            Ok(found) => found.map_or(Ok(()), |found| line(&found)),
            Err(Unavailable) => Err(unavailable()),
        }
    })
    .await
}

/// All accounts of a project, page by page.
async fn each(
    accounts: &Accounts,
    project: &str,
    show: impl AsyncFn(&Account) -> Result<(), String>,
) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let page = accounts.list(project, &after, PAGE).await;
        let page = page.map_err(|Unavailable| unavailable())?;
        for account in &page {
            show(account).await?;
        }
        match page.last() {
            Some(last) => after.clone_from(&last.id),
            None => return Ok(()),
        }
    }
}

fn print(value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}

fn line(value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}

fn unavailable() -> String {
    "the accounts cannot be asked: `usher check --connect FILE` says why".to_owned()
}

fn date(text: &str) -> Result<i64, String> {
    parse_date(text)
        .ok_or_else(|| "write a date such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}
