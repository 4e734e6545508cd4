//! Shared secrets: where they are read from, and which are too weak.

use super::{Context, key_source};
use crate::config::Algorithm;
use crate::config::file::Hidden;
use crate::secret::Secret;

const REMEDY: &str = "Make one: `openssl rand -base64 48 | tr -d '\\n'`.";

/// Sample secrets from documentation, debuggers and starter projects: everybody knows them.
const WELL_KNOWN: [&str; 16] = [
    "secret",
    "changeme",
    "change-me",
    "password",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "your-secret-key",
    "your-very-long-secret-key-change-me-please",
    "your-super-secret-jwt-token-with-at-least-32-characters-long",
    "super-secret-jwt-token-with-at-least-32-characters-long",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-384-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    "change-this-to-a-long-random-secret",
    "your-secret-key-change-in-production",
];

/// Where a secret is; one of the three.
pub(super) struct Source<'a> {
    pub(super) inline: Option<&'a Hidden>,
    pub(super) file: Option<&'a str>,
    pub(super) env: Option<&'a str>,
}

/// Reads the secret at `key`.
pub(super) fn read(key: &str, source: &Source<'_>, cx: &mut Context<'_>) -> Option<Secret> {
    if let Some(hidden) = source.inline {
        if !cx.report.is_expanded(key) {
            cx.report.warn(
                key,
                "stands in the file in clear text",
                "Put it into a file of its own (`secret_file`) or the environment (`secret_env`).",
            );
        }
        return Some(Secret::new(hidden.0.as_bytes()));
    }
    match source.file {
        Some(path) => from_file(key, path, cx),
        None => from_env(key, source.env.unwrap_or_default(), cx),
    }
}

fn from_file(key: &str, text: &str, cx: &mut Context<'_>) -> Option<Secret> {
    let path = cx.file(text);
    let bytes = key_source::read_file(key, &path, cx)?;
    if bytes.ends_with(b"\n") {
        cx.report.warn(
            key,
            "names a file that ends with a newline, which is part of the secret",
            "Remove it, `printf %s \"$(cat FILE)\" > FILE`, unless your issuer signs with it.",
        );
    }
    Some(Secret::new(bytes))
}

fn from_env(key: &str, name: &str, cx: &mut Context<'_>) -> Option<Secret> {
    let value = (cx.env)(name);
    if value.is_none() {
        cx.error(
            key,
            format!("names the environment variable {name:?}, which is not set"),
            "Set it, or name the one that holds the secret; the name alone, without `$`.",
        );
    }
    value.map(Secret::new)
}

/// Refuses what can be guessed. A secret is never repeated in a message.
pub(super) fn check(key: &str, secret: &Secret, algorithms: &[Algorithm], cx: &mut Context<'_>) {
    let bytes = secret.expose();
    if is_well_known(bytes) {
        cx.error(
            key,
            "is a well-known sample secret, so anybody can sign tokens",
            REMEDY,
        );
        return;
    }
    let needs = algorithms
        .iter()
        .map(|algorithm| (floor(*algorithm), algorithm));
    if let Some((floor, algorithm)) = needs.max()
        && bytes.len() < floor
    {
        let message = format!(
            "is too short: {} needs at least {floor} bytes and it has {} (RFC 7518 §3.2)",
            algorithm.name(),
            bytes.len()
        );
        cx.error(key, message, REMEDY);
    } else if repeats(bytes) {
        cx.error(key, "is the same few bytes over and over", REMEDY);
    }
}

/// As many bytes as the hash has.
fn floor(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 0,
    }
}

fn is_well_known(bytes: &[u8]) -> bool {
    let trimmed = bytes.trim_ascii().to_ascii_lowercase();
    WELL_KNOWN.iter().any(|known| known.as_bytes() == trimmed)
}

/// Whether up to eight bytes repeat until the end.
fn repeats(bytes: &[u8]) -> bool {
    (1..=8).any(|period| {
        bytes.len() > period
            && bytes
                .iter()
                .zip(&bytes[period..])
                .all(|(left, right)| left == right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_is_seen() {
        assert!(repeats(&[b'a'; 40]));
        assert!(repeats(&b"secret".repeat(8)));
        assert!(!repeats(b"0123456789abcdef0123456789abcdeX"));
    }

    #[test]
    fn samples_are_known_in_any_case() {
        assert!(is_well_known(b"Your-256-bit-secret\n"));
        assert!(!is_well_known(b"Your-256-bit-secret-of-mine"));
    }
}
