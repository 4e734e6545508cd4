//! What `serve` reads when it starts, read without serving: nothing is written, and nobody asked.

use std::io;

use crate::assemble::{Options, StartError, assemble};
use crate::config::accounts::Store;
use crate::config::users::DirectorySettings;
use crate::config::{Address, Config};
use crate::database::Postgres;
use crate::database::sqlite::IN_MEMORY;
use crate::state::StateDir;
use crate::telemetry::Sink;
use crate::tls;

use super::Found;

/// Finds what it would not start with.
pub(super) async fn read(config: &Config, found: &mut Found) {
    certificates(config).for_each(|problem| found.problem(StartError::Tls(problem).to_string()));
    if let Some(folder) = &config.state_dir
        && let Err(why) = StateDir::look(folder)
    {
        found.problem(StartError::State(why).to_string());
    }
    if let Some(accounts) = &config.accounts
        && let Store::Postgres(settings) = &accounts.store
        && let Err(why) = Postgres::new(settings)
    {
        found.problem(format!("accounts: {why}"));
    }
    let options = Options {
        access: Sink::Writer(Box::new(io::sink())),
        ..Options::default()
    };
    // The real thing, so that it cannot miss what the real thing would find.
    if let Err(error) = assemble(&without_disk(config), options).await {
        let told = error.to_string();
        told.lines().for_each(|line| found.problem(line.to_owned()));
    }
}

/// What is wrong with certificates and keys, all at once.
fn certificates(config: &Config) -> impl Iterator<Item = String> {
    let control = config.control.iter().map(|control| &control.listener);
    let listeners = config.listeners.iter().chain(control);
    let listeners = listeners.filter_map(|listener| {
        let name = listener.listen.to_string();
        tls::server(name, listener.tls.as_ref()?).err()
    });
    let apps = config.upstreams().into_iter().filter_map(|upstream| {
        let (Some(tls), Address::Tcp(host, _)) = (&upstream.tls, &upstream.address) else {
            return None;
        };
        tls::client(host, tls, upstream.http2).err()
    });
    listeners.chain(apps)
}

/// The same, but nothing of it would be made or changed: databases are in memory, and nothing
/// outlives the process.
fn without_disk(config: &Config) -> Config {
    let mut config = config.clone();
    config.state_dir = None;
    if let Some(users) = &mut config.users
        && let DirectorySettings::Sqlite { path, .. } = &mut users.directory
    {
        *path = IN_MEMORY.into();
    }
    if let Some(accounts) = &mut config.accounts {
        accounts.store = Store::Sqlite(IN_MEMORY.into());
    }
    config
}
