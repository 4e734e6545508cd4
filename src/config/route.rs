//! A match, and what is asked of a request that matches.

use http::Method;

use super::users::FirstSight;
use super::{RequiredClaim, Upstream};

/// A match, and what is asked of a request that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The name in logs and metrics: given, or else the first pattern.
    pub name: String,
    /// Canonical path patterns; never empty.
    pub paths: Vec<String>,
    /// Exact methods; empty: all.
    pub methods: Vec<Method>,
    /// Lower-case host names, or `*.example.com`; empty: all.
    pub hosts: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// What the identity must have.
    pub require: Require,
    /// Whether `%2F`, `;` and empty segments pass, unchanged and not as separators.
    pub opaque_paths: bool,
    /// Cross-origin handling.
    pub cors: RouteCors,
    /// What is done about callers who are not known yet; `None`: as everywhere.
    pub first_sight: Option<FirstSight>,
    /// Whether what streams may go on when the token has expired.
    pub outlives_token: bool,
    /// Where its requests go; `None`: as everywhere.
    pub upstream: Option<Upstream>,
    /// What becomes of the path before the app gets it.
    pub prefix: Prefix,
    /// The projects whose external users may pass; empty: none.
    pub projects: Vec<String>,
    /// Whether external users who are suspended are refused.
    pub deny_suspended: bool,
}

/// What becomes of the front of a path. Both are empty, or canonical paths without a slash at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Taken off; every path of the route begins with it.
    pub strip: String,
    /// Put in front, after that.
    pub add: String,
}

impl Prefix {
    /// Whether paths stay as they are.
    pub fn is_empty(&self) -> bool {
        self.strip.is_empty() && self.add.is_empty()
    }
}

/// Who may pass a route.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everybody; no token is read.
    Public,
    /// Without a token as nobody, with a good token as somebody, with a bad one not at all.
    Optional,
    /// Only with a good token.
    #[default]
    Required,
}

/// What an identity must have; empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    /// One of these roles.
    pub roles: Vec<String>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// Each of these claims, with one of its values.
    pub claims: Vec<RequiredClaim>,
}

impl Require {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.scopes.is_empty() && self.claims.is_empty()
    }
}

/// How cross-origin requests are handled on a proxied route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteCors {
    /// Nothing is done: a preflight is a request like any other.
    #[default]
    Off,
    /// Preflights go to the app, stripped and as nobody.
    Pass,
    /// usher answers preflights and adds the headers for these origins.
    Origins(Vec<String>),
}
