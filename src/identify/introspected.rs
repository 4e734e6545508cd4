//! From what an issuer has told about a token to an identity: the claims are checked as those of
//! a JWT are, after the issuer's word has taken the place of the signature.

use serde_json::Value;

use super::claims::Claims;
use super::fingerprint::fingerprint;
use super::issuer::Issuer;
use super::step::Trace;
use super::token::{self, Context, Said, Verified};
use crate::denial::{Denial, Reason};

/// Who the token names, if the rules of its issuer let it pass.
pub(super) fn verify(
    context: &Context<'_>,
    place: usize,
    token: &str,
    claims: &Claims,
    trace: &mut Trace,
) -> Result<Verified, Denial> {
    let Some(issuer) = context.issuers.get(place) else {
        return Err(Denial::new(Reason::Internal, "an issuer is gone"));
    };
    trace.step("iss", check_issuer(claims, issuer), |()| {
        "the issuer's, or not said".to_owned()
    })?;
    trace.step("type", check_type(claims, &issuer.rules.types), |()| {
        "a bearer token, or not said".to_owned()
    })?;
    let times = token::check_claims(claims, &issuer.rules, context.now, trace)?;
    let identity = token::identity(claims, issuer, context.identity_bytes, trace)?;
    let said = Said {
        claims,
        times,
        fingerprint: fingerprint(token),
        key: 0,
        key_name: None,
    };
    said.verified(context, place, issuer, identity)
}

/// `iss` is optional (RFC 7662 §2.2). Where it is said, and one is configured, they are the same:
/// an endpoint may serve several issuers.
fn check_issuer(claims: &Claims, issuer: &Issuer) -> Result<(), Denial> {
    match (claims.get("iss"), &issuer.iss) {
        (None, _) => Ok(()),
        (Some(Value::String(_)), None) => Ok(()),
        (Some(Value::String(said)), Some(iss)) if said == iss => Ok(()),
        (Some(_), _) => Err(Denial::new(
            Reason::IssuerUnknown,
            "the issuer says that it has another `iss` than is configured",
        )),
    }
}

/// `token_type` (RFC 6749 §7.1) is optional, and case does not count.
fn check_type(claims: &Claims, types: &[String]) -> Result<(), Denial> {
    let accepted = match claims.get("token_type") {
        None => true,
        Some(Value::String(said)) => types.iter().any(|known| said.eq_ignore_ascii_case(known)),
        Some(_) => false,
    };
    match accepted {
        true => Ok(()),
        false => Err(Denial::new(
            Reason::ClaimRefused,
            "its `token_type` is not in the issuer's `types`",
        )),
    }
}
