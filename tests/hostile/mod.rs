//! Every way in which something like usher has been broken, tried on usher: a test for each, named
//! after its row in `docs/threats.md`, and after each attack a good request that must pass.
//!
//! A letter is a file. What is sent are bytes, where a library would tidy them.

mod accounts;
mod cache;
mod claims;
mod directory;
mod forge_stage;
mod jwt;
mod key_sets;
mod keys;
mod operation;
mod process;
mod properties;
mod provisioning;
mod rows;
mod stack;
mod vectors;
