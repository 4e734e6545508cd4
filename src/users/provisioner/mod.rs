//! Who creates a user on first sight.

mod delivery;
mod link;
mod mailbox;
mod reader;
mod reply;
mod streams;

#[cfg(feature = "fuzzing")]
pub use reply::fuzz;

use super::StartError;
use super::metrics::Metrics;
use super::settings::ProvisionerSettings;
pub(super) use delivery::Delivery;
pub(super) use mailbox::Waiting;
pub(super) use streams::{Purpose, Streams};

/// The one who creates users.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per process")]
pub(super) enum Provisioner {
    /// The engine, through Redis Streams.
    Streams(Streams),
    /// usher itself, in the directory.
    Direct,
    /// Nobody that usher could ask.
    None,
}

impl Provisioner {
    /// Gets ready; Redis is not asked for yet.
    pub(super) fn new(
        settings: &ProvisionerSettings,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        match settings {
            ProvisionerSettings::Streams(settings) => {
                Ok(Self::Streams(Streams::new(settings, metrics.clone())?))
            }
            ProvisionerSettings::Direct => Ok(Self::Direct),
            ProvisionerSettings::None => Ok(Self::None),
        }
    }

    /// Whether it is left alone after failures.
    pub(super) fn is_failing(&self) -> bool {
        match self {
            Self::Streams(streams) => streams.is_failing(),
            Self::Direct | Self::None => false,
        }
    }

    /// What is wrong, by name; empty where all is well.
    pub(super) async fn check(&self) -> Vec<String> {
        match self {
            Self::Streams(streams) => streams.check().await,
            Self::Direct | Self::None => Vec::new(),
        }
    }
}
