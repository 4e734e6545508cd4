//! Tests that need more than one part of identification.

mod bearers;
mod cache;
mod differential;
mod files;
mod fixture;
mod issuer_server;
mod refresh;
mod rules;
mod values;
mod vectors;
