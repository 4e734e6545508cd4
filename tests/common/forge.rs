//! Tokens made byte by byte, with whatever in them that no issuer would write.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD};
use serde_json::{Value, json};

use super::Issuer;

/// A key and the algorithm it signs with.
pub struct Signer {
    /// The name of the algorithm.
    pub algorithm: &'static str,
    key: Key,
}

enum Key {
    Shared(Box<hmac::Key>),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Curve(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

/// base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// What [`encode`] encoded.
pub fn decode(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

impl Signer {
    /// With a new key, or with this secret for the `HS` algorithms.
    pub fn new(algorithm: &'static str, secret: &[u8]) -> Self {
        let shared = |with| Key::Shared(Box::new(hmac::Key::new(with, secret)));
        let rsa = |with| Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), with);
        let curve = |with| Key::Curve(EcdsaKeyPair::generate(with).unwrap());
        let key = match algorithm {
            "HS256" => shared(hmac::HMAC_SHA256),
            "HS384" => shared(hmac::HMAC_SHA384),
            "HS512" => shared(hmac::HMAC_SHA512),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => Key::Edwards(Ed25519KeyPair::generate().unwrap()),
            other => panic!("no algorithm {other}"),
        };
        Self { algorithm, key }
    }

    /// With the key of `issuer`.
    pub fn of(issuer: &Issuer) -> Self {
        let pem = std::fs::read_to_string(issuer.private_key()).unwrap();
        let body: String = pem
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let der = BASE64_MIME.decode(body.as_bytes()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        Self {
            algorithm: "ES256",
            key: Key::Curve(pair),
        }
    }

    /// The public key as `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.key {
            Key::Rsa(pair, _) => {
                let key: &rsa::PublicKey = pair.public_key();
                key.as_der().unwrap()
            }
            Key::Curve(pair) => pair.public_key().as_der().unwrap(),
            Key::Edwards(pair) => pair.public_key().as_der().unwrap(),
            Key::Shared(_) => panic!("a shared secret has no public half"),
        };
        der.as_ref().to_vec()
    }

    /// The same in PEM.
    pub fn public_pem(&self) -> String {
        let text = BASE64.encode(&self.public_der());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The public key as an entry of a key set.
    pub fn jwk(&self, kid: &str) -> Value {
        let der = self.public_der();
        let part = |end: usize, length: usize| encode(&der[der.len() - end - length..][..length]);
        match &self.key {
            // At the end stands the exponent 65537, in five bytes, and before it 2048 bits.
            Key::Rsa(..) => json!({ "kty": "RSA", "kid": kid, "n": part(5, 256), "e": "AQAB" }),
            Key::Curve(_) => {
                let (crv, size) = match self.algorithm {
                    "ES384" => ("P-384", 48),
                    _ => ("P-256", 32),
                };
                let (x, y) = (part(size, size), part(0, size));
                json!({ "kty": "EC", "kid": kid, "crv": crv, "x": x, "y": y })
            }
            Key::Edwards(_) => {
                json!({ "kty": "OKP", "kid": kid, "crv": "Ed25519", "x": part(0, 32) })
            }
            Key::Shared(_) => panic!("a shared secret has no public half"),
        }
    }

    /// The same RSA key, which signs in another way from now on.
    pub fn signing(self, algorithm: &'static str) -> Self {
        let Key::Rsa(pair, _) = self.key else {
            panic!("no RSA key")
        };
        let encoding: &'static dyn RsaEncoding = match algorithm {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            other => panic!("no RSA algorithm {other}"),
        };
        Self {
            algorithm,
            key: Key::Rsa(pair, encoding),
        }
    }

    /// Signs these bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Shared(key) => hmac::sign(key, message).as_ref().to_vec(),
            Key::Rsa(pair, encoding) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut made).unwrap();
                made
            }
            Key::Curve(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with exactly this header and payload.
    pub fn seal(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let made = encode(self.sign(signed.as_bytes()));
        format!("{signed}.{made}")
    }

    /// A token with this payload and the header that it should have.
    pub fn token(&self, payload: impl AsRef<[u8]>) -> String {
        self.seal(format!(r#"{{"alg":"{}"}}"#, self.algorithm), payload)
    }
}
