//! The promises usher makes to its users, one file each.

mod config;
