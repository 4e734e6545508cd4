//! Informational answers on their way to a client, ahead of the answer proper: 103 with links that
//! are worth loading early (RFC 8297), 102, and what else there will be (RFC 9110 §15.2).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{StatusCode, header};
use parking_lot::Mutex;

use crate::fields::Fields;
use crate::headers;

/// The most that are passed on for one request; an app that sends more is not taken at its word.
const MOST: usize = 16;

/// An informational answer.
#[derive(Debug)]
pub struct Hint {
    /// From 102 to 199.
    pub status: StatusCode,
    /// What it says, less the fields of the connection it came on.
    pub fields: Fields,
}

/// Those that the client has not got yet. Whoever reads the app's answer and whoever writes to the
/// client are polled by one task, one after the other, so nobody needs to be woken.
#[derive(Debug, Default)]
pub struct Hints {
    some: AtomicBool,
    taken: AtomicUsize,
    waiting: Mutex<Vec<Hint>>,
}

impl Hints {
    /// Passes one on, unless there were many. 100 and 101 are not for others: each connection
    /// says them for itself.
    pub fn push(&self, status: StatusCode, mut fields: Fields) {
        let own = [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS];
        let many = self.taken.fetch_add(1, Ordering::Relaxed) >= MOST;
        if many || own.contains(&status) || !status.is_informational() {
            return;
        }
        headers::strip_hops_from_answer(&mut fields);
        // It has no body, and nobody may come to think so (RFC 9110 §8.6).
        fields.remove(&header::CONTENT_LENGTH);
        self.waiting.lock().push(Hint { status, fields });
        self.some.store(true, Ordering::Relaxed);
    }

    /// Whether nothing waits: the case of almost every look.
    pub fn is_empty(&self) -> bool {
        !self.some.load(Ordering::Relaxed)
    }

    /// All that wait.
    pub fn take(&self) -> Vec<Hint> {
        if self.is_empty() {
            return Vec::new();
        }
        self.some.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.waiting.lock())
    }
}
