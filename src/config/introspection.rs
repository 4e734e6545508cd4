//! An endpoint that tells whether a token is good (RFC 7662).

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Algorithm;
use crate::secret::Secret;

/// Whom to ask about tokens, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    /// The endpoint's URL.
    pub url: String,
    /// How usher proves who asks.
    pub client: ClientAuthentication,
    /// How the issuer's opaque tokens begin; empty: as no other issuer's do.
    pub prefixes: Vec<String>,
    /// How long a yes is remembered, at most until the token's `exp`.
    pub active_life: Duration,
    /// How long a no is remembered.
    pub inactive_life: Duration,
    /// How long a yes counts beyond that while the endpoint cannot be asked.
    pub max_stale: Duration,
    /// Questions under way at once.
    pub max_in_flight: usize,
    /// Longest time for one question.
    pub timeout: Duration,
    /// Largest answer read, in bytes.
    pub max_bytes: usize,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Link-local and metadata addresses that may be connected to all the same.
    pub allow_addresses: Vec<IpNet>,
}

/// How usher proves who it is to an issuer.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: in `Authorization`.
    Basic {
        /// The client's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// `client_secret_post`: in the form.
    Post {
        /// The client's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// `private_key_jwt` (RFC 7523): a token that usher signs for each question.
    PrivateKey {
        /// The client's id.
        id: String,
        /// A private key in PEM.
        pem: Secret,
        /// The algorithm, if not the usual one for the key.
        algorithm: Option<Algorithm>,
        /// The key's name.
        kid: Option<String>,
        /// Who the assertion is meant for.
        audience: String,
    },
}
