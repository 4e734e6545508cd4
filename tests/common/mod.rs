//! One builder for each peer: the app, the issuer, usher itself, and a client that sends
//! exactly the bytes it is told to.

pub mod app;
pub mod client;
pub mod command;
pub mod forge;
pub mod issuer;
pub mod keyserver;
pub mod usher;

use std::time::{Duration, Instant};

pub use app::App;
pub use client::{Client, Reply};
pub use forge::Signer;
pub use issuer::Issuer;
pub use keyserver::{KeyServer, Mood};
pub use usher::Usher;

/// Waits until `check` gives something, looking often; fails after ten seconds.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
