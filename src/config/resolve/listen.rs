//! Where usher listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Context;
use crate::config::Listen;
use crate::config::file::OneOrMany;

const REMEDY: &str = "Write an IP address and a port, such as `0.0.0.0:8080` or `\"[::]:8080\"`.";

/// The addresses for callers.
pub(super) fn listeners(file: Option<&OneOrMany<String>>, cx: &mut Context<'_>) -> Vec<Listen> {
    let Some(file) = file else {
        return vec![Listen::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)))];
    };
    let mut listeners: Vec<Listen> = Vec::new();
    for (key, text) in file.keyed("listen") {
        let Some(listen) = address(&key, text, cx) else {
            continue;
        };
        if listeners.iter().any(|other| collide(other, &listen)) {
            cx.error(
                &key,
                "takes an address that is taken already",
                "Remove one of the two, or change its port.",
            );
        }
        listeners.push(listen);
    }
    if listeners.is_empty() && !cx.report.is_spoilt("listen") {
        cx.error("listen", "is an empty list", REMEDY);
    }
    listeners
}

/// The address of `/livez`, `/readyz` and `/metrics`.
pub(super) fn admin(
    file: Option<&str>,
    listeners: &[Listen],
    cx: &mut Context<'_>,
) -> Option<Listen> {
    let listen = match file {
        Some("off") => return None,
        Some(text) => address("admin", text, cx)?,
        None => Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9901))),
    };
    if listeners.iter().any(|other| collide(other, &listen)) {
        cx.error(
            "admin",
            "takes the same address as `listen`",
            "Give it a port of its own: what it answers is not for callers.",
        );
    }
    Some(listen)
}

fn address(key: &str, text: &str, cx: &mut Context<'_>) -> Option<Listen> {
    if text.starts_with("unix:") {
        cx.error(key, "is a Unix socket, which is not supported yet", REMEDY);
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        cx.error(key, format!("is not an address: {text:?}"), REMEDY);
    }
    address.map(Listen::Tcp)
}

/// Whether only one of two sockets can be bound. Port 0 takes a free one, never the same.
fn collide(left: &Listen, right: &Listen) -> bool {
    let (Listen::Tcp(left), Listen::Tcp(right)) = (left, right);
    let all = |ip: IpAddr| ip.is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && (left.ip() == right.ip() || all(left.ip()) || all(right.ip()))
}
