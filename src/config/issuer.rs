//! Who signs tokens, where the keys come from, and what a token must look like.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::Introspection;
use super::revocation::TokenLife;
use crate::secret::Secret;

/// Who signs tokens, and what a token of theirs must look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// The configured name, used in logs, metrics and keys; unique.
    pub name: String,
    /// The exact value of `iss`; `None` for tokens that carry no `iss`.
    pub issuer: Option<String>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Who the token must be meant for.
    pub audiences: Audiences,
    /// The algorithms accepted; never empty, never mixing shared secrets with public keys.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the header's `typ`, lower case; an absent `typ` is always accepted.
    pub types: Vec<String>,
    /// Names by which headers and rules call claims, with the claim each stands for.
    /// Always holds `id`, `email`, `name`, `roles` and `scopes`.
    pub claims: Vec<ClaimName>,
    /// Claims that must be present with one of the values (`token_type: access`).
    pub require: Vec<RequiredClaim>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
    /// How long its tokens live; `None`: nobody has said.
    pub max_token_life: Option<TokenLife>,
    /// Seconds by which `exp` may have passed.
    pub exp_leeway: u32,
    /// Seconds by which `nbf` may lie ahead.
    pub nbf_leeway: u32,
    /// Whether `/readyz` waits for this issuer's keys.
    pub required: bool,
}

/// A name for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    /// What headers and rules say, such as `id`.
    pub name: String,
    /// The claim: a top-level member of exactly this name, or else a path with dots.
    pub claim: String,
}

/// A claim and the values it may have.
#[derive(Clone, Debug, PartialEq)]
pub struct RequiredClaim {
    /// The claim, as in [`ClaimName::claim`].
    pub claim: String,
    /// One of these must be equal to it, or be a member of it where it is an array.
    pub values: Vec<Value>,
}

/// Who a token must be meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// `aud` is not looked at: only sound where the issuer serves this app alone.
    Any,
    /// `aud` is one of these, or an array that holds one.
    OneOf(Vec<String>),
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// OpenID Connect discovery under the issuer's URL.
    Discovery {
        /// The URL of `.well-known/openid-configuration`.
        url: String,
        /// Times and sizes of a fetch.
        fetch: Fetch,
    },
    /// A key set at a URL, or at several: each has the same.
    JwksUri {
        /// The URLs; at least one.
        urls: Vec<String>,
        /// Times and sizes of a fetch.
        fetch: Fetch,
    },
    /// A key set in a file.
    JwksFile(PathBuf),
    /// One public key in a file: PEM (SPKI, PKCS#1, certificate) or DER (SPKI).
    PublicKeyFile(PathBuf),
    /// A private key in PEM whose public half verifies: usher signs with it itself.
    PrivateKey(Secret),
    /// A shared secret.
    Secret(Secret),
    /// There are none: the issuer is asked about each token (RFC 7662).
    Introspection(Box<Introspection>),
}

/// Bounds of fetching a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Longest time for one fetch.
    pub timeout: Duration,
    /// Largest answer read, in bytes.
    pub max_bytes: usize,
    /// Shortest pause between an attempt and the next one that a request asks for.
    pub cooldown: Duration,
    /// How long a set counts as fresh when the answer does not say.
    pub refresh: Duration,
    /// How long the last good set is used while the issuer cannot be reached.
    pub max_stale: Duration,
    /// A PEM file with the roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Link-local and metadata addresses that may be connected to all the same.
    pub allow_addresses: Vec<IpNet>,
}

/// A signature algorithm that usher accepts (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Whether it works with a shared secret.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}
