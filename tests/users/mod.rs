//! The user exists before the app sees them.

mod arrangements;
mod directory;
mod doubt;
pub mod engine;
mod ensure;
mod failures;
mod first_sight;
pub mod house;
mod log;
mod presence;
mod replies;
