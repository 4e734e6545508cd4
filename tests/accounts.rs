//! External users: one platform's users in another's project.

mod callers;
mod contract;
mod keys;
mod operators;
mod own;
mod races;
mod refresh;
mod rules;
mod secrets;
pub mod stage;
