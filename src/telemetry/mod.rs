//! What usher tells about itself: metrics, the access record, events.

mod access;
mod events;
mod metrics;
mod record;
mod repeated;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::config;

pub use access::Sink;
pub use events::start as start_events;
pub use metrics::{ConnectionMetrics, Metrics, Protocol};
pub use record::{Outcome, Record};
pub use traces::{Exporter, Tracer};

/// The metrics and the access log of one running usher.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    access: Option<Arc<access::Access>>,
    tracer: Option<Arc<Tracer>>,
    routes: Vec<String>,
    registry: Arc<Mutex<Registry>>,
    clock: Clock,
}

impl Telemetry {
    /// Telemetry for routes of these names; `registry` already holds what the abilities count.
    pub fn new(
        settings: &config::Log,
        routes: Vec<String>,
        mut registry: Registry,
        clock: Clock,
        sink: Sink,
        tracer: Option<Tracer>,
    ) -> Arc<Self> {
        let metrics = Metrics::new(&routes, &mut registry);
        let access = settings
            .access
            .then(|| access::Access::start(settings, sink, metrics.lines_lost(), clock.clone()))
            .map(Arc::new);
        Arc::new(Self {
            metrics,
            access,
            tracer: tracer.map(Arc::new),
            routes,
            registry: Arc::new(Mutex::new(registry)),
            clock,
        })
    }

    /// The same numbers and the same log for other routes. Numbers of routes that are gone stay:
    /// a counter never goes back.
    pub fn for_routes(&self, routes: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            metrics: self.metrics.for_routes(&routes),
            access: self.access.clone(),
            tracer: self.tracer.clone(),
            routes,
            registry: self.registry.clone(),
            clock: self.clock.clone(),
        })
    }

    /// Shows more numbers.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits until every access line is written and every span sent, but not for a reader who does
    /// not read.
    pub async fn finish(&self) {
        tokio::join!(self.finish_lines(), self.finish_spans());
    }

    async fn finish_spans(&self) {
        const LONGEST: Duration = Duration::from_secs(2);
        let Some(tracer) = &self.tracer else {
            return;
        };
        if tokio::time::timeout(LONGEST, tracer.flush()).await.is_err() {
            tracing::warn!("the last spans are lost: the collector does not take them");
        }
    }

    async fn finish_lines(&self) {
        const LONGEST: Duration = Duration::from_secs(1);
        let Some(access) = &self.access else {
            return;
        };
        access.close();
        let written = async {
            while !access.is_written() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(LONGEST, written).await.is_err() {
            tracing::warn!("the last access lines are lost: nobody reads them");
        }
    }

    /// Everything counted, in the OpenMetrics text format.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; the trait says it might.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        text
    }
}
