//! Where an issuer's keys come from.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::url::{Url, check_key_url};
use super::{Context, bounds, introspection, proxy, secret};
use crate::config::file::{self, Issuer, List, OneOrMany};
use crate::config::report::member;
use crate::config::{Fetch, KeySource};

/// A key set is at so many places at most; each is asked in turn within one attempt.
const MAX_MIRRORS: usize = 8;

/// Larger files are not keys.
const MAX_FILE: u64 = 1 << 20;

/// Resolves the one source; `None` when the report says why there is none.
pub(super) fn resolve(key: &str, file: &Issuer, cx: &mut Context<'_>) -> Option<KeySource> {
    let given = given(file);
    if let [first, .., last] = given.as_slice() {
        cx.error(
            &member(key, last),
            format!("is a second source of keys beside `{first}`"),
            "Keep one of the two.",
        );
        return None;
    }
    let fetch = fetch(&member(key, "fetch"), file.fetch.as_ref(), cx);
    let Some(name) = given.first() else {
        return discovery(key, file, fetch, cx);
    };
    one(&member(key, name), file, fetch, cx)
}

/// The key that names the shared secret.
pub(super) fn named_in(key: &str, file: &Issuer) -> String {
    member(key, given(file).first().unwrap_or(&"secret"))
}

fn given(file: &Issuer) -> Vec<&'static str> {
    [
        ("jwks_uri", file.jwks_uri.is_some()),
        ("jwks_file", file.jwks_file.is_some()),
        ("public_key_file", file.public_key_file.is_some()),
        ("secret", file.secret.is_some()),
        ("secret_file", file.secret_file.is_some()),
        ("secret_env", file.secret_env.is_some()),
        ("introspection", file.introspection.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

fn one(key: &str, file: &Issuer, fetch: Fetch, cx: &mut Context<'_>) -> Option<KeySource> {
    if let Some(urls) = &file.jwks_uri {
        return mirrors(key, urls, fetch, cx);
    }
    if let Some(path) = &file.jwks_file {
        return jwks_file(key, path, cx).map(KeySource::JwksFile);
    }
    if let Some(path) = &file.public_key_file {
        return public_key_file(key, path, cx).map(KeySource::PublicKeyFile);
    }
    if let Some(endpoint) = &file.introspection {
        let resolved = introspection::resolve(key, endpoint, file.issuer.as_deref(), cx);
        return resolved.map(|found| KeySource::Introspection(Box::new(found)));
    }
    let source = secret::Source {
        inline: file.secret.as_ref(),
        file: file.secret_file.as_deref(),
        env: file.secret_env.as_deref(),
    };
    secret::read(key, &source, cx).map(KeySource::Secret)
}

/// A key set, and where else it is.
fn mirrors(
    key: &str,
    urls: &OneOrMany<String>,
    fetch: Fetch,
    cx: &mut Context<'_>,
) -> Option<KeySource> {
    const REMEDY: &str = "Write its URL, such as `https://idp.example.com/keys`, or up to eight.";
    let mut good = Vec::new();
    let listed = urls.keyed(key);
    for (key, url) in &listed {
        check_url(key, url, &fetch, cx)?;
        if good.contains(*url) {
            cx.error(key, "is there twice", "Keep one: a mirror is elsewhere.");
        }
        good.push((*url).clone());
    }
    if good.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", REMEDY);
    }
    if good.len() > MAX_MIRRORS {
        cx.error(key, format!("names {} places", good.len()), REMEDY);
    }
    Some(KeySource::JwksUri { urls: good, fetch })
}

/// With no source named, the issuer's URL leads to the keys.
fn discovery(key: &str, file: &Issuer, fetch: Fetch, cx: &mut Context<'_>) -> Option<KeySource> {
    // A source that was taken out because it was wrong is not a wish for discovery.
    let wrong = [
        "jwks_uri",
        "jwks_file",
        "public_key_file",
        "secret",
        "secret_file",
        "secret_env",
        "introspection",
    ]
    .iter()
    .any(|name| cx.report.is_spoilt(&member(key, name)));
    if wrong {
        return None;
    }
    let key = member(key, "issuer");
    let Some(issuer) = &file.issuer else {
        cx.report.missing(
            &key,
            "Write its URL, or where the keys are: `jwks_uri`, `jwks_file`, `public_key_file`, `secret_file`, `secret_env` or `introspection`.",
        );
        return None;
    };
    if Url::parse(issuer).is_err() {
        cx.error(
            &key,
            "is not a URL, so the keys cannot be discovered",
            "Write where the keys are beside it: `jwks_uri`, `jwks_file`, `public_key_file`, `secret_file` or `secret_env`.",
        );
        return None;
    }
    check_url(&key, issuer, &fetch, cx)?;
    if issuer.contains('?') {
        cx.error(
            &key,
            "has a query, so the keys cannot be discovered",
            "Write `jwks_uri` beside it.",
        );
        return None;
    }
    Some(KeySource::Discovery {
        url: format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        ),
        fetch,
    })
}

fn check_url(key: &str, url: &str, fetch: &Fetch, cx: &mut Context<'_>) -> Option<()> {
    check_key_url(url, &fetch.allow_addresses)
        .map_err(|(message, remedy)| cx.error(key, message, remedy))
        .ok()
}

fn jwks_file(key: &str, text: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = cx.file(text);
    read_file(key, &path, cx)?;
    Some(path)
}

fn public_key_file(key: &str, text: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = cx.file(text);
    let bytes = read_file(key, &path, cx)?;
    if String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----") {
        cx.error(
            key,
            "holds a private key, which usher must not have",
            "Make the public key of it: `openssl pkey -in private.pem -pubout -out public.pem`.",
        );
        return None;
    }
    Some(path)
}

/// Reads a small file whole; a problem says what the system said.
pub(super) fn read_file(
    key: &str,
    path: &std::path::Path,
    cx: &mut Context<'_>,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe would wait for a writer for ever.
    let read = std::fs::metadata(path).and_then(|meta| {
        if !meta.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)
    });
    match read {
        Err(error) => cx.error(
            key,
            format!("cannot be read: {}: {error}", path.display()),
            "Check that the file is there, and that the user usher runs as may read it.",
        ),
        Ok(0) => cx.error(
            key,
            format!("is an empty file: {}", path.display()),
            "Put the key into it.",
        ),
        Ok(length) if length as u64 > MAX_FILE => {
            cx.error(
                key,
                format!("is larger than 1 MiB: {}", path.display()),
                "Is this the right file?",
            );
        }
        Ok(_) => return Some(bytes),
    }
    None
}

fn fetch(key: &str, file: Option<&file::Fetch>, cx: &mut Context<'_>) -> Fetch {
    let time = |name, value: Option<file::Time>, default, least, cx: &mut Context<'_>| {
        bounds::time(
            &member(key, name),
            value,
            Duration::from_secs(default),
            least,
            cx,
        )
    };
    let second = Duration::from_secs(1);
    let least = Duration::from_millis(100);
    let ca_file = file.and_then(|f| f.ca_file.as_ref()).and_then(|text| {
        let path = cx.file(text);
        read_file(&member(key, "ca_file"), &path, cx).map(|_| path)
    });
    Fetch {
        timeout: time("timeout", file.and_then(|f| f.timeout), 5, least, cx),
        max_bytes: bounds::size(
            &member(key, "max_bytes"),
            file.and_then(|f| f.max_bytes),
            256 << 10,
            1 << 10..=16 << 20,
            cx,
        ),
        cooldown: time("cooldown", file.and_then(|f| f.cooldown), 10, second, cx),
        refresh: time("refresh", file.and_then(|f| f.refresh), 600, second, cx),
        max_stale: time(
            "max_stale",
            file.and_then(|f| f.max_stale),
            24 * 3600,
            Duration::ZERO,
            cx,
        ),
        ca_file,
        allow_addresses: addresses(
            &member(key, "allow_addresses"),
            file.and_then(|f| f.allow_addresses.as_ref()),
            cx,
        ),
    }
}

/// Addresses that are refused unless they are named here.
pub(super) fn addresses(
    key: &str,
    list: Option<&List<String>>,
    cx: &mut Context<'_>,
) -> Vec<IpNet> {
    const REMEDY: &str = "Write the very address, such as `169.254.7.1`, or a network.";
    let mut nets = Vec::new();
    for (key, text) in list.map(|list| list.keyed(key)).unwrap_or_default() {
        match proxy::network(text) {
            Some(net) if net.prefix_len() == 0 => {
                cx.error(&key, "is every address there is", REMEDY);
            }
            Some(net) => nets.push(net),
            None => cx.error(&key, format!("is not a network: {text:?}"), REMEDY),
        }
    }
    nets
}
