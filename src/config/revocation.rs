//! What can be revoked, where that is told, and how old the answer may be.

use std::path::PathBuf;
use std::time::Duration;

use super::{Issuer, RedisAddress};

/// Everything about revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where revocations are told.
    pub source: Source,
    /// By how much a token may be younger than the time that revokes it; whole seconds.
    pub clock_skew: Duration,
    /// With Redis away, a snapshot of this age is enough to begin with.
    pub max_snapshot_age: Duration,
    /// After so long without an answer from Redis usher is not ready; `None`: never.
    pub max_staleness: Option<Duration>,
    /// Revocations that are remembered at most.
    pub capacity: usize,
    /// Whose tokens can be revoked, and how long they live.
    pub issuers: Vec<IssuerLife>,
}

/// Where revocations are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Redis stream, read by every usher.
    Stream(StreamSettings),
    /// A file on this machine, for one usher.
    File(PathBuf),
}

/// A stream of revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// The Redis servers.
    pub redis: RedisAddress,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The stream's name.
    pub name: String,
    /// Longest time for a connection.
    pub connect_timeout: Duration,
    /// Longest time for a command.
    pub response_timeout: Duration,
}

impl StreamSettings {
    /// The defaults around an address.
    pub fn new(redis: RedisAddress) -> Self {
        Self {
            redis,
            ca_file: None,
            name: "usher:revocations".to_owned(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

/// An issuer, as far as its tokens can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerLife {
    /// The configured name.
    pub name: String,
    /// The exact value of `iss`.
    pub issuer: Option<String>,
    /// How long its tokens live.
    pub life: TokenLife,
}

impl IssuerLife {
    /// Of an issuer; one that does not say is taken to let its tokens live for ever.
    pub fn of(issuer: &Issuer) -> Self {
        Self {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            life: issuer.max_token_life.unwrap_or(TokenLife::Any),
        }
    }
}

/// How long the tokens of an issuer live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLife {
    /// From `iat` to `exp` at most; a token that lives longer, or lacks one of them, is refused.
    Most(Duration),
    /// As long as they say: what is revoked of them stays so for ever.
    Any,
}
