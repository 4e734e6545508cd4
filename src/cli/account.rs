//! `usher account`: what an operator does to external users.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::accounts::metrics::Metrics;
use crate::accounts::{Account, Accounts, Exported, Unavailable, parse_date, render_date};
use crate::clock::Clock;
use crate::config::accounts::{OWN_ISSUER, Settings};
use crate::config::revocation;
use crate::revocation::{self as revoking, Ask};

use super::Failure;

/// The log has more, but a command has none.
const UNAVAILABLE: &str = "the accounts cannot be asked: `usher check --connect FILE` says why";

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
    ///
    /// On other routes it has no effect; `usher revoke --issuer accounts --subject ID` ends the tokens
    /// that they have, on all routes and at once.
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
    ///
    /// Where `revocation` is configured their access tokens end too. Elsewhere these pass until they
    /// expire, but on routes with `suspended: deny`, which notice within
    /// `issued_tokens.standing.fresh`.
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
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { place } => within(&place, list),
        Command::Show { whom } => within(&whom.place, async |office| {
            let found = office.accounts.export(&office.project, &whom.user).await;
            print(&office.one(&whom.user, found)?.account)
        }),
        Command::Suspend {
            whom,
            reason,
            r#for,
            until,
        } => suspend(&whom, reason, end(r#for, until)?),
        Command::Unsuspend { whom } => within(&whom.place, async |office| {
            let found = office.accounts.unsuspend(&office.project, &whom.user).await;
            print(&office.one(&whom.user, found)?.account)
        }),
        Command::Delete { yes: false, .. } => Err(
            "deleting cannot be undone: `usher account export` first, and then say --yes".into(),
        ),
        Command::Delete { whom, .. } => {
            within(&whom.place, async |office| delete(office, &whom.user).await)
        }
        Command::Export { place, user } => within(&place, async |office| match &user {
            Some(user) => {
                let found = office.accounts.export(&office.project, user).await;
                line(&office.one(user, found)?)
            }
            None => export_all(office).await,
        }),
    }
}

/// Where accounts are, and whose.
struct Office {
    accounts: Accounts,
    project: String,
    revocation: Option<revocation::Settings>,
    /// How long an access token lives.
    life: Duration,
}

/// Opens the accounts of a configuration, and works there.
fn within(
    place: &Place,
    work: impl AsyncFnOnce(&Office) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = super::load(&place.config)?.config;
    let Some(settings) = config.accounts else {
        return Err("the configuration has no `accounts`".into());
    };
    let project = project(place, &settings)?;
    super::runtime()?.block_on(async {
        let opened = Accounts::visit(&settings, Metrics::default(), Clock::System).await;
        let office = Office {
            accounts: opened.map_err(|error| format!("accounts: {error}"))?,
            project,
            revocation: config.revocation,
            life: settings.tokens.access.life,
        };
        match office.accounts.problem().await {
            Some(problem) => Err(problem.into()),
            None => work(&office).await,
        }
    })
}

/// The project that is meant.
fn project(place: &Place, settings: &Settings) -> Result<String, String> {
    let mut known = settings.projects.iter().map(|project| project.id.as_str());
    match (&place.project, settings.projects.as_slice()) {
        (Some(project), _) => Ok(project.clone()),
        (None, [only]) => Ok(only.id.clone()),
        (None, _) => {
            let first = known.next().unwrap_or_default().to_owned();
            let names = known.fold(first, |names, name| names + ", " + name);
            Err(format!("which project? --project one of {names}"))
        }
    }
}

impl Office {
    /// The one user that was asked for.
    fn one(
        &self,
        user: &str,
        found: Result<Option<Exported>, Unavailable>,
    ) -> Result<Exported, Failure> {
        let found = found.map_err(|Unavailable| UNAVAILABLE)?;
        found.ok_or_else(|| format!("the project `{}` has no user {user:?}", self.project).into())
    }

    /// Ends the access tokens that a user has, where that can be done; what became of them.
    async fn end_tokens(&self, id: &str) -> Result<String, revoking::Failure> {
        let Some(settings) = &self.revocation else {
            let life = humantime::format_duration(self.life);
            return Ok(format!(
                ". Access tokens that there are pass until they expire, after {life} at most, but on routes \
                 with `suspended: deny`. With `revocation` they would have ended now"
            ));
        };
        let store = revoking::Store::open(settings);
        let store = store.map_err(|error| revoking::Failure::NotStored(error.to_string()))?;
        let ask = Ask {
            issuer: Some(OWN_ISSUER.to_owned()),
            subject: Some(id.to_owned()),
            ..Ask::default()
        };
        store.revoke(&ask, 0).await?;
        Ok(", and revoked the access tokens".to_owned())
    }
}

/// When a suspension ends; `None`: not by itself.
fn end(lasting: Option<Duration>, until: Option<i64>) -> Result<Option<i64>, &'static str> {
    let now = Clock::System.now_millis();
    let after =
        |time: Duration| now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    match lasting.map(after).or(until) {
        Some(end) if end <= now => Err("the suspension would have ended already"),
        end => Ok(end),
    }
}

fn suspend(whom: &Whom, reason: Option<String>, end: Option<i64>) -> Result<(), Failure> {
    within(&whom.place, async |office| {
        let (accounts, project) = (&office.accounts, &office.project);
        let found = accounts.suspend(project, &whom.user, reason, end).await;
        print(&office.one(&whom.user, found)?.account)
    })
}

/// Tokens after the account: once it is gone, nobody gets more of them.
async fn delete(office: &Office, user: &str) -> Result<(), Failure> {
    let found = office.accounts.delete(&office.project, user).await;
    let id = office.one(user, found)?.account.id;
    match office.end_tokens(&id).await {
        Ok(ended) => Ok(super::say(format_args!("deleted {id}{ended}"))?),
        Err(failure) => Err(Failure::Told(format!(
            "deleted {id}, but its access tokens are {failure}. To try again: \
             usher revoke --issuer {OWN_ISSUER} --subject {id}"
        ))),
    }
}

async fn list(office: &Office) -> Result<(), Failure> {
    each(office, async |account| {
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
        let id = &account.id;
        Ok(super::say(format_args!(
            "{id}  {foreign}  {email}  {suspended}"
        ))?)
    })
    .await
}

async fn export_all(office: &Office) -> Result<(), Failure> {
    each(office, async |account| {
        let found = office.accounts.export(&office.project, &account.id).await;
        // Who was deleted in between is not there to be exported.
        match found.map_err(|Unavailable| UNAVAILABLE)? {
            Some(found) => line(&found),
            None => Ok(()),
        }
    })
    .await
}

/// All accounts of a project, page by page.
async fn each(
    office: &Office,
    show: impl AsyncFn(&Account) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = office.accounts.list(&office.project, &after, PAGE).await;
        let page = page.map_err(|Unavailable| UNAVAILABLE)?;
        for account in &page {
            show(account).await?;
        }
        match page.last() {
            Some(last) => after.clone_from(&last.id),
            None => return Ok(()),
        }
    }
}

fn print(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    Ok(super::say(text)?)
}

fn line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    Ok(super::say(text)?)
}

fn date(text: &str) -> Result<i64, String> {
    parse_date(text)
        .ok_or_else(|| "write a date such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}
