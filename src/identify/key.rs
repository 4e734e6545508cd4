//! One key, parsed once for each algorithm it may be used with.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::{digest, hmac};
use data_encoding::BASE64_MIME;
use zeroize::Zeroizing;

use super::algorithm::{self, Family};
use super::public_key;
use super::signed::Signed;
use crate::config::Algorithm;
use crate::secret::Secret;

/// A key that verifies signatures.
pub(super) struct Key {
    /// The name a token calls it by; a key without one answers to every name.
    pub(super) kid: Option<Box<str>>,
    /// Changes whenever the key, its name or its algorithms do; compared at each cache hit.
    pub(super) id: u64,
    pub(super) family: Family,
    verifiers: Box<[(Algorithm, Verifier)]>,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadKey(pub(super) String);

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

enum Verifier {
    Public(ParsedPublicKey),
    Shared(Box<hmac::Key>),
}

impl Key {
    /// A public key, as `SubjectPublicKeyInfo` or as the bare encoding of its family.
    pub(super) fn public(
        family: Family,
        bytes: &[u8],
        kid: Option<&str>,
        algorithms: &[Algorithm],
    ) -> Result<Self, BadKey> {
        let mut verifiers = Vec::new();
        let mut hash = IdHash::new(kid);
        for algorithm in algorithms.iter().copied() {
            let Some(verification) = algorithm::verification(algorithm) else {
                continue;
            };
            if algorithm::family(algorithm) != family {
                continue;
            }
            let key = ParsedPublicKey::new(verification, bytes).map_err(|error| {
                BadKey(format!("the key is damaged or not on its curve ({error})"))
            })?;
            if family == Family::Rsa {
                check_rsa(&key)?;
            }
            hash.add(algorithm, &spki(&key)?);
            verifiers.push((algorithm, Verifier::Public(key)));
        }
        Self::with(kid, family, hash, verifiers)
    }

    /// A shared secret, at least as long as the hash (RFC 7518 §3.2).
    pub(super) fn shared(secret: &Secret, algorithms: &[Algorithm]) -> Result<Self, BadKey> {
        let mut hash = IdHash::new(None);
        let mut verifiers = Vec::new();
        for algorithm in algorithms.iter().copied() {
            if let Some(mac) = algorithm::mac(algorithm) {
                let (length, least) = (secret.len(), mac.digest_algorithm().output_len());
                if length < least {
                    let name = algorithm.name();
                    return Err(BadKey(format!(
                        "the secret has {length} bytes; {name} needs {least} (`openssl rand {least}`)"
                    )));
                }
                hash.add(algorithm, secret.expose());
                let key = hmac::Key::new(mac, secret.expose());
                verifiers.push((algorithm, Verifier::Shared(Box::new(key))));
            }
        }
        Self::with(None, Family::Shared, hash, verifiers)
    }

    fn with(
        kid: Option<&str>,
        family: Family,
        hash: IdHash,
        verifiers: Vec<(Algorithm, Verifier)>,
    ) -> Result<Self, BadKey> {
        if verifiers.is_empty() {
            let text = "none of the issuer's `algorithms` works with this kind of key";
            return Err(BadKey(text.to_owned()));
        }
        Ok(Self {
            kid: kid.map(Box::from),
            id: hash.finish(),
            family,
            verifiers: verifiers.into_boxed_slice(),
        })
    }

    /// Whether the key may be used with `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(known, _)| *known == algorithm)
    }

    /// Whether `signature` over `signed` was made with this key and `algorithm`.
    pub(super) fn verifies(
        &self,
        algorithm: Algorithm,
        signed: &Signed<'_>,
        signature: &[u8],
    ) -> bool {
        let found = self.verifiers.iter().find(|(known, _)| *known == algorithm);
        let verified = match found {
            Some((_, Verifier::Public(key))) if algorithm::is_over_sha256(algorithm) => {
                key.verify_digest_sig(signed.sha256(), signature)
            }
            Some((_, Verifier::Public(key))) => key.verify_sig(signed.bytes(), signature),
            Some((_, Verifier::Shared(key))) => hmac::verify(key, signed.bytes(), signature),
            None => return false,
        };
        verified.is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.verifiers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &algorithms)
            .finish_non_exhaustive()
    }
}

/// The single public key in a file: PEM (public key, PKCS#1, certificate) or DER.
pub(super) fn from_file(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Key, BadKey> {
    let der = match pem(bytes)? {
        Some((label, der)) => match label.as_str() {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => der.to_vec(),
            "CERTIFICATE" => public_key::of_certificate(&der)
                .ok_or_else(|| BadKey("the certificate is damaged".to_owned()))?,
            other if other.ends_with("PRIVATE KEY") => {
                return Err(BadKey(
                    "it holds a private key; make a public one with `openssl pkey -pubout`"
                        .to_owned(),
                ));
            }
            other => return Err(BadKey(format!("it holds a `{other}`, not a public key"))),
        },
        None => bytes.to_vec(),
    };
    let mut all = Algorithm::ALL.into_iter();
    let kind = all.find(|algorithm| {
        let verification = algorithm::verification(*algorithm);
        verification.is_some_and(|with| ParsedPublicKey::new(with, &der).is_ok())
    });
    let Some(kind) = kind else {
        let why = "it holds no public key of RSA, P-256, P-384 or Ed25519";
        return Err(BadKey(why.to_owned()));
    };
    let family = algorithm::family(kind);
    if !algorithms
        .iter()
        .any(|name| algorithm::family(*name) == family)
    {
        let wanted: Vec<_> = algorithms.iter().map(|name| name.name()).collect();
        let (kind, wanted) = (kind.name(), wanted.join(", "));
        return Err(BadKey(format!(
            "it is a key for {kind}, and one for {wanted} is wanted"
        )));
    }
    Key::public(family, &der, None, algorithms)
}

/// The label of a PEM block and its content, which may be a private key.
type Block = (String, Zeroizing<Vec<u8>>);

/// The first PEM block (RFC 7468): `None` if there is no PEM at all.
pub(super) fn pem(bytes: &[u8]) -> Result<Option<Block>, BadKey> {
    let Ok(text) = str::from_utf8(bytes) else {
        return Ok(None);
    };
    let Some((_, rest)) = text.split_once("-----BEGIN ") else {
        return Ok(None);
    };
    let damaged = || BadKey("the PEM block is damaged".to_owned());
    let (label, rest) = rest.split_once("-----").ok_or_else(damaged)?;
    let end = format!("-----END {label}-----");
    let (body, _) = rest.split_once(end.as_str()).ok_or_else(damaged)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let content = BASE64_MIME.decode(body.as_bytes()).map_err(|_| damaged())?;
    Ok(Some((label.to_owned(), Zeroizing::new(content))))
}

/// Sizes and exponents that the library would only refuse at each verification, or not at all.
fn check_rsa(key: &ParsedPublicKey) -> Result<(), BadKey> {
    let spki = spki(key)?;
    let key = public_key::rsa(&spki).ok_or_else(|| BadKey("the RSA key is damaged".to_owned()))?;
    let (n, e) = (key.modulus.as_bytes(), key.exponent.as_bytes());
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(BadKey(format!(
            "the RSA key has {bits} bits; 2048 to 8192 are accepted"
        )));
    }
    let even = e.last().is_none_or(|byte| byte % 2 == 0);
    if even || e == [1] {
        return Err(BadKey(
            "the RSA key's exponent is not an odd number of at least 3".to_owned(),
        ));
    }
    Ok(())
}

fn spki(key: &ParsedPublicKey) -> Result<Vec<u8>, BadKey> {
    let der = key
        .as_der()
        .map_err(|_| BadKey("the key cannot be encoded".to_owned()))?;
    Ok(der.as_ref().to_vec())
}

/// A hash over name, algorithms and material, each with its length.
struct IdHash(digest::Context);

impl IdHash {
    fn new(kid: Option<&str>) -> Self {
        let mut hash = Self(digest::Context::new(&digest::SHA256));
        hash.part(&[u8::from(kid.is_some())]);
        hash.part(kid.unwrap_or_default().as_bytes());
        hash
    }

    fn add(&mut self, algorithm: Algorithm, material: &[u8]) {
        self.part(algorithm.name().as_bytes());
        self.part(material);
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> u64 {
        let digest = self.0.finish();
        let first = digest.as_ref().first_chunk::<8>();
        first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}
