//! The promises usher makes to its users, one file each.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic"
)]

mod accounts;
mod cache;
mod check_connect;
mod check_start;
mod client_certificates;
mod clients;
mod command_line;
mod common;
mod config;
mod cors;
mod denials;
mod dev_flow;
mod dockerfile;
mod documents;
mod ensure_user;
mod expiry;
mod ext_authz;
mod first_sight;
mod first_sight_processes;
mod forward_auth;
mod forwarded;
mod framing;
mod gateways;
mod grpc;
mod h2_conformance;
mod half_close;
mod hostile;
mod http2;
mod http2_apps;
mod identity_headers;
mod informational;
mod introspection;
mod keys;
mod layers;
mod limits;
mod memory;
mod node;
mod operations;
mod outages;
mod paths;
mod proxy_protocol;
mod proxying;
mod reload;
mod revocation;
mod rolling;
mod routes;
mod sources;
mod tls;
mod tokens;
mod traces;
mod unix_sockets;
mod upstream;
mod upstream_faults;
mod upstream_tls;
mod users;
mod verify;
mod verify_user;
mod ways;
mod websockets;
