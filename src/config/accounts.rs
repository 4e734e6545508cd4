//! External users: where their accounts are, whose they are, and which tokens they get.

use std::path::PathBuf;
use std::time::Duration;

use super::users::PostgresSettings;
use super::{Algorithm, Audiences};
use crate::secret::Secret;

/// The configured name of the issuer whose tokens are usher's own.
pub const OWN_ISSUER: &str = "accounts";

/// Everything about external users.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where accounts are kept.
    pub store: Store,
    /// Whose users may log in; their ids differ.
    pub projects: Vec<Project>,
    /// The tokens that a login is answered with.
    pub tokens: IssuedTokens,
    /// What precedes the paths of the endpoints: empty, or `/api/v5`.
    pub base_path: String,
    /// How often one address may log in; `None`: nobody counts.
    pub rate_limit: Option<RateLimit>,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Whether who logs in is made known to the provisioner of `users`.
    pub provision: bool,
    /// How long it is remembered whether somebody is suspended.
    pub standing: Standing,
    /// Origins whose pages may call the endpoints, beside the same origin.
    pub origins: Vec<String>,
}

impl Settings {
    /// Whether the public half of the key that signs access tokens is published.
    pub fn has_public_keys(&self) -> bool {
        matches!(self.tokens.access.key, IssuedKey::Private(_))
    }

    /// The files that are read when the accounts are opened.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.store {
            Store::Postgres(settings) => settings.ca_file.iter().cloned().collect(),
            Store::Sqlite(_) => Vec::new(),
        }
    }
}

/// Where accounts are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// A database file on this machine; made when it is missing.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresSettings),
}

/// A customer whose server signs for its users.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The id in paths and in the claim `iss`: letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// The key that signs now; without one nobody can log in.
    pub current: Option<PublicKey>,
    /// The key that signed before.
    pub previous: Option<PublicKey>,
    /// Who a login's token must be meant for.
    pub audiences: Audiences,
    /// Whether a login's token without `exp` is refused.
    pub require_exp: bool,
    /// Whether a user is also found by e-mail, where nobody has claimed that row yet.
    pub link_by_email: bool,
    /// Whether `link_by_email` also takes rows that belong to another id.
    pub relink: bool,
    /// Bounds on what is stored of a user.
    pub limits: ProjectLimits,
}

/// Where a public key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// In the configuration: PEM, or base64 of PEM.
    Inline(String),
    /// In a file, read again whenever it changes.
    File(PathBuf),
}

/// Bounds on what is stored of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Characters of `bio`.
    pub bio: usize,
    /// Bytes of `metadata`, as JSON.
    pub metadata: usize,
    /// Bytes of `secureMetadata`, as JSON.
    pub secure_metadata: usize,
}

impl Default for ProjectLimits {
    fn default() -> Self {
        Self {
            bio: 300,
            metadata: 512 << 10,
            secure_metadata: 512 << 10,
        }
    }
}

/// The tokens that a login is answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedTokens {
    /// The claim `iss` of both.
    pub issuer: String,
    /// The claim `aud` of both.
    pub audience: String,
    /// What opens routes.
    pub access: IssuedToken,
    /// What new access tokens are made for.
    pub refresh: IssuedToken,
    /// Whether a refresh token is replaced when it is used; `None`: it is good until it expires.
    pub rotation: Option<Rotation>,
    /// How browsers keep the refresh token.
    pub cookie: Cookie,
}

/// One of the two tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedToken {
    /// What signs it.
    pub key: IssuedKey,
    /// The algorithm, where the key does not say it.
    pub algorithm: Option<Algorithm>,
    /// How long it is good.
    pub life: Duration,
}

/// What signs a token of usher's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuedKey {
    /// A shared secret.
    Shared(Secret),
    /// A private key in PEM.
    Private(Secret),
}

/// How refresh tokens are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// For how long a token that was just replaced is answered with its successor again.
    pub grace: Duration,
}

/// How browsers keep the refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The name.
    pub name: String,
    /// Whether it is sent over TLS alone.
    pub secure: bool,
    /// When it comes along with requests of other sites.
    pub same_site: SameSite,
    /// The domain, where subdomains shall send it too.
    pub domain: Option<String>,
}

/// When a cookie comes along with requests of other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Never.
    Strict,
    /// When somebody follows a link.
    Lax,
    /// Always.
    None,
}

impl SameSite {
    /// The word in `Set-Cookie`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// How often one address may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many calls …
    pub calls: u32,
    /// … in so long a time.
    pub per: Duration,
    /// Addresses counted at once; one that is pushed out starts anew.
    pub clients: u64,
}

/// How long it is remembered whether somebody is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// After this it is asked for again, before the next request passes.
    pub fresh: Duration,
    /// For how long the last answer holds while the accounts cannot be asked.
    pub max_stale: Duration,
    /// How many users are remembered.
    pub capacity: usize,
}
