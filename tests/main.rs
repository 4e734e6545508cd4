//! What usher promises, each against real peers.

mod common;
mod users;
