//! The record that belongs to an identity: what we know, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A row of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id, as it stands in the directory.
    pub id: String,
    /// The e-mail, where the row has one.
    pub email: Option<String>,
    /// The extra columns, in the order of the settings.
    pub columns: Box<[Option<String>]>,
}

impl User {
    /// The value of the extra column at this place of the settings.
    pub fn column(&self, place: usize) -> Option<&str> {
        self.columns.get(place).and_then(Option::as_deref)
    }
}

/// A user whose row was found, as `users` remembers it. A verified token keeps one at hand, so
/// that asking for the user of a token that was seen before costs no lookup.
#[derive(Debug)]
pub struct Known {
    /// The row.
    pub user: Arc<User>,
    /// When it was found, in seconds since 1970.
    pub confirmed: i64,
    /// Whether somebody is asking for it again.
    pub renewing: AtomicBool,
    /// When it may be asked for again after an attempt that failed.
    pub renew: AtomicI64,
    /// Whether something else is known by now.
    outdated: AtomicBool,
}

impl Known {
    /// A row that was found at `confirmed`.
    pub fn new(user: Arc<User>, confirmed: i64) -> Self {
        Self {
            user,
            confirmed,
            renewing: AtomicBool::new(false),
            renew: AtomicI64::new(i64::MIN),
            outdated: AtomicBool::new(false),
        }
    }

    /// Whoever keeps this has to ask again.
    pub fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    /// Whether something else is known by now.
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }
}
