//! The wall clock as a parameter, so that tests can move it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where "now" comes from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's clock.
    #[default]
    System,
    /// A clock that stands still until a test moves it.
    Manual(ManualClock),
}

impl Clock {
    /// Whole seconds since 1970-01-01 UTC; negative before. Never panics on an odd clock.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => system_millis().div_euclid(1000),
            Self::Manual(clock) => clock.read(),
        }
    }

    /// Milliseconds since 1970-01-01 UTC, for logs.
    pub fn now_millis(&self) -> i64 {
        match self {
            Self::System => system_millis(),
            Self::Manual(clock) => clock.0.seconds.load(Ordering::SeqCst).saturating_mul(1000),
        }
    }
}

/// A clock set by hand; every clone shows the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    seconds: AtomicI64,
    broken: AtomicBool,
}

impl ManualClock {
    /// A clock that shows `seconds` since 1970.
    pub fn new(seconds: i64) -> Self {
        Self(Arc::new(Hands {
            seconds: AtomicI64::new(seconds),
            broken: AtomicBool::new(false),
        }))
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, seconds: i64) {
        self.0.seconds.store(seconds, Ordering::SeqCst);
    }

    /// Moves the time by `seconds`.
    pub fn advance(&self, seconds: i64) {
        self.0.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Whoever asks it for the second next panics, once: as close as a test comes to a bug that nobody
    /// knows.
    pub fn break_once(&self) {
        self.0.broken.store(true, Ordering::SeqCst);
    }

    #[expect(clippy::panic, reason = "a test has asked for it")]
    fn read(&self) -> i64 {
        if self.0.broken.swap(false, Ordering::SeqCst) {
            panic!("the clock is broken");
        }
        self.0.seconds.load(Ordering::SeqCst)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn system_millis() -> i64 {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis());
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since).unwrap_or(i64::MAX),
        Err(before) => millis(before.duration()).map_or(i64::MIN, |millis| -millis),
    }
}

thread_local! {
    /// The second, and what it is called in HTTP.
    static HTTP_DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// The time as `Date` says it (RFC 9110 §5.6.7), made once a second.
pub fn with_http_date<R>(read: impl FnOnce(&[u8]) -> R) -> R {
    let now = system_millis().div_euclid(1000);
    HTTP_DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            let since = Duration::from_secs(u64::try_from(now).unwrap_or(0));
            *text = httpdate::fmt_http_date(UNIX_EPOCH + since);
            *second = now;
        }
        read(text.as_bytes())
    })
}
