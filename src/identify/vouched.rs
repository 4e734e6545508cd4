//! Tokens that open no route: what a customer's server vouches for, and usher's own refresh
//! tokens. Their keys are told by whoever asks, not by the token.

use serde_json::{Map, Value};

use super::algorithm;
use super::claims;
use super::jws;
use super::key::{self, Key};
use super::mint::SigningKey;
use super::signed::Signed;
use super::{jwks, token};
use crate::config::{Algorithm, Audiences};
use crate::denial::{Denial, Reason};
use crate::secret::Secret;

/// A key that verifies such tokens.
#[derive(Debug)]
pub struct VouchingKey {
    key: Key,
    algorithms: Vec<Algorithm>,
}

/// What such a token must look like.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// Who it must be meant for.
    pub audiences: &'a Audiences,
    /// Whether one without `exp` is refused.
    pub require_exp: bool,
    /// The most bytes.
    pub max_bytes: usize,
    /// Seconds since 1970.
    pub now: i64,
}

/// What a token says whose signature and times are good.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// All of it.
    pub claims: Map<String, Value>,
}

impl VouchingKey {
    /// A customer's RSA key in PEM, or in base64 of PEM; SPKI, PKCS#1 or a certificate. It
    /// verifies RS256 and nothing else.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn of_customer(text: &[u8]) -> Result<Self, String> {
        let algorithms = vec![Algorithm::RS256];
        let is_pem = |text: &[u8]| String::from_utf8_lossy(text).contains("-----BEGIN ");
        let decoded = match is_pem(text) {
            true => text.to_vec(),
            false => {
                let plain: Vec<u8> = text
                    .iter()
                    .copied()
                    .filter(|b| !b.is_ascii_whitespace())
                    .collect();
                data_encoding::BASE64
                    .decode(&plain)
                    .ok()
                    .filter(|decoded| is_pem(decoded))
                    .ok_or("it is neither PEM nor base64 of PEM")?
            }
        };
        let key = key::from_file(&decoded, &algorithms).map_err(|error| error.to_string())?;
        Ok(Self { key, algorithms })
    }

    /// The secret with which usher signs itself.
    ///
    /// # Errors
    /// When it is too short for the algorithm.
    pub fn of_secret(secret: &Secret, algorithm: Algorithm) -> Result<Self, String> {
        let algorithms = vec![algorithm];
        let key = Key::shared(secret, &algorithms).map_err(|error| error.to_string())?;
        Ok(Self { key, algorithms })
    }

    /// The public half of the key with which usher signs itself.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_signer(signer: &SigningKey) -> Result<Self, String> {
        let algorithms = vec![signer.algorithm()];
        let entry = signer.published().map_err(|error| error.to_string())?;
        let set = serde_json::json!({ "keys": [entry] }).to_string();
        let parsed = jwks::parse(set.as_bytes(), &algorithms).map_err(|error| error.to_string())?;
        let key = parsed
            .keys
            .into_iter()
            .next()
            .ok_or("it has no public half")?;
        Ok(Self { key, algorithms })
    }

    fn verifies(&self, algorithm: Algorithm, signed: &Signed<'_>, signature: &[u8]) -> bool {
        self.algorithms.contains(&algorithm) && self.key.verifies(algorithm, signed, signature)
    }
}

impl Vouched {
    /// Verifies a token with the first of these keys that made it. The order is that of any
    /// other token: size, shape, header, algorithm, signature, and only then the claims.
    ///
    /// # Errors
    /// The reason, as for any other token.
    pub fn verify<'k>(
        text: &str,
        mut keys: impl Iterator<Item = &'k VouchingKey>,
        rules: &Rules<'_>,
    ) -> Result<Self, Denial> {
        token::size(text.as_bytes(), rules.max_bytes)?;
        let segments = jws::split(text)?;
        let header = jws::header(segments.header)?;
        if header.typ.as_ref().is_some_and(|typ| typ != "jwt") {
            return Err(Denial::new(
                Reason::TokenHeaderRefused,
                "its `typ` is not JWT",
            ));
        }
        let Some(algorithm) = algorithm::named(&header.alg) else {
            return Err(Denial::new(
                Reason::AlgorithmRefused,
                "its `alg` is not supported",
            ));
        };
        let signature = jws::decode(segments.signature)?;
        if !keys.any(|key| key.verifies(algorithm, &segments.signed, &signature)) {
            return Err(Denial::new(
                Reason::SignatureRefused,
                "no key verifies it with its `alg`",
            ));
        }
        let claims = jws::object(segments.payload)?;
        claims::times(&claims, rules.require_exp, 0, LEEWAY)?.check(rules.now)?;
        claims::audience(&claims, rules.audiences)?;
        Ok(Self { claims })
    }

    /// A claim that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Who it is about: the claim `sub`, text or an integer, by the rules of any other token.
    ///
    /// # Errors
    /// When it is missing, empty, padded, or holds control characters.
    pub fn subject(&self) -> Result<Box<str>, Denial> {
        claims::id(&self.claims, &claims::ClaimPath::new("sub"))
    }
}

/// Seconds by which `nbf` may lie ahead, as with issuers.
const LEEWAY: u32 = 5;
