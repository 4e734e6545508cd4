//! The tokens that a login is answered with.

use std::time::Duration;

use super::{MILLISECOND, cookie, is_shared_with};
use crate::config::accounts::{IssuedKey, IssuedToken, IssuedTokens, OWN_ISSUER, Rotation};
use crate::config::file;
use crate::config::report::member;
use crate::config::resolve::{Context, bounds, flag, issuer, key_source, secret};
use crate::config::revocation::TokenLife;
use crate::config::{Algorithm, Audiences, Issuer, KeySource, RequiredClaim};
use crate::secret::Secret;

/// What both claims are unless somebody says otherwise (the contract's).
const NAME: &str = "replyke.com";
const KEYS: &str =
    "Write `secret_file: /run/secrets/…` (HS256) or `key_file: …` (a private key in PEM).";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Resolves the tokens; `None` when the report says what is missing.
pub(super) fn resolve(
    file: &file::IssuedTokens,
    preset: bool,
    issuers: &[Issuer],
    cx: &mut Context<'_>,
) -> Option<IssuedTokens> {
    let issuer = named("issuer", file.issuer.as_ref(), cx);
    taken(&issuer, issuers, cx);
    let audience = named("audience", file.audience.as_ref(), cx);
    let access = token(
        "access",
        file.access.as_ref(),
        Duration::from_secs(30 * 60),
        cx,
    );
    let refresh = token("refresh", file.refresh.as_ref(), 30 * DAY, cx);
    let grace = file.grace;
    let grace = bounds::time(
        "issued_tokens.grace",
        grace,
        Duration::from_secs(30),
        MILLISECOND,
        cx,
    );
    let tokens = IssuedTokens {
        issuer,
        audience,
        access: access?,
        refresh: refresh?,
        rotation: flag(file.rotate, !preset).then_some(Rotation { grace }),
        cookie: cookie::resolve(file.cookie.as_ref(), preset, cx),
    };
    apart(&tokens, issuers, cx);
    Some(tokens)
}

/// The issuer whose tokens usher mints itself.
pub(super) fn issuer(tokens: &IssuedTokens) -> Issuer {
    let access = &tokens.access;
    let (keys, usual) = match &access.key {
        IssuedKey::Shared(secret) => (KeySource::Secret(secret.clone()), vec![Algorithm::HS256]),
        IssuedKey::Private(pem) => (
            KeySource::PrivateKey(pem.clone()),
            vec![
                Algorithm::RS256,
                Algorithm::ES256,
                Algorithm::ES384,
                Algorithm::EdDSA,
            ],
        ),
    };
    Issuer {
        name: OWN_ISSUER.to_owned(),
        issuer: Some(tokens.issuer.clone()),
        keys,
        audiences: Audiences::OneOf(vec![tokens.audience.clone()]),
        algorithms: access.algorithm.map_or(usual, |algorithm| vec![algorithm]),
        types: issuer::usual_types(),
        claims: issuer::usual_claims(),
        // A refresh token has none, so it opens nothing even where one key makes both.
        require: vec![RequiredClaim {
            claim: "role".to_owned(),
            values: vec!["user".into()],
        }],
        require_exp: true,
        // A refresh token is no token of this issuer's for a route, but it can be revoked too.
        max_token_life: Some(TokenLife::Most(access.life.max(tokens.refresh.life))),
        exp_leeway: 0,
        nbf_leeway: 5,
        required: true,
    }
}

fn named(name: &str, given: Option<&String>, cx: &mut Context<'_>) -> String {
    if given.is_some_and(String::is_empty) {
        let remedy = format!("Write the claim's value, such as `{NAME}`.");
        cx.error(&member(super::TOKENS, name), "is empty", remedy);
    }
    given.cloned().unwrap_or_else(|| NAME.to_owned())
}

fn taken(name: &str, issuers: &[Issuer], cx: &mut Context<'_>) {
    if issuers
        .iter()
        .any(|other| other.issuer.as_deref() == Some(name))
    {
        cx.error(
            "issued_tokens.issuer",
            format!("is the `issuer` of an entry under `issuers` too: {name:?}"),
            "Choose another: usher's own tokens are told by it.",
        );
    }
    if issuers.iter().any(|other| other.name == OWN_ISSUER) {
        cx.error(
            "issuers",
            format!(
                "has an entry called `{OWN_ISSUER}`, which is what usher's own tokens are called"
            ),
            "Give it another `name`.",
        );
    }
}

fn token(
    name: &str,
    file: Option<&file::IssuedToken>,
    life: Duration,
    cx: &mut Context<'_>,
) -> Option<IssuedToken> {
    let key = member(super::TOKENS, name);
    let Some(file) = file else {
        cx.report.missing(&key, KEYS);
        return None;
    };
    let signs = signing_key(&key, file, cx)?;
    fits(&member(&key, "algorithm"), file.algorithm, &signs, cx);
    let shared = matches!(signs, IssuedKey::Shared(_)).then_some(Algorithm::HS256);
    let life = bounds::time(
        &member(&key, "life"),
        file.life,
        life,
        Duration::from_secs(1),
        cx,
    );
    Some(IssuedToken {
        key: signs,
        algorithm: file.algorithm.or(shared),
        life,
    })
}

fn signing_key(key: &str, file: &file::IssuedToken, cx: &mut Context<'_>) -> Option<IssuedKey> {
    let given: Vec<&str> = [
        ("secret", file.secret.is_some()),
        ("secret_file", file.secret_file.is_some()),
        ("secret_env", file.secret_env.is_some()),
        ("key_file", file.key_file.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    match given.as_slice() {
        [] => {
            cx.report.missing(key, KEYS);
            None
        }
        ["key_file"] => {
            let path = file.key_file.as_deref().unwrap_or_default();
            private_key(&member(key, "key_file"), path, cx).map(IssuedKey::Private)
        }
        [only] => {
            let named = member(key, only);
            let source = secret::Source {
                inline: file.secret.as_ref(),
                file: file.secret_file.as_deref(),
                env: file.secret_env.as_deref(),
            };
            let found = secret::read(&named, &source, cx)?;
            let algorithm = file.algorithm.unwrap_or(Algorithm::HS256);
            secret::check(&named, &found, &[algorithm], cx);
            Some(IssuedKey::Shared(found))
        }
        [first, .., last] => {
            let message = format!("is a second key beside `{first}`");
            cx.error(&member(key, last), message, "Keep one of the two.");
            None
        }
    }
}

fn private_key(key: &str, path: &str, cx: &mut Context<'_>) -> Option<Secret> {
    let path = cx.file(path);
    let bytes = key_source::read_file(key, &path, cx)?;
    if !String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----") {
        let remedy = "Make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem`.";
        cx.error(key, "holds no private key in PEM", remedy);
        return None;
    }
    Some(Secret::new(bytes))
}

fn fits(key: &str, algorithm: Option<Algorithm>, signs: &IssuedKey, cx: &mut Context<'_>) {
    let shared = matches!(signs, IssuedKey::Shared(_));
    match algorithm {
        Some(algorithm) if shared && !algorithm.is_shared() => cx.error(
            key,
            "needs a private key, and there is a shared secret",
            "Write HS256, HS384 or HS512, or give `key_file`.",
        ),
        Some(algorithm) if !shared && algorithm.is_shared() => cx.error(
            key,
            "needs a shared secret, and there is a private key",
            "Write ES256 or EdDSA, or remove it: the key says which.",
        ),
        _ => {}
    }
}

/// Whoever has one of the keys must not be able to make what another one vouches for.
fn apart(tokens: &IssuedTokens, issuers: &[Issuer], cx: &mut Context<'_>) {
    const OTHER: &str = "Make another: `openssl rand -base64 48 | tr -d '\\n'`.";
    if tokens.access.key == tokens.refresh.key {
        cx.error(
            "issued_tokens.refresh",
            "has the key of `access`, so a refresh token would open routes",
            OTHER,
        );
    }
    for (name, token) in [("access", &tokens.access), ("refresh", &tokens.refresh)] {
        let IssuedKey::Shared(secret) = &token.key else {
            continue;
        };
        let other = issuers
            .iter()
            .find(|issuer| is_shared_with(&issuer.keys, secret));
        if let Some(other) = other {
            let message = format!(
                "has the secret of the issuer `{}`, which could mint it too",
                other.name
            );
            cx.error(&member(super::TOKENS, name), message, OTHER);
        }
    }
}
