//! One issuer: its rules, resolved once at start, and its keys.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::claims::ClaimPath;
use super::held::Held;
use super::introspection::Introspection;
use super::keys::Keys;
use super::render::{self, Source};
use super::token::Verified;
use super::{IssuerState, Settings};
use crate::config::revocation::TokenLife;
use crate::config::{self, Algorithm, Audiences, HeaderSource, IdentityHeader, RequiredClaim};
use crate::identity::Kept;

/// An issuer, ready to verify tokens.
pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    /// The exact `iss`; `None` for tokens without one.
    pub(super) iss: Option<String>,
    pub(super) proof: Proof,
    pub(super) held: Held,
    /// Names the rules below: it changes when a setting that a verdict depends on does.
    pub(super) generation: u32,
    pub(super) required: bool,
    pub(super) rules: Rules,
}

/// What shows that a token is the issuer's.
#[derive(Clone)]
pub(super) enum Proof {
    /// A signature by one of these.
    Keys(Arc<Keys>),
    /// What the issuer says when it is asked.
    Introspection(Arc<Introspection>),
}

/// What a token of an issuer must look like, and what is read from it.
pub(super) struct Rules {
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: Vec<String>,
    pub(super) audiences: Audiences,
    pub(super) require: Vec<RequiredClaim>,
    pub(super) require_exp: bool,
    /// How long a token may live, if that is bounded.
    pub(super) max_life: Option<Duration>,
    pub(super) exp_leeway: u32,
    pub(super) nbf_leeway: u32,
    pub(super) id: ClaimPath,
    pub(super) kept: Vec<ClaimPath>,
    pub(super) headers: Vec<(HeaderName, Source)>,
}

impl Issuer {
    /// Resolves an issuer's settings.
    pub(super) fn new(issuer: &config::Issuer, held: Held, settings: &Settings) -> Self {
        Self {
            name: issuer.name.as_str().into(),
            iss: issuer.issuer.clone(),
            proof: held.proof.clone(),
            held,
            generation: generation(issuer, settings),
            required: issuer.required,
            rules: Rules::new(issuer, &settings.headers, &settings.kept),
        }
    }

    /// Whether a JWT may be its by the claim `iss`, or by having none. An issuer that is asked
    /// gets those that name it; the ones without `iss` are somebody else's.
    pub(super) fn takes_jwts(&self) -> bool {
        self.iss.is_some() || matches!(self.proof, Proof::Keys(_))
    }

    /// Whether what showed a token to be the issuer's still does.
    pub(super) fn stands_by(&self, verified: &Verified, now: i64) -> bool {
        match &self.proof {
            Proof::Keys(keys) => keys.hold(verified.key, now),
            // For how long its word counts is in the verdict.
            Proof::Introspection(_) => true,
        }
    }

    /// Its keys, unless it is asked.
    pub(super) fn keys(&self) -> Option<&Arc<Keys>> {
        match &self.proof {
            Proof::Keys(keys) => Some(keys),
            Proof::Introspection(_) => None,
        }
    }

    /// Which keys a verdict rests on.
    pub(super) fn version(&self) -> u64 {
        match &self.proof {
            Proof::Keys(keys) => keys.version(),
            Proof::Introspection(_) => 0,
        }
    }

    /// How it can tell about tokens now.
    pub(super) fn state(&self, now: i64) -> IssuerState {
        let (has_keys, fetched, last_error) = match &self.proof {
            Proof::Introspection(asked) => (true, None, asked.last_error()),
            Proof::Keys(keys) => (
                keys.usable(now).is_ok(),
                keys.current().map(|set| set.fetched),
                keys.last_error.lock().clone(),
            ),
        };
        let age = fetched.map(|fetched| now.saturating_sub(fetched));
        IssuerState {
            name: Arc::clone(&self.name),
            required: self.required,
            has_keys,
            age: age.map(|age| u64::try_from(age).unwrap_or(0)),
            last_error,
        }
    }
}

impl Rules {
    fn new(issuer: &config::Issuer, headers: &[IdentityHeader], kept: &Kept) -> Self {
        let path = |name: &str| claim_path(issuer, name);
        let source = |header: &IdentityHeader| {
            let source = match &header.value {
                HeaderSource::Claim(name) => Source::Claims(vec![path(name)]),
                HeaderSource::Joined(names) => {
                    Source::Claims(names.iter().map(|name| path(name)).collect())
                }
                HeaderSource::AllClaims => Source::All,
                // The directory's, or the connection's, not the token's: `upstream` fills it in.
                HeaderSource::User(_) | HeaderSource::Certificate(_) => Source::Claims(Vec::new()),
                // A name that fits no header is refused when it is rendered.
                HeaderSource::Issuer => {
                    Source::Fixed(render::encode_text(&issuer.name).unwrap_or_default())
                }
            };
            (header.name.clone(), source)
        };
        Self {
            algorithms: issuer.algorithms.clone(),
            types: issuer.types.clone(),
            audiences: issuer.audiences.clone(),
            require: issuer.require.clone(),
            require_exp: issuer.require_exp,
            max_life: match issuer.max_token_life {
                Some(TokenLife::Most(life)) => Some(life),
                Some(TokenLife::Any) | None => None,
            },
            exp_leeway: issuer.exp_leeway,
            nbf_leeway: issuer.nbf_leeway,
            id: path("id"),
            kept: kept.names().iter().map(|name| path(name)).collect(),
            headers: headers.iter().map(source).collect(),
        }
    }
}

/// The claim that `name` stands for, or else the claim `name` itself.
fn claim_path(issuer: &config::Issuer, name: &str) -> ClaimPath {
    let known = issuer.claims.iter().find(|claim| claim.name == name);
    ClaimPath::new(known.map_or(name, |claim| claim.claim.as_str()))
}

/// A hash over every setting that a verdict depends on, or what is kept with it.
fn generation(issuer: &config::Issuer, settings: &Settings) -> u32 {
    let Settings {
        headers,
        kept,
        identity_bytes,
        users,
        ..
    } = settings;
    let mut hasher = DefaultHasher::new();
    // `Debug` of the settings shows all of them but secrets, and those are in the keys' ids.
    format!("{issuer:?} {headers:?} {kept:?} {identity_bytes} {users}").hash(&mut hasher);
    let hash = hasher.finish();
    u32::try_from(hash >> 32).unwrap_or_default()
}
