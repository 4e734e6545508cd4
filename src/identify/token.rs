//! From a token to an identity, in the one order in which that is sound: size, shape, header,
//! issuer, algorithm, key, signature, and only then the claims.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwapOption;

use super::algorithm;
use super::claims::{self, Claims, Times};
use super::fingerprint::Fingerprint;
use super::issuer::{Issuer, Proof, Rules};
use super::jws::{self, Header, Segments};
use super::key::Key;
use super::key_set::{KeySet, Lookup};
use super::opaque::Opaque;
use super::read_headers::ReadHeaders;
use super::render;
use super::step::Trace;
use crate::config::Algorithm;
use crate::denial::{Denial, Reason};
use crate::identity::{Identity, Thumbprint, Words};
use crate::revoked::{self, Marks};

/// The most signatures that are checked for one token: one that names no key must not cost as much
/// as the issuer has keys.
const MAX_TRIES: usize = 4;

/// A token that was good when it was looked at, and what it takes to ask again.
#[derive(Debug)]
pub struct Verified {
    /// Who it names.
    pub identity: Identity,
    /// Its name in logs.
    pub fingerprint: Fingerprint,
    /// The first second at which it is good no more, leeway included; `i64::MAX`: never.
    pub ends: i64,
    /// By what it can be revoked, where anything can.
    pub(super) marks: Option<Box<Marks>>,
    /// The set of what is revoked, by its number, that does not hold it.
    pub(super) unrevoked_at: AtomicU64,
    /// The first second at which it is looked at anew.
    pub(super) until: i64,
    pub(super) starts: i64,
    /// The key that verified it.
    pub(super) key: u64,
    /// The issuer's place among all issuers.
    pub(super) issuer: u32,
    /// The rules it was checked against.
    pub(super) generation: u32,
}

impl Verified {
    /// The same, if the token is good for whoever has shown this certificate (RFC 8705 §3): most
    /// tokens are good for anybody who has them.
    pub(super) fn held_by(
        self: Arc<Self>,
        certificate: Option<&Thumbprint>,
    ) -> Result<Arc<Self>, Denial> {
        let detail = match (&self.identity.holder, certificate) {
            (None, _) => return Ok(self),
            (Some(holder), Some(shown)) if **holder == *shown => return Ok(self),
            (Some(_), Some(_)) => "it is bound to another certificate",
            (Some(_), None) => "it is bound to a certificate, and none was shown to usher",
        };
        Err(Denial::new(Reason::CertificateMismatch, detail))
    }

    pub(super) const fn times(&self) -> Times {
        Times {
            ends: self.ends,
            starts: self.starts,
        }
    }
}

/// Why there is no identity.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The token is refused.
    Refused(Refusal),
    /// The issuer's keys do not hold this name; a fresh set might.
    KeyWanted { issuer: usize, kid: Box<str> },
    /// The token says nothing that could be verified here: its issuer has to be asked.
    Ask { issuer: usize },
}

/// A refusal, and which key set it rests on.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) denial: Denial,
    /// The issuer's place and the version of its keys, if another set could change the verdict.
    pub(super) keys: Option<(usize, u64)>,
    /// The first second at which it counts no more, if that is before it is forgotten.
    pub(super) until: i64,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Refused(Refusal {
            denial,
            keys: None,
            until: i64::MAX,
        })
    }
}

/// What verification needs beside the token.
pub(super) struct Context<'a> {
    pub(super) issuers: &'a [Issuer],
    pub(super) opaque: &'a Opaque,
    pub(super) headers: &'a ReadHeaders,
    pub(super) max_bytes: usize,
    pub(super) identity_bytes: usize,
    /// Whether anything can be revoked.
    pub(super) revocable: bool,
    pub(super) now: i64,
}

/// Verifies a token. Never waits: a key that is not here is [`Stop::KeyWanted`], and a token that
/// its issuer has to be asked about is [`Stop::Ask`].
pub(super) fn verify(
    context: &Context<'_>,
    token: &str,
    trace: &mut Trace,
) -> Result<Verified, Stop> {
    trace.step("size", size(token.as_bytes(), context.max_bytes), |()| {
        format!("{} bytes, at most {}", token.len(), context.max_bytes)
    })?;
    if let Some(issuer) = context.opaque.choose(token) {
        return Err(Stop::Ask { issuer });
    }
    let segments = trace.step("shape", jws::split(token), |_| "three segments".to_owned())?;
    let header = trace.step("header", context.headers.read(segments.header), |header| {
        describe(header)
    })?;
    let claims = trace.step("payload", jws::object(segments.payload), |claims| {
        format!("{} claims, not believed yet", claims.len())
    })?;
    let (place, issuer) =
        trace.step("issuer", choose(context.issuers, &claims), |(_, issuer)| {
            format!("configured as `{}`", issuer.name)
        })?;
    let Proof::Keys(keys) = &issuer.proof else {
        return Err(Stop::Ask { issuer: place });
    };
    trace.step("type", check_type(&header, &issuer.rules), |()| {
        header.typ.clone().unwrap_or_else(|| "absent".to_owned())
    })?;
    let algorithm = trace.step(
        "algorithm",
        choose_algorithm(&header, &issuer.rules),
        |name| format!("{} is in the issuer's list", name.name()),
    )?;
    let set = trace.step("keys", keys.usable(context.now), |set| {
        format!("{} usable", set.len())
    })?;
    let id = signature(&set, place, algorithm, &header, &segments, trace)?;
    let times = check_claims(&claims, &issuer.rules, context.now, trace)?;
    let identity = identity(&claims, issuer, context.identity_bytes, trace)?;
    let said = Said {
        claims: &claims,
        times,
        fingerprint: Fingerprint::of(segments.signed.sha256()),
        key: id,
        // A key without a name goes by the one that the token gave it.
        key_name: set.name_of(id).or(header.kid.as_deref()),
    };
    Ok(said.verified(context, place, issuer, identity)?)
}

pub(super) fn size(token: &[u8], max_bytes: usize) -> Result<(), Denial> {
    if token.len() > max_bytes {
        return Err(Denial::new(
            Reason::TokenTooLarge,
            "it is longer than `limits.token_bytes`",
        ));
    }
    Ok(())
}

/// Refuses what holds other characters than those of RFC 6750 §2.1 (`b64token`).
pub(super) fn shape(token: &[u8]) -> Result<&str, Denial> {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=');
    let digits = &token[..token.len() - padding.count()];
    let good = |good, byte: &u8| good & is_token_byte(*byte);
    let text = str::from_utf8(token).ok();
    text.filter(|_| !digits.is_empty() && digits.iter().fold(true, good))
        .ok_or_else(|| {
            Denial::new(
                Reason::TokenMalformed,
                "it holds characters that no token has",
            )
        })
}

/// Whether a token may hold this byte. Written without branches, so that a whole token is
/// looked at some sixteen bytes at a time: tokens are long.
fn is_token_byte(byte: u8) -> bool {
    let within = |first: u8, last: u8| byte.wrapping_sub(first) <= last - first;
    // `-./` and the digits are neighbours; so are the letters' two ranges.
    within(b'-', b'9')
        | within(b'a', b'z')
        | within(b'A', b'Z')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'+')
}

fn describe(header: &Header) -> String {
    let shown = |text: &Option<String>| match text {
        Some(text) => format!("{text:?}"),
        None => "none".to_owned(),
    };
    format!(
        "alg {:?}, kid {}, typ {}",
        header.alg,
        shown(&header.kid),
        shown(&header.typ)
    )
}

/// The issuer whose `issuer` is the token's `iss`, byte for byte.
pub(super) fn choose<'a>(
    issuers: &'a [Issuer],
    claims: &Claims,
) -> Result<(usize, &'a Issuer), Denial> {
    let iss = match claims.get("iss") {
        None => None,
        Some(serde_json::Value::String(iss)) => Some(iss.as_str()),
        Some(_) => {
            return Err(Denial::new(
                Reason::IssuerUnknown,
                "its `iss` is not a string",
            ));
        }
    };
    let mut named = issuers.iter().enumerate();
    named
        .find(|(_, issuer)| issuer.iss.as_deref() == iss && issuer.takes_jwts())
        .ok_or_else(|| match iss {
            Some(_) => Denial::new(Reason::IssuerUnknown, "its `iss` is not configured"),
            None => Denial::new(Reason::IssuerUnknown, "it has no `iss`"),
        })
}

pub(super) fn check_type(header: &Header, rules: &Rules) -> Result<(), Denial> {
    match &header.typ {
        Some(typ) if !rules.types.contains(typ) => Err(Denial::new(
            Reason::TokenHeaderRefused,
            "its `typ` is not in the issuer's list",
        )),
        _ => Ok(()),
    }
}

pub(super) fn choose_algorithm(header: &Header, rules: &Rules) -> Result<Algorithm, Denial> {
    algorithm::named(&header.alg)
        .filter(|algorithm| rules.algorithms.contains(algorithm))
        .ok_or_else(|| {
            Denial::new(
                Reason::AlgorithmRefused,
                "its `alg` is not in the issuer's list",
            )
        })
}

/// What a good token says.
pub(super) struct Said<'a> {
    pub(super) claims: &'a Claims,
    pub(super) times: Times,
    pub(super) fingerprint: Fingerprint,
    /// The key that verified it, and what it is called; 0 where its issuer was asked.
    pub(super) key: u64,
    pub(super) key_name: Option<&'a str>,
}

impl Said<'_> {
    /// With all that it takes to ask again.
    pub(super) fn verified(
        &self,
        context: &Context<'_>,
        place: usize,
        issuer: &Issuer,
        identity: Identity,
    ) -> Result<Verified, Denial> {
        let marks = match context.revocable {
            true => Some(Box::new(self.marks(&identity)?)),
            false => None,
        };
        Ok(Verified {
            identity,
            fingerprint: self.fingerprint,
            marks,
            unrevoked_at: AtomicU64::new(0),
            ends: self.times.ends,
            until: self.times.ends,
            starts: self.times.starts,
            key: self.key,
            // There are as many issuers as somebody wrote into a file.
            issuer: u32::try_from(place).unwrap_or(u32::MAX),
            generation: issuer.generation,
        })
    }

    /// By what it can be revoked.
    fn marks(&self, identity: &Identity) -> Result<Marks, Denial> {
        let text = |name: &str| self.claims.get(name).and_then(serde_json::Value::as_str);
        Ok(Marks::of(&revoked::Said {
            issuer: &identity.issuer,
            id: identity.id(),
            fingerprint: self.fingerprint.bytes(),
            jti: text("jti"),
            session: text("sid"),
            key: self.key_name,
            issued: claims::issued(self.claims)?,
        }))
    }
}

/// Finds the key that made the signature.
pub(super) fn signature(
    set: &KeySet,
    place: usize,
    algorithm: Algorithm,
    header: &Header,
    segments: &Segments<'_>,
    trace: &mut Trace,
) -> Result<u64, Stop> {
    let keys = match set.find(header.kid.as_deref()) {
        Lookup::Keys(keys) => keys,
        Lookup::Unknown(kid) => {
            return Err(Stop::KeyWanted {
                issuer: place,
                kid: kid.into(),
            });
        }
    };
    let on_these_keys = |denial| {
        Stop::Refused(Refusal {
            denial,
            keys: Some((place, set.version)),
            until: i64::MAX,
        })
    };
    let fitting = trace
        .step("key", fitting(keys, algorithm), |keys| {
            format!("{} to try", keys.len().min(MAX_TRIES))
        })
        .map_err(on_these_keys)?;
    let signed = jws::decode(segments.signature).and_then(|signature| {
        let mut tried = fitting.iter().take(MAX_TRIES);
        let signer = tried.find(|key| key.verifies(algorithm, &segments.signed, &signature));
        signer
            .map(|key| key.id)
            .ok_or_else(|| unsigned(fitting.len()))
    });
    trace
        .step("signature", signed, |_| {
            "made by a key of the issuer".to_owned()
        })
        .map_err(on_these_keys)
}

fn unsigned(fitting: usize) -> Denial {
    match fitting > MAX_TRIES {
        true => Denial::because(
            Reason::SignatureRefused,
            format!(
                "none of the first {MAX_TRIES} of {fitting} keys that fit verifies it: let the issuer \
                 name its keys and say the name in its tokens (`kid`)"
            ),
        ),
        false => Denial::new(Reason::SignatureRefused, "no key of the issuer verifies it"),
    }
}

fn fitting<'a>(
    keys: impl Iterator<Item = &'a Key>,
    algorithm: Algorithm,
) -> Result<Vec<&'a Key>, Denial> {
    let keys: Vec<_> = keys.filter(|key| key.fits(algorithm)).collect();
    if keys.is_empty() {
        return Err(Denial::new(
            Reason::AlgorithmRefused,
            "the key that it names is not for its `alg`",
        ));
    }
    Ok(keys)
}

pub(super) fn check_claims(
    claims: &Claims,
    rules: &Rules,
    now: i64,
    trace: &mut Trace,
) -> Result<Times, Denial> {
    let times = claims::times(
        claims,
        rules.require_exp,
        rules.exp_leeway,
        rules.nbf_leeway,
    )
    .and_then(|times| times.check(now).map(|()| times));
    let times = trace.step("times", times, |times| match times.ends {
        i64::MAX => "good for ever".to_owned(),
        ends => format!("good for another {} s", ends.saturating_sub(now)),
    })?;
    if let Some(most) = rules.max_life {
        trace.step("life", claims::life(claims, most), |()| {
            format!("at most {} s", most.as_secs())
        })?;
    }
    let audience = claims::audience(claims, &rules.audiences);
    trace.step("audience", audience, |()| "meant for us".to_owned())?;
    for required in &rules.require {
        let checked = claims::require(claims, required);
        trace.step("claim", checked, |()| {
            format!("`{}` is as required", required.claim)
        })?;
    }
    Ok(times)
}

pub(super) fn identity(
    claims: &Claims,
    issuer: &Issuer,
    budget: usize,
    trace: &mut Trace,
) -> Result<Identity, Denial> {
    let rules = &issuer.rules;
    let id = trace.step("id", claims::id(claims, &rules.id), |id| format!("{id:?}"))?;
    let holder = trace.step("holder", claims::holder(claims), |holder| match holder {
        Some(_) => "bound to a certificate, which has to be shown with it".to_owned(),
        None => "anybody who has it".to_owned(),
    })?;
    let lines = render::lines(claims, &rules.headers, budget);
    let lines = trace.step("headers", lines, |lines| {
        let present = lines.lines().count();
        format!("{present} of {}", rules.headers.len())
    })?;
    let keep = |path: &claims::ClaimPath| {
        let value = path.find(claims).filter(|value| !value.is_null());
        value.cloned()
    };
    Ok(Identity {
        issuer: Arc::clone(&issuer.name),
        words: Words::join(&id, &lines),
        kept: rules.kept.iter().map(keep).collect(),
        holder,
        known: ArcSwapOption::empty(),
    })
}
