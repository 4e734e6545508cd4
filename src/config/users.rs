//! Users: where they are looked up, who creates them, and how long anybody waits.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use super::redis_address::RedisAddress;
use crate::secret::Secret;

/// Everything about users.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where users are looked up.
    pub directory: DirectorySettings,
    /// The table that holds them.
    pub table: Table,
    /// Who creates a user on first sight.
    pub provisioner: ProvisionerSettings,
    /// What is special about an issuer's users; issuers that are not named have the defaults.
    pub issuers: Vec<IssuerUsers>,
    /// How long a request waits for its user, in all.
    pub wait: Duration,
    /// How many requests may wait at once; beyond it they are turned away.
    pub max_waiters: usize,
    /// How long users are remembered.
    pub presence: PresenceSettings,
    /// `ensure_user` calls allowed per user and minute.
    pub ensure_per_minute: u32,
}

impl Settings {
    /// The defaults around a directory, its table and a provisioner.
    pub fn new(
        directory: DirectorySettings,
        table: Table,
        provisioner: ProvisionerSettings,
    ) -> Self {
        Self {
            directory,
            table,
            provisioner,
            issuers: Vec::new(),
            wait: Duration::from_secs(5),
            max_waiters: 1000,
            presence: PresenceSettings::default(),
            ensure_per_minute: 30,
        }
    }
}

impl Settings {
    /// The files that are read when users are asked for the first time.
    pub fn files(&self) -> Vec<PathBuf> {
        let directory = match &self.directory {
            DirectorySettings::Postgres(settings) => settings.ca_file.clone(),
            DirectorySettings::Sqlite { .. } => None,
        };
        let provisioner = match &self.provisioner {
            ProvisionerSettings::Streams(settings) => settings.ca_file.clone(),
            ProvisionerSettings::Direct | ProvisionerSettings::None => None,
        };
        directory.into_iter().chain(provisioner).collect()
    }
}

/// Where users are looked up.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectorySettings {
    /// A database file on this machine.
    Sqlite {
        /// The file; made when it is missing.
        path: PathBuf,
        /// Whether the table is usher's own, and made when it is missing.
        own_table: bool,
    },
    /// A PostgreSQL server.
    Postgres(PostgresSettings),
}

/// How to reach a PostgreSQL directory.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSettings {
    /// `postgres://…`; a [`super::PostgresUrl`] says whether TLS is spoken.
    pub url: Secret,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Connections held at most.
    pub pool: usize,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
    /// Longest time for a connection.
    pub connect_timeout: Duration,
}

impl PostgresSettings {
    /// The defaults around a URL.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            ca_file: None,
            pool: 8,
            statement_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Names of the table and its columns; they are quoted wherever they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The schema, where the connection's default is not meant.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
    /// The column with the user's id.
    pub id_column: String,
    /// The column with the e-mail.
    pub email_column: String,
    /// The column with the display name; only `direct` writes it.
    pub name_column: Option<String>,
    /// The column with the issuer's name, where several issuers share the table.
    pub issuer_column: Option<String>,
    /// More columns, kept for headers (`user.<column>`).
    pub extra_columns: Vec<String>,
    /// When a row belongs to a caller.
    pub rule: MatchRule,
}

impl Table {
    /// The table of the `exness` preset (wire contract §3.2).
    pub fn exness() -> Self {
        Self {
            schema: None,
            name: "User".to_owned(),
            id_column: "userID".to_owned(),
            email_column: "email".to_owned(),
            name_column: None,
            issuer_column: None,
            extra_columns: Vec::new(),
            rule: MatchRule::IdOrEmail,
        }
    }
}

/// When a row belongs to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchRule {
    /// The id is equal; e-mails are not looked at.
    Id,
    /// `verify_user` also takes a row with an equal e-mail, and proxied requests are refused
    /// when such a row has another id.
    IdOrEmail,
}

/// What is special about one issuer's users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IssuerUsers {
    /// The issuer's configured name.
    pub issuer: String,
    /// What stands before the token's id in the directory and towards the engine.
    pub id_prefix: String,
    /// Whether a row with the caller's e-mail and another id may become the caller's.
    pub link_by_email: bool,
    /// Whether `link_by_email` believes e-mails that the token does not call verified.
    pub trust_email: bool,
}

/// Who creates a user on first sight.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one per process")]
pub enum ProvisionerSettings {
    /// The engine is asked through Redis Streams.
    Streams(StreamsSettings),
    /// usher inserts the row itself.
    Direct,
    /// Nobody that usher could ask: who has no row is unknown.
    None,
}

/// How to ask the engine (wire contract §3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct StreamsSettings {
    /// The Redis servers.
    pub redis: RedisAddress,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The stream that the engine reads.
    pub requests: String,
    /// The stream that it answers on.
    pub replies: String,
    /// For how long one request speaks for a user, across all processes.
    pub marker: Duration,
    /// Longest time for a connection.
    pub connect_timeout: Duration,
    /// Longest time for a command.
    pub response_timeout: Duration,
    /// For how long a request that may have been sent is repeated, under its id.
    pub repeat: Duration,
}

impl StreamsSettings {
    /// The defaults around an address.
    pub fn new(redis: RedisAddress) -> Self {
        Self {
            redis,
            ca_file: None,
            requests: "stream:exness".to_owned(),
            replies: "stream:exnessReceive".to_owned(),
            marker: Duration::from_secs(10),
            connect_timeout: Duration::from_millis(300),
            response_timeout: Duration::from_secs(1),
            repeat: Duration::from_secs(2),
        }
    }
}

/// How long users are remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceSettings {
    /// After this a user is asked for again, in the background.
    pub fresh: Duration,
    /// After this a user is not known any more, where the directory could not be asked.
    pub max_stale: Duration,
    /// How many users are remembered.
    pub capacity: u64,
}

impl Default for PresenceSettings {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(5 * 60),
            max_stale: Duration::from_secs(24 * 60 * 60),
            capacity: 100_000,
        }
    }
}

/// What is done about a caller who is not known yet; a setting of each route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstSight {
    /// The request waits until the user exists.
    #[default]
    Wait,
    /// The request goes on once the engine was certainly asked.
    Background,
    /// Nobody is asked.
    Off,
}
