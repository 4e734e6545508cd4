//! What usher promises, each against real peers.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects, and fails by panicking"
)]

mod common;
mod users;
