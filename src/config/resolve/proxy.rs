//! Peers whose forwarded headers count, and who may ask.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, flag};
use crate::config::TrustedProxy;
use crate::config::file::{self, List, TextOr};

const REMEDY: &str = "Write an address, a network such as `10.1.2.0/28`, or `unix`.";

/// Resolves the peers.
pub(super) fn trusted(
    file: &List<TextOr<file::TrustedProxy>>,
    cx: &mut Context<'_>,
) -> Vec<TrustedProxy> {
    let mut proxies = Vec::new();
    for (key, proxy) in file.keyed("trusted_proxies") {
        let (text, everybody) = match proxy {
            TextOr::Text(text) => (text, false),
            TextOr::Full(full) => match &full.network {
                Some(network) => (network, flag(full.everybody, false)),
                None => {
                    cx.report.missing(&format!("{key}.network"), REMEDY);
                    continue;
                }
            },
        };
        proxies.extend(one(&key, text, everybody, cx));
    }
    check_together("trusted_proxies", &proxies, cx);
    proxies
}

/// Resolves peers, each with its key.
pub(super) fn all(entries: Vec<(String, &String)>, cx: &mut Context<'_>) -> Vec<TrustedProxy> {
    let listed = entries.first().map(|(key, _)| list_of(key).to_owned());
    let entries = entries.into_iter();
    let resolved = entries.filter_map(|(key, text)| one(&key, text, false, cx));
    let proxies: Vec<_> = resolved.collect();
    check_together(&listed.unwrap_or_default(), &proxies, cx);
    proxies
}

/// The list that an element belongs to.
fn list_of(key: &str) -> &str {
    key.rsplit_once('[').map_or(key, |(list, _)| list)
}

fn one(key: &str, text: &str, everybody: bool, cx: &mut Context<'_>) -> Option<TrustedProxy> {
    if text == "unix" {
        return Some(TrustedProxy::Unix);
    }
    let Some(net) = network(text) else {
        cx.error(key, format!("is not a network: {text:?}"), REMEDY);
        return None;
    };
    check_width(key, &net, everybody, cx).then_some(TrustedProxy::Net(net))
}

/// Whether a network is one that somebody may mean.
fn check_width(key: &str, net: &IpNet, everybody: bool, cx: &mut Context<'_>) -> bool {
    match (net.prefix_len() == 0, everybody) {
        (true, false) => {
            cx.error(
                key,
                "trusts everybody, so every caller could claim any address",
                format!("{REMEDY} Or `{{ network: {net}, everybody: true }}`, where nobody but the proxy can connect."),
            );
            return false;
        }
        (true, true) => cx.report.warn(
            key,
            "trusts everybody: whoever can connect can claim any address, host and path",
            "Let nobody but the proxy connect: a NetworkPolicy, a firewall, a loopback address.",
        ),
        (false, true) => cx.error(
            &format!("{key}.everybody"),
            format!("is said of {net}, which is not everybody"),
            "Remove it.",
        ),
        (false, false) if holds_strangers(net) => {
            cx.error(
                key,
                format!("trusts all of {net}, which nobody has to himself, so strangers could claim any address"),
                format!("{REMEDY} Who means everybody writes `{{ network: 0.0.0.0/0, everybody: true }}`."),
            );
            return false;
        }
        (false, false) if is_wide(net) => cx.report.warn(
            key,
            format!("trusts all of {net}: every one of these can claim any address and host"),
            "Name the proxies themselves, never a whole pod network.",
        ),
        (false, false) => {}
    }
    true
}

/// Networks that are no one's apart may be everybody's together.
fn check_together(key: &str, proxies: &[TrustedProxy], cx: &mut Context<'_>) {
    let nets = proxies.iter().filter_map(|proxy| match proxy {
        TrustedProxy::Net(net) => Some(*net),
        TrustedProxy::Unix => None,
    });
    let nets: Vec<_> = nets.collect();
    let together = IpNet::aggregate(&nets);
    // Alone, each was looked at before; one for everybody is there because somebody says so.
    let new = |net: &&IpNet| !nets.contains(net) && holds_strangers(net);
    if let Some(net) = together.iter().find(new) {
        cx.error(
            key,
            format!("trusts all of {net} taken together, so strangers could claim any address"),
            REMEDY,
        );
    }
}

/// An address, or a network.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(|| address(text))
        .map(|net| net.trunc())
}

/// Whether a network is larger than any that one house may have: 10.0.0.0/8, or fc00::/7 of IPv6,
/// where the largest that is given to a provider is a /16.
fn holds_strangers(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 16 && net.network().segments()[0] & 0xfe00 != 0xfc00,
    }
}

fn is_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 24 && !net.network().is_loopback(),
        IpNet::V6(net) => net.prefix_len() < 64,
    }
}
