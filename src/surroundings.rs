//! Addresses that mean something else on every machine: they lead to its surroundings, such as a
//! cloud's metadata service, which hands out credentials to whoever on the machine asks.
//!
//! No identity provider lives there, but a name or a document that somebody else controls can
//! lead there (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services for instances outside the link-local networks: Alibaba Cloud, Oracle Cloud, Azure's
/// wire server.
const SERVICES_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same over IPv6: `fd00:ec2::/32` of Amazon, and Google's.
const AMAZON_V6: [u16; 2] = [0xfd00, 0xec2];
const GOOGLE_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Whether an address leads to the machine's surroundings: link-local, unspecified, multicast,
/// broadcast, or a metadata service; also as an IPv4 address in IPv6 clothes.
pub fn holds(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => holds_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| holds_v6(address), holds_v4),
    }
}

/// Whether a name is one of a metadata service.
pub fn names(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    ["metadata.google.internal", "metadata.goog", "instance-data"]
        .iter()
        .any(|known| host.eq_ignore_ascii_case(known))
}

fn holds_v4(address: Ipv4Addr) -> bool {
    address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        // The whole of 0.0.0.0/8 is "this network" (RFC 1122 §3.2.1.3).
        || address.octets()[0] == 0
        || SERVICES_V4.contains(&address)
}

fn holds_v6(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.segments()[..2] == AMAZON_V6
        || address == GOOGLE_V6
}

/// The IPv4 address that an IPv6 address carries: mapped (RFC 4291 §2.5.5), translated (RFC 6052
/// §2.1), or 6to4 (RFC 3056 §2). `::1` is nobody's.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, _] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_surroundings_however_they_are_spelt() {
        let all = [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ];
        for text in all {
            assert!(holds(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn everybody_else_is_not() {
        let all = [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "100.100.100.201",
            "8.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "64:ff9b::808:808",
        ];
        for text in all {
            assert!(!holds(text.parse().unwrap()), "{text}");
        }
        assert!(names("Metadata.Google.Internal.") && !names("idp.example.com"));
    }
}
