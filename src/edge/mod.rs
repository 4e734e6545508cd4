//! The first step of the line: limits, one canonical host and path, and nothing left of
//! what only usher or a trusted proxy may say.

mod forwarded;
mod host;
mod path;

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use crate::config::{IdentityHeader, TokenSource, TrustedProxy};
use crate::denial::{Denial, Reason};
use crate::head::{RequestHead, Scheme};
use crate::headers::{self, Class, Classes};

pub use forwarded::{Forwarding, Peer};
pub use path::canonical as canonical_path;

/// The settings of the edge.
#[derive(Debug)]
pub struct Edge {
    classes: Classes,
    trusted: Vec<TrustedProxy>,
    /// The fields that tokens are read from; `upstream` takes them out once the gate has read them.
    token_headers: Vec<HeaderName>,
    target_bytes: usize,
    header_bytes: usize,
    header_count: usize,
    /// Our name in `Via`, made anew at each start, so that a loop is told from a chain.
    via: String,
}

/// What the edge learnt of a request while it stripped it.
#[derive(Debug)]
pub struct Arrival {
    /// `Upgrade`, when the client asks for another protocol on this connection.
    pub upgrade: Option<HeaderValue>,
    /// Whether the client reads trailers.
    pub trailers: bool,
    /// The client and what is said about it to the app.
    pub forwarding: Forwarding,
    /// How the client speaks to us, or to the trusted proxy before us.
    pub scheme: Scheme,
}

impl Edge {
    /// An edge for these settings; `instance` names this process in `Via`.
    pub fn new(
        identity: &[IdentityHeader],
        exceptions: &[HeaderName],
        trusted: Vec<TrustedProxy>,
        tokens: &[TokenSource],
        limits: &crate::config::Limits,
        instance: &str,
    ) -> Self {
        let token_header = |source: &TokenSource| match source {
            TokenSource::Header(name) => Some(name.clone()),
            _ => None,
        };
        Self {
            classes: Classes::new(identity, exceptions),
            trusted,
            token_headers: tokens.iter().filter_map(token_header).collect(),
            target_bytes: limits.target_bytes,
            header_bytes: limits.header_bytes,
            header_count: limits.header_count,
            via: format!("1.1 usher-{instance}"),
        }
    }

    /// Checks what needs no route, and strips the header fields.
    ///
    /// # Errors
    /// A denial for what no route would serve: a loop, a size, a method, an expectation.
    pub fn receive(&self, peer: &Peer, parts: &mut Parts) -> Result<Arrival, Denial> {
        check_message(parts)?;
        check_coding(&parts.headers)?;
        self.check_sizes(parts)?;
        self.check_loop(&parts.headers)?;
        let trusted = self.trusts(peer);
        let upgrade = wanted_upgrade(parts);
        let trailers = headers::lists(&parts.headers, &header::TE, "trailers");
        let forwarding = Forwarding::read(peer, trusted, &self.trusted, &parts.headers)?;
        let scheme = forwarding.scheme();
        self.strip(&mut parts.headers, trusted);
        Ok(Arrival {
            upgrade,
            trailers,
            forwarding,
            scheme,
        })
    }

    /// One canonical reading of what arrived.
    ///
    /// # Errors
    /// `BadHost`, `BadTarget` or `BadPath` where there is none.
    pub fn read<'a>(&self, arrival: &Arrival, parts: &'a Parts) -> Result<RequestHead<'a>, Denial> {
        let host = host::canonical(parts)?;
        let path = path::canonical(parts.uri.path())?;
        Ok(RequestHead {
            method: &parts.method,
            scheme: arrival.scheme,
            host,
            authority: parts
                .headers
                .get(header::HOST)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
            path: path.text,
            opaque: path.opaque,
            query: parts.uri.query(),
            headers: &parts.headers,
            upgrade: arrival.upgrade.is_some(),
            client: arrival.forwarding.client(),
        })
    }

    /// Our own entry for `Via`.
    pub fn via(&self) -> &str {
        &self.via
    }

    /// The rules about names, for trailers.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    fn check_sizes(&self, parts: &Parts) -> Result<(), Denial> {
        let target = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target > self.target_bytes {
            return Err(Denial::new(
                Reason::TargetTooLong,
                "the target exceeds limits.target_bytes",
            ));
        }
        if parts.headers.len() > self.header_count {
            return Err(Denial::new(
                Reason::HeadersTooLarge,
                "the header fields exceed limits.header_count",
            ));
        }
        let bytes: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if bytes + target > self.header_bytes {
            return Err(Denial::new(
                Reason::HeadersTooLarge,
                "the header fields exceed limits.header_bytes",
            ));
        }
        Ok(())
    }

    /// A request that names this very process in `Via` has been here before.
    fn check_loop(&self, headers: &HeaderMap) -> Result<(), Denial> {
        if headers.contains_key(header::VIA) && headers::lists(headers, &header::VIA, &self.via) {
            return Err(Denial::new(
                Reason::LoopDetected,
                "the upstream leads back to this usher",
            ));
        }
        Ok(())
    }

    fn trusts(&self, peer: &Peer) -> bool {
        is_trusted(&self.trusted, peer.address.map(|address| address.ip()))
    }

    /// Removes identity headers, hop-by-hop fields and what `Connection` nominates, and
    /// unless the peer is trusted, what a proxy would say.
    fn strip(&self, headers: &mut HeaderMap, trusted: bool) {
        let mut gone: Vec<HeaderName> = Vec::new();
        if headers.contains_key(header::CONNECTION) {
            // The first source present decides, also when the client nominates it away.
            gone.extend(
                headers::nominated(headers).filter(|name| !self.token_headers.contains(name)),
            );
        }
        for name in headers.keys() {
            match self.classes.of(name) {
                None => {}
                Some(Class::Forwarded) if trusted => {}
                Some(_) => gone.push(name.clone()),
            }
        }
        for name in gone {
            headers.remove(name);
        }
    }
}

/// Whether an address, or a Unix socket where there is none, belongs to a trusted proxy.
fn is_trusted(trusted: &[TrustedProxy], address: Option<IpAddr>) -> bool {
    let address = address.map(|ip| ip.to_canonical());
    trusted.iter().any(|proxy| match (proxy, address) {
        (TrustedProxy::Net(net), Some(ip)) => net.contains(&ip),
        (TrustedProxy::Unix, None) => true,
        _ => false,
    })
}

/// Refuses methods, targets, versions and expectations that are never served.
fn check_message(parts: &Parts) -> Result<(), Denial> {
    if parts.version > Version::HTTP_11 || parts.version < Version::HTTP_10 {
        return Err(Denial::new(
            Reason::VersionRefused,
            "neither HTTP/1.0 nor HTTP/1.1",
        ));
    }
    // CONNECT would make a tunnel of us (RFC 9110 §9.3.6), TRACE would echo what we strip (§9.3.8).
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Denial::new(
            Reason::MethodRefused,
            "CONNECT and TRACE are never served",
        ));
    }
    let uri = &parts.uri;
    let absolute = uri.scheme().is_some();
    if absolute && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Denial::new(
            Reason::BadTarget,
            "the target's scheme is not http",
        ));
    }
    if !absolute && uri.authority().is_some() || !uri.path().starts_with('/') {
        return Err(Denial::new(
            Reason::BadTarget,
            "the target is neither a path nor a URL",
        ));
    }
    match headers::single(&parts.headers, &header::EXPECT) {
        Ok(None) => Ok(()),
        Ok(Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Denial::new(
            Reason::ExpectationFailed,
            "Expect is not 100-continue",
        )),
    }
}

/// Refuses transfer codings besides `chunked`: hyper undoes the last one alone, and the app
/// would not be told of the others (RFC 9112 §6.1). Lengths need no look: hyper refuses those
/// that differ and makes one of those that agree.
fn check_coding(headers: &HeaderMap) -> Result<(), Denial> {
    match headers::single(headers, &header::TRANSFER_ENCODING) {
        Ok(None) => Ok(()),
        Ok(Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Denial::new(
            Reason::BadFraming,
            "Transfer-Encoding is not `chunked`",
        )),
    }
}

/// The protocol that the client wants to switch to. `h2c` is ignored, as RFC 9113 §3.1 asks:
/// forwarded, it would open a second, unchecked channel to the app.
fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    let value = headers::single(&parts.headers, &header::UPGRADE).ok()??;
    let nominated = headers::lists(&parts.headers, &header::CONNECTION, "upgrade");
    let h2c = headers::lists(&parts.headers, &header::UPGRADE, "h2c");
    let bodyless = !parts.headers.contains_key(header::TRANSFER_ENCODING)
        && parts
            .headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0");
    (nominated
        && !h2c
        && bodyless
        && parts.method == Method::GET
        && parts.version == Version::HTTP_11)
        .then(|| value.clone())
}

/// A peer on a TCP connection, for tests and for front doors that know an address only.
impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::new(Some(address), Scheme::Http)
    }
}
