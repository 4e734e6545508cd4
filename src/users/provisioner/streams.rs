//! The engine, through Redis Streams (wire contract §3.1).

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde::Serialize;
use uuid::Uuid;

use super::delivery::{self, Delivery, Order, Ticket, slot_prefix};
use super::link::{Failure, Link};
use super::mailbox::{Mailbox, Waiting};
use super::reader;
use crate::users::StartError;
use crate::users::caller::{Key, Who};
use crate::users::metrics::Metrics;
use crate::users::settings::StreamsSettings;

/// How many doubtful requests are remembered.
const DOUBTS: u64 = 10_000;

#[derive(Debug)]
pub(in crate::users) struct Streams {
    link: Arc<Link>,
    mailbox: Arc<Mailbox>,
    requests: String,
    replies: Arc<str>,
    prefix: String,
    marker: Duration,
    repeat: Duration,
    /// Requests that may have been sent: a repeat in this process uses the same id.
    doubts: Cache<(Purpose, Key), String>,
    metrics: Metrics,
}

/// What a request is for. A first sight is one for all who ask; an ensurance is its caller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::users) enum Purpose {
    FirstSight,
    Ensure,
}

/// The id of a request that may have been sent. Dropped before that is settled, as when the
/// caller leaves, it stays for the next try.
struct Doubt<'a> {
    doubts: &'a Cache<(Purpose, Key), String>,
    key: (Purpose, Key),
    request_id: String,
    /// Whether an earlier try left it.
    inherited: bool,
    settled: bool,
}

impl<'a> Doubt<'a> {
    /// The id that an earlier try left, or a new one. It is taken away, so that two calls of
    /// `ensure_user` at one time have an id each.
    fn take(doubts: &'a Cache<(Purpose, Key), String>, key: (Purpose, Key)) -> Self {
        let left = doubts.remove(&key);
        Self {
            doubts,
            key,
            inherited: left.is_some(),
            request_id: left.unwrap_or_else(|| Uuid::new_v4().to_string()),
            settled: false,
        }
    }

    /// That this try did not get through says nothing about an earlier one.
    fn judge(&mut self, delivery: Delivery) -> Delivery {
        match delivery {
            Delivery::NotSent(why) if self.inherited => Delivery::InDoubt(why),
            Delivery::InDoubt(why) => Delivery::InDoubt(why),
            certain => {
                self.settled = true;
                certain
            }
        }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let request_id = std::mem::take(&mut self.request_id);
            self.doubts.insert(self.key, request_id);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    function: &'static str,
    user_id: &'a str,
    user_email: &'a str,
    request_id: &'a str,
}

impl Streams {
    pub(super) fn new(settings: &StreamsSettings, metrics: Metrics) -> Result<Self, StartError> {
        let prefix = slot_prefix(&settings.requests).ok_or_else(|| {
            let name = &settings.requests;
            StartError(format!(
                "the stream's name {name:?} is empty or has a stray brace"
            ))
        })?;
        Ok(Self {
            link: Arc::new(Link::new(settings, metrics.breaker_open.clone())?),
            mailbox: Arc::new(Mailbox::new(metrics.clone())),
            requests: settings.requests.clone(),
            replies: settings.replies.as_str().into(),
            prefix,
            marker: settings.marker.max(Duration::from_millis(1)),
            repeat: settings.repeat,
            doubts: Cache::builder().max_capacity(DOUBTS).build(),
            metrics,
        })
    }

    /// Asks the engine for this user. `email` is the caller's own, which the engine needs.
    pub(in crate::users) async fn ask(&self, purpose: Purpose, who: &Who, email: &str) -> Delivery {
        let mut doubt = Doubt::take(&self.doubts, (purpose, who.key));
        let request_id = doubt.request_id.clone();
        let message = Request {
            function: "createUser",
            user_id: &who.id,
            user_email: email,
            request_id: &request_id,
        };
        let message = match serde_json::to_string(&message) {
            Ok(message) => message,
            Err(error) => return doubt.judge(Delivery::NotSent(error.to_string())),
        };
        let order = Order {
            marker: self.marker_key(purpose, who, &request_id),
            requests: &self.requests,
            replies: &self.replies,
            request_id: &request_id,
            message: &message,
            life: self.marker,
            repeat: self.repeat,
        };
        let delivery = doubt.judge(delivery::send(&self.link, &order).await);
        self.count(&delivery);
        delivery
    }

    /// A place in the mailbox for the reply.
    pub(in crate::users) fn listen(&self, ticket: &Ticket, who: &Who) -> Waiting {
        let (waiting, start) = self.mailbox.register(ticket, &who.id);
        if start {
            let (mailbox, link) = (self.mailbox.clone(), self.link.clone());
            tokio::spawn(reader::read(mailbox, link, self.replies.clone()));
        }
        waiting
    }

    pub(super) fn is_failing(&self) -> bool {
        self.link.is_out()
    }

    pub(super) async fn check(&self) -> Vec<String> {
        match self.link.query(&redis::cmd("PING")).await {
            Ok(_) => Vec::new(),
            Err(Failure::Answered { text, .. }) => vec![format!("redis refuses: {text}")],
            Err(failure) => vec![format!("redis cannot be asked: {failure}")],
        }
    }

    /// A first sight's marker is one per user, an ensurance's is its own: there it only tells a
    /// repeat that the request is on the stream already.
    fn marker_key(&self, purpose: Purpose, who: &Who, request_id: &str) -> String {
        match purpose {
            Purpose::FirstSight => format!("{}:usher:{}", self.prefix, who.key.to_hex()),
            Purpose::Ensure => format!("{}:usher:{request_id}", self.prefix),
        }
    }

    fn count(&self, delivery: &Delivery) {
        match delivery {
            Delivery::Sent(_) => self.metrics.sent.inc(),
            Delivery::Joined(_) => self.metrics.joined.inc(),
            Delivery::NotSent(_) => self.metrics.not_sent.inc(),
            Delivery::InDoubt(_) => self.metrics.in_doubt.inc(),
        };
    }
}
