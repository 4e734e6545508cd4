//! TLS on both sides: what is configured, made of files, and made anew when they change.

mod client;
mod handshake;
mod live;
mod material;
mod server;

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;

pub use client::{Client, client};
pub use handshake::{CAUSES, cause};
pub use live::{Followed, Live, Metrics, follow};
pub use server::server;

/// Who may sign certificates: the authorities of a file, or the system's.
///
/// # Errors
/// What is wrong with the file.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    match ca_file {
        Some(file) => material::authorities(file),
        None => material::system(),
    }
}

/// The library whose cryptography is used, whatever the process-wide default is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
