//! The keys of one issuer, as one answer gave them.

use std::sync::Arc;

use super::key::Key;

/// The keys of one issuer at one time.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Arc<[Key]>,
    /// Grows with each set that differs from the one before.
    pub(super) version: u64,
    /// When it was fetched, in seconds since 1970.
    pub(super) fetched: i64,
    /// The second after which it is used no more.
    pub(super) usable_until: i64,
}

/// What a token's `kid` leads to.
pub(super) enum Lookup<'a, I> {
    /// These keys may have made the signature.
    Keys(I),
    /// No key has this name.
    Unknown(&'a str),
}

impl KeySet {
    /// A set of keys, `fetched` then, used until then.
    pub(super) fn new(keys: Vec<Key>, version: u64, fetched: i64, usable_until: i64) -> Self {
        Self {
            keys: keys.into(),
            version,
            fetched,
            usable_until,
        }
    }

    /// The same keys, seen again later.
    pub(super) fn again(&self, fetched: i64, usable_until: i64) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            version: self.version,
            fetched,
            usable_until,
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the key with this id is still there.
    pub(super) fn holds(&self, id: u64) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The name of the key with this id, if it has one.
    pub(super) fn name_of(&self, id: u64) -> Option<&str> {
        let mut keys = self.keys.iter();
        keys.find(|key| key.id == id)?.kid.as_deref()
    }

    /// Whether both sets hold the same keys.
    pub(super) fn same_keys(&self, other: &[Key]) -> bool {
        self.len() == other.len() && other.iter().all(|key| self.holds(key.id))
    }

    /// Whether a key has this name.
    pub(super) fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that a token may have been signed with: those of its `kid`, or else those
    /// without a name; for a token without `kid` all.
    pub(super) fn find<'a>(
        &'a self,
        kid: Option<&'a str>,
    ) -> Lookup<'a, impl Iterator<Item = &'a Key>> {
        let wanted = match kid {
            None => None,
            Some(kid) if self.knows(kid) => Some(Some(kid)),
            Some(_) if self.keys.iter().any(|key| key.kid.is_none()) => Some(None),
            Some(kid) => return Lookup::Unknown(kid),
        };
        let matches = move |key: &&Key| wanted.is_none_or(|wanted| key.kid.as_deref() == wanted);
        Lookup::Keys(self.keys.iter().filter(matches))
    }
}
