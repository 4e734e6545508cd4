//! Where a request goes and what is asked of it: the first route that matches decides.

mod pattern;
mod prefix;

use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::Method;

use crate::config::users::FirstSight;
use crate::config::{self, Access};
use crate::denial::{Denial, Reason};
use crate::head::RequestHead;
use crate::identity::{Kept, Slot};

use pattern::Pattern;
pub use prefix::Prefix;

/// A match, and what is asked of a request that matches.
#[derive(Debug)]
pub struct Route {
    /// The name in logs and metrics.
    pub name: String,
    /// Position among all routes, for tables beside this one.
    pub index: usize,
    /// Who may pass.
    pub access: Access,
    /// What the identity must have.
    pub require: Require,
    /// Who answers.
    pub target: Target,
    /// Cross-origin handling.
    pub cors: Cors,
    /// What is done about callers who are not known yet.
    pub first_sight: FirstSight,
    /// Whether what streams may go on when the token has expired.
    pub outlives_token: bool,
    /// Which of the apps gets its requests; `None` where there is none.
    pub upstream: Option<usize>,
    /// What becomes of the path, if that is to change.
    pub prefix: Option<Prefix>,
    /// The projects whose external users may pass.
    pub projects: Vec<String>,
    /// Whether external users who are suspended are refused.
    pub deny_suspended: bool,
    opaque: bool,
    methods: Vec<Method>,
    hosts: Vec<String>,
    patterns: Vec<Pattern>,
}

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The protected app.
    Upstream,
    /// usher itself, as `GET /api/auth/verify`.
    Verify,
    /// usher itself, as `POST /api/v1/auth/verify-user`.
    VerifyUser,
    /// usher itself, as `POST /api/v1/auth/ensure-user`.
    EnsureUser,
    /// usher itself, as identity providers tell of logouts.
    Logout,
    /// Another proxy, which asks in the words of this entry of `forward_auth`.
    ForwardAuth(usize),
    /// usher itself, for external users.
    Account(AccountTarget),
}

/// What external users and their apps ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountTarget {
    /// `POST /:projectId/auth/verify-external-user`.
    Login,
    /// `POST /:projectId/auth/request-new-access-token`.
    Refresh,
    /// `POST /:projectId/auth/sign-out`.
    SignOut,
    /// `GET /.well-known/jwks.json`.
    Keys,
}

/// Cross-origin handling of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Nothing is done.
    Off,
    /// Preflights go to the app as nobody; only our own denials are made readable.
    Pass,
    /// usher answers preflights and says who may read the answers.
    Answer(Vec<String>),
}

/// What an identity must have, with the places of the claims.
#[derive(Debug, Default)]
pub struct Require {
    /// One of these roles, and where roles are.
    pub roles: Option<(Slot, Vec<String>)>,
    /// All of these scopes, and where scopes are.
    pub scopes: Option<(Slot, Vec<String>)>,
    /// Each of these claims, with one of its values.
    pub claims: Vec<(Slot, Vec<serde_json::Value>)>,
}

/// All routes, in order, with an index by what their paths start with, so that a thousand
/// cost like one.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
    /// Routes by the literal start of their patterns, in order. Clients only look things up
    /// here, so that a quick hash that somebody could make collide does no harm.
    by_prefix: HashMap<String, Vec<usize>, FixedState>,
    /// The most segments that such a start has.
    deepest: usize,
}

impl Routes {
    /// The endpoints' routes, the configured ones, and the last: everything else needs a token.
    pub fn new(settings: &config::Config, kept: &mut Kept) -> Self {
        let mut routes = Vec::new();
        let endpoints = &settings.endpoints;
        let verify = endpoints.verify.as_ref().map(|verify| &verify.path);
        for (name, path, target) in [
            ("verify", verify, Target::Verify),
            (
                "verify_user",
                endpoints.verify_user.as_ref(),
                Target::VerifyUser,
            ),
            (
                "ensure_user",
                endpoints.ensure_user.as_ref(),
                Target::EnsureUser,
            ),
            (
                "backchannel_logout",
                endpoints
                    .backchannel_logout
                    .as_ref()
                    .map(|logout| &logout.path),
                Target::Logout,
            ),
        ] {
            routes.extend(path.map(|path| Route::endpoint(name, path, target, settings)));
        }
        let doors = settings.forward_auth.iter().enumerate();
        routes.extend(doors.map(|(place, door)| Route::forward_auth(place, door, settings)));
        if let Some(accounts) = &settings.accounts {
            routes.extend(Route::accounts(accounts, settings));
        }
        routes.extend(
            settings
                .routes
                .iter()
                .map(|route| Route::configured(route, settings, kept)),
        );
        routes.push(Route::rest(settings));
        for (index, route) in routes.iter_mut().enumerate() {
            route.index = index;
        }
        Self::index(routes)
    }

    fn index(routes: Vec<Route>) -> Self {
        let mut by_prefix: HashMap<_, Vec<usize>, _> = HashMap::default();
        for route in &routes {
            for prefix in route.patterns.iter().map(Pattern::prefix) {
                let places = by_prefix.entry(prefix).or_default();
                if places.last() != Some(&route.index) {
                    places.push(route.index);
                }
            }
        }
        let depth = |prefix: &String| prefix.matches('/').count();
        Self {
            routes,
            deepest: by_prefix.keys().map(depth).max().unwrap_or(0),
            by_prefix,
        }
    }

    /// All routes, by index.
    pub fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The first route that matches.
    ///
    /// # Errors
    /// `BadPath` when that route does not let an opaque path through.
    pub fn find(&self, head: &RequestHead<'_>) -> Result<&Route, Denial> {
        self.first(head, |_| true)
    }

    /// The first route to the app that matches. What another proxy describes goes to the app
    /// and nowhere else, so that the path of one of our own endpoints, which anybody may ask,
    /// opens nothing there.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_to_app(&self, head: &RequestHead<'_>) -> Result<&Route, Denial> {
        self.first(head, |route| route.target == Target::Upstream)
    }

    /// The place of a door's route, for its name.
    pub fn door(&self, door: usize) -> usize {
        let is_it = |route: &Route| route.target == Target::ForwardAuth(door);
        self.routes.iter().position(is_it).unwrap_or_default()
    }

    /// Whether a canonical path is one of our own, which stand before all others.
    pub fn is_own(&self, path: &str) -> bool {
        let own = |route: &&Route| route.target != Target::Upstream;
        let mut own = self.routes.iter().take_while(own);
        own.any(|route| route.patterns.iter().any(|pattern| pattern.matches(path)))
    }

    fn first(
        &self,
        head: &RequestHead<'_>,
        serves: impl Fn(&Route) -> bool,
    ) -> Result<&Route, Denial> {
        let mut first: Option<usize> = None;
        for prefix in prefixes(&head.path).take(self.deepest + 1) {
            let candidates = self.by_prefix.get(prefix).map_or(&[][..], Vec::as_slice);
            let earlier = |index: &&usize| first.is_none_or(|first| **index < first);
            let mut candidates = candidates.iter().take_while(earlier);
            let found = candidates
                .find(|index| {
                    let route = &self.routes[**index];
                    serves(route) && route.matches(head)
                })
                .copied();
            first = found.or(first);
        }
        let route = first.map(|index| &self.routes[index]);
        // The last route matches everything; without it nothing may pass.
        let route = route.ok_or_else(|| Denial::new(Reason::Internal, "no route matches"))?;
        if head.opaque && !route.opaque {
            return Err(Denial::new(
                Reason::BadPath,
                "an escaped slash, a semicolon or an empty segment, and the route does not say `paths: opaque`",
            ));
        }
        Ok(route)
    }
}

impl Route {
    fn endpoint(name: &str, path: &str, target: Target, settings: &config::Config) -> Self {
        Self {
            name: name.to_owned(),
            index: 0,
            access: Access::Public,
            require: Require::default(),
            target,
            cors: Cors::Answer(settings.cors.origins.clone()),
            first_sight: FirstSight::Off,
            outlives_token: false,
            upstream: None,
            prefix: None,
            projects: Vec::new(),
            deny_suspended: false,
            opaque: false,
            methods: Vec::new(),
            hosts: Vec::new(),
            patterns: vec![Pattern::exact(path)],
        }
    }

    /// Where another proxy asks, and everything below: a question that came nearly right must not
    /// reach an app, whose 200 the proxy would take for a yes. What is a question, its dialect
    /// knows; Envoy's paths are judged as the request's own, not here.
    fn forward_auth(place: usize, door: &config::ForwardAuth, settings: &config::Config) -> Self {
        let target = Target::ForwardAuth(place);
        let pattern = match door.dialect {
            config::Dialect::Envoy => format!("{}*/**", door.path),
            _ => format!("{}/**", door.path),
        };
        Self {
            cors: Cors::Off,
            opaque: true,
            patterns: vec![Pattern::new(&pattern)],
            ..Self::endpoint("forward_auth", &door.path, target, settings)
        }
    }

    /// The endpoints of external users: for any project, since one that is not there is told so.
    fn accounts(accounts: &config::accounts::Settings, settings: &config::Config) -> Vec<Self> {
        let base = &accounts.base_path;
        let mut routes: Vec<_> = [
            (
                "verify_external_user",
                "verify-external-user",
                AccountTarget::Login,
            ),
            (
                "request_new_access_token",
                "request-new-access-token",
                AccountTarget::Refresh,
            ),
            ("sign_out", "sign-out", AccountTarget::SignOut),
        ]
        .into_iter()
        .map(|(name, path, target)| {
            let path = format!("{base}/*/auth/{path}");
            let mut route = Self::endpoint(name, &path, Target::Account(target), settings);
            route.patterns = vec![Pattern::new(&path)];
            route
        })
        .collect();
        if accounts.has_public_keys() {
            let (path, target) = (
                "/.well-known/jwks.json",
                Target::Account(AccountTarget::Keys),
            );
            routes.push(Self::endpoint("jwks", path, target, settings));
        }
        routes
    }

    fn configured(route: &config::Route, settings: &config::Config, kept: &mut Kept) -> Self {
        Self {
            name: route.name.clone(),
            index: 0,
            access: route.access,
            require: Require::new(&route.require, kept),
            target: Target::Upstream,
            cors: match &route.cors {
                config::RouteCors::Off => Cors::Off,
                config::RouteCors::Pass => Cors::Pass,
                config::RouteCors::Origins(origins) if origins.is_empty() => {
                    Cors::Answer(settings.cors.origins.clone())
                }
                config::RouteCors::Origins(origins) => Cors::Answer(origins.clone()),
            },
            first_sight: route.first_sight.unwrap_or(settings.first_sight),
            outlives_token: route.outlives_token,
            upstream: settings.place_of(route.upstream.as_ref()),
            prefix: Prefix::new(&route.prefix),
            projects: route.projects.clone(),
            deny_suspended: route.deny_suspended,
            opaque: route.opaque_paths,
            methods: route.methods.clone(),
            hosts: route.hosts.clone(),
            patterns: route.paths.iter().map(|path| Pattern::new(path)).collect(),
        }
    }

    /// What no other route matches: the app, for those with a good token.
    fn rest(settings: &config::Config) -> Self {
        Self {
            name: "default".to_owned(),
            index: 0,
            access: Access::Required,
            require: Require::default(),
            target: Target::Upstream,
            cors: Cors::Off,
            first_sight: settings.first_sight,
            outlives_token: false,
            upstream: settings.place_of(None),
            prefix: None,
            projects: Vec::new(),
            deny_suspended: false,
            opaque: false,
            methods: Vec::new(),
            hosts: Vec::new(),
            patterns: vec![Pattern::new("/**")],
        }
    }

    fn matches(&self, head: &RequestHead<'_>) -> bool {
        self.serves_method(head)
            && (self.hosts.is_empty()
                || self.hosts.iter().any(|host| matches_host(host, &head.host)))
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(&head.path))
    }

    /// A preflight belongs to the route of the method that it asks for.
    fn serves_method(&self, head: &RequestHead<'_>) -> bool {
        if self.methods.is_empty() || self.methods.contains(head.method) {
            return true;
        }
        self.cors != Cors::Off
            && requested_method(head)
                .is_some_and(|wanted| self.methods.iter().any(|m| m.as_str().as_bytes() == wanted))
    }
}

/// The method that a preflight asks about (Fetch standard, CORS protocol).
fn requested_method<'a>(head: &RequestHead<'a>) -> Option<&'a [u8]> {
    if head.method != Method::OPTIONS {
        return None;
    }
    head.fields
        .get(&http::header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl Require {
    fn new(require: &config::Require, kept: &mut Kept) -> Self {
        let mut list = |name: &str, members: &[String]| {
            (!members.is_empty()).then(|| (kept.slot(name), members.to_vec()))
        };
        Self {
            roles: list("roles", &require.roles),
            scopes: list("scopes", &require.scopes),
            claims: require
                .claims
                .iter()
                .map(|claim| (kept.slot(&claim.claim), claim.values.clone()))
                .collect(),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.roles.is_none() && self.scopes.is_none() && self.claims.is_empty()
    }
}

/// The starts of a path that end where a segment ends: nothing, `/a`, `/a/b`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    let ends = slashes.map(|(place, _)| place).chain([path.len()]);
    ends.map(|end| &path[..end])
}

/// `*.example.com` stands for any name below, not for `example.com` itself.
fn matches_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}
