//! Counters of the users module; handles are made once.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: a marker's worth of waiting and a little more.
const WAIT_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What the users module counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Directory queries that found the caller's id.
    pub found: Counter,
    /// Directory queries that found only the caller's e-mail.
    pub email_only: Counter,
    /// Directory queries that found nothing.
    pub missing: Counter,
    /// Directory queries that failed.
    pub failed: Counter,
    /// How long requests waited for their user.
    pub wait_seconds: Histogram,
    /// Requests to the engine that were certainly sent by this process.
    pub sent: Counter,
    /// Requests that another process, or an earlier try, had sent already.
    pub joined: Counter,
    /// Requests that were certainly not sent.
    pub not_sent: Counter,
    /// Requests that may have been sent.
    pub in_doubt: Counter,
    /// Replies that somebody waited for.
    pub replies_matched: Counter,
    /// Replies that nobody here waited for.
    pub replies_unmatched: Counter,
    /// Entries among the replies that could not be read.
    pub replies_unreadable: Counter,
    /// 1 while Redis is left alone after a failure.
    pub breaker_open: Gauge,
    /// Requests that wait now.
    pub waiters: Gauge,
    lookups: Family<Outcome, Counter>,
    requests: Family<Outcome, Counter>,
    replies: Family<Outcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let lookups = Family::default();
        let requests = Family::default();
        let replies = Family::default();
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create_owned(&Outcome { outcome })
        };
        Self {
            found: of(&lookups, "found"),
            email_only: of(&lookups, "email_only"),
            missing: of(&lookups, "missing"),
            failed: of(&lookups, "failed"),
            wait_seconds: Histogram::new(WAIT_BUCKETS),
            sent: of(&requests, "sent"),
            joined: of(&requests, "joined"),
            not_sent: of(&requests, "not_sent"),
            in_doubt: of(&requests, "in_doubt"),
            replies_matched: of(&replies, "matched"),
            replies_unmatched: of(&replies, "unmatched"),
            replies_unreadable: of(&replies, "unreadable"),
            breaker_open: Gauge::default(),
            waiters: Gauge::default(),
            lookups,
            requests,
            replies,
        }
    }
}

impl Metrics {
    /// Shows everything under `usher_user_…`.
    pub fn register(&self, registry: &mut Registry) {
        let users = registry.sub_registry_with_prefix("user");
        users.register("lookups", "Directory queries", self.lookups.clone());
        users.register("requests", "Requests to the engine", self.requests.clone());
        users.register("replies", "Entries read as replies", self.replies.clone());
        users.register(
            "wait_seconds",
            "Time that requests waited for their user",
            self.wait_seconds.clone(),
        );
        users.register(
            "breaker_open",
            "1 while Redis is left alone after a failure",
            self.breaker_open.clone(),
        );
        users.register("waiters", "Requests that wait now", self.waiters.clone());
    }
}
