//! The examples with real proxies before usher: each file as it is, save for the ports. One start
//! of each proxy serves all of its cases.

mod cases;
mod crowd;
mod headers;
mod hosts;
mod pages;
mod presets;
mod readme;
mod secure;
mod sockets;
mod stage;
mod verdicts;

use cases::{fails_closed, holds};
pub(crate) use cases::{forged_descriptions, forged_identities, hostile_paths, rights_and_methods};
pub(crate) use headers::one_host_and_method;
pub(crate) use hosts::host_named_twice;
pub(crate) use sockets::http2_is_not_switched_to;
pub(crate) use stage::{Door, Stage, installed, open_folder, program};
pub(crate) use verdicts::odd_verdicts;

#[test]
fn nginx() {
    let mut stage = Stage::start(Door::Nginx);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn haproxy() {
    let mut stage = Stage::start(Door::Haproxy);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn caddy() {
    let mut stage = Stage::start(Door::Caddy);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn traefik() {
    let mut stage = Stage::start(Door::Traefik);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn envoy_over_http() {
    let mut stage = Stage::start(Door::EnvoyHttp);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn envoy_over_grpc() {
    let mut stage = Stage::start(Door::EnvoyGrpc);
    holds(&stage);
    fails_closed(&mut stage);
}

#[test]
fn nginx_keeps_a_yes_as_long_as_usher_says() {
    let stage = Stage::changed(Door::Nginx, &[("# cache: 2s", "cache: 2s")]);
    cases::keeps_a_yes(&stage);
}
