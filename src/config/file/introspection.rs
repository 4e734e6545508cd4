//! The mirror of an introspection endpoint.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Flag, Hidden, List, OneOrMany, Size, Time};
use crate::config::Algorithm;

/// An endpoint that tells whether a token is good (RFC 7662). usher proves who it is by one of
/// `client_secret`, `client_secret_file`, `client_secret_env` and `private_key_file`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Introspection {
    /// The endpoint's URL.
    pub(in crate::config) url: Option<String>,
    /// The id by which the issuer knows usher.
    pub(in crate::config) client_id: Option<String>,
    /// The client's secret; better in a file or the environment.
    pub(in crate::config) client_secret: Option<Hidden>,
    /// A file whose bytes, all of them, are the client's secret.
    pub(in crate::config) client_secret_file: Option<String>,
    /// The environment variable that holds the client's secret.
    pub(in crate::config) client_secret_env: Option<String>,
    /// Where the secret is sent: `basic` (in `Authorization`) or `post` (in the form).
    /// Default: `basic`.
    pub(in crate::config) client_auth: Option<SecretPlace>,
    /// A file with a private key in PEM, with which usher signs assertions (RFC 7523).
    pub(in crate::config) private_key_file: Option<String>,
    /// The algorithm of assertions. Default: the usual one for the key.
    pub(in crate::config) algorithm: Option<Algorithm>,
    /// The name of the private key, as the issuer knows it. Default: none is sent.
    pub(in crate::config) key_id: Option<String>,
    /// `aud` of assertions. Default: `issuer`, or else `url`.
    pub(in crate::config) assertion_audience: Option<String>,
    /// How opaque tokens of this issuer begin: a text, or several. Default: as no other issuer's do.
    pub(in crate::config) prefixes: Option<OneOrMany<String>>,
    /// How long a yes is remembered, at most until the token's `exp`. Default: 1m.
    pub(in crate::config) active_life: Option<Time>,
    /// How long a no is remembered, at most `tokens.cache.refused_life`. Default: 10s.
    pub(in crate::config) inactive_life: Option<Time>,
    /// How long a yes counts beyond `active_life` while the endpoint cannot be asked. Default: 0s.
    pub(in crate::config) max_stale: Option<Time>,
    /// Questions under way at once, 1 to 10000. Default: 64.
    pub(in crate::config) max_in_flight: Option<Count>,
    /// Longest time for one question. Default: 2s.
    pub(in crate::config) timeout: Option<Time>,
    /// Largest answer read. Default: 64KiB.
    pub(in crate::config) max_bytes: Option<Size>,
    /// A PEM file with the roots to trust instead of the system's.
    pub(in crate::config) ca_file: Option<String>,
    /// Link-local and metadata addresses, or networks of them, that may be connected to all the
    /// same. Default: none.
    pub(in crate::config) allow_addresses: Option<List<String>>,
    /// Whether `url` may be plain http to another machine: tokens and the secret then cross the
    /// network in the clear. Default: false.
    pub(in crate::config) allow_http: Option<Flag>,
}

/// Where a client's secret is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum SecretPlace {
    /// In `Authorization` (`client_secret_basic`).
    #[default]
    Basic,
    /// In the form (`client_secret_post`).
    Post,
}
