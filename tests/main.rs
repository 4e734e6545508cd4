//! The promises usher makes to its users, one file each.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]

mod cache;
mod command_line;
mod common;
mod config;
mod cors;
mod denials;
mod dockerfile;
mod documents;
mod forwarded;
mod framing;
mod identity_headers;
mod keys;
mod layers;
mod limits;
mod operations;
mod paths;
mod proxying;
mod routes;
mod sources;
mod tokens;
mod users;
mod verify;
