//! Who is known: bounded memory, no I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use moka::sync::Cache;

use super::caller::Key;
use super::settings::PresenceSettings;
use super::user::User;
use crate::clock::Clock;

/// Seconds until a renewal that failed is tried again.
const RENEWAL_PAUSE: i64 = 5;

/// The users whose row was found under their own id.
///
/// A caller who is not found is never remembered, and neither is one found by e-mail alone:
/// that row is somebody else's until the storage writer has handed it over.
#[derive(Debug)]
pub(super) struct Presence {
    seen: Cache<Key, Arc<Seen>>,
    clock: Clock,
    fresh: i64,
    max_stale: i64,
}

#[derive(Debug)]
struct Seen {
    user: Arc<User>,
    confirmed: i64,
    renewing: AtomicBool,
    /// When the next renewal may start.
    renew: AtomicI64,
}

/// What presence says about a caller.
pub(super) enum Recall {
    /// Known.
    Fresh(Arc<User>),
    /// Known, and this caller is the one to renew it; the request itself goes on.
    Renew(Arc<User>, Renewal),
    /// Not known, or too long ago.
    Nothing,
}

/// The right to renew one entry; dropped, it leaves the entry to the next after a pause.
pub(super) struct Renewal {
    seen: Arc<Seen>,
    retry: i64,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.seen.renew.store(self.retry, Ordering::Relaxed);
        self.seen.renewing.store(false, Ordering::Release);
    }
}

impl Presence {
    pub(super) fn new(settings: &PresenceSettings, clock: Clock) -> Self {
        let seconds =
            |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            seen: Cache::builder().max_capacity(settings.capacity).build(),
            clock,
            fresh: seconds(settings.fresh),
            max_stale: seconds(settings.max_stale),
        }
    }

    pub(super) fn recall(&self, key: &Key) -> Recall {
        let Some(seen) = self.seen.get(key) else {
            return Recall::Nothing;
        };
        let now = self.clock.now();
        // A clock that was set back makes an age negative: then the row is asked for again.
        let age = now.saturating_sub(seen.confirmed);
        if age > self.max_stale {
            self.seen.invalidate(key);
            return Recall::Nothing;
        }
        if (0..self.fresh).contains(&age) {
            return Recall::Fresh(seen.user.clone());
        }
        if now < seen.renew.load(Ordering::Relaxed) || seen.renewing.swap(true, Ordering::Acquire) {
            return Recall::Fresh(seen.user.clone());
        }
        let user = seen.user.clone();
        let retry = now.saturating_add(RENEWAL_PAUSE);
        Recall::Renew(user, Renewal { seen, retry })
    }

    pub(super) fn remember(&self, key: Key, user: Arc<User>) {
        let seen = Seen {
            user,
            confirmed: self.clock.now(),
            renewing: AtomicBool::new(false),
            renew: AtomicI64::new(i64::MIN),
        };
        self.seen.insert(key, Arc::new(seen));
    }

    pub(super) fn forget(&self, key: &Key) {
        self.seen.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::caller::Caller;
    use super::*;
    use crate::clock::ManualClock;

    fn key() -> Key {
        Key::of(&Caller {
            issuer: "idp",
            id: "1",
            email: None,
            name: None,
            email_verified: false,
            key: None,
        })
    }

    fn user() -> Arc<User> {
        Arc::new(User {
            id: "1".to_owned(),
            email: None,
            columns: Box::default(),
        })
    }

    fn presence() -> (Presence, ManualClock) {
        let clock = ManualClock::new(1_000_000);
        let settings = PresenceSettings {
            fresh: Duration::from_secs(300),
            max_stale: Duration::from_secs(86_400),
            capacity: 10,
        };
        let presence = Presence::new(&settings, Clock::Manual(clock.clone()));
        presence.remember(key(), user());
        (presence, clock)
    }

    #[test]
    fn one_caller_renews_and_the_others_go_on() {
        let (presence, clock) = presence();
        assert!(matches!(presence.recall(&key()), Recall::Fresh(_)));
        clock.advance(300);
        let first = presence.recall(&key());
        assert!(matches!(first, Recall::Renew(..)));
        assert!(matches!(presence.recall(&key()), Recall::Fresh(_)));
        drop(first);
        assert!(matches!(presence.recall(&key()), Recall::Fresh(_)), "pause");
        clock.advance(RENEWAL_PAUSE);
        assert!(matches!(presence.recall(&key()), Recall::Renew(..)));
    }

    #[test]
    fn nobody_is_known_past_max_stale() {
        let (presence, clock) = presence();
        clock.advance(86_400);
        assert!(matches!(presence.recall(&key()), Recall::Renew(..)));
        clock.advance(1);
        assert!(matches!(presence.recall(&key()), Recall::Nothing));
    }
}
