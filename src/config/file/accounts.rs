//! The mirror of external users: projects, and the tokens that their users get.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Flag, Hidden, OneOrMany, Size, TextOr, Time};
use crate::config::Algorithm;
use crate::config::accounts::SameSite;

/// A customer whose server signs for its users.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Project {
    /// The id in paths, and the claim `iss` of what its server signs.
    pub(in crate::config) id: Option<String>,
    /// The public key (RSA) that verifies what its server signs: PEM, or base64 of PEM.
    pub(in crate::config) public_key: Option<String>,
    /// A file with it; it is read again when it changes.
    pub(in crate::config) public_key_file: Option<String>,
    /// The key before that one, which is accepted too.
    pub(in crate::config) previous_public_key: Option<String>,
    /// A file with it; once it is gone or empty, so is the key.
    pub(in crate::config) previous_public_key_file: Option<String>,
    /// Who a login's token must be meant for (`aud`): a list, or `any` (the default).
    pub(in crate::config) audiences: Option<OneOrMany<String>>,
    /// Whether a login's token without `exp` is refused. Default: true; with the preset
    /// `replyke`: false.
    pub(in crate::config) require_exp: Option<Flag>,
    /// Whether a user who is not found by id is looked for by e-mail.
    /// Default: false; with the preset `replyke`: true.
    pub(in crate::config) link_by_email: Option<Flag>,
    /// Whether `link_by_email` also takes users who have another id already. Default: false.
    pub(in crate::config) relink: Option<Flag>,
    /// Bounds on what is stored of a user.
    pub(in crate::config) limits: Option<ProjectLimits>,
}

/// Bounds on what is stored of a user.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProjectLimits {
    /// Characters of `bio`. Default: 300.
    pub(in crate::config) bio: Option<Count>,
    /// Size of `metadata` as JSON. Default: 512KiB.
    pub(in crate::config) metadata: Option<Size>,
    /// Size of `secureMetadata` as JSON. Default: 512KiB.
    pub(in crate::config) secure_metadata: Option<Size>,
}

/// The tokens that external users get.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IssuedTokens {
    /// The behaviour of a known service: `replyke`.
    pub(in crate::config) preset: Option<IssuedPreset>,
    /// The claim `iss`. Default: `replyke.com`.
    pub(in crate::config) issuer: Option<String>,
    /// The claim `aud`. Default: `replyke.com`.
    pub(in crate::config) audience: Option<String>,
    /// What opens routes. Its life by default: 30m.
    pub(in crate::config) access: Option<IssuedToken>,
    /// What new access tokens are made for. Its life by default: 30d.
    pub(in crate::config) refresh: Option<IssuedToken>,
    /// Whether a refresh token is replaced when it is used. Default: true; with the preset
    /// `replyke`: false.
    pub(in crate::config) rotate: Option<Flag>,
    /// For how long a token that was just replaced still leads to its successor. Default: 30s.
    pub(in crate::config) grace: Option<Time>,
    /// How browsers keep the refresh token.
    pub(in crate::config) cookie: Option<Cookie>,
    /// How often one address may log in, or `off`. Default: 25 calls in 5m.
    pub(in crate::config) rate_limit: Option<TextOr<RateLimit>>,
    /// Largest request body. Default: 2MiB.
    pub(in crate::config) max_body: Option<Size>,
    /// Whether who logs in is made known to the provisioner of `users`. Default: false.
    pub(in crate::config) provision: Option<Flag>,
    /// What stands before a user's id in the directory of `users`. Default: nothing.
    pub(in crate::config) id_prefix: Option<String>,
    /// How long it is remembered whether somebody is suspended.
    pub(in crate::config) standing: Option<Standing>,
}

/// The behaviour of a known service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum IssuedPreset {
    /// The cookie `replyke-refresh-jwt`, no rotation, links by e-mail, needs no `exp`.
    Replyke,
}

/// How a token is signed, and how long it is good. One of `secret`, `secret_file`,
/// `secret_env` and `key_file`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IssuedToken {
    /// A shared secret; better in a file or the environment.
    pub(in crate::config) secret: Option<Hidden>,
    /// A file whose bytes, all of them, are the shared secret.
    pub(in crate::config) secret_file: Option<String>,
    /// The environment variable that holds the shared secret.
    pub(in crate::config) secret_env: Option<String>,
    /// A private key in PEM, PKCS#8 (P-256, P-384, Ed25519, RSA) or PKCS#1.
    pub(in crate::config) key_file: Option<String>,
    /// The algorithm. Default: HS256 with a secret, with a key its own (RS256 with RSA).
    pub(in crate::config) algorithm: Option<Algorithm>,
    /// How long the token is good.
    pub(in crate::config) life: Option<Time>,
}

/// How browsers keep the refresh token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Cookie {
    /// The name. Default: `__Host-usher-refresh`; with the preset `replyke`: `replyke-refresh-jwt`.
    pub(in crate::config) name: Option<String>,
    /// Whether it is sent over TLS alone. Default: true.
    pub(in crate::config) secure: Option<Flag>,
    /// `strict`, `lax` (the default) or `none` (the preset's).
    pub(in crate::config) same_site: Option<SameSite>,
    /// The domain, where subdomains shall send it too. Default: the host alone.
    pub(in crate::config) domain: Option<String>,
}

/// How often one address may log in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RateLimit {
    /// So many calls. Default: 25.
    pub(in crate::config) calls: Option<Count>,
    /// In so long a time. Default: 5m.
    pub(in crate::config) per: Option<Time>,
    /// Addresses counted at once. Default: 100000.
    pub(in crate::config) clients: Option<Count>,
}

/// How long it is remembered whether somebody is suspended.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Standing {
    /// After this it is asked for again, before the next request passes. Default: 30s.
    pub(in crate::config) fresh: Option<Time>,
    /// For how long the last answer holds while the accounts cannot be asked. Default: 5m.
    pub(in crate::config) max_stale: Option<Time>,
    /// How many users are remembered. Default: 100000.
    pub(in crate::config) capacity: Option<Count>,
}

/// What a route does about users who are suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Suspended {
    /// They pass.
    Allow,
    /// They are refused.
    Deny,
}
