//! How proxies of this kind were broken before, each way tried on this one. A test is named after its
//! row in docs/threats.md, and every row has one.
//!
//! What a client library would tidy goes out as bytes; the app behind records what arrives and
//! counts it; and after each attack a good request has to pass.

mod differential;
mod exhaustion;
mod forward_auth;
mod framing;
mod grid;
mod hop_by_hop;
mod http2;
mod http_stack;
mod identity_headers;
mod readers;
mod rows;

pub(crate) mod stage;
mod strict;
mod target;
