//! The mirror of an issuer.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Flag, Hidden, Introspection, List, Named, OneOrMany, Scalar, Size, Time};
use crate::config::Algorithm;

/// Who may sign tokens. At most one of `jwks_uri`, `jwks_file`, `public_key_file`, `secret`,
/// `secret_file`, `secret_env` and `introspection`; with none, keys come by OpenID Connect discovery.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Issuer {
    /// The name in logs and metrics. Default: the host of `issuer`.
    pub(in crate::config) name: Option<String>,
    /// The exact value of the claim `iss`; without it, the issuer of tokens that carry no `iss`.
    pub(in crate::config) issuer: Option<String>,
    /// The URL of a key set, or several that have the same one.
    pub(in crate::config) jwks_uri: Option<OneOrMany<String>>,
    /// A file with a key set.
    pub(in crate::config) jwks_file: Option<String>,
    /// A file with one public key: PEM or DER.
    pub(in crate::config) public_key_file: Option<String>,
    /// A shared secret; better in a file or the environment.
    pub(in crate::config) secret: Option<Hidden>,
    /// A file whose bytes, all of them, are the shared secret.
    pub(in crate::config) secret_file: Option<String>,
    /// The environment variable that holds the shared secret.
    pub(in crate::config) secret_env: Option<String>,
    /// The endpoint that is asked about tokens that say nothing themselves (RFC 7662).
    pub(in crate::config) introspection: Option<Introspection>,
    /// Who a token must be meant for: a list, or `any` if this issuer serves this app alone.
    pub(in crate::config) audiences: Option<OneOrMany<String>>,
    /// The signature algorithms accepted. Default: RS256 and ES256, or HS256 with a secret.
    pub(in crate::config) algorithms: Option<List<Algorithm>>,
    /// The values of the token header's `typ` accepted; a token without it is accepted always.
    /// Default: `JWT` and `at+jwt`.
    pub(in crate::config) types: Option<List<String>>,
    /// Names for claims, used by `headers` and `require`.
    /// Default: `{ id: sub, email: email, name: name, roles: roles, scopes: scope }`.
    pub(in crate::config) claims: Option<Named<String>>,
    /// Claims that a token must carry, each with a value or a list of values.
    pub(in crate::config) require: Option<Named<OneOrMany<Scalar>>>,
    /// Whether a token without `exp` is refused. Default: true.
    pub(in crate::config) require_exp: Option<Flag>,
    /// How long its tokens live, from `iat` to `exp`, such as `12h`: longer ones are refused, and
    /// those without `iat` or `exp`. Or `any`. Required with `revocation`. Default: `any`.
    pub(in crate::config) max_token_life: Option<String>,
    /// By how much the clocks may differ.
    pub(in crate::config) leeway: Option<Leeway>,
    /// Whether `/readyz` waits for this issuer's keys. Default: true.
    pub(in crate::config) required: Option<Flag>,
    /// What stands before a token's id in the directory, where issuers share one. Default: nothing.
    pub(in crate::config) id_prefix: Option<String>,
    /// Whether a user with the caller's e-mail and another id becomes the caller's.
    /// Default: false; with the preset `exness`: true.
    pub(in crate::config) link_by_email: Option<Flag>,
    /// Whether `link_by_email` believes e-mails that tokens do not call verified.
    /// Default: false; with the preset `exness`: true.
    pub(in crate::config) trust_email: Option<Flag>,
    /// Bounds of fetching keys.
    pub(in crate::config) fetch: Option<Fetch>,
}

/// By how much the clocks may differ; whole seconds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Leeway {
    /// By how much `exp` may have passed. Default: 0s.
    pub(in crate::config) exp: Option<Time>,
    /// By how much `nbf` may lie ahead. Default: 5s.
    pub(in crate::config) nbf: Option<Time>,
}

/// Bounds of fetching keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Fetch {
    /// Longest time for one fetch. Default: 5s.
    pub(in crate::config) timeout: Option<Time>,
    /// Largest answer read. Default: 256KiB.
    pub(in crate::config) max_bytes: Option<Size>,
    /// Shortest pause between two fetches. Default: 10s.
    pub(in crate::config) cooldown: Option<Time>,
    /// How long a key set counts as fresh when the answer does not say. Default: 10m.
    pub(in crate::config) refresh: Option<Time>,
    /// How long the last good key set is used while the issuer cannot be reached. Default: 24h.
    pub(in crate::config) max_stale: Option<Time>,
    /// A PEM file with the roots to trust instead of the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// Link-local and metadata addresses, or networks of them, that may be connected to all the
    /// same. Default: none.
    pub(in crate::config) allow_addresses: Option<List<String>>,
}
