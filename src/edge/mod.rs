//! The first step of the line: limits, one canonical host and path, and nothing left of
//! what only usher or a trusted proxy may say.

mod dialect;
mod forwarded;
mod host;
mod path;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, Version, header};

use crate::config::{IdentityHeader, TokenSource, TrustedProxy};
use crate::denial::{Denial, Reason};
use crate::fields::Fields;
use crate::head::{Head, RequestHead, Scheme};
use crate::headers::{self, Class, Classes, Known};

pub use dialect::{describe, described_target, misplaced};
pub use forwarded::{Forwarded, Forwarding, Peer};
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
    pub upgrade: Option<Box<[u8]>>,
    /// Whether the client reads trailers.
    pub trailers: bool,
    /// The client and what is said about it to the app.
    pub forwarding: Forwarding,
    /// How the client speaks to us, or to the trusted proxy before us.
    pub scheme: Scheme,
    /// Whether a field that was taken away had another spelling of its name.
    disguised: bool,
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
    pub fn receive(&self, peer: &Peer, head: &mut Head) -> Result<Arrival, Denial> {
        let trusted = self.trusts(peer);
        self.arrive(peer, trusted, head, trusted)
    }

    /// `keep`: whether what the peer says of earlier hops stays.
    fn arrive(
        &self,
        peer: &Peer,
        trusted: bool,
        head: &mut Head,
        keep: bool,
    ) -> Result<Arrival, Denial> {
        check_message(head)?;
        let survey = self.survey(&head.fields, keep);
        self.check_sizes(head, survey.bytes)?;
        let forwarding = Forwarding::read(peer, trusted, &self.trusted, &head.fields)?;
        let scheme = forwarding.scheme();
        let mut arrival = Arrival {
            upgrade: None,
            trailers: false,
            forwarding,
            scheme,
            disguised: survey.disguised,
        };
        if survey.special {
            check_expectation(&head.fields)?;
            self.check_loop(&head.fields)?;
            arrival.upgrade = wanted_upgrade(head);
            arrival.trailers = head.fields.lists(&header::TE, "trailers");
        }
        if survey.gone {
            self.strip(&mut head.fields, keep);
        }
        Ok(arrival)
    }

    /// The same for a request that another proxy describes. That proxy tells the app of earlier hops:
    /// what its peer says of them is read, if that is a trusted proxy too, and does not stay.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_described(&self, peer: &Peer, head: &mut Head) -> Result<Arrival, Denial> {
        let mut arrival = self.arrive(peer, self.trusts(peer), head, false)?;
        arrival.upgrade = arrival.upgrade.or_else(|| websocket(head));
        Ok(arrival)
    }

    /// The same for a request that was described in the fields of a question, which [`Self::receive`]
    /// has looked at: what is new is the method, the target and, where the proxy tells, the scheme.
    ///
    /// What that has taken away is in the request all the same, and proxies take away or overwrite
    /// names as they are usually spelt.
    ///
    /// # Errors
    /// As [`Self::receive`]; `HeaderRefused` for a name in disguise.
    pub fn receive_asked(
        &self,
        question: Arrival,
        head: &Head,
        scheme: Option<Scheme>,
    ) -> Result<Arrival, Denial> {
        check_message(head)?;
        self.check_target(head)?;
        if question.disguised {
            return Err(Denial::new(
                Reason::HeaderRefused,
                "an odd spelling of a header that clients may not send, such as `X_User_Id` or `X--User-Id`, \
                 which the proxy would pass on",
            ));
        }
        Ok(Arrival {
            upgrade: websocket(head),
            scheme: scheme.unwrap_or(question.scheme),
            ..question
        })
    }

    /// Looks at every field once.
    fn survey(&self, fields: &Fields, trusted: bool) -> Survey {
        let mut survey = Survey::default();
        for (name, value) in fields.iter() {
            survey.bytes += name.len() + value.len() + 4;
            match self.classes.find(name) {
                None => {}
                Some(known) if may_say(known, trusted) => {}
                Some(known) => {
                    survey.special |= known.class == Class::Hop;
                    survey.gone = true;
                    survey.disguised |= !known.plain;
                }
            }
        }
        survey.special |= fields.contains(&header::VIA);
        survey
    }

    /// One canonical reading of what arrived.
    ///
    /// # Errors
    /// `BadHost`, `BadTarget` or `BadPath` where there is none.
    pub fn read<'a>(
        &self,
        peer: &'a Peer,
        arrival: &Arrival,
        head: &'a Head,
    ) -> Result<RequestHead<'a>, Denial> {
        let host = host::canonical(head)?;
        let path = path::canonical(head.target.path())?;
        Ok(RequestHead {
            method: &head.method,
            scheme: arrival.scheme,
            host: host.name,
            authority: host.authority,
            path: path.text,
            opaque: path.opaque,
            query: head.target.query(),
            fields: &head.fields,
            upgrade: arrival.upgrade.is_some(),
            client: arrival.forwarding.client(),
            certificate: peer.certificate.as_ref().map(|shown| &shown.thumbprint),
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

    fn check_sizes(&self, head: &Head, bytes: usize) -> Result<(), Denial> {
        let target = self.check_target(head)?;
        let detail = if head.fields.len() > self.header_count {
            "the header fields exceed limits.header_count"
        } else if bytes + target > self.header_bytes {
            "the header fields exceed limits.header_bytes"
        } else {
            return Ok(());
        };
        Err(Denial::new(Reason::HeadersTooLarge, detail))
    }

    /// Refuses a long target; tells its length otherwise.
    fn check_target(&self, head: &Head) -> Result<usize, Denial> {
        let length = head.target.path_and_query().len();
        if length > self.target_bytes {
            let detail = "the target exceeds limits.target_bytes";
            return Err(Denial::new(Reason::TargetTooLong, detail));
        }
        Ok(length)
    }

    /// A request that names this very process in `Via` has been here before.
    fn check_loop(&self, fields: &Fields) -> Result<(), Denial> {
        let own = self.via.to_str().unwrap_or_default();
        if fields.lists(&header::VIA, own) {
            return Err(Denial::new(
                Reason::LoopDetected,
                "the upstream leads back to this usher",
            ));
        }
        Ok(())
    }

    /// Whether a peer is one of `trusted_proxies`.
    pub fn trusts(&self, peer: &Peer) -> bool {
        is_trusted(&self.trusted, peer.address.map(|address| address.ip()))
    }

    /// Removes the fields that may not pass, and those that `Connection` nominates.
    fn strip(&self, fields: &mut Fields, trusted: bool) {
        // The first source present decides, also when the client nominates it away; and a proxy's
        // word counts, whatever its client nominates.
        let said = |name: &HeaderName| trusted && forwarded::SAID.contains(name);
        let may_go = |name: &HeaderName| !self.token_headers.contains(name) && !said(name);
        let mut nominated = headers::nominated(fields);
        nominated.retain(may_go);
        fields.retain(|name, _| {
            let known = self.classes.find(name);
            known.is_none_or(|known| may_say(known, trusted))
        });
        for name in nominated {
            fields.remove(&name);
        }
    }
}

/// What one look at all fields tells.
#[derive(Debug, Default)]
struct Survey {
    /// What the fields take in a head.
    bytes: usize,
    /// Whether there is one that may not pass.
    gone: bool,
    /// Whether there is one that means something to us: `Via`, or a hop-by-hop field.
    special: bool,
    /// Whether one that may not pass is spelt in another way than those who set it spell it.
    disguised: bool,
}

/// Whether a field counts as what a trusted proxy says.
fn may_say(known: Known, trusted: bool) -> bool {
    trusted && known.plain && known.class == Class::Forwarded
}

/// Whether an address, or a Unix socket where there is none, belongs to a trusted proxy.
pub fn is_trusted(trusted: &[TrustedProxy], address: Option<IpAddr>) -> bool {
    if trusted.is_empty() {
        return false;
    }
    let address = address.map(|ip| ip.to_canonical());
    trusted.iter().any(|proxy| match (proxy, address) {
        (TrustedProxy::Net(net), Some(ip)) => net.contains(&ip),
        (TrustedProxy::Unix, None) => true,
        _ => false,
    })
}

/// Refuses methods, targets and expectations that are never served.
fn check_message(head: &Head) -> Result<(), Denial> {
    // CONNECT would make a tunnel of us (RFC 9110 §9.3.6), TRACE would echo what we strip (§9.3.8).
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Denial::new(
            Reason::MethodRefused,
            "CONNECT and TRACE are never served",
        ));
    }
    let target = &head.target;
    if !matches!(target.scheme(), None | Some("http" | "https")) {
        return Err(Denial::new(
            Reason::BadTarget,
            "the target's scheme is not http",
        ));
    }
    let lone = target.scheme().is_none() && target.authority().is_some();
    if lone || !target.path().starts_with('/') {
        return Err(Denial::new(
            Reason::BadTarget,
            "the target is neither a path nor a URL",
        ));
    }
    Ok(())
}

fn check_expectation(fields: &Fields) -> Result<(), Denial> {
    match fields.single(&header::EXPECT) {
        Ok(None) => Ok(()),
        Ok(Some(value)) if value.eq_ignore_ascii_case(b"100-continue") => Ok(()),
        _ => Err(Denial::new(
            Reason::ExpectationFailed,
            "Expect is not 100-continue",
        )),
    }
}

/// Proxies keep `Upgrade` to themselves; what a WebSocket has besides passes (RFC 6455 §4.1). One
/// that came over HTTP/2 has no key (RFC 8441 §5).
fn websocket(head: &Head) -> Option<Box<[u8]>> {
    is_websocket(&head.fields).then(|| (*b"websocket").into())
}

/// Whether a request that a proxy describes opens a WebSocket.
pub fn is_websocket(fields: &Fields) -> bool {
    fields.contains(&header::SEC_WEBSOCKET_KEY) || fields.contains(&header::SEC_WEBSOCKET_VERSION)
}

/// The protocol that the client wants to switch to. `h2c` is ignored, as RFC 9113 §3.1 asks:
/// forwarded, it would open a second, unchecked channel to the app.
fn wanted_upgrade(head: &Head) -> Option<Box<[u8]>> {
    let fields = &head.fields;
    let value = fields.single(&header::UPGRADE).ok()??;
    let nominated = fields.lists(&header::CONNECTION, "upgrade");
    let h2c = fields.lists(&header::UPGRADE, "h2c");
    let bodyless = !fields.contains(&header::TRANSFER_ENCODING)
        && fields
            .get(&header::CONTENT_LENGTH)
            .is_none_or(|length| length == b"0");
    (nominated
        && !h2c
        && bodyless
        && head.method == Method::GET
        && head.version == Version::HTTP_11)
        .then(|| value.into())
}

/// A peer on a TCP connection, for tests and for front doors that know an address only.
impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::new(Some(address), Scheme::Http)
    }
}
