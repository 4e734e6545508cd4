//! Whom usher will ask, asked now: what they say is wrong, by name. Nothing is changed there.

use std::path::Path;

use crate::accounts::{self, Tables};
use crate::clock::Clock;
use crate::config::accounts::Store;
use crate::config::users::DirectorySettings;
use crate::config::{self, Config, Issuer, KeySource, revocation};
use crate::database::sqlite::IN_MEMORY;
use crate::identify::{self, Identify};
use crate::identity::Kept;
use crate::revocation::Revocation;
use crate::users::Users;
use crate::users::metrics::Metrics;

use super::Found;

/// Asks all of them.
pub(super) async fn ask(config: &Config, found: &mut Found) {
    let fetched = config.issuers.iter().any(is_on_the_network);
    let revocation = config.revocation.as_ref();
    let nobody = config.users.is_none() && config.accounts.is_none() && revocation.is_none();
    if nobody && !fetched {
        let nobody = "--connect: there is nobody to ask, since `users` is not configured, and no issuer's keys are fetched";
        found.problem(nobody.to_owned());
        return;
    }
    let mut problems = Vec::new();
    if fetched {
        problems.extend(issuers(config).await);
    }
    if let Some(settings) = config.users.clone() {
        problems.extend(users(settings).await);
    }
    if let Some(settings) = &config.accounts {
        accounts(&settings.store, found).await;
    }
    if let Some(settings) = revocation {
        let (wrong, weak) = revocations(settings).await;
        problems.extend(wrong);
        found.weaknesses.extend(weak);
    }
    for problem in problems {
        found.problem(problem);
    }
}

fn is_on_the_network(issuer: &Issuer) -> bool {
    matches!(
        issuer.keys,
        KeySource::Discovery { .. } | KeySource::JwksUri { .. } | KeySource::Introspection(_)
    )
}

/// Whether keys can be fetched, and issuers asked about tokens.
async fn issuers(config: &Config) -> Vec<String> {
    let settings = identify::Settings {
        issuers: config.issuers.clone(),
        tokens: config.tokens.clone(),
        headers: Vec::new(),
        kept: Kept::default(),
        identity_bytes: config.limits.identity_bytes,
        files: config.files.clone(),
        users: 0,
        // What was fetched before is no sign that it can be fetched now.
        state: None,
        revoked: None,
    };
    let metrics = identify::Metrics::default();
    let Ok((identify, refreshers)) = Identify::new(settings, Clock::System, metrics) else {
        // What `serve` would not start with is told already.
        return Vec::new();
    };
    let mut problems = identify.check().await;
    for refresher in refreshers {
        if let Err(error) = refresher.try_once().await {
            let name = refresher.name();
            problems.push(format!(
                "the keys of issuer `{name}` cannot be fetched: {error}"
            ));
        }
    }
    problems
}

async fn revocations(settings: &revocation::Settings) -> (Vec<String>, Vec<String>) {
    let metrics = crate::revocation::metrics::Metrics::default();
    // Without the folder: a snapshot is the business of the usher that serves.
    match Revocation::open(settings, None, metrics, Clock::System) {
        Ok(revocation) => revocation.check().await,
        Err(_) => (Vec::new(), Vec::new()),
    }
}

async fn users(mut settings: config::users::Settings) -> Vec<String> {
    let (metrics, clock) = (Metrics::default(), Clock::System);
    let opened = match &mut settings.directory {
        DirectorySettings::Sqlite { path, .. } if is_yet_to_be_made(path) => {
            *path = IN_MEMORY.into();
            Users::open(settings, metrics, clock).await
        }
        _ => Users::look(settings, metrics, clock).await,
    };
    match opened {
        Ok(users) => users.check().await,
        Err(error) => vec![format!("users: {error}")],
    }
}

async fn accounts(store: &Store, found: &mut Found) {
    if let Store::Sqlite(path) = store
        && is_yet_to_be_made(path)
    {
        let note = "accounts  are not there yet: `usher serve` makes the file and its tables";
        found.notes.push(note.to_owned());
        return;
    }
    match accounts::look(store).await {
        Ok(Tables::Good) => {}
        Ok(Tables::None) => {
            let note = "accounts  have no tables yet: `usher serve` makes them";
            found.notes.push(note.to_owned());
        }
        Ok(Tables::Old(version)) => found.notes.push(format!(
            "accounts  have tables of version {version}: `usher serve` brings them up to date; \
             make a backup first"
        )),
        Err(why) => found.problem(why),
    }
}

/// Whether the usher that serves makes this file, as whoever it then runs as.
fn is_yet_to_be_made(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    !path.exists() && folder.is_none_or(Path::exists)
}
