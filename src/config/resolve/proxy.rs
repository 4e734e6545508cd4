//! Peers whose forwarded headers count.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Context;
use crate::config::TrustedProxy;
use crate::config::file::List;

const REMEDY: &str = "Write an address, a network such as `10.1.2.0/28`, or `unix`.";

/// Resolves the peers.
pub(super) fn trusted(file: &List<String>, cx: &mut Context<'_>) -> Vec<TrustedProxy> {
    all(file.keyed("trusted_proxies"), cx)
}

/// Resolves peers, each with its key.
pub(super) fn all(entries: Vec<(String, &String)>, cx: &mut Context<'_>) -> Vec<TrustedProxy> {
    entries
        .into_iter()
        .filter_map(|(key, text)| one(&key, text, cx))
        .collect()
}

fn one(key: &str, text: &str, cx: &mut Context<'_>) -> Option<TrustedProxy> {
    if text == "unix" {
        return Some(TrustedProxy::Unix);
    }
    let Some(net) = network(text) else {
        cx.error(key, format!("is not a network: {text:?}"), REMEDY);
        return None;
    };
    if net.prefix_len() == 0 {
        cx.error(
            key,
            "trusts everybody, so every caller could claim any address",
            REMEDY,
        );
        return None;
    }
    if is_wide(&net) {
        cx.report.warn(
            key,
            format!("trusts all of {net}: every one of these can claim any address and host"),
            "Name the proxies themselves, never a whole pod network.",
        );
    }
    Some(TrustedProxy::Net(net))
}

fn network(text: &str) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(|| address(text))
        .map(|net| net.trunc())
}

fn is_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 24 && !net.network().is_loopback(),
        IpNet::V6(net) => net.prefix_len() < 64,
    }
}
