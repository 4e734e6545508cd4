//! TLS on both sides: what is configured, made of files, and made anew when they change.

mod client;
mod handshake;
mod live;
mod material;
mod server;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{Client, client};
pub use handshake::{CAUSES, cause};
pub use live::{Followed, Live, Metrics, follow};
pub use server::server;

/// The library whose cryptography is used, whatever the process-wide default is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
