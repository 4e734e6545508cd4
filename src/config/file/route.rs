//! The mirror of a route.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Flag, Named, OneOrMany, Scalar, Suspended, TextOr, Upstream};
use crate::config::Access;
use crate::config::users::FirstSight;

/// A match, and what is asked of a request that matches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// The name in logs and metrics. Default: the first path.
    pub(in crate::config) name: Option<String>,
    /// Patterns such as `/public/**`: `*` stands for anything within one segment, a last segment
    /// `**` for everything below.
    pub(in crate::config) path: Option<OneOrMany<String>>,
    /// Methods, such as `GET`. Default: all.
    pub(in crate::config) methods: Option<OneOrMany<String>>,
    /// Host names, such as `app.example.com` or `*.example.com`. Default: all.
    pub(in crate::config) host: Option<OneOrMany<String>>,
    /// Who may pass: `public`, `optional` or `required` (the default).
    pub(in crate::config) access: Option<Access>,
    /// What the caller's token must hold.
    pub(in crate::config) require: Option<Require>,
    /// `opaque`: `%2F`, `;` and empty segments pass unchanged. Default: `strict`, they are refused.
    pub(in crate::config) paths: Option<Paths>,
    /// `off` (the default), `pass` (preflights go to the app), or the origins usher answers for.
    pub(in crate::config) cors: Option<OneOrMany<String>>,
    /// What is done about callers who are not known yet: `wait`, `background` or `off`.
    /// Default: `users.first_sight`.
    pub(in crate::config) first_sight: Option<FirstSight>,
    /// Whether WebSockets, event streams and calls may go on when the token has expired.
    /// Default: `false`, they end with it.
    pub(in crate::config) outlive_token: Option<Flag>,
    /// Where this route's requests go: a URL, or an object as the global `upstream`. Default: that.
    pub(in crate::config) upstream: Option<TextOr<Upstream>>,
    /// What is taken off the front of the path before the app gets it, such as `/api`. Default: nothing.
    pub(in crate::config) strip_prefix: Option<String>,
    /// What is put in front of the path, after that, such as `/v2`. Default: nothing.
    pub(in crate::config) add_prefix: Option<String>,
    /// The projects whose external users may pass. Default: none.
    pub(in crate::config) projects: Option<OneOrMany<String>>,
    /// What is done about external users who are suspended: `allow` (the default) or `deny`.
    pub(in crate::config) suspended: Option<Suspended>,
}

/// What the caller's token must hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Require {
    /// One of these roles.
    pub(in crate::config) roles: Option<OneOrMany<String>>,
    /// All of these scopes.
    pub(in crate::config) scopes: Option<OneOrMany<String>>,
    /// Each of these claims, with a value or one of a list of values.
    pub(in crate::config) claims: Option<Named<OneOrMany<Scalar>>>,
}

/// Whether unusual paths pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Paths {
    /// They are refused.
    Strict,
    /// They pass unchanged.
    Opaque,
}
