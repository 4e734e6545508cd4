//! Making tokens: usher's own, and those of development and tests.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair,
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header};
use serde_json::{Map, Value};

use super::key;
use crate::config::Algorithm;
use crate::secret::Secret;

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
}

/// Why there is no key or no token. Never shows the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintError(String);

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MintError {}

impl SigningKey {
    /// A private key in PEM: PKCS#8 with RSA, P-256, P-384 or Ed25519, or PKCS#1.
    /// RSA signs RS256 unless another algorithm is asked for.
    pub fn from_pem(pem: &[u8]) -> Result<Self, MintError> {
        let found = key::pem(pem).map_err(|error| MintError(error.to_string()))?;
        let (label, der) = found.ok_or_else(|| MintError("it is not PEM".to_owned()))?;
        match label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(pem, &der),
            "RSA PRIVATE KEY" => rsa(pem),
            "EC PRIVATE KEY" => Err(MintError(
                "it is a SEC1 key; convert it with `openssl pkcs8 -topk8 -nocrypt`".to_owned(),
            )),
            "ENCRYPTED PRIVATE KEY" => Err(MintError(
                "it is encrypted; decrypt it with `openssl pkcs8 -in FILE`".to_owned(),
            )),
            other => Err(MintError(format!(
                "it holds a `{other}`, not a private key"
            ))),
        }
    }

    fn from_pkcs8(pem: &[u8], der: &[u8]) -> Result<Self, MintError> {
        let is_curve = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, der).is_ok()
        };
        let refused = |_| MintError("the private key cannot be read".to_owned());
        if is_curve(&ECDSA_P256_SHA256_FIXED_SIGNING) {
            let key = EncodingKey::from_ec_pem(pem).map_err(refused)?;
            return Ok(Self::with(key, Algorithm::ES256));
        }
        if is_curve(&ECDSA_P384_SHA384_FIXED_SIGNING) {
            let key = EncodingKey::from_ec_pem(pem).map_err(refused)?;
            return Ok(Self::with(key, Algorithm::ES384));
        }
        if Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok() {
            let key = EncodingKey::from_ed_pem(pem).map_err(refused)?;
            return Ok(Self::with(key, Algorithm::EdDSA));
        }
        if RsaKeyPair::from_pkcs8(der).is_ok() {
            return rsa(pem);
        }
        Err(MintError(
            "it is not a private key of RSA (2048 to 8192 bits), P-256, P-384 or Ed25519"
                .to_owned(),
        ))
    }

    /// A shared secret, for HS256, HS384 or HS512.
    pub fn from_secret(secret: &Secret, algorithm: Algorithm) -> Result<Self, MintError> {
        if !algorithm.is_shared() {
            let name = algorithm.name();
            return Err(MintError(format!(
                "{name} does not work with a shared secret"
            )));
        }
        Ok(Self::with(
            EncodingKey::from_secret(secret.expose()),
            algorithm,
        ))
    }

    const fn with(key: EncodingKey, algorithm: Algorithm) -> Self {
        Self { key, algorithm }
    }

    /// The same key with another algorithm of its kind (RS512 instead of RS256).
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self, MintError> {
        use super::algorithm::family;
        if family(self.algorithm) != family(algorithm) {
            let name = algorithm.name();
            return Err(MintError(format!(
                "{name} does not work with this kind of key"
            )));
        }
        Ok(Self { algorithm, ..self })
    }

    /// The algorithm that it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs claims as they are.
    pub fn mint(
        &self,
        claims: &Map<String, Value>,
        kid: Option<&str>,
        typ: Option<&str>,
    ) -> Result<String, MintError> {
        let mut header = Header::new(alg(self.algorithm));
        header.kid = kid.map(str::to_owned);
        header.typ = typ.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| MintError(format!("the token cannot be signed: {error}")))
    }

    /// The public half as it is published: its name is its thumbprint (RFC 7638).
    pub fn published(&self) -> Result<Map<String, Value>, MintError> {
        let mut jwk = self.public_jwk("")?;
        // Exactly the members that the key needs, in the order of the alphabet (§3.2).
        let needed = ["crv", "e", "kty", "n", "x", "y"];
        let members: Map<_, _> = jwk
            .iter()
            .filter(|(name, _)| needed.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let text = Value::Object(members).to_string();
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        jwk.insert(
            "kid".to_owned(),
            BASE64URL_NOPAD.encode(hash.as_ref()).into(),
        );
        Ok(jwk)
    }

    /// The public half as an entry of a key set, with `alg`, `use` and `kid`.
    pub fn public_jwk(&self, kid: &str) -> Result<Map<String, Value>, MintError> {
        if self.algorithm.is_shared() {
            return Err(MintError("a shared secret has no public half".to_owned()));
        }
        let failed = |error: &dyn fmt::Display| MintError(format!("no public key: {error}"));
        let jwk = Jwk::from_encoding_key(&self.key, alg(self.algorithm));
        let jwk = jwk.map_err(|error| failed(&error))?;
        let jwk = serde_json::to_value(jwk).map_err(|error| failed(&error))?;
        let Value::Object(mut jwk) = jwk else {
            return Err(failed(&"not an object"));
        };
        jwk.insert("use".to_owned(), "sig".into());
        jwk.insert("kid".to_owned(), kid.into());
        Ok(jwk)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [redacted])", self.algorithm.name())
    }
}

fn rsa(pem: &[u8]) -> Result<SigningKey, MintError> {
    let key = EncodingKey::from_rsa_pem(pem);
    let key = key.map_err(|_| MintError("the private key cannot be read".to_owned()))?;
    Ok(SigningKey::with(key, Algorithm::RS256))
}

/// A new P-256 key as PKCS#8 PEM.
pub fn generate_es256() -> Result<Secret, MintError> {
    let failed = |_| MintError("no key could be made".to_owned());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let der = pair.to_pkcs8v1().map_err(failed)?;
    Ok(Secret::new(to_pem(der.as_ref())))
}

/// A PKCS#8 private key as PEM (RFC 7468 §10).
pub(super) fn to_pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

const fn alg(algorithm: Algorithm) -> Alg {
    match algorithm {
        Algorithm::HS256 => Alg::HS256,
        Algorithm::HS384 => Alg::HS384,
        Algorithm::HS512 => Alg::HS512,
        Algorithm::RS256 => Alg::RS256,
        Algorithm::RS384 => Alg::RS384,
        Algorithm::RS512 => Alg::RS512,
        Algorithm::PS256 => Alg::PS256,
        Algorithm::PS384 => Alg::PS384,
        Algorithm::PS512 => Alg::PS512,
        Algorithm::ES256 => Alg::ES256,
        Algorithm::ES384 => Alg::ES384,
        Algorithm::EdDSA => Alg::EdDSA,
    }
}
