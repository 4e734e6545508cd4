//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: what is believed, and what is told to the app.

use std::net::{IpAddr, SocketAddr};

use http::header;

use crate::certificate::Certificate;
use crate::config::TrustedProxy;
use crate::denial::{Denial, Reason};
use crate::fields::{Fields, write_line};
use crate::head::Scheme;
use crate::headers::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// Where proxies tell what is told to the app.
pub(super) static SAID: [http::HeaderName; 4] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    header::FORWARDED,
];

/// The other end of a client's connection, with what never changes while it lives.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// How the peer speaks to us.
    pub scheme: Scheme,
    /// The certificate by which the peer has proved who it is.
    pub certificate: Option<Box<Certificate>>,
    /// The address as `X-Forwarded-For` says it.
    node_name: String,
    /// `for=…;proto=…` as `Forwarded` says it.
    node: String,
    lines: Lines,
}

/// What is said of a peer whose word is not taken, around the host.
#[derive(Clone, Debug)]
struct Lines {
    before: String,
    between: String,
}

impl Peer {
    /// A peer at `address`, or on a Unix socket.
    pub fn new(address: Option<SocketAddr>, scheme: Scheme) -> Self {
        let ip = address.map(|address| address.ip().to_canonical());
        let text = ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        let node = match ip {
            Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\";proto={}", scheme.as_str()),
            _ => format!("for={text};proto={}", scheme.as_str()),
        };
        Self {
            lines: Lines::new(&text, &node, scheme),
            address,
            scheme,
            certificate: None,
            node_name: text,
            node,
        }
    }
}

impl Peer {
    /// The same peer with the certificate that it has shown.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Box<Certificate>>) -> Self {
        Self {
            certificate,
            ..self
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", address.ip().to_canonical()),
            None => f.write_str("unix"),
        }
    }
}

/// Who the client is, as far as earlier proxies are trusted.
#[derive(Debug)]
pub struct Forwarding {
    client: Option<IpAddr>,
    scheme: Scheme,
    /// Whether the peer is a proxy whose word counts.
    trusted: bool,
}

/// What is told to the app about the way that a request has come.
#[derive(Debug)]
pub struct Forwarded {
    /// What trusted proxies said of it.
    earlier: Option<Box<Earlier>>,
}

/// What a trusted proxy said.
#[derive(Debug)]
struct Earlier {
    forwarded_for: Vec<Box<[u8]>>,
    forwarded: Vec<Box<[u8]>>,
    proto: Option<Box<[u8]>>,
    host: Option<Box<[u8]>>,
}

impl Forwarding {
    /// Reads what the peer says about the client, if it is `trusted`.
    ///
    /// # Errors
    /// A trusted proxy that repeats `X-Forwarded-Proto` or `-Host` gets `BadHost`, since one of
    /// the two is not its own.
    pub(super) fn read(
        peer: &Peer,
        trusted: bool,
        proxies: &[TrustedProxy],
        fields: &Fields,
    ) -> Result<Self, Denial> {
        let own = peer.address.map(|address| address.ip().to_canonical());
        if !trusted {
            return Ok(Self {
                client: own,
                scheme: peer.scheme,
                trusted,
            });
        }
        one(fields, &X_FORWARDED_HOST)?;
        Ok(Self {
            client: client(fields, proxies).or(own),
            scheme: match one(fields, &X_FORWARDED_PROTO)? {
                Some(b"https") => Scheme::Https,
                Some(b"http") => Scheme::Http,
                _ => peer.scheme,
            },
            trusted,
        })
    }

    /// The client's address, as the last trusted proxy saw it.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Whether the peer is a trusted proxy.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// How the client speaks to the first trusted proxy.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Takes what trusted proxies said out of the fields of a request, to say it anew.
    pub fn take(&self, fields: &mut Fields) -> Forwarded {
        if !self.trusted {
            return Forwarded { earlier: None };
        }
        let all = |name| fields.get_all(name).map(Box::from).collect();
        let earlier = Earlier {
            forwarded_for: all(&X_FORWARDED_FOR),
            forwarded: all(&header::FORWARDED),
            proto: fields.get(&X_FORWARDED_PROTO).map(Box::from),
            host: fields.get(&X_FORWARDED_HOST).map(Box::from),
        };
        for name in &SAID {
            fields.remove(name);
        }
        let earlier = Some(Box::new(earlier));
        Forwarded { earlier }
    }
}

impl Forwarded {
    /// Tells the app: appends to what trusted proxies said, and sets what nobody said.
    /// `host` is the `Host` that the request has. Addresses and what was read from a head
    /// hold no line ends.
    pub fn write(&self, peer: &Peer, host: &[u8], head: &mut Vec<u8>) {
        match self.earlier.as_deref() {
            None => peer.lines.write(host, head),
            Some(earlier) => earlier.write(peer, host, head),
        }
    }
}

impl Lines {
    fn new(address: &str, node: &str, scheme: Scheme) -> Self {
        let scheme = scheme.as_str();
        Self {
            before: format!(
                "x-forwarded-for: {address}\r\nx-forwarded-proto: {scheme}\r\nx-forwarded-host: "
            ),
            between: format!("\r\nforwarded: {node};host=\""),
        }
    }

    fn write(&self, host: &[u8], head: &mut Vec<u8>) {
        for piece in [self.before.as_bytes(), host, self.between.as_bytes(), host] {
            head.extend_from_slice(piece);
        }
        head.extend_from_slice(b"\"\r\n");
    }
}

impl Earlier {
    /// Passes on what was said, with our own word at its end.
    fn write(&self, peer: &Peer, host: &[u8], head: &mut Vec<u8>) {
        let mut set = |name: &http::HeaderName, value: &[u8]| {
            write_line(head, name.as_str().as_bytes(), &[value]);
        };
        let address = peer.node_name.as_bytes();
        set(&X_FORWARDED_FOR, &joined(&self.forwarded_for, address));
        let scheme = peer.scheme.as_str().as_bytes();
        set(&X_FORWARDED_PROTO, self.proto.as_deref().unwrap_or(scheme));
        set(&X_FORWARDED_HOST, self.host.as_deref().unwrap_or(host));
        // The host is quoted, since a port's colon is no token character (RFC 7239 §4).
        let element = [peer.node.as_bytes(), b";host=\"", host, b"\""].concat();
        set(&header::FORWARDED, &joined(&self.forwarded, &element));
    }
}

/// What earlier proxies said, and our own word.
fn joined(earlier: &[Box<[u8]>], last: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for value in earlier.iter().map(|value| &**value).chain([last]) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(value);
    }
    text
}

fn one<'a>(fields: &'a Fields, name: &http::HeaderName) -> Result<Option<&'a [u8]>, Denial> {
    fields.single(name).map_err(|_| {
        Denial::new(
            Reason::BadHost,
            "a trusted proxy repeats X-Forwarded-Proto or -Host",
        )
    })
}

/// The rightmost address that is not a trusted proxy's; what stands left of it anybody could
/// have written. An entry that is no address ends the search: nothing is known then.
fn client(fields: &Fields, proxies: &[TrustedProxy]) -> Option<IpAddr> {
    let name = X_FORWARDED_FOR;
    let lines = fields.get_all(&name).rev();
    let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut last = None;
    for entry in entries {
        let address = address(entry)?;
        last = Some(address);
        if !is_proxy(proxies, address) {
            break;
        }
    }
    last
}

/// Whether somebody at an address is known as a proxy. Where everybody who connects is believed, it
/// is because nobody else can connect, and not because all addresses are proxies'.
fn is_proxy(proxies: &[TrustedProxy], address: IpAddr) -> bool {
    let named = |proxy: &&TrustedProxy| match proxy {
        TrustedProxy::Net(net) => net.prefix_len() > 0,
        TrustedProxy::Unix => false,
    };
    let mut named = proxies.iter().filter(named);
    named.any(|proxy| super::is_trusted(std::slice::from_ref(proxy), Some(address)))
}

fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let ip = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<TrustedProxy> {
        vec![TrustedProxy::Net("10.0.0.0/8".parse().unwrap())]
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            let name = http::HeaderName::from_static(name);
            fields.append(&name, &http::HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let peer = Peer::from("192.0.2.1:7".parse::<SocketAddr>().unwrap());
        let map = fields(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
        ]);
        let forwarding = Forwarding::read(&peer, false, &proxies(), &map).unwrap();
        assert_eq!(forwarding.client(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(forwarding.scheme(), Scheme::Http);
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        for (said, client) in [
            ("127.0.0.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("198.51.100.7:4711", "198.51.100.7"),
            ("198.51.100.7, fe80::1%eth0", "10.0.0.1"),
            ("garbage", "10.0.0.1"),
            ("10.0.0.9", "10.0.0.9"),
        ] {
            let map = fields(&[("x-forwarded-for", said)]);
            let forwarding = Forwarding::read(&peer, true, &proxies(), &map).unwrap();
            assert_eq!(forwarding.client(), Some(client.parse().unwrap()), "{said}");
        }
    }

    #[test]
    fn who_believes_everybody_takes_the_last_word() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        let mut proxies = vec![TrustedProxy::Net("0.0.0.0/0".parse().unwrap())];
        let map = fields(&[("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.0.0.2")]);
        let client = |proxies: &[TrustedProxy]| {
            let forwarding = Forwarding::read(&peer, true, proxies, &map).unwrap();
            forwarding.client().unwrap().to_string()
        };
        assert_eq!(client(&proxies), "10.0.0.2");
        proxies.push(TrustedProxy::Net("10.0.0.0/8".parse().unwrap()));
        assert_eq!(client(&proxies), "198.51.100.7");
    }

    #[test]
    fn what_a_trusted_proxy_said_is_kept_and_extended() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        let mut map = fields(&[
            ("host", "inner:80"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-host", "outer"),
            ("forwarded", "for=198.51.100.7"),
        ]);
        let forwarding = Forwarding::read(&peer, true, &proxies(), &map).unwrap();
        let forwarded = forwarding.take(&mut map);
        assert_eq!(map.len(), 1, "{map:?}");
        let mut head = Vec::new();
        forwarded.write(&peer, b"inner:80", &mut head);
        let head = String::from_utf8(head).unwrap();
        for line in [
            "x-forwarded-for: 198.51.100.7, 10.0.0.1",
            "x-forwarded-host: outer",
            "x-forwarded-proto: http",
            "forwarded: for=198.51.100.7, for=10.0.0.1;proto=http;host=\"inner:80\"",
        ] {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
    }

    #[test]
    fn repeated_singletons_of_a_trusted_proxy_are_refused() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        let map = fields(&[("x-forwarded-host", "a"), ("x-forwarded-host", "b")]);
        assert!(Forwarding::read(&peer, true, &proxies(), &map).is_err());
    }
}
