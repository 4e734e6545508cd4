//! Logout tokens of OpenID Connect Back-Channel Logout 1.0: an issuer says that somebody has
//! logged out.

use std::sync::Arc;

use serde_json::Value;

use super::claims::{self, Claims};
use super::fingerprint::Fingerprint;
use super::issuer::Proof;
use super::jws;
use super::step::Trace;
use super::token::{self, Stop};
use super::{Identify, denial};
use crate::config::Audiences;
use crate::denial::{Denial, Reason};
use crate::revoked::{Marks, Said};

/// The member of `events` that makes it one (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The type that a header may say beside the usual ones.
const TYPE: &str = "logout+jwt";

/// Who has logged out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The configured name of the issuer.
    pub issuer: Arc<str>,
    /// The session, if the token names one: that one ends, and no other.
    pub session: Option<String>,
    /// The user, by the id that the issuer's tokens have, where no session is named.
    pub user: Option<Box<str>>,
    /// When the issuer said so, in seconds since 1970.
    pub issued: i64,
}

impl Identify {
    /// Verifies a logout token as the specification says (§2.6). It must be meant for one of these
    /// audiences, or else of the issuer's.
    ///
    /// # Errors
    /// As for any other token; `ClaimRefused` for what makes it no logout token.
    pub async fn logout(
        &self,
        token: &str,
        audiences: Option<&Audiences>,
    ) -> Result<Logout, Denial> {
        let stop = match self.read_logout(token, audiences) {
            Ok(logout) => return Ok(logout),
            Err(stop) => stop,
        };
        Box::pin(self.wait(&stop)).await?;
        self.read_logout(token, audiences)
            .map_err(|stop| denial(&stop))
    }

    fn read_logout(&self, text: &str, audiences: Option<&Audiences>) -> Result<Logout, Stop> {
        let now = self.clock.now();
        token::size(text.as_bytes(), self.max_bytes)?;
        let segments = jws::split(text)?;
        let header = jws::header(segments.header)?;
        let claims = jws::object(segments.payload)?;
        let (place, issuer) = token::choose(&self.issuers, &claims)?;
        if header.typ.as_deref() != Some(TYPE) {
            token::check_type(&header, &issuer.rules)?;
        }
        let algorithm = token::choose_algorithm(&header, &issuer.rules)?;
        let Proof::Keys(keys) = &issuer.proof else {
            let detail = "its issuer is asked about tokens, and has no keys here";
            return Err(Denial::new(Reason::IssuerUnknown, detail).into());
        };
        let set = keys.usable(now)?;
        let key = token::signature(
            &set,
            place,
            algorithm,
            &header,
            &segments,
            &mut Trace::off(),
        )?;
        let rules = &issuer.rules;
        claims::times(&claims, true, rules.exp_leeway, rules.nbf_leeway)?.check(now)?;
        claims::audience(&claims, audiences.unwrap_or(&rules.audiences))?;
        let issued = check(&claims)?;
        let session = text_of(&claims, "sid")?;
        let user = match session {
            Some(_) => None,
            None => Some(claims::id(&claims, &rules.id)?),
        };
        if let Some(revoked) = &self.revoked {
            let marks = Marks::of(&Said {
                issuer: &issuer.name,
                id: user.as_deref().unwrap_or_default(),
                fingerprint: Fingerprint::of(segments.signed.sha256()).bytes(),
                jti: None,
                session: None,
                key: set.name_of(key).or(header.kid.as_deref()),
                // A user who is revoked can still log out.
                issued: Some(i64::MAX),
            });
            if revoked.holds(&marks) {
                let detail = "the key that made the logout token is revoked";
                return Err(Denial::new(Reason::TokenRevoked, detail).into());
            }
        }
        Ok(Logout {
            issuer: issuer.name.clone(),
            session,
            user,
            issued,
        })
    }
}

/// What a logout token has, and what no other token may pass for (§2.4, §2.6); when it was issued.
fn check(claims: &Claims) -> Result<i64, Denial> {
    let refused = |detail| Err(Denial::new(Reason::ClaimRefused, detail));
    let Some(issued) = claims::issued(claims)? else {
        return refused("it has no `iat`");
    };
    if text_of(claims, "jti")?.is_none() {
        return refused("it has no `jti`");
    }
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return refused("its `events` do not say that it is a logout token");
    }
    if claims.contains_key("nonce") {
        return refused("it has a `nonce`, which an ID token may have and a logout token must not");
    }
    if !claims.contains_key("sub") && !claims.contains_key("sid") {
        return refused("it has neither `sub` nor `sid`");
    }
    Ok(issued)
}

/// A claim that is text where it is there, and not empty.
fn text_of(claims: &Claims, name: &str) -> Result<Option<String>, Denial> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(Denial::because(
            Reason::ClaimRefused,
            format!("its `{name}` is empty, or no text"),
        )),
    }
}
