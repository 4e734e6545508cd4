//! The promises usher makes to its users, one file each.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]

mod check_connect;
mod common;
mod config;
mod dev_flow;
mod ensure_user;
mod first_sight;
mod first_sight_processes;
mod proxying;
mod users;
mod verify_user;
