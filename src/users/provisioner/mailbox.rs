//! Hands replies to those who wait for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::delivery::Ticket;
use super::reply::{Entry, EntryId, Reply};
use crate::limit::Seldom;
use crate::users::metrics::Metrics;

/// Replies to `createUser` that are kept for those who join after they have passed.
const REMEMBERED: usize = 4096;

/// Everybody who waits, and where the reader stands. Its lock is held for a moment only.
#[derive(Debug)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    /// Whether the reader has a connection now.
    hears: AtomicBool,
    metrics: Metrics,
}

#[derive(Debug)]
struct Inner {
    waiters: HashMap<u64, Waiter>,
    by_request: HashMap<String, Vec<u64>>,
    by_user: HashMap<String, Vec<u64>>,
    next: u64,
    /// Whether the reader runs.
    running: bool,
    /// Everything after this has been read, up to `position`, or is remembered.
    covered: EntryId,
    /// Read up to here.
    position: EntryId,
    /// The newest entry ever counted; entries that are read again are not counted again.
    counted: EntryId,
    /// Somebody needs entries from before `covered`.
    rewind: Option<EntryId>,
    passed: HashMap<String, Reply>,
    order: VecDeque<(EntryId, String)>,
}

#[derive(Debug)]
struct Waiter {
    request_id: String,
    user: String,
    hand: oneshot::Sender<Reply>,
}

/// A place in the mailbox; dropped, it is free again.
#[derive(Debug)]
pub(in crate::users) struct Waiting {
    mailbox: Arc<Mailbox>,
    serial: u64,
    pub(in crate::users) reply: oneshot::Receiver<Reply>,
}

impl Waiting {
    /// Whether replies can be read now.
    pub(in crate::users) fn hears(&self) -> bool {
        self.mailbox.hears.load(Ordering::Acquire)
    }
}

/// Somebody who reads, until [`Mailbox::next`] says that nobody waits.
pub(super) struct Reading(Arc<Mailbox>);

impl Drop for Reading {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.inner.lock().running = false;
            self.0.set_hears(false);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.mailbox.inner.lock().remove(self.serial);
    }
}

impl Mailbox {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            inner: Mutex::new(Inner::new()),
            hears: AtomicBool::new(false),
            metrics,
        }
    }

    /// A place for the reply to this ticket, and whether the caller has to start the reader.
    pub(super) fn register(self: &Arc<Self>, ticket: &Ticket, user: &str) -> (Waiting, bool) {
        let (hand, reply) = oneshot::channel();
        let mut inner = self.inner.lock();
        let start = !std::mem::replace(&mut inner.running, true);
        if start {
            inner.start_at(ticket.tail);
            self.hears.store(false, Ordering::Release);
        } else if ticket.tail < inner.covered {
            let rewind = inner.rewind.map_or(ticket.tail, |at| at.min(ticket.tail));
            inner.rewind = Some(rewind);
        }
        let serial = inner.next;
        inner.next += 1;
        match inner.passed.get(&ticket.request_id) {
            // It has passed already: whoever joins late gets it all the same.
            Some(passed) => drop(hand.send(passed.clone())),
            None => inner.add(serial, ticket, user, hand),
        }
        drop(inner);
        let waiting = Waiting {
            mailbox: self.clone(),
            serial,
            reply,
        };
        (waiting, start)
    }

    /// What a reader holds: if it panics, the next who waits starts another.
    pub(super) fn reading(self: Arc<Self>) -> Reading {
        Reading(self)
    }

    /// From where to read next; `None` when nobody waits any more, and the reader must end.
    pub(super) fn next(&self) -> Option<EntryId> {
        let mut inner = self.inner.lock();
        if inner.waiters.is_empty() {
            inner.running = false;
            return None;
        }
        if let Some(rewind) = inner.rewind.take().filter(|at| *at < inner.covered) {
            inner.covered = rewind;
            inner.position = rewind;
        }
        Some(inner.position)
    }

    pub(super) fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Release);
    }

    pub(super) fn deliver(&self, entry: Entry) {
        let mut inner = self.inner.lock();
        inner.position = inner.position.max(entry.id);
        let again = entry.id <= inner.counted;
        inner.counted = inner.counted.max(entry.id);
        let counter = match &entry.reply {
            None => &self.metrics.replies_unreadable,
            Some(reply) => match inner.hand_over(entry.id, reply) {
                true => &self.metrics.replies_matched,
                false => &self.metrics.replies_unmatched,
            },
        };
        if !again {
            counter.inc();
            if entry.reply.is_none() {
                tell_unreadable(entry.id);
            }
        }
    }
}

/// What it holds is not shown: whoever can write to the stream has written it.
fn tell_unreadable(entry: EntryId) {
    static UNREADABLE: Seldom = Seldom::new();
    if let Some(times) = UNREADABLE.again() {
        tracing::warn!(%entry, times, "an entry of the reply stream is no reply; it is skipped");
    }
}

impl Inner {
    fn new() -> Self {
        Self {
            waiters: HashMap::new(),
            by_request: HashMap::new(),
            by_user: HashMap::new(),
            next: 0,
            running: false,
            covered: EntryId::ZERO,
            position: EntryId::ZERO,
            counted: EntryId::ZERO,
            rewind: None,
            passed: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn start_at(&mut self, tail: EntryId) {
        self.covered = tail;
        self.position = tail;
        self.rewind = None;
        self.passed.clear();
        self.order.clear();
    }

    fn add(&mut self, serial: u64, ticket: &Ticket, user: &str, hand: oneshot::Sender<Reply>) {
        let request_id = ticket.request_id.clone();
        self.by_request
            .entry(request_id.clone())
            .or_default()
            .push(serial);
        self.by_user
            .entry(user.to_owned())
            .or_default()
            .push(serial);
        let user = user.to_owned();
        self.waiters.insert(
            serial,
            Waiter {
                request_id,
                user,
                hand,
            },
        );
    }

    fn remove(&mut self, serial: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&serial)?;
        take_out(&mut self.by_request, &waiter.request_id, serial);
        take_out(&mut self.by_user, &waiter.user, serial);
        Some(waiter)
    }

    /// Gives the reply to those it is for: by request, or, from engines that name none, by the
    /// user's id (wire contract §3.1).
    fn hand_over(&mut self, at: EntryId, reply: &Reply) -> bool {
        let serials = match (&reply.request_id, &reply.message) {
            (Some(request_id), _) => self.by_request.get(request_id),
            (None, Some(user)) if reply.creates => self.by_user.get(user),
            (None, _) => None,
        };
        let serials = serials.cloned().unwrap_or_default();
        for serial in &serials {
            if let Some(waiter) = self.remove(*serial) {
                let _ = waiter.hand.send(reply.clone());
            }
        }
        if let Some(request_id) = reply.request_id.as_ref().filter(|_| reply.creates) {
            self.remember(at, request_id, reply);
        }
        !serials.is_empty()
    }

    fn remember(&mut self, at: EntryId, request_id: &str, reply: &Reply) {
        if self.passed.contains_key(request_id) {
            return;
        }
        self.passed.insert(request_id.to_owned(), reply.clone());
        self.order.push_back((at, request_id.to_owned()));
        if self.order.len() > REMEMBERED
            && let Some((at, oldest)) = self.order.pop_front()
        {
            self.passed.remove(&oldest);
            self.covered = self.covered.max(at);
        }
    }
}

fn take_out(index: &mut HashMap<String, Vec<u64>>, key: &str, serial: u64) {
    if let Some(serials) = index.get_mut(key) {
        serials.retain(|other| *other != serial);
        if serials.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(request_id: &str, tail: u64) -> Ticket {
        Ticket {
            request_id: request_id.to_owned(),
            tail: EntryId(tail, 0),
        }
    }

    fn entry(at: u64, request_id: Option<&str>, user: &str) -> Entry {
        Entry {
            id: EntryId(at, 0),
            reply: Some(Reply {
                request_id: request_id.map(str::to_owned),
                creates: true,
                message: Some(user.to_owned()),
            }),
        }
    }

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(Metrics::default()))
    }

    #[test]
    fn a_reply_goes_to_its_request_only() {
        let mailbox = mailbox();
        let (mut mine, start) = mailbox.register(&ticket("a", 5), "u");
        let (mut other, second) = mailbox.register(&ticket("b", 6), "u");
        assert!(start && !second);
        mailbox.deliver(entry(7, Some("a"), "u"));
        assert!(mine.reply.try_recv().is_ok());
        assert!(other.reply.try_recv().is_err());
        // An older engine names no request.
        mailbox.deliver(entry(8, None, "u"));
        assert!(other.reply.try_recv().is_ok());
    }

    #[test]
    fn whoever_joins_late_gets_what_has_passed_or_turns_the_reader_back() {
        let mailbox = mailbox();
        let (first, _) = mailbox.register(&ticket("a", 5), "u");
        mailbox.deliver(entry(7, Some("b"), "v"));
        let (mut late, _) = mailbox.register(&ticket("b", 6), "v");
        assert!(late.reply.try_recv().is_ok());
        assert_eq!(mailbox.next(), Some(EntryId(7, 0)));
        let (older, _) = mailbox.register(&ticket("c", 3), "w");
        assert_eq!(mailbox.next(), Some(EntryId(3, 0)));
        drop((first, late, older));
        assert_eq!(mailbox.next(), None, "nobody waits");
        assert!(mailbox.register(&ticket("d", 9), "x").1, "starts again");
    }

    #[test]
    fn who_comes_after_a_reader_that_panicked_starts_another() {
        let mailbox = mailbox();
        let (_waiting, start) = mailbox.register(&ticket("a", 5), "u");
        assert!(start);
        drop(mailbox.clone().reading());
        assert!(!mailbox.register(&ticket("b", 6), "u").1, "it reads");
        let reading = mailbox.clone().reading();
        let reader = std::thread::spawn(move || {
            let _reading = reading;
            panic!("ouch");
        });
        reader.join().unwrap_err();
        assert!(mailbox.register(&ticket("c", 7), "u").1, "starts again");
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let mailbox = mailbox();
        for number in 0..10_000 {
            let (waiting, _) = mailbox.register(&ticket("a", 1), "u");
            mailbox.deliver(entry(number, Some(&number.to_string()), "u"));
            drop(waiting);
        }
        let inner = mailbox.inner.lock();
        assert!(inner.waiters.is_empty() && inner.by_request.is_empty());
        assert!(inner.by_user.is_empty());
        assert!(inner.passed.len() <= REMEMBERED && inner.order.len() <= REMEMBERED);
    }
}
