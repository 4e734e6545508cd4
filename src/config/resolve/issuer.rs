//! Who signs tokens.

use std::time::Duration;

use super::url::Url;
use super::{Context, flag, introspection, key_source};
use crate::config::file::{self, Leeway, List, Named, OneOrMany, Scalar, Time};
use crate::config::report::member;
use crate::config::revocation::TokenLife;
use crate::config::{Algorithm, Audiences, ClaimName, Issuer, KeySource, RequiredClaim};

const AUDIENCES: &str = "Write the audience your tokens carry, e.g. `audiences: [app]`, or \
    `audiences: any` if this issuer serves this app alone.";
const ALGORITHMS: &str = "Write those your issuer signs with, e.g. `algorithms: [RS256]`.";
const NAME: &str = "Write a short name of letters, digits, `-`, `_` and `.`, such as `name: idp`.";

/// Names that always stand for a claim.
const CLAIMS: [(&str, &str); 5] = [
    ("id", "sub"),
    ("email", "email"),
    ("name", "name"),
    ("roles", "roles"),
    ("scopes", "scope"),
];

/// Resolves every issuer, and compares them with each other.
/// There may be none of them where usher signs tokens itself.
pub(super) fn all(
    file: Option<&List<file::Issuer>>,
    own: bool,
    cx: &mut Context<'_>,
) -> Vec<Issuer> {
    let listed = file.map(|list| list.keyed("issuers")).unwrap_or_default();
    if listed.is_empty() && !own {
        cx.report.missing(
            "issuers",
            "Write who signs your tokens: `issuers: [{ issuer: https://idp.example.com/, audiences: [app] }]`.",
        );
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for (key, file) in listed {
        let issuer = one(&key, file, cx);
        distinct(&key, &issuer, &issuers, cx);
        issuers.push(issuer);
    }
    issuers
}

fn one(key: &str, file: &file::Issuer, cx: &mut Context<'_>) -> Issuer {
    let keys = key_source::resolve(key, file, cx);
    let asked = file.introspection.is_some();
    if asked {
        means_nothing(key, file, cx);
    }
    let algorithms = algorithms(key, file.algorithms.as_ref(), keys.as_ref(), cx);
    if let Some(KeySource::Secret(secret)) = &keys {
        super::secret::check(&key_source::named_in(key, file), secret, &algorithms, cx);
    }
    let leeway = file.leeway.as_ref();
    Issuer {
        name: name(key, file, cx),
        issuer: issuer(key, file.issuer.as_deref(), cx),
        // Where there is none the report says so, and the result does not count.
        keys: keys.unwrap_or_else(|| KeySource::JwksFile(std::path::PathBuf::new())),
        audiences: audiences(key, file, cx),
        algorithms,
        types: types(file.types.as_ref(), asked),
        claims: claims(&member(key, "claims"), file.claims.as_ref(), cx),
        require: required(&member(key, "require"), file.require.as_ref(), cx),
        // An issuer that is asked says itself when a token is over (RFC 7662 §2.2).
        require_exp: flag(file.require_exp, !asked),
        max_token_life: life(&member(key, "max_token_life"), file, cx),
        exp_leeway: seconds(
            &member(key, "leeway.exp"),
            leeway.and_then(|l: &Leeway| l.exp),
            0,
            cx,
        ),
        nbf_leeway: seconds(
            &member(key, "leeway.nbf"),
            leeway.and_then(|l| l.nbf),
            5,
            cx,
        ),
        required: flag(file.required, true),
    }
}

fn distinct(key: &str, issuer: &Issuer, before: &[Issuer], cx: &mut Context<'_>) {
    if !issuer.name.is_empty() && before.iter().any(|other| other.name == issuer.name) {
        cx.error(
            &member(key, "name"),
            format!("is taken: two issuers are called `{}`", issuer.name),
            "Give each a name of its own.",
        );
    }
    introspection::distinct(key, issuer, before, cx);
    let takes_jwts = |issuer: &Issuer| {
        issuer.issuer.is_some() || !matches!(issuer.keys, KeySource::Introspection(_))
    };
    let same = |other: &&Issuer| other.issuer == issuer.issuer && takes_jwts(other);
    if takes_jwts(issuer) && before.iter().any(|other| same(&other)) {
        let (message, remedy) = match &issuer.issuer {
            Some(_) => (
                "is the issuer of an earlier entry too",
                "Merge the two entries.",
            ),
            None => (
                "is missing, and an earlier entry has none either",
                "Only one entry may be for tokens that carry no `iss`.",
            ),
        };
        cx.error(&member(key, "issuer"), message, remedy);
    }
}

/// Keys about signatures, where no signature is looked at.
fn means_nothing(key: &str, file: &file::Issuer, cx: &mut Context<'_>) {
    for (name, given) in [
        ("algorithms", file.algorithms.is_some()),
        ("fetch", file.fetch.is_some()),
    ] {
        if given {
            let message = "means nothing beside `introspection`: no keys are fetched or used";
            cx.error(&member(key, name), message, "Remove it.");
        }
    }
}

fn issuer(key: &str, text: Option<&str>, cx: &mut Context<'_>) -> Option<String> {
    if text == Some("") {
        cx.error(
            &member(key, "issuer"),
            "is empty",
            "Write the exact value of `iss`, or remove the key for tokens that carry none.",
        );
    }
    text.map(str::to_owned)
}

/// The name given, or the issuer's host, or the issuer itself where it is no URL.
fn name(key: &str, file: &file::Issuer, cx: &mut Context<'_>) -> String {
    let key = member(key, "name");
    let host = |issuer: &String| Url::parse(issuer).map_or_else(|_| issuer.clone(), |url| url.host);
    let Some(name) = file.name.clone().or_else(|| file.issuer.as_ref().map(host)) else {
        cx.report.missing(&key, NAME);
        return String::new();
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        cx.error(&key, format!("is not a short plain name: {name:?}"), NAME);
    }
    name
}

fn audiences(key: &str, file: &file::Issuer, cx: &mut Context<'_>) -> Audiences {
    let key = member(key, "audiences");
    let listed = match &file.audiences {
        None => {
            cx.report.missing(&key, AUDIENCES);
            return Audiences::Any;
        }
        Some(OneOrMany::One(word)) if word == "any" => {
            warn_any(&key, file, cx);
            return Audiences::Any;
        }
        Some(listed) => listed.keyed(&key),
    };
    if listed.is_empty() && !cx.report.is_spoilt(&key) {
        cx.error(&key, "is an empty list", AUDIENCES);
    }
    for (key, audience) in &listed {
        match audience.as_str() {
            "" => cx.error(key, "is empty", AUDIENCES),
            "any" => cx.error(
                key,
                "is `any` in a list, where it would be an audience of that name",
                AUDIENCES,
            ),
            _ => {}
        }
    }
    Audiences::OneOf(
        listed
            .into_iter()
            .map(|(_, audience)| audience.clone())
            .collect(),
    )
}

/// An issuer on the network mostly serves more than one app.
fn warn_any(key: &str, file: &file::Issuer, cx: &mut Context<'_>) {
    let is_https = |text: &String| text.starts_with("https:");
    let keys = file.jwks_uri.as_ref().map(|urls| urls.keyed(""));
    let keys = keys.unwrap_or_default();
    if file.issuer.as_ref().is_some_and(is_https) || keys.iter().any(|(_, url)| is_https(url)) {
        cx.report.warn(
            key,
            "is `any`: a token this issuer made for any other app opens this one",
            "Name the audience unless the issuer serves this app alone.",
        );
    }
}

fn algorithms(
    key: &str,
    file: Option<&List<Algorithm>>,
    keys: Option<&KeySource>,
    cx: &mut Context<'_>,
) -> Vec<Algorithm> {
    let shared = keys.map(|keys| matches!(keys, KeySource::Secret(_)));
    let Some(list) = file else {
        return match shared {
            Some(true) => vec![Algorithm::HS256],
            _ => vec![Algorithm::RS256, Algorithm::ES256],
        };
    };
    let key = member(key, "algorithms");
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for (_, algorithm) in list.keyed(&key) {
        if !algorithms.contains(algorithm) {
            algorithms.push(*algorithm);
        }
    }
    if algorithms.is_empty() && !cx.report.is_spoilt(&key) {
        cx.error(&key, "is an empty list, so no token could pass", ALGORITHMS);
    }
    if let Some((message, remedy)) = misfit(&algorithms, shared) {
        cx.error(&key, message, remedy);
    }
    algorithms
}

/// A public key used as a shared secret is how forged tokens pass.
fn misfit(algorithms: &[Algorithm], shared: Option<bool>) -> Option<(&'static str, &'static str)> {
    let any_shared = algorithms.iter().any(|algorithm| algorithm.is_shared());
    let any_public = algorithms.iter().any(|algorithm| !algorithm.is_shared());
    if any_shared && any_public {
        return Some((
            "mixes shared secrets (HS…) with public keys",
            "Keep one kind, or write two issuers: a public key used as a secret lets anybody sign.",
        ));
    }
    match shared? {
        true if any_public => Some((
            "needs a public key, but this issuer has a shared secret",
            "Write HS256, HS384 or HS512, or give a public key.",
        )),
        false if any_shared => Some((
            "needs a shared secret, but this issuer has public keys",
            "Write RS256, ES256 or another of a public key, or give `secret_file`.",
        )),
        _ => None,
    }
}

/// The types that are accepted unless somebody says otherwise.
pub(super) fn usual_types() -> Vec<String> {
    vec!["jwt".into(), "at+jwt".into()]
}

/// The names that always exist.
pub(super) fn usual_claims() -> Vec<ClaimName> {
    let name = |(name, claim): &(&str, &str)| ClaimName {
        name: (*name).to_owned(),
        claim: (*claim).to_owned(),
    };
    CLAIMS.iter().map(name).collect()
}

fn types(file: Option<&List<String>>, asked: bool) -> Vec<String> {
    match file {
        // RFC 6750 §6.1.1; of an issuer that is asked it is `token_type`.
        None if asked => vec!["bearer".to_owned()],
        None => usual_types(),
        Some(list) => list
            .keyed("")
            .into_iter()
            .map(|(_, name)| name.to_ascii_lowercase())
            .collect(),
    }
}

/// The names that always exist, with the file's claims, and the file's own names after them.
fn claims(key: &str, file: Option<&Named<String>>, cx: &mut Context<'_>) -> Vec<ClaimName> {
    let mut claims = usual_claims();
    for (key, name, claim) in file.map(|named| named.keyed(key)).unwrap_or_default() {
        if claim.is_empty() || name.is_empty() {
            cx.error(
                &key,
                "is empty",
                "Write the claim it stands for, such as `id: sub`.",
            );
        }
        match claims.iter_mut().find(|known| known.name == name) {
            Some(known) => known.claim.clone_from(claim),
            None => claims.push(ClaimName {
                name: name.to_owned(),
                claim: claim.clone(),
            }),
        }
    }
    claims
}

/// Claims with the values they may have.
pub(super) fn required(
    key: &str,
    file: Option<&Named<OneOrMany<Scalar>>>,
    cx: &mut Context<'_>,
) -> Vec<RequiredClaim> {
    let named = file.map(|named| named.keyed(key)).unwrap_or_default();
    let mut required = Vec::new();
    for (key, claim, values) in named {
        let values: Vec<_> = values
            .keyed(&key)
            .into_iter()
            .map(|(_, Scalar(value))| value.clone())
            .collect();
        if values.is_empty() && !cx.report.is_spoilt(&key) {
            cx.error(
                &key,
                "is an empty list, which no token can satisfy",
                "Write the values that may pass.",
            );
        }
        required.push(RequiredClaim {
            claim: claim.to_owned(),
            values,
        });
    }
    required
}

/// How long its tokens live.
fn life(key: &str, file: &file::Issuer, cx: &mut Context<'_>) -> Option<TokenLife> {
    let text = file.max_token_life.as_deref()?;
    if text == "any" {
        return Some(TokenLife::Any);
    }
    match Time::read(text) {
        Some(Time(time)) if time >= Duration::from_secs(1) => Some(TokenLife::Most(time)),
        _ => {
            let message = format!("is neither a time nor `any`: {text:?}");
            cx.error(
                key,
                message,
                "Write a time such as `12h`, at most a year, or `any`.",
            );
            None
        }
    }
}

fn seconds(key: &str, value: Option<Time>, default: u32, cx: &mut Context<'_>) -> u32 {
    const MOST: u64 = 600;
    let time = value.map_or(Duration::from_secs(default.into()), |time| time.0);
    if time.subsec_nanos() != 0 {
        cx.error(
            key,
            "is not whole seconds",
            "Write `5s`: tokens count in seconds.",
        );
    }
    if time.as_secs() > MOST {
        cx.error(
            key,
            "is more than ten minutes",
            "Set the clocks right and write a few seconds.",
        );
    }
    u32::try_from(time.as_secs().min(MOST)).unwrap_or(default)
}
