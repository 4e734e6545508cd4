//! What a client's connection is doing, noted by the connection and read by the watchman.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

/// The head of a request is being read.
pub const HEAD: u8 = 0;
/// A request is under way.
pub const BUSY: u8 = 1;
/// Nothing is asked.
pub const IDLE: u8 = 2;
/// Nothing of a request has come yet on a new connection, or what stands before it is being read.
pub const NEW: u8 = 3;
/// A TLS handshake is under way.
pub const HANDSHAKE: u8 = 4;
/// Another protocol than HTTP is spoken.
pub const TUNNEL: u8 = 5;
/// Nothing is asked, and what comes need not be the beginning of a request; whoever serves the
/// connection closes it when it is time.
pub const STILL: u8 = 6;

/// What a connection is doing, and since when, in ticks of the watchman's clock.
#[derive(Debug)]
pub struct Activity {
    phase: AtomicU8,
    since: AtomicU32,
    clock: Arc<AtomicU32>,
    abort: OnceLock<AbortHandle>,
}

impl Activity {
    /// A connection that was just accepted.
    pub fn new(clock: Arc<AtomicU32>) -> Self {
        Self {
            phase: AtomicU8::new(NEW),
            since: AtomicU32::new(clock.load(Ordering::Relaxed)),
            clock,
            abort: OnceLock::new(),
        }
    }

    /// The phase and the ticks since it began, or since something moved in it.
    pub fn phase(&self, now: u32) -> (u8, u32) {
        let passed = now.wrapping_sub(self.since.load(Ordering::Relaxed));
        (self.phase.load(Ordering::Relaxed), passed)
    }

    /// Ends the connection.
    pub fn abort(&self) {
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    /// Tells how to end the connection.
    pub fn abort_with(&self, abort: AbortHandle) {
        // Told once, by whoever started the task.
        let _ = self.abort.set(abort);
    }

    /// A request is under way until the returned value is dropped.
    pub fn busy(&self) -> Busy<'_> {
        self.enter(BUSY);
        Busy(self)
    }

    /// From now on a TLS handshake is under way.
    pub fn shake_hands(&self) {
        self.enter(HANDSHAKE);
    }

    /// The first byte of a request may come; nothing of it has.
    pub fn begin(&self) {
        self.enter(NEW);
    }

    /// From now on the connection is a tunnel, or closed.
    pub fn become_tunnel(&self) {
        self.enter(TUNNEL);
    }

    /// Another phase begins.
    pub fn enter(&self, phase: u8) {
        self.since
            .store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// Bytes arrived: while idle or new, a head begins; while busy, the body moves. A head that has
    /// begun is not extended, so that a byte now and then does not keep it open.
    pub fn read(&self) {
        match self.phase.load(Ordering::Relaxed) {
            IDLE | NEW => self.enter(HEAD),
            BUSY => self.touch(),
            _ => {}
        }
    }

    /// Something moved.
    pub fn touch(&self) {
        self.since
            .store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Marks a request under way; the connection is idle when it is dropped.
#[derive(Debug)]
pub struct Busy<'a>(&'a Activity);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}
