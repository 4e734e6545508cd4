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
pub mod introspector;
pub mod issuer;
pub mod keyserver;
pub mod peers;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod served;
pub mod tls;
pub mod usher;
pub mod websocket;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use app::App;
pub use client::{Client, Reply};
pub use forge::Signer;
pub use introspector::Introspector;
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

/// A port that was free a moment ago. It lies below those that the kernel gives to outgoing
/// connections, of which some tests make thousands, and is given to one test only.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const MANY: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let mut ports = std::iter::repeat_with(|| {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        u16::try_from(FIRST + number % MANY).unwrap()
    });
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a free port")
}
