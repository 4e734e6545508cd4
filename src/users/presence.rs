//! Who is known: bounded memory, no I/O.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quick_cache::sync::Cache;

use super::caller::{Caller, Key};
use super::settings::PresenceSettings;
use crate::clock::Clock;
use crate::user::{Known, User};

/// Seconds until a renewal that failed is tried again.
const RENEWAL_PAUSE: i64 = 5;

/// The users whose row was found under their own id.
///
/// A caller who is not found is never remembered, and neither is one found by e-mail alone:
/// that row is somebody else's until the storage writer has handed it over.
#[derive(Debug)]
pub(super) struct Presence {
    seen: Cache<Key, Arc<Known>>,
    clock: Clock,
    fresh: i64,
    max_stale: i64,
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
    known: Arc<Known>,
    retry: i64,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.known.renew.store(self.retry, Ordering::Relaxed);
        self.known.renewing.store(false, Ordering::Release);
    }
}

impl Presence {
    pub(super) fn new(settings: &PresenceSettings, clock: Clock) -> Self {
        let seconds =
            |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let capacity = usize::try_from(settings.capacity).unwrap_or(usize::MAX);
        Self {
            seen: Cache::new(capacity),
            clock,
            fresh: seconds(settings.fresh),
            max_stale: seconds(settings.max_stale),
        }
    }

    /// What is known of a caller. The way of almost every request: what their token keeps at
    /// hand is fresh, and nothing has to be looked up.
    pub(super) fn recall_for(&self, caller: &Caller<'_>) -> Recall {
        let Some(at_hand) = caller.known else {
            return self.recall(&Key::of(caller));
        };
        if let Some(known) = &*at_hand.load()
            && !known.is_outdated()
            && self.is_fresh(known, self.clock.now())
        {
            return Recall::Fresh(known.user.clone());
        }
        let key = Key::of(caller);
        let Some(known) = self.seen.get(&key) else {
            return Recall::Nothing;
        };
        if self.is_fresh(&known, self.clock.now()) {
            at_hand.store(Some(known.clone()));
        }
        self.judge(&key, known)
    }

    pub(super) fn recall(&self, key: &Key) -> Recall {
        match self.seen.get(key) {
            Some(known) => self.judge(key, known),
            None => Recall::Nothing,
        }
    }

    fn judge(&self, key: &Key, known: Arc<Known>) -> Recall {
        let now = self.clock.now();
        if now.saturating_sub(known.confirmed) > self.max_stale {
            self.forget(key);
            return Recall::Nothing;
        }
        if self.is_fresh(&known, now) {
            return Recall::Fresh(known.user.clone());
        }
        if now < known.renew.load(Ordering::Relaxed) || known.renewing.swap(true, Ordering::Acquire)
        {
            return Recall::Fresh(known.user.clone());
        }
        let user = known.user.clone();
        let retry = now.saturating_add(RENEWAL_PAUSE);
        Recall::Renew(user, Renewal { known, retry })
    }

    /// A clock that was set back makes an age negative: then the row is asked for again.
    fn is_fresh(&self, known: &Known, now: i64) -> bool {
        let age = now.saturating_sub(known.confirmed);
        (0..self.fresh).contains(&age)
    }

    pub(super) fn remember(&self, key: Key, user: Arc<User>) {
        let known = Arc::new(Known::new(user, self.clock.now()));
        // Two at once may leave one that nobody outdates; it is asked for again when it is
        // fresh no more.
        let before = self.seen.peek(&key);
        self.seen.insert(key, known);
        if let Some(before) = before {
            before.outdate();
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        if let Some((_, known)) = self.seen.remove(key) {
            known.outdate();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const CALLER: Caller<'static> = Caller {
        issuer: "idp",
        id: "1",
        email: None,
        name: None,
        email_verified: false,
        known: None,
    };

    fn key() -> Key {
        Key::of(&CALLER)
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
    fn what_a_token_keeps_at_hand_is_what_is_known() {
        let (presence, clock) = presence();
        let at_hand = arc_swap::ArcSwapOption::empty();
        let caller = Caller {
            known: Some(&at_hand),
            ..CALLER
        };
        let recalled = |wanted: Option<&str>| match presence.recall_for(&caller) {
            Recall::Fresh(user) => assert_eq!(user.email.as_deref(), wanted),
            _ => panic!("known and fresh"),
        };
        recalled(None);
        assert!(at_hand.load().is_some());
        recalled(None);
        let changed = User {
            email: Some("new".to_owned()),
            ..(*user()).clone()
        };
        presence.remember(key(), Arc::new(changed));
        recalled(Some("new"));
        recalled(Some("new"));
        clock.advance(300);
        let renewing = presence.recall_for(&caller);
        assert!(matches!(renewing, Recall::Renew(..)));
        presence.forget(&key());
        assert!(matches!(presence.recall_for(&caller), Recall::Nothing));
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
