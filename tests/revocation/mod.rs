//! A token must die now: everywhere, soon, and whatever happens to Redis.

mod command;
mod control;
mod doors;
mod fast;
mod file;
mod logout;
mod loss;
mod memory;
mod reach;
mod snapshot;
mod spread;
pub mod stage;
mod streams;
