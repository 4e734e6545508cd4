//! One issuer: its rules, resolved once at start, and its keys.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::HeaderName;

use super::Settings;
use super::claims::ClaimPath;
use super::held::Held;
use super::keys::Keys;
use super::render::{self, Source};
use crate::config::{self, Algorithm, Audiences, HeaderSource, IdentityHeader, RequiredClaim};
use crate::identity::Kept;

/// An issuer, ready to verify tokens.
pub(super) struct Issuer {
    pub(super) name: Arc<str>,
    /// The exact `iss`; `None` for tokens without one.
    pub(super) iss: Option<String>,
    pub(super) keys: Arc<Keys>,
    pub(super) held: Held,
    /// Names the rules below: it changes when a setting that a verdict depends on does.
    pub(super) generation: u32,
    pub(super) required: bool,
    pub(super) rules: Rules,
}

/// What a token of an issuer must look like, and what is read from it.
pub(super) struct Rules {
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: Vec<String>,
    pub(super) audiences: Audiences,
    pub(super) require: Vec<RequiredClaim>,
    pub(super) require_exp: bool,
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
            keys: held.keys.clone(),
            held,
            generation: generation(issuer, settings),
            required: issuer.required,
            rules: Rules::new(issuer, &settings.headers, &settings.kept),
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
                // The directory's, not the token's: `upstream` fills it in.
                HeaderSource::User(_) => Source::Claims(Vec::new()),
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
