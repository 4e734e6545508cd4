//! Who asks: people with good tokens, people whose tokens die, and forgers.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::issuer::now;
use crate::common::{Issuer, Signer};

/// Tokens live longer than the run.
const LIFE: Duration = Duration::from_secs(4 * 3600);

/// Somebody with a good token.
pub struct Person {
    pub name: String,
    pub token: String,
}

/// Somebody whose token is revoked at some time.
pub struct Mortal {
    pub person: Person,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has tried to revoke it.
    Valid,
    /// `usher revoke` runs, or has failed and may have stored it all the same.
    Dying,
    /// `usher revoke` has said that it is stored, before this moment.
    Dead(Instant),
}

/// A token that is good for nothing.
pub struct Forgery {
    pub name: &'static str,
    pub token: String,
}

impl Forgery {
    /// The name of the one that usher may have to ask about: its key could be a new one of the
    /// issuer, which usher asks for once in `fetch.cooldown`. Until then it cannot tell, and says 503.
    pub const UNKNOWN_KEY: &'static str = "an unknown key";
}

impl Person {
    pub fn new(issuer: &Issuer, name: String) -> Self {
        let token = issuer.token_with(&name, claims(&name));
        Self { name, token }
    }
}

fn claims(name: &str) -> Value {
    let life = i64::try_from(LIFE.as_secs()).unwrap();
    json!({ "jti": format!("jti-{name}"), "exp": now() + life })
}

impl Mortal {
    pub fn new(issuer: &Issuer, name: String) -> Self {
        Self {
            person: Person::new(issuer, name),
            standing: Mutex::new(Standing::Valid),
        }
    }

    pub fn standing(&self) -> Standing {
        *self.lock()
    }

    pub fn stands(&self, standing: Standing) {
        *self.lock() = standing;
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap()
    }
}

/// One of each kind. They all speak of somebody who is known and valid.
pub fn forgeries(issuer: &Issuer, victim: &str) -> Vec<Forgery> {
    let good = |more: Value| {
        let mut claims = claims(victim);
        let members = claims.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        issuer.token_with(victim, claims)
    };
    let past = now() - 7200;
    let token = good(json!({}));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let payload = serde_json::to_string(&issuer.claims(victim, claims(victim))).unwrap();
    let thief = Signer::new("ES256", b"");
    let set = std::fs::read(issuer.key_set()).unwrap();
    let shared = Signer::new("HS256", &set);
    let pem = Signer::of(issuer).public_pem();
    let confused = Signer::new("HS256", pem.as_bytes());
    let (header, none) = (
        r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#,
        r#"{"alg":"none"}"#,
    );
    let symmetric = r#"{"alg":"HS256","kid":"k1","typ":"JWT"}"#;
    let unsigned = thief.seal(none, &payload);
    let unsigned = unsigned.rsplit_once('.').unwrap().0;
    let other = thief.seal(header, &payload);
    let other = other.rsplit_once('.').unwrap().1;
    let all = [
        ("another key", thief.seal(header, &payload)),
        (
            Forgery::UNKNOWN_KEY,
            thief.seal(r#"{"alg":"ES256","kid":"thief"}"#, &payload),
        ),
        (
            "the public key as a secret",
            confused.seal(symmetric, &payload),
        ),
        ("the key set as a secret", shared.seal(symmetric, &payload)),
        ("no signature", format!("{unsigned}.")),
        ("the signature of another", format!("{signed}.{other}")),
        ("a cut signature", format!("{signed}.{}", &signature[..40])),
        ("expired", good(json!({ "iat": past, "exp": past + 3600 }))),
        ("another audience", good(json!({ "aud": "elsewhere" }))),
        (
            "another issuer",
            good(json!({ "iss": "https://evil.test/" })),
        ),
        (
            "too long a life",
            good(json!({ "exp": now() + 100 * 3600 })),
        ),
        ("not yet", good(json!({ "nbf": now() + 3600 * 3 }))),
    ];
    let forgeries = all.into_iter();
    forgeries
        .map(|(name, token)| Forgery { name, token })
        .collect()
}
