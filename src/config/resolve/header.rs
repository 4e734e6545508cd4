//! What the app sees.

use http::HeaderName;

use super::Context;
use crate::certificate::Field;
use crate::config::file::{HeadersPreset, List, Named, OneOrMany};
use crate::config::{HeaderSource, IdentityHeader, Listener};

/// Names with a meaning of their own: a claim in one of these could frame, route or
/// authenticate the request instead of describing the caller.
const RESERVED: [&str; 33] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "expect",
    "range",
    "http2-settings",
    "cookie",
    "set-cookie",
    "authorization",
    "origin",
    "via",
    "max-forwards",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-real-ip",
    "x-http-method-override",
];

const DEFAULT: &[(&str, &str)] = &[
    ("x-user-id", "id"),
    ("x-user-email", "email"),
    ("x-user-name", "name"),
];

const OAUTH2_PROXY: &[(&str, &str)] = &[
    ("x-auth-request-user", "id"),
    ("x-auth-request-email", "email"),
    ("x-auth-request-preferred-username", "preferred_username"),
    ("x-auth-request-groups", "groups"),
    ("x-forwarded-user", "id"),
    ("x-forwarded-email", "email"),
    ("x-forwarded-preferred-username", "preferred_username"),
    ("x-forwarded-groups", "groups"),
];

const AUTHELIA: &[(&str, &str)] = &[
    ("remote-user", "id"),
    ("remote-email", "email"),
    ("remote-name", "name"),
    ("remote-groups", "groups"),
];

const REMOTE_USER: &[(&str, &str)] = &[("remote-user", "id")];

/// The identity headers: the preset's, then the file's; a header of the preset that the file
/// names again keeps its place and takes the file's value.
pub(super) fn identity(
    file: Option<&Named<OneOrMany<String>>>,
    preset: Option<HeadersPreset>,
    cx: &mut Context<'_>,
) -> Vec<IdentityHeader> {
    let mut headers = match (preset, file) {
        (Some(preset), _) => presets(preset),
        (None, None) => built_in(DEFAULT),
        (None, Some(_)) => Vec::new(),
    };
    let before = headers.len();
    for (key, name, value) in file.map(|named| named.keyed("headers")).unwrap_or_default() {
        let (Some(name), Some(value)) = (name_at(&key, name, cx), source(&key, value, cx)) else {
            continue;
        };
        let same = headers
            .iter()
            .position(|other| fold(&other.name) == fold(&name));
        match same {
            Some(index) if index < before && headers[index].name == name => {
                headers[index].value = value
            }
            Some(index) => collision(&key, &headers[index].name, cx),
            None => headers.push(IdentityHeader { name, value }),
        }
    }
    headers
}

/// Names that clients may send although another proxy uses them for identities.
pub(super) fn exceptions(
    file: &List<String>,
    headers: &[IdentityHeader],
    cx: &mut Context<'_>,
) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for (key, text) in file.keyed("header_exceptions") {
        let Ok(name) = text.parse::<HeaderName>() else {
            cx.error(
                &key,
                "is not the name of a header",
                "Write one such as `X-User-Locale`.",
            );
            continue;
        };
        if headers
            .iter()
            .any(|header| fold(&header.name) == fold(&name))
        {
            cx.error(
                &key,
                "is one of the headers usher sets, so callers could claim to be anybody",
                "Remove it here or from `headers`.",
            );
            continue;
        }
        names.push(name);
    }
    names
}

/// Many apps see `X_User.Id`, `X--User-Id` and `X-User-Id` as one header.
pub(super) fn fold(name: &HeaderName) -> String {
    let mut folded = String::with_capacity(name.as_str().len());
    for c in name.as_str().chars() {
        match c.is_ascii_alphanumeric() {
            true => folded.push(c),
            false if folded.ends_with('-') => {}
            false => folded.push('-'),
        }
    }
    folded
}

/// Whether a name has a meaning of its own.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&fold(name).as_str())
}

fn presets(preset: HeadersPreset) -> Vec<IdentityHeader> {
    built_in(match preset {
        HeadersPreset::OAuth2Proxy => OAUTH2_PROXY,
        HeadersPreset::Authelia => AUTHELIA,
        HeadersPreset::RemoteUser => REMOTE_USER,
    })
}

fn built_in(headers: &[(&'static str, &str)]) -> Vec<IdentityHeader> {
    headers
        .iter()
        .map(|(name, claim)| IdentityHeader {
            name: HeaderName::from_static(name),
            value: HeaderSource::Claim((*claim).to_owned()),
        })
        .collect()
}

fn name_at(key: &str, text: &str, cx: &mut Context<'_>) -> Option<HeaderName> {
    const REMEDY: &str = "Choose a name of its own, such as `X-User-Id`.";
    let Ok(name) = text.parse::<HeaderName>() else {
        cx.error(key, "is not the name of a header", REMEDY);
        return None;
    };
    if is_reserved(&name) {
        cx.error(
            key,
            "has a meaning of its own in HTTP or to proxies: a token could change the request with it",
            REMEDY,
        );
        return None;
    }
    Some(name)
}

fn collision(key: &str, other: &HeaderName, cx: &mut Context<'_>) {
    cx.error(
        key,
        format!(
            "reads the same as `{other}` to many apps, where case and punctuation do not count"
        ),
        "Keep one of the two, or rename one.",
    );
}

fn certificate(key: &str, name: &str, cx: &mut Context<'_>) -> Option<Field> {
    let found = Field::ALL.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let known: Vec<_> = Field::ALL.iter().map(|(known, _)| *known).collect();
        cx.error(
            key,
            format!("takes `{name}` of a certificate, which usher does not read"),
            format!("Write `certificate.` and one of {}.", known.join(", ")),
        );
    }
    found.map(|(_, field)| *field)
}

/// Certificates say something only where somebody asks for them.
pub(super) fn check_certificates(
    headers: &[IdentityHeader],
    listeners: &[Listener],
    cx: &mut Context<'_>,
) {
    let asks = |listener: &Listener| {
        listener
            .tls
            .as_ref()
            .is_some_and(|tls| tls.clients.is_some())
    };
    let takes = |header: &&IdentityHeader| matches!(header.value, HeaderSource::Certificate(_));
    if let Some(header) = headers.iter().find(takes)
        && !listeners.iter().any(asks)
    {
        cx.report.warn(
            &format!("headers.{}", header.name),
            "takes what a client's certificate says, and no listener asks for certificates",
            "Write `tls.client_ca_file` under `listen`, or remove it.",
        );
    }
}

/// Whether it means something else than a claim.
fn is_special(word: &str) -> bool {
    let begins = |start| word.starts_with(start);
    matches!(word, "claims" | "issuer") || begins("user.") || begins("certificate.")
}

fn source(key: &str, value: &OneOrMany<String>, cx: &mut Context<'_>) -> Option<HeaderSource> {
    let listed = value.keyed(key);
    if listed.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", "Write a claim such as `id`.");
    }
    for (key, claim) in &listed {
        if claim.is_empty() {
            cx.error(key, "is empty", "Write a claim such as `id`.");
            return None;
        }
    }
    if let OneOrMany::Many(_) = value {
        for (key, word) in &listed {
            if is_special(word) {
                let message = format!("is `{word}`, which stands alone: a list is of claims");
                let remedy = "Give it a header of its own. A claim of that name needs another one in the \
                              issuer's `claims`.";
                cx.error(key, message, remedy);
                return None;
            }
        }
    }
    match value {
        OneOrMany::One(word) => Some(match word.as_str() {
            "claims" => HeaderSource::AllClaims,
            "issuer" => HeaderSource::Issuer,
            word => match word.strip_prefix("certificate.") {
                Some(name) => HeaderSource::Certificate(certificate(key, name, cx)?),
                None => HeaderSource::Claim(word.to_owned()),
            },
        }),
        OneOrMany::Many(_) => Some(HeaderSource::Joined(
            listed.into_iter().map(|(_, claim)| claim.clone()).collect(),
        )),
    }
}
