//! Spans: what other programs of a trace learn of a request that passed here.
//!
//! A request costs a look at its `traceparent` and, if it is sampled, a place in a queue. A task
//! beside all requests makes messages of what stands there, and sends them.

mod context;
mod export;
mod span;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::fields::Fields;

use super::metrics::CauseLabels;
use context::Context;

pub use export::Exporter;
pub(super) use span::{Ended, Span};

/// Takes the spans of requests, and never makes one wait.
#[derive(Debug)]
pub struct Tracer {
    queue: mpsc::Sender<Message>,
    sample: f64,
    metrics: Metrics,
}

/// What the exporter gets.
#[derive(Debug)]
enum Message {
    Ended(Box<Ended>),
    /// All that was there before this is to be sent now; answered when that is done.
    Flush(oneshot::Sender<()>),
}

/// What became of spans.
#[derive(Clone, Debug)]
struct Metrics {
    exported: Counter,
    /// There was no room in the queue.
    crowded: Counter,
    /// The collector did not take them.
    refused: Counter,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("spans");
        let lost = Family::<CauseLabels, Counter>::default();
        let cause = |cause| lost.get_or_create_owned(&CauseLabels { cause });
        let metrics = Self {
            exported: Counter::default(),
            crowded: cause("queue"),
            refused: cause("collector"),
        };
        let exported = metrics.exported.clone();
        registry.register("exported", "Spans that the collector took", exported);
        registry.register("lost", "Spans that were dropped, by cause", lost);
        metrics
    }
}

impl Tracer {
    /// A tracer, and what sends its spans. `roots`: who may sign the collector's certificate, where
    /// TLS is spoken.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the endpoint is none.
    pub fn new(
        settings: &config::Traces,
        roots: RootCertStore,
        registry: &mut Registry,
    ) -> Result<(Self, Exporter), String> {
        let metrics = Metrics::new(registry);
        let (queue, waiting) = mpsc::channel(settings.queue);
        let exporter = Exporter::new(settings, roots, waiting, metrics.clone())?;
        let tracer = Self {
            queue,
            sample: settings.sample,
            metrics,
        };
        Ok((tracer, exporter))
    }

    /// The part that a request takes in its trace, or in a new one. `None`: it is not told of, and
    /// what it carries stays as it is.
    pub(super) fn begin(&self, fields: &Fields, now_millis: i64) -> Option<Box<Span>> {
        let parent = Context::read(fields);
        if parent.is_some_and(|parent| !parent.is_sampled()) {
            return None;
        }
        // Without random bytes there is no trace; the request is worth more.
        let mut random = [0; 24];
        getrandom::fill(&mut random).ok()?;
        let context = match parent {
            Some(parent) => parent.child(random),
            None => Context::root(random, self.sample),
        };
        let state = parent.and_then(|_| context::state(fields));
        Some(Box::new(Span::new(context, parent, state, now_millis)))
    }

    /// Takes a span that has ended, unless there is no room.
    pub(super) fn end(&self, ended: Ended) {
        if self
            .queue
            .try_send(Message::Ended(Box::new(ended)))
            .is_err()
        {
            self.metrics.crowded.inc();
        }
    }

    /// Has everything sent that waits, as far as the collector takes it.
    pub(super) async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        if self.queue.send(Message::Flush(tell)).await.is_ok() {
            // An error means that the exporter is gone, and nothing waits any more.
            let _ = told.await;
        }
    }
}

/// What spans say of the process that they come from.
#[derive(Clone, Debug)]
struct Resource {
    service: Arc<str>,
    /// One of many of the same name.
    instance: Arc<str>,
}
