//! Verdicts that were reached before.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use serde_json::Value;

use super::token::{Refusal, Stop, Verified};
use crate::clock::Clock;
use crate::config::Tokens;
use crate::denial::Reason;

/// What the cache itself spends on an entry: its node, its places in two queues and the
/// expiry wheel, and the key. Measured with a counting allocator (292) and rounded up.
const NODE: usize = 300;

/// The caches: good tokens by weight, refused ones apart and few, so that a flood of bad
/// tokens pushes no good one out.
pub(super) struct Seen {
    verified: Cache<[u8; 32], Arc<Verified>>,
    refused: Cache<[u8; 32], Arc<Refusal>>,
}

impl Seen {
    /// Empty caches.
    pub(super) fn new(tokens: &Tokens, clock: Clock) -> Self {
        let life = Life {
            clock,
            longest: tokens.cache_life,
        };
        Self {
            verified: Cache::builder()
                .max_capacity(tokens.cache_weight)
                .weigher(|_, verified: &Arc<Verified>| weight(verified))
                .expire_after(life)
                .build(),
            refused: Cache::builder()
                .max_capacity(tokens.refused_count)
                .time_to_live(tokens.refused_life)
                .build(),
        }
    }

    /// The token as it was verified; whoever gets it still asks for the time and the key.
    pub(super) fn verified(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        self.verified.get(digest)
    }

    /// Why the token was refused.
    pub(super) fn refused(&self, digest: &[u8; 32]) -> Option<Arc<Refusal>> {
        self.refused.get(digest)
    }

    /// Runs `verify` unless it runs for the same token already, and remembers what it finds.
    pub(super) fn once(
        &self,
        digest: &[u8; 32],
        verify: impl FnOnce() -> Result<Verified, Stop>,
    ) -> Result<Arc<Verified>, Arc<Stop>> {
        let verify = || verify().map(Arc::new);
        let verdict = self.verified.try_get_with_by_ref(digest, verify);
        if let Err(stop) = &verdict
            && let Stop::Refused(refusal) = &**stop
            && is_lasting(refusal.denial.reason)
        {
            self.refused.insert(*digest, Arc::new(refusal.clone()));
        }
        verdict
    }

    /// Forgets a token whose key is gone.
    pub(super) fn forget(&self, digest: &[u8; 32]) {
        self.verified.invalidate(digest);
    }
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

/// An entry lives until its token ends, or for the longest life, whichever comes first.
struct Life {
    clock: Clock,
    longest: Duration,
}

impl Life {
    fn of(&self, verified: &Verified) -> Option<Duration> {
        let left = verified.ends.saturating_sub(self.clock.now());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Some(left.min(self.longest))
    }
}

impl Expiry<[u8; 32], Arc<Verified>> for Life {
    fn expire_after_create(
        &self,
        _: &[u8; 32],
        verified: &Arc<Verified>,
        _: Instant,
    ) -> Option<Duration> {
        self.of(verified)
    }

    // The default would keep the old entry's time.
    fn expire_after_update(
        &self,
        _: &[u8; 32],
        verified: &Arc<Verified>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.of(verified)
    }
}

/// What an entry takes, in bytes: a bound on memory is only one if it counts everything.
pub(super) fn weight(verified: &Verified) -> u32 {
    let identity = &verified.identity;
    // Two counters before each shared allocation.
    let shared = 2 * size_of::<usize>();
    let headers = identity.headers.iter().flatten();
    let text: usize = headers.map(|value| value.len()).sum();
    // The handle that the values share their text by.
    let handle = size_of::<usize>() + shared;
    let used = identity.id.len()
        + size_of_val(&*identity.headers)
        + handle
        + text
        + size_of_val(&*identity.kept)
        + identity.kept.iter().flatten().map(heap).sum::<usize>();
    let bytes = NODE + shared + size_of::<Verified>() + used;
    u32::try_from(bytes).unwrap_or(u32::MAX)
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
