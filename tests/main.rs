//! The promises usher makes to its users, one file each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]
#![allow(unreachable_pub, reason = "nobody reaches into a test")]

mod cache;
mod command_line;
mod common;
mod config;
mod keys;
mod layers;
mod operations;
mod proxying;
mod sources;
mod tokens;
