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
        let doubt = (purpose, who.key);
        let request_id = self
            .doubts
            .remove(&doubt)
            .unwrap_or_else(|| Uuid::new_v4().to_string());
        let message = Request {
            function: "createUser",
            user_id: &who.id,
            user_email: email,
            request_id: &request_id,
        };
        let message = match serde_json::to_string(&message) {
            Ok(message) => message,
            Err(error) => return Delivery::NotSent(error.to_string()),
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
        let delivery = delivery::send(&self.link, &order).await;
        if matches!(delivery, Delivery::InDoubt(_)) {
            self.doubts.insert(doubt, request_id);
        }
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
