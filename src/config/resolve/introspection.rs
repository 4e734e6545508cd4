//! An endpoint that is asked about tokens.

use std::time::Duration;

use super::key_source::{addresses, read_file};
use super::url::Url;
use super::{Context, bounds, flag, secret};
use crate::config::file::{self, SecretPlace};
use crate::config::report::member;
use crate::config::{ClientAuthentication, Introspection, Issuer, KeySource};
use crate::secret::Secret;

const WHO: &str = "Write how usher proves who it is: `client_secret_file`, `client_secret_env` or `private_key_file`.";
const PREFIX: &str = "Write how the tokens begin, such as `prefixes: [gho_]`, or remove the key.";

/// Resolves an endpoint; `None` when the report says what is wrong.
pub(super) fn resolve(
    key: &str,
    file: &file::Introspection,
    issuer: Option<&str>,
    cx: &mut Context<'_>,
) -> Option<Introspection> {
    let allow_addresses = addresses(
        &member(key, "allow_addresses"),
        file.allow_addresses.as_ref(),
        cx,
    );
    let url = url(key, file, &allow_addresses, cx);
    let client = client(key, file, issuer, cx);
    let time = |name, value: Option<file::Time>, default, least, cx: &mut Context<'_>| {
        let default = Duration::from_secs(default);
        bounds::time(&member(key, name), value, default, least, cx)
    };
    let least = Duration::from_millis(100);
    let any = Duration::ZERO;
    Some(Introspection {
        prefixes: prefixes(&member(key, "prefixes"), file, cx),
        active_life: time("active_life", file.active_life, 60, any, cx),
        inactive_life: time("inactive_life", file.inactive_life, 10, any, cx),
        max_stale: time("max_stale", file.max_stale, 0, any, cx),
        max_in_flight: bounds::whole(
            &member(key, "max_in_flight"),
            file.max_in_flight,
            64,
            1..=10_000,
            cx,
        ),
        timeout: time("timeout", file.timeout, 2, least, cx),
        max_bytes: bounds::size(
            &member(key, "max_bytes"),
            file.max_bytes,
            64 << 10,
            1 << 10..=1 << 20,
            cx,
        ),
        ca_file: file.ca_file.as_ref().and_then(|text| {
            let path = cx.file(text);
            read_file(&member(key, "ca_file"), &path, cx).map(|_| path)
        }),
        allow_addresses,
        url: url?,
        client: client?,
    })
}

fn url(
    key: &str,
    file: &file::Introspection,
    allowed: &[ipnet::IpNet],
    cx: &mut Context<'_>,
) -> Option<String> {
    let key = member(key, "url");
    let Some(text) = &file.url else {
        let remedy = "Write the endpoint, such as `https://idp.example.com/oauth2/introspect`.";
        cx.report.missing(&key, remedy);
        return None;
    };
    let checked = Url::parse(text).and_then(|url| {
        url.check_place(allowed)?;
        match url.scheme.as_str() {
            "https" => Ok(()),
            "http" if url.is_loopback() || flag(file.allow_http, false) => Ok(()),
            "http" => Err((
                "is plain http, so anybody on the way reads tokens and the secret, and can say yes",
                "Write `https://`, or `allow_http: true` where nobody else is on the way.",
            )),
            _ => Err(("is neither https nor http", "Write `https://`.")),
        }
    });
    match checked {
        Ok(()) => Some(text.clone()),
        Err((message, remedy)) => {
            cx.error(&key, message, remedy);
            None
        }
    }
}

fn client(
    key: &str,
    file: &file::Introspection,
    issuer: Option<&str>,
    cx: &mut Context<'_>,
) -> Option<ClientAuthentication> {
    let id = client_id(&member(key, "client_id"), file.client_id.as_deref(), cx);
    let given: Vec<_> = [
        ("client_secret", file.client_secret.is_some()),
        ("client_secret_file", file.client_secret_file.is_some()),
        ("client_secret_env", file.client_secret_env.is_some()),
        ("private_key_file", file.private_key_file.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(member(key, name)))
    .collect();
    match given.as_slice() {
        [] => {
            cx.report.missing(&member(key, "client_secret_file"), WHO);
            None
        }
        [one] if file.private_key_file.is_some() => private_key(key, one, id?, file, issuer, cx),
        [one] => with_secret(key, one, id?, file, cx),
        [_, .., last] => {
            cx.error(last, "is a second way to prove who usher is", "Keep one.");
            None
        }
    }
}

fn client_id(key: &str, id: Option<&str>, cx: &mut Context<'_>) -> Option<String> {
    const REMEDY: &str = "Write the id by which the issuer knows usher.";
    match id {
        None => cx.report.missing(key, REMEDY),
        Some("") => cx.error(key, "is empty", REMEDY),
        Some(id) => return Some(id.to_owned()),
    }
    None
}

fn with_secret(
    key: &str,
    named: &str,
    id: String,
    file: &file::Introspection,
    cx: &mut Context<'_>,
) -> Option<ClientAuthentication> {
    for (name, given) in [
        ("algorithm", file.algorithm.is_some()),
        ("key_id", file.key_id.is_some()),
        ("assertion_audience", file.assertion_audience.is_some()),
    ] {
        if given {
            let message = "means nothing without `private_key_file`";
            cx.error(&member(key, name), message, "Remove it.");
        }
    }
    let source = secret::Source {
        inline: file.client_secret.as_ref(),
        file: file.client_secret_file.as_deref(),
        env: file.client_secret_env.as_deref(),
    };
    let secret = secret::read(named, &source, cx)?;
    if secret.is_empty() {
        cx.error(named, "is empty", WHO);
        return None;
    }
    Some(match file.client_auth.unwrap_or_default() {
        SecretPlace::Basic => ClientAuthentication::Basic { id, secret },
        SecretPlace::Post => ClientAuthentication::Post { id, secret },
    })
}

fn private_key(
    key: &str,
    named: &str,
    id: String,
    file: &file::Introspection,
    issuer: Option<&str>,
    cx: &mut Context<'_>,
) -> Option<ClientAuthentication> {
    if file.client_auth.is_some() {
        let message = "means nothing beside `private_key_file`: there is no secret to send";
        cx.error(&member(key, "client_auth"), message, "Remove it.");
    }
    if file
        .algorithm
        .is_some_and(|algorithm| algorithm.is_shared())
    {
        let message = "works with a shared secret, and this is a private key";
        cx.error(
            &member(key, "algorithm"),
            message,
            "Write `RS256`, `ES256` or another.",
        );
    }
    let path = cx.file(file.private_key_file.as_deref()?);
    let pem = read_file(named, &path, cx)?;
    if !String::from_utf8_lossy(&pem).contains("PRIVATE KEY-----") {
        let remedy = "Make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.";
        cx.error(named, "holds no private key in PEM", remedy);
        return None;
    }
    // RFC 7523 §3 lets the audience be anything that names the server; its own name is the one
    // that no other server takes for its own.
    let audience = file.assertion_audience.as_deref().or(issuer);
    Some(ClientAuthentication::PrivateKey {
        id,
        pem: Secret::new(pem),
        algorithm: file.algorithm,
        kid: file.key_id.clone(),
        audience: audience.or(file.url.as_deref())?.to_owned(),
    })
}

/// A JWT always begins with `ey`, so such a prefix would lead nowhere.
fn prefixes(key: &str, file: &file::Introspection, cx: &mut Context<'_>) -> Vec<String> {
    let listed = file.prefixes.as_ref().map(|prefixes| prefixes.keyed(key));
    let listed = listed.unwrap_or_default();
    if file.prefixes.is_some() && listed.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", PREFIX);
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    for (key, prefix) in &listed {
        if prefix.is_empty() || prefix.len() > 64 || !prefix.chars().all(is_token) {
            cx.error(key, format!("is how no token begins: {prefix:?}"), PREFIX);
        }
    }
    listed
        .into_iter()
        .map(|(_, prefix)| prefix.clone())
        .collect()
}

/// Two issuers that would be asked about one token.
pub(super) fn distinct(key: &str, issuer: &Issuer, before: &[Issuer], cx: &mut Context<'_>) {
    let prefixes = |issuer: &Issuer| match &issuer.keys {
        KeySource::Introspection(settings) if settings.prefixes.is_empty() => {
            vec![String::new()]
        }
        KeySource::Introspection(settings) => settings.prefixes.clone(),
        _ => Vec::new(),
    };
    let taken: Vec<_> = before.iter().flat_map(prefixes).collect();
    for prefix in prefixes(issuer).iter().filter(|one| taken.contains(one)) {
        let message = match prefix.as_str() {
            "" => "is missing, and an earlier issuer is asked about every opaque token too".into(),
            prefix => format!("has {prefix:?}, which an earlier issuer has too"),
        };
        let key = member(&member(key, "introspection"), "prefixes");
        cx.error(&key, message, "Write how this issuer's tokens begin.");
    }
}
