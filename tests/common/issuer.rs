//! An issuer of tokens with a key of its own.

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use usher::identify::mint::{SigningKey, generate_es256};

/// Signs tokens; its public keys are in a file.
pub struct Issuer {
    key: SigningKey,
    kid: String,
    folder: tempfile::TempDir,
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "tests against a real clock need it"
)]
pub fn now() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap()
}

impl Issuer {
    /// `iss` of its tokens.
    pub const NAME: &'static str = "https://idp.test/";
    /// `aud` of its tokens.
    pub const AUDIENCE: &'static str = "app";

    /// An issuer with a new P-256 key.
    pub fn new() -> Self {
        Self::with_kid("k1")
    }

    /// The same with a name for the key.
    pub fn with_kid(kid: &str) -> Self {
        let pem = generate_es256().unwrap();
        let issuer = Self {
            key: SigningKey::from_pem(pem.expose()).unwrap(),
            kid: kid.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(issuer.key_set(), issuer.jwks().to_string()).unwrap();
        let mut file = std::fs::File::create(issuer.folder.path().join("key.pem")).unwrap();
        file.write_all(pem.expose()).unwrap();
        issuer
    }

    /// The public keys as a key set.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.key.public_jwk(&self.kid).unwrap()] })
    }

    /// The file with the key set.
    pub fn key_set(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// The file with the private key.
    pub fn private_key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Its entry under `issuers`.
    pub fn yaml(&self) -> String {
        self.yaml_with("")
    }

    /// The same with more members, each after a comma.
    pub fn yaml_with(&self, more: &str) -> String {
        format!(
            "{{ name: idp, issuer: \"{}\", audiences: [{}], algorithms: [ES256], jwks_file: {}{more} }}",
            Self::NAME,
            Self::AUDIENCE,
            self.key_set().display()
        )
    }

    /// The claims of a good token for `sub`, with `more` on top; `null` takes a claim away.
    pub fn claims(&self, sub: &str, more: Value) -> Map<String, Value> {
        let now = now();
        let mut claims = json!({
            "iss": Self::NAME, "aud": Self::AUDIENCE, "sub": sub, "iat": now, "exp": now + 600,
            "email": format!("{sub}@example.com"), "name": "Alice",
        });
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value.is_null() {
                true => claims.remove(name),
                false => claims.insert(name.clone(), value.clone()),
            };
        }
        claims.clone()
    }

    /// A good token for `sub`.
    pub fn token(&self, sub: &str) -> String {
        self.token_with(sub, json!({}))
    }

    /// A token for `sub` with `more` on top; `null` takes a claim away.
    pub fn token_with(&self, sub: &str, more: Value) -> String {
        self.sign(&self.claims(sub, more))
    }

    /// Signs exactly these claims.
    pub fn sign(&self, claims: &Map<String, Value>) -> String {
        self.key.mint(claims, Some(&self.kid), Some("JWT")).unwrap()
    }
}
