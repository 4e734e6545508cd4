//! The promises usher makes to its users, one file each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]
#![allow(unreachable_pub, reason = "nobody depends on a test binary")]

mod common;
mod config;
mod cors;
mod forwarded;
mod framing;
mod identity_headers;
mod limits;
mod paths;
mod proxying;
mod routes;
mod verify;
