//! One builder for each peer: the app, the issuer, usher itself, and a client that sends
//! exactly the bytes it is told to.

pub mod app;
pub mod authority;
pub mod bridge;
pub mod client;
pub mod command;
pub mod cut;
pub mod exness;
pub mod forge;
pub mod http2;
pub mod issuer;
pub mod keyserver;
pub mod peers;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod served;
pub mod tls;
pub mod usher;

use std::time::{Duration, Instant};

pub use app::App;
pub use client::{Client, Reply};
pub use forge::Signer;
pub use issuer::Issuer;
pub use keyserver::{KeyServer, Mood};
pub use peers::Peers;
pub use served::Served;
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

/// Asks again until the answer is there; fails after ten seconds.
pub async fn eventually_async<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port()
}
