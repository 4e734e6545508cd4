//! What usher tells about itself: metrics, the access record, events.

mod access;
mod events;
mod metrics;
mod record;
mod repeated;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::config;

pub use access::Sink;
pub use events::start as start_events;
pub use metrics::{ConnectionMetrics, Metrics};
pub use record::{Outcome, Record};

/// The metrics and the access log of one running usher.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    access: Option<access::Access>,
    routes: Vec<String>,
    registry: Mutex<Registry>,
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
    ) -> Arc<Self> {
        let metrics = Metrics::new(&routes, &mut registry);
        let access = settings
            .access
            .then(|| access::Access::start(settings, sink, metrics.lines_lost(), clock.clone()));
        Arc::new(Self {
            metrics,
            access,
            routes,
            registry: Mutex::new(registry),
            clock,
        })
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits until every access line is written, but not for a reader who does not read.
    pub async fn finish(&self) {
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
