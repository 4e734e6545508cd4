//! usher stands between the street and an app: it checks each caller's ticket (a bearer
//! token), and announces them to the app in headers the app can trust.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod denial;
pub mod identity;
pub mod secret;
pub mod users;
