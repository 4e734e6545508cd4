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
    via: HeaderValue,
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
            // An instance is hexadecimal digits, which every value can hold.
            via: HeaderValue::from_str(&format!("1.1 usher-{instance}"))
                .unwrap_or(HeaderValue::from_static("1.1 usher")),
        }
    }

    /// Checks what needs no route, and strips the header fields.
    ///
    /// # Errors
    /// A denial for what no route would serve: a loop, a size, a method, an expectation.
    pub fn receive(&self, peer: &Peer, parts: &mut Parts) -> Result<Arrival, Denial> {
        check_message(parts)?;
        let trusted = self.trusts(peer);
        let survey = self.survey(&parts.headers, trusted);
        self.check_sizes(parts, survey.bytes)?;
        let forwarding = Forwarding::read(peer, trusted, &self.trusted, &parts.headers)?;
        let scheme = forwarding.scheme();
        let mut arrival = Arrival {
            upgrade: None,
            trailers: false,
            forwarding,
            scheme,
        };
        if survey.special {
            check_coding(&parts.headers)?;
            check_expectation(&parts.headers)?;
            self.check_loop(&parts.headers)?;
            arrival.upgrade = wanted_upgrade(parts);
            arrival.trailers = headers::lists(&parts.headers, &header::TE, "trailers");
        }
        self.strip(&mut parts.headers, survey.gone);
        Ok(arrival)
    }

    /// Looks at every field once.
    fn survey(&self, headers: &HeaderMap, trusted: bool) -> Survey {
        let mut survey = Survey::default();
        for (name, value) in headers {
            survey.bytes += name.as_str().len() + value.len() + 4;
            match self.classes.of(name) {
                None => survey.special |= *name == header::VIA,
                Some(Class::Forwarded) if trusted => {}
                Some(class) => {
                    survey.special |= class == Class::Hop;
                    survey.gone.push(name.clone());
                }
            }
        }
        survey
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
    pub fn via(&self) -> &HeaderValue {
        &self.via
    }

    /// The rules about names, for trailers.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    fn check_sizes(&self, parts: &Parts, bytes: usize) -> Result<(), Denial> {
        let target = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        let (reason, detail) = if target > self.target_bytes {
            (
                Reason::TargetTooLong,
                "the target exceeds limits.target_bytes",
            )
        } else if parts.headers.len() > self.header_count {
            (
                Reason::HeadersTooLarge,
                "the header fields exceed limits.header_count",
            )
        } else if bytes + target > self.header_bytes {
            (
                Reason::HeadersTooLarge,
                "the header fields exceed limits.header_bytes",
            )
        } else {
            return Ok(());
        };
        Err(Denial::new(reason, detail))
    }

    /// A request that names this very process in `Via` has been here before.
    fn check_loop(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let own = self.via.to_str().unwrap_or_default();
        if headers::lists(headers, &header::VIA, own) {
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

    /// Removes the fields that may not pass, and those that `Connection` nominates.
    fn strip(&self, headers: &mut HeaderMap, mut gone: Vec<HeaderName>) {
        if gone.contains(&header::CONNECTION) {
            // The first source present decides, also when the client nominates it away.
            let may_go = |name: &HeaderName| !self.token_headers.contains(name);
            gone.extend(headers::nominated(headers).filter(may_go));
        }
        for name in gone {
            headers.remove(name);
        }
    }
}

/// What one look at all fields tells.
#[derive(Debug, Default)]
struct Survey {
    /// What the fields take in a head.
    bytes: usize,
    /// Fields that may not pass.
    gone: Vec<HeaderName>,
    /// Whether there is one that means something to us: `Via`, or a hop-by-hop field.
    special: bool,
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

/// Refuses methods, targets and expectations that are never served.
fn check_message(parts: &Parts) -> Result<(), Denial> {
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
    Ok(())
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Denial> {
    match headers::single(headers, &header::EXPECT) {
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
