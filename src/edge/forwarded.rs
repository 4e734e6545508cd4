//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: what is believed, and what is told to the app.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, header};

use crate::config::TrustedProxy;
use crate::denial::{Denial, Reason};
use crate::head::Scheme;
use crate::headers::{self, Fields, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// The other end of a client's connection, with what never changes while it lives.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// How the peer speaks to us.
    pub scheme: Scheme,
    /// The address as `X-Forwarded-For` says it.
    for_value: HeaderValue,
    /// `for=…;proto=…` as `Forwarded` says it.
    node: String,
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
            address,
            scheme,
            for_value: HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unknown")),
            node,
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

/// Who the client is and what earlier proxies said, as far as they are trusted.
#[derive(Debug)]
pub struct Forwarding {
    client: Option<IpAddr>,
    scheme: Scheme,
    earlier: Option<Box<Earlier>>,
}

/// What a trusted proxy said.
#[derive(Debug)]
struct Earlier {
    forwarded_for: Vec<HeaderValue>,
    forwarded: Vec<HeaderValue>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
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
        headers: &HeaderMap,
    ) -> Result<Self, Denial> {
        let own = peer.address.map(|address| address.ip().to_canonical());
        if !trusted {
            return Ok(Self {
                client: own,
                scheme: peer.scheme,
                earlier: None,
            });
        }
        let earlier = Earlier {
            forwarded_for: headers
                .get_all(X_FORWARDED_FOR)
                .into_iter()
                .cloned()
                .collect(),
            forwarded: headers
                .get_all(header::FORWARDED)
                .into_iter()
                .cloned()
                .collect(),
            proto: one(headers, &X_FORWARDED_PROTO)?,
            host: one(headers, &X_FORWARDED_HOST)?,
        };
        Ok(Self {
            client: client(&earlier.forwarded_for, proxies).or(own),
            scheme: match earlier.proto.as_ref().map(HeaderValue::as_bytes) {
                Some(b"https") => Scheme::Https,
                Some(b"http") => Scheme::Http,
                _ => peer.scheme,
            },
            earlier: Some(Box::new(earlier)),
        })
    }

    /// The client's address, as the last trusted proxy saw it.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// How the client speaks to the first trusted proxy.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Tells the app: appends to what trusted proxies said, and sets what nobody said.
    /// `host` is the `Host` that the request has.
    pub fn write(&self, peer: &Peer, host: &HeaderValue, fields: &mut Fields<'_>) {
        let earlier = self.earlier.as_deref();
        match earlier {
            None => fields.set(&X_FORWARDED_FOR, &peer.for_value),
            Some(earlier) => {
                let value = joined(&earlier.forwarded_for, peer.for_value.as_bytes());
                fields.set_pieces(&X_FORWARDED_FOR, &[&value]);
            }
        }
        let said = earlier.and_then(|earlier| earlier.proto.as_ref());
        let own = HeaderValue::from_static(peer.scheme.as_str());
        fields.set(&X_FORWARDED_PROTO, said.unwrap_or(&own));
        let said = earlier.and_then(|earlier| earlier.host.as_ref());
        fields.set(&X_FORWARDED_HOST, said.unwrap_or(host));
        // The host is quoted, since a port's colon is no token character (RFC 7239 §4).
        let element = [peer.node.as_bytes(), b";host=\"", host.as_bytes(), b"\""];
        match earlier.filter(|earlier| !earlier.forwarded.is_empty()) {
            None => fields.set_pieces(&header::FORWARDED, &element),
            Some(earlier) => {
                let value = joined(&earlier.forwarded, &element.concat());
                fields.set_pieces(&header::FORWARDED, &[&value]);
            }
        }
    }

    /// Takes what [`Self::write`] will write out of the fields of a request.
    pub fn make_room(&self, headers: &mut HeaderMap) {
        if self.earlier.is_some() {
            for name in [
                X_FORWARDED_FOR,
                X_FORWARDED_PROTO,
                X_FORWARDED_HOST,
                header::FORWARDED,
            ] {
                headers.remove(name);
            }
        }
    }
}

/// What earlier proxies said, and our own word.
fn joined(earlier: &[HeaderValue], last: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for value in earlier.iter().map(HeaderValue::as_bytes).chain([last]) {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(value);
    }
    text
}

fn one(headers: &HeaderMap, name: &http::HeaderName) -> Result<Option<HeaderValue>, Denial> {
    headers::single(headers, name)
        .map(Option::<&HeaderValue>::cloned)
        .map_err(|_| {
            Denial::new(
                Reason::BadHost,
                "a trusted proxy repeats X-Forwarded-Proto or -Host",
            )
        })
}

/// The rightmost address that is not a trusted proxy's; what stands left of it anybody could
/// have written. An entry that is no address ends the search: nothing is known then.
fn client(lines: &[HeaderValue], proxies: &[TrustedProxy]) -> Option<IpAddr> {
    let entries = lines
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut last = None;
    for entry in entries {
        let address = address(entry)?;
        last = Some(address);
        if !super::is_trusted(proxies, Some(address)) {
            break;
        }
    }
    last
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

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let peer = Peer::from("192.0.2.1:7".parse::<SocketAddr>().unwrap());
        let map = headers(&[
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
            let map = headers(&[("x-forwarded-for", said)]);
            let forwarding = Forwarding::read(&peer, true, &proxies(), &map).unwrap();
            assert_eq!(forwarding.client(), Some(client.parse().unwrap()), "{said}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_said_is_kept_and_extended() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        let mut map = headers(&[
            ("host", "inner:80"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-host", "outer"),
            ("forwarded", "for=198.51.100.7"),
        ]);
        let forwarding = Forwarding::read(&peer, true, &proxies(), &map).unwrap();
        let host = map["host"].clone();
        forwarding.write(&peer, &host, &mut Fields::Map(&mut map));
        assert_eq!(map["x-forwarded-for"], "198.51.100.7, 10.0.0.1");
        assert_eq!(map["x-forwarded-host"], "outer");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(
            map["forwarded"],
            "for=198.51.100.7, for=10.0.0.1;proto=http;host=\"inner:80\""
        );
    }

    #[test]
    fn repeated_singletons_of_a_trusted_proxy_are_refused() {
        let peer = Peer::from("10.0.0.1:7".parse::<SocketAddr>().unwrap());
        let map = headers(&[("x-forwarded-host", "a"), ("x-forwarded-host", "b")]);
        assert!(Forwarding::read(&peer, true, &proxies(), &map).is_err());
    }
}
