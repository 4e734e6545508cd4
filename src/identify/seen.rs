//! Verdicts that were reached before.

use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use zeroize::Zeroizing;

use super::introspection::Lives;
use super::token::{Refusal, Stop, Verified};
use crate::clock::Clock;
use crate::config::Tokens;
use crate::denial::{Denial, Reason};

/// What the cache itself spends on an entry: the key, its place in a list and in a table. A
/// counting allocator found 61 to 122 bytes between five hundred and two hundred thousand entries,
/// the more the less full the tables are; this is the most, rounded up.
const NODE: usize = 125;

/// What an entry usually takes, in bytes, rounded up.
const USUAL: u64 = 512;

/// Places that the cache makes at once; beyond that it grows.
const MAX_PLACES: usize = 1 << 20;

/// What the caches know a token by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 16]);

/// The caches: good tokens by weight, refused ones apart and few, so that a flood of bad
/// tokens pushes no good one out.
pub(super) struct Seen {
    good: Arc<Good>,
    refused: moka::sync::Cache<Name, Arc<Refusal>>,
    /// Whether there ever was one: most new tokens are good, and need not be looked for there.
    any_refused: AtomicBool,
    clock: Clock,
}

/// The good ones, which reloads hand on: each is held to the rules and the key by which it was
/// verified, at each hit.
struct Good {
    verified: Cache<Name, Arc<Verified>, Weight>,
    /// Tokens that an issuer was asked about, for longer; empty unless one has a `max_stale`.
    aged: Cache<Name, Aged, Weight>,
    secret: aead::LessSafeKey,
    /// Bytes.
    room: u64,
    /// Seconds.
    longest: i64,
}

impl Good {
    fn new(room: u64, longest: i64) -> Result<Self, &'static str> {
        // About as many as fit. Tables of that size are made at once, since what they would leave behind
        // while they grow is never used again; what of them is not used is no memory.
        let many = usize::try_from(room / USUAL).unwrap_or(usize::MAX);
        Ok(Self {
            verified: Cache::with_weighter(many.clamp(16, MAX_PLACES), room, Weight),
            aged: Cache::with_weighter(16, room, Weight),
            secret: secret().ok_or("no random bytes from the operating system")?,
            room,
            longest,
        })
    }
}

impl Seen {
    /// Empty caches, but for good tokens of `before` if they are remembered in the same way. What
    /// was refused by other rules may be good by these, and is asked again.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub(super) fn new(
        tokens: &Tokens,
        clock: Clock,
        before: Option<&Self>,
    ) -> Result<Self, &'static str> {
        let room = tokens.cache_weight;
        let longest = i64::try_from(tokens.cache_life.as_secs()).unwrap_or(i64::MAX);
        let same = |before: &&Self| (before.good.room, before.good.longest) == (room, longest);
        let good = match before.filter(same) {
            Some(before) => before.good.clone(),
            None => Arc::new(Good::new(room, longest)?),
        };
        Ok(Self {
            good,
            refused: moka::sync::Cache::builder()
                .max_capacity(tokens.refused_count)
                .time_to_live(tokens.refused_life)
                .build(),
            any_refused: AtomicBool::new(false),
            clock,
        })
    }

    /// The name of a token: GMAC under a key of this process, over every byte.
    ///
    /// Two tokens of n blocks of 16 bytes share one with a probability of (n + 1) · 2⁻¹²⁸ at most,
    /// for whoever does not know the key (NIST SP 800-38D: GHASH is a universal hash), and it
    /// takes a quarter of the time of SHA-256. The nonce is always the same, which would give the key away to somebody who
    /// sees names; nobody does, since they never leave this cache.
    ///
    /// # Errors
    /// `Internal`; not for any length that a token has.
    pub(super) fn name(&self, token: &[u8]) -> Result<Name, Denial> {
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let text = aead::Aad::from(token);
        let tag = self
            .good
            .secret
            .seal_in_place_separate_tag(nonce, text, &mut []);
        tag.ok()
            .and_then(|tag| tag.as_ref().first_chunk().copied())
            .map(Name)
            .ok_or_else(|| Denial::new(Reason::Internal, "a token could not be hashed"))
    }

    /// The token as it was verified; whoever gets it still asks for the time and the key.
    pub(super) fn verified(&self, name: &Name) -> Option<Arc<Verified>> {
        self.good.verified.get(name)
    }

    /// Why the token was refused.
    pub(super) fn refused(&self, name: &Name) -> Option<Arc<Refusal>> {
        match self.any_refused.load(Ordering::Acquire) {
            true => self.refused.get(name),
            false => None,
        }
    }

    fn remember_refusal(&self, name: &Name, refusal: Refusal) {
        self.refused.insert(*name, Arc::new(refusal));
        self.any_refused.store(true, Ordering::Release);
    }

    /// Runs `verify` unless it runs for the same token already, and remembers what it finds.
    pub(super) fn once(
        &self,
        name: &Name,
        verify: impl FnOnce() -> Result<Verified, Stop>,
    ) -> Result<Arc<Verified>, Stop> {
        let verify = || {
            let mut verified = verify()?;
            let longest = self.clock.now().saturating_add(self.good.longest);
            verified.until = verified.ends.min(longest);
            Ok(Arc::new(verified))
        };
        let verdict = self.good.verified.get_or_insert_with(name, verify);
        if let Err(Stop::Refused(refusal)) = &verdict
            && is_lasting(refusal.denial.reason)
        {
            self.remember_refusal(name, refusal.clone());
        }
        verdict
    }

    /// Remembers what an issuer has said yes to.
    pub(super) fn remember(
        &self,
        name: &Name,
        mut verified: Verified,
        lives: Lives,
    ) -> Arc<Verified> {
        let life = lives.active.min(self.good.longest);
        let until = self.clock.now().saturating_add(life);
        verified.until = verified.ends.min(until);
        let verified = Arc::new(verified);
        // A yes that is over at once is none to remember.
        if life > 0 {
            self.good.verified.insert(*name, Arc::clone(&verified));
        }
        if lives.stale > 0 {
            let until = verified.ends.min(until.saturating_add(lives.stale));
            let verified = Arc::clone(&verified);
            self.good.aged.insert(*name, Aged { verified, until });
        }
        verified
    }

    /// A yes beyond its time, for while nobody can tell.
    pub(super) fn aged(&self, name: &Name) -> Option<Arc<Verified>> {
        let aged = self.good.aged.get(name)?;
        (self.clock.now() < aged.until).then_some(aged.verified)
    }

    /// Remembers what an issuer has said no to, or what its rules did.
    pub(super) fn refuse(&self, name: &Name, denial: Denial, lives: Lives) {
        self.good.verified.remove(name);
        self.good.aged.remove(name);
        if lives.inactive > 0 {
            let refusal = Refusal {
                denial,
                keys: None,
                until: self.clock.now().saturating_add(lives.inactive),
            };
            self.remember_refusal(name, refusal);
        }
    }

    /// Forgets a token whose key or time is gone.
    pub(super) fn forget(&self, name: &Name) {
        self.good.verified.remove(name);
    }

    /// Forgets all whose time is over. What is asked for is looked at anyway; this is for the
    /// memory of what is not.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.good
            .verified
            .retain(|_, verified| now < verified.until);
        self.good.aged.retain(|_, aged| now < aged.until);
    }
}

/// A yes, and the first second at which it counts no more, whoever is away.
#[derive(Clone, Debug)]
struct Aged {
    verified: Arc<Verified>,
    until: i64,
}

fn secret() -> Option<aead::LessSafeKey> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *bytes).ok()?;
    let key = aead::UnboundKey::new(&aead::AES_128_GCM, &*bytes).ok()?;
    Some(aead::LessSafeKey::new(key))
}

/// Whether a verdict stays as it is for as long as a refusal is remembered. One that rests
/// on a key set is compared with the set's version at each hit.
const fn is_lasting(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TokenMalformed
            | Reason::TokenHeaderRefused
            | Reason::AlgorithmRefused
            | Reason::IssuerUnknown
            | Reason::SignatureRefused
            | Reason::TokenExpired
            | Reason::AudienceRefused
            | Reason::ClaimRefused
            | Reason::IdMissing
            | Reason::IdentityRefused
            | Reason::IdentityTooLarge
    )
}

/// What an entry takes, in bytes: a bound on memory is only one if it counts everything.
pub(super) fn weight(verified: &Verified) -> u64 {
    let identity = &verified.identity;
    // Two counters before what is shared.
    let shared = 2 * size_of::<usize>();
    let used = identity.words.heap()
        + identity.holder.as_deref().map_or(0, size_of_val)
        + size_of_val(&*identity.kept)
        + identity.kept.iter().flatten().map(heap).sum::<usize>()
        + verified.marks.as_deref().map_or(0, size_of_val);
    (NODE + shared + size_of::<Verified>() + used) as u64
}

/// Weighs entries.
#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Name, Aged> for Weight {
    fn weight(&self, _: &Name, aged: &Aged) -> u64 {
        weight(&aged.verified) + size_of::<i64>() as u64
    }
}

impl Weighter<Name, Arc<Verified>> for Weight {
    fn weight(&self, _: &Name, verified: &Arc<Verified>) -> u64 {
        weight(verified)
    }
}

/// The memory behind a JSON value.
fn heap(value: &Value) -> usize {
    // A node of the map beside name and value, averaged over half-full nodes.
    const MEMBER: usize = 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(members) => {
            members.capacity() * size_of::<Value>() + members.iter().map(heap).sum::<usize>()
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                MEMBER + size_of::<String>() + name.capacity() + size_of::<Value>() + heap(value)
            })
            .sum(),
    }
}
