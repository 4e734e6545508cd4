//! An issuer, its keys and its tokens.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use serde_json::{Map, Value, json};

use crate::clock::{Clock, ManualClock};
use crate::config::{
    self, Algorithm, Audiences, ClaimName, HeaderSource, IdentityHeader, KeySource, TokenSource,
};
use crate::denial::{Denial, Reason};
use crate::identify::mint::{self, SigningKey};
use crate::identify::{Identify, Metrics, Settings, Verified};
use crate::identity::Kept;
use crate::secret::Secret;

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(super) const ISS: &str = "https://idp.example/";

pub(super) static RSA: LazyLock<SigningKey> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    SigningKey::from_pem(mint::to_pem(der.as_ref()).as_bytes()).unwrap()
});
pub(super) static P256: LazyLock<SigningKey> = LazyLock::new(new_p256);
pub(super) static P384: LazyLock<SigningKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    SigningKey::from_pem(mint::to_pem(der.as_ref()).as_bytes()).unwrap()
});
pub(super) static ED25519: LazyLock<SigningKey> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    SigningKey::from_pem(mint::to_pem(der.as_ref()).as_bytes()).unwrap()
});

pub(super) fn new_p256() -> SigningKey {
    SigningKey::from_pem(mint::generate_es256().unwrap().expose()).unwrap()
}

pub(super) fn secret_key() -> SigningKey {
    SigningKey::from_secret(&Secret::new(SECRET), Algorithm::HS256).unwrap()
}

/// A key set with the public halves of these keys.
pub(super) fn key_set(keys: &[(&str, &SigningKey)]) -> String {
    let entry = |(kid, key): &(&str, &SigningKey)| Value::Object(key.public_jwk(kid).unwrap());
    json!({ "keys": keys.iter().map(entry).collect::<Vec<_>>() }).to_string()
}

pub(super) fn issuer() -> config::Issuer {
    let claim = |name: &str, claim: &str| ClaimName {
        name: name.to_owned(),
        claim: claim.to_owned(),
    };
    config::Issuer {
        name: "idp".to_owned(),
        issuer: Some(ISS.to_owned()),
        keys: KeySource::Secret(Secret::new(SECRET)),
        audiences: Audiences::OneOf(vec!["app".to_owned(), "app2".to_owned()]),
        algorithms: vec![Algorithm::HS256],
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        claims: vec![
            claim("id", "sub"),
            claim("email", "email"),
            claim("name", "name"),
            claim("roles", "realm.roles"),
            claim("scopes", "scope"),
        ],
        require: Vec::new(),
        require_exp: true,
        max_token_life: None,
        exp_leeway: 0,
        nbf_leeway: 5,
        required: true,
    }
}

pub(super) fn tokens() -> config::Tokens {
    config::Tokens {
        from: vec![TokenSource::Authorization],
        pass: false,
        max_bytes: 8192,
        cookie_origins: Vec::new(),
        cache_weight: 1 << 24,
        cache_life: Duration::from_secs(600),
        refused_life: Duration::from_secs(10),
        refused_count: 1000,
        max_waiters: 100,
        key_wait: Duration::from_secs(2),
    }
}

pub(super) fn fetch() -> config::Fetch {
    config::Fetch {
        timeout: Duration::from_millis(500),
        max_bytes: 256 * 1024,
        cooldown: Duration::from_millis(300),
        refresh: Duration::from_secs(300),
        max_stale: Duration::from_secs(3600),
        ca_file: None,
        allow_addresses: Vec::new(),
    }
}

pub(super) fn header(name: &'static str, value: HeaderSource) -> IdentityHeader {
    IdentityHeader {
        name: http::HeaderName::from_static(name),
        value,
    }
}

pub(super) fn settings(issuers: Vec<config::Issuer>) -> Settings {
    let mut kept = Kept::default();
    kept.slot("roles");
    let claim = |name: &str| HeaderSource::Claim(name.to_owned());
    Settings {
        issuers,
        tokens: tokens(),
        headers: vec![
            header("x-user-id", claim("id")),
            header("x-user-email", claim("email")),
            header("x-user-name", claim("name")),
        ],
        kept,
        identity_bytes: 8192,
        files: config::Files::default(),
        users: 0,
        state: None,
        revoked: None,
    }
}

pub(super) struct Fixture {
    pub(super) identify: Identify,
    pub(super) clock: ManualClock,
    pub(super) metrics: Metrics,
}

impl Fixture {
    /// For settings whose keys are not fetched.
    pub(super) fn new(settings: Settings) -> Self {
        let clock = ManualClock::new(NOW);
        let metrics = Metrics::default();
        let (identify, _) =
            Identify::new(settings, Clock::Manual(clock.clone()), metrics.clone()).unwrap();
        Self {
            identify,
            clock,
            metrics,
        }
    }

    /// With issuer `idp` and its shared secret.
    pub(super) fn shared() -> Self {
        Self::new(settings(vec![issuer()]))
    }

    pub(super) fn with(change: impl FnOnce(&mut config::Issuer)) -> Self {
        let mut issuer = issuer();
        change(&mut issuer);
        Self::new(settings(vec![issuer]))
    }

    pub(super) fn verify(&self, token: &str) -> Result<std::sync::Arc<Verified>, Denial> {
        let waiting = self.identify.identify(token, None);
        futures_now(waiting)
    }

    pub(super) fn reason(&self, token: &str) -> Option<Reason> {
        self.verify(token).err().map(|denial| denial.reason)
    }
}

/// Runs a future that has nothing to wait for.
pub(super) fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.enable_all().build().unwrap().block_on(future)
}

/// Good claims, changed by `changes`; a member that is `null` in `changes` is left out.
pub(super) fn claims(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({ "iss": ISS, "aud": "app", "sub": "42", "exp": NOW + 60 });
    let claims = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        claims.insert(name.clone(), value.clone());
    }
    claims.retain(|_, value| !value.is_null());
    claims.clone()
}

/// A token with these changes to good claims.
pub(super) fn token(changes: &Value) -> String {
    secret_key()
        .mint(&claims(changes), None, Some("JWT"))
        .unwrap()
}

/// A token of raw header and payload, signed with the secret.
pub(super) fn raw(header: &[u8], payload: &[u8]) -> String {
    use aws_lc_rs::hmac;
    use data_encoding::BASE64URL_NOPAD as B64;
    let signed = format!("{}.{}", B64.encode(header), B64.encode(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", B64.encode(tag.as_ref()))
}
