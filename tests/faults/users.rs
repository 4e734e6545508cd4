//! What the shared builders need of the users' tests.

#[path = "../users/engine.rs"]
pub mod engine;
#[path = "../users/house.rs"]
pub mod house;
