//! The tokens that we mint: access tokens, and refresh tokens that only we read.

use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value, json};

use crate::accounts::{NewToken, Successor};
use crate::config::accounts::{IssuedKey, IssuedToken, IssuedTokens, OWN_ISSUER, Rotation};
use crate::config::{Algorithm, Audiences};
use crate::denial::{Denial, Reason};
use crate::identify::mint::SigningKey;
use crate::identify::{Rules, Vouched, VouchingKey, fingerprint};
use crate::revoked::{Marks, Said};

/// The longest refresh token that is read; ours have a few hundred bytes.
const MAX_REFRESH: usize = 8 << 10;

/// What signs our tokens, and what they say.
pub(super) struct Tokens {
    issuer: String,
    audience: Audiences,
    /// The same, as a claim.
    aud: String,
    access: Signer,
    refresh: Signer,
    refresh_key: VouchingKey,
    pub(super) rotation: Option<Rotation>,
    /// Leads from a refresh token to its successor.
    next: hmac::Key,
}

/// One of the two keys.
struct Signer {
    key: SigningKey,
    /// The key's name, where its public half is published.
    kid: Option<String>,
    public: Option<Map<String, Value>>,
    /// Seconds.
    life: i64,
}

/// A refresh token that we made, as it was shown to us.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) user: String,
    pub(super) project: String,
    /// What is kept of it.
    pub(super) hash: String,
    /// By what it can be revoked.
    pub(super) marks: Marks,
    jti: String,
}

/// A refresh token, and when it ends in seconds since 1970.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) token: String,
    pub(super) ends: i64,
}

/// A refresh token that is still to be made.
#[derive(Debug)]
pub(super) struct Seed {
    jti: String,
    now: i64,
    ends: i64,
    /// What is kept of it.
    pub(super) kept: NewToken,
}

impl Tokens {
    pub(super) fn new(settings: &IssuedTokens) -> Result<Self, String> {
        let told = |name: &'static str| move |why| format!("issued_tokens.{name}: {why}");
        let refresh = Signer::new(&settings.refresh).map_err(told("refresh"))?;
        let refresh_key = match &settings.refresh.key {
            IssuedKey::Shared(secret) => VouchingKey::of_secret(secret, refresh.key.algorithm()),
            IssuedKey::Private(_) => VouchingKey::of_signer(&refresh.key),
        };
        let (IssuedKey::Shared(secret) | IssuedKey::Private(secret)) = &settings.refresh.key;
        let mut next = digest::Context::new(&digest::SHA256);
        next.update(b"usher refresh token successor\0");
        next.update(secret.expose());
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: Audiences::OneOf(vec![settings.audience.clone()]),
            aud: settings.audience.clone(),
            access: Signer::new(&settings.access).map_err(told("access"))?,
            refresh,
            refresh_key: refresh_key.map_err(told("refresh"))?,
            rotation: settings.rotation,
            next: hmac::Key::new(hmac::HMAC_SHA256, next.finish().as_ref()),
        })
    }

    /// The public halves of what signs access tokens (RFC 7517 §5).
    pub(super) fn key_set(&self) -> String {
        let keys: Vec<_> = self.access.public.iter().collect();
        json!({ "keys": keys }).to_string()
    }

    /// What opens routes.
    pub(super) fn access(&self, project: &str, user: &str, now: i64) -> Result<String, Denial> {
        let mut claims = self.claims(project, user, now, now + self.access.life);
        claims.insert("role".to_owned(), "user".into());
        self.access.mint(&claims)
    }

    /// What makes a refresh token one of a kind; whose it is may turn out later.
    pub(super) fn seed(&self, now: i64) -> Result<Seed, Denial> {
        let mut jti = [0; 32];
        getrandom::fill(&mut jti).map_err(|_| Denial::new(Reason::Internal, "no random bytes"))?;
        let jti = BASE64URL_NOPAD.encode(&jti);
        let ends = now + self.refresh.life;
        let kept = NewToken {
            hash: hash(&jti),
            expires_at: ends.saturating_mul(1000),
        };
        Ok(Seed {
            jti,
            now,
            ends,
            kept,
        })
    }

    /// The refresh token of a new family.
    pub(super) fn refresh(&self, project: &str, user: &str, seed: &Seed) -> Result<Fresh, Denial> {
        self.make(project, user, &seed.jti, seed.now, seed.ends)
    }

    /// What would come after a refresh token, if it were used now. Each has one successor, so
    /// that all who use it at once get the same, and no token has to be kept for that.
    pub(super) fn successor(&self, used: &Used, now: i64) -> Successor {
        let ends = now + self.refresh.life;
        Successor {
            hash: hash(&self.next_jti(&used.jti)),
            issued_at: now.saturating_mul(1000),
            expires_at: ends.saturating_mul(1000),
        }
    }

    /// The successor itself, as it was kept.
    pub(super) fn succeed(&self, used: &Used, kept: &Successor) -> Result<Fresh, Denial> {
        let (issued, ends) = (kept.issued_at / 1000, kept.expires_at / 1000);
        let jti = self.next_jti(&used.jti);
        self.make(&used.project, &used.user, &jti, issued, ends)
    }

    /// Reads a refresh token that we made.
    pub(super) fn read(&self, token: &str, now: i64) -> Result<Used, Denial> {
        let rules = Rules {
            audiences: &self.audience,
            require_exp: true,
            max_bytes: MAX_REFRESH,
            now,
        };
        let vouched = Vouched::verify(token, std::iter::once(&self.refresh_key), &rules)?;
        let text = |name| {
            let lacks = || Denial::new(Reason::ClaimRefused, "a claim of ours is missing");
            vouched.text(name).map(str::to_owned).ok_or_else(lacks)
        };
        if vouched.text("iss") != Some(self.issuer.as_str()) {
            return Err(Denial::new(Reason::IssuerUnknown, "its `iss` is not ours"));
        }
        let jti = text("jti")?;
        let user = text("sub")?;
        let issued = vouched.claims.get("iat").and_then(Value::as_i64);
        Ok(Used {
            marks: Marks::of(&Said {
                issuer: OWN_ISSUER,
                id: &user,
                fingerprint: fingerprint(token).bytes(),
                jti: Some(&jti),
                session: None,
                key: self.refresh.kid.as_deref(),
                issued,
            }),
            user,
            project: text("projectId")?,
            hash: hash(&jti),
            jti,
        })
    }

    fn make(
        &self,
        project: &str,
        user: &str,
        jti: &str,
        now: i64,
        ends: i64,
    ) -> Result<Fresh, Denial> {
        let mut claims = self.claims(project, user, now, ends);
        claims.insert("jti".to_owned(), jti.into());
        let token = self.refresh.mint(&claims)?;
        Ok(Fresh { token, ends })
    }

    fn claims(&self, project: &str, user: &str, now: i64, ends: i64) -> Map<String, Value> {
        let claims = json!({
            "sub": user, "projectId": project, "aud": self.aud, "iss": self.issuer,
            "iat": now, "exp": ends,
        });
        match claims {
            Value::Object(claims) => claims,
            _ => Map::new(),
        }
    }

    fn next_jti(&self, jti: &str) -> String {
        BASE64URL_NOPAD.encode(hmac::sign(&self.next, jti.as_bytes()).as_ref())
    }
}

impl Signer {
    fn new(settings: &IssuedToken) -> Result<Self, String> {
        let life = i64::try_from(settings.life.as_secs()).unwrap_or(i64::MAX / 4000);
        let key = match (&settings.key, settings.algorithm) {
            (IssuedKey::Shared(secret), algorithm) => {
                SigningKey::from_secret(secret, algorithm.unwrap_or(Algorithm::HS256))
            }
            (IssuedKey::Private(pem), None) => SigningKey::from_pem(pem.expose()),
            (IssuedKey::Private(pem), Some(algorithm)) => {
                SigningKey::from_pem(pem.expose()).and_then(|key| key.with_algorithm(algorithm))
            }
        };
        let key = key.map_err(|error| error.to_string())?;
        let public = match &settings.key {
            IssuedKey::Shared(_) => None,
            IssuedKey::Private(_) => Some(key.published().map_err(|error| error.to_string())?),
        };
        let kid = public.as_ref().and_then(|jwk| jwk.get("kid")?.as_str());
        Ok(Self {
            kid: kid.map(str::to_owned),
            key,
            public,
            life,
        })
    }

    fn mint(&self, claims: &Map<String, Value>) -> Result<String, Denial> {
        let minted = self.key.mint(claims, self.kid.as_deref(), Some("JWT"));
        minted.map_err(|error| Denial::because(Reason::Internal, error.to_string()))
    }
}

/// A `jti` has 32 random bytes, so nobody finds it by its hash.
fn hash(jti: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, jti.as_bytes()).as_ref())
}
