//! How proxies of this kind were broken before, each way tried on this one. A test is named after its
//! row in docs/threats.md, and every row has one.
//!
//! What a client library would tidy goes out as bytes; the app behind records what arrives and
//! counts it; and after each attack a good request has to pass.

mod accounts;
mod cache;
mod claims;
mod differential;
mod directory;
mod exhaustion;
mod forge_stage;
mod forward_auth;
mod framing;
mod grid;
mod hop_by_hop;
mod http2;
mod http_stack;
mod identity_headers;
mod jwt;
mod key_sets;
mod keys;
mod operation;
mod process;
mod properties;
mod provisioning;
mod readers;
mod rows;
mod stack;
mod strict;
mod target;
mod vectors;

pub(crate) mod stage;
