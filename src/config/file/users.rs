//! The mirror of users.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Flag, Hidden, TextOr, Time};
use crate::config::users::FirstSight;

/// Who is a user, and who creates them on first sight.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Users {
    /// Where users are looked up: `sqlite:/var/lib/usher/users.db`, `postgres://app@db/app`, or
    /// an object.
    pub(in crate::config) directory: Option<TextOr<Directory>>,
    /// Table and column names of a known service: `exness`.
    pub(in crate::config) preset: Option<UsersPreset>,
    /// The table. Default with SQLite: `users`, which usher makes itself.
    pub(in crate::config) table: Option<String>,
    /// The table's schema, where the connection's default is not meant.
    pub(in crate::config) schema: Option<String>,
    /// The column with the user's id. Default: `id`.
    pub(in crate::config) id_column: Option<String>,
    /// The column with the e-mail. Default: `email`.
    pub(in crate::config) email_column: Option<String>,
    /// The column with the display name, which only the provisioner `direct` writes.
    pub(in crate::config) name_column: Option<String>,
    /// The column with the issuer's name, where several issuers share the table.
    pub(in crate::config) issuer_column: Option<String>,
    /// When a row belongs to a caller: `id` (the default), or `id_or_email`: verify-user also
    /// takes a row with the caller's e-mail, and proxied requests are refused when that row has
    /// another id.
    #[serde(rename = "match")]
    pub(in crate::config) match_by: Option<MatchBy>,
    /// Whether equal ids of two issuers are one user. Default: false.
    pub(in crate::config) shared_ids: Option<Flag>,
    /// Who creates users: `redis://…` or `rediss://…` (an engine behind Redis Streams), `direct`
    /// (usher inserts the row), `none`, or an object.
    /// Default: `none`.
    pub(in crate::config) provisioner: Option<TextOr<Streams>>,
    /// What is done about callers who are not known yet: `wait` (the default), `background` or `off`.
    pub(in crate::config) first_sight: Option<FirstSight>,
    /// How long a request waits for its user, in all. Default: 5s.
    pub(in crate::config) wait: Option<Time>,
    /// For how long one request to the engine speaks for a user, in all processes. Default: 10s.
    pub(in crate::config) marker: Option<Time>,
    /// How many requests may wait at once. Default: 1000.
    pub(in crate::config) max_waiters: Option<Count>,
    /// How long users are remembered.
    pub(in crate::config) presence: Option<Presence>,
    /// How often a user may call ensure-user in a minute, per process. Default: 30.
    pub(in crate::config) ensure_per_minute: Option<Count>,
}

/// Table and column names of a known service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum UsersPreset {
    /// The table `"User"` with `"userID"` and `"email"`, matched by id or e-mail.
    Exness,
}

/// When a row belongs to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum MatchBy {
    /// By the id alone.
    Id,
    /// By the id or the e-mail.
    IdOrEmail,
}

/// Where users are looked up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Directory {
    /// Such as `postgres://app:${DB_PASSWORD}@db/app?sslmode=verify-full`.
    pub(in crate::config) url: Option<Hidden>,
    /// A file with the URL.
    pub(in crate::config) url_file: Option<String>,
    /// A PEM file with the roots to trust instead of the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// Connections held at most. Default: 8.
    pub(in crate::config) pool: Option<Count>,
    /// Longest time for one statement. Default: 2s.
    pub(in crate::config) statement_timeout: Option<Time>,
    /// Longest time for a connection. Default: 1s.
    pub(in crate::config) connect_timeout: Option<Time>,
}

/// An engine behind Redis Streams.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Streams {
    /// `redis://…`, `rediss://…` (TLS), `redis+sentinel://host:port,…/group` or
    /// `redis+cluster://host:port,…`, with user and password as in
    /// `rediss://:${REDIS_PASSWORD}@redis:6379`.
    pub(in crate::config) url: Option<Hidden>,
    /// A file with the URL.
    pub(in crate::config) url_file: Option<String>,
    /// A PEM file with the roots to trust instead of the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// The stream that the engine reads. Default: `stream:exness`.
    pub(in crate::config) requests: Option<String>,
    /// The stream that the engine answers on. Default: `stream:exnessReceive`.
    pub(in crate::config) replies: Option<String>,
    /// Longest time for a connection. Default: 300ms.
    pub(in crate::config) connect_timeout: Option<Time>,
    /// Longest time for a command. Default: 1s.
    pub(in crate::config) response_timeout: Option<Time>,
}

/// How long users are remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Presence {
    /// After this a user is asked for again, in the background. Default: 5m.
    pub(in crate::config) fresh: Option<Time>,
    /// After this a user is not known any more, while the directory cannot be asked. Default: 24h.
    pub(in crate::config) max_stale: Option<Time>,
    /// How many users are remembered. Default: 100000.
    pub(in crate::config) capacity: Option<Count>,
}
