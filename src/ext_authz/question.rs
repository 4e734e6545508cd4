//! What Envoy says of a request, as a head and a peer.

use std::net::{IpAddr, SocketAddr};

use envoy_types::ext_authz::v3::pb::{Address, CheckRequest};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use http::{HeaderName, HeaderValue, Method, Version, header};

use crate::denial::{Denial, Reason};
use crate::edge::{self, Peer};
use crate::fields::Fields;
use crate::head::{Head, Scheme};

/// The request that Envoy asks about, as if it had come here itself.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) head: Head,
    /// The other end of Envoy's connection with its client.
    pub(super) peer: Peer,
}

impl Question {
    /// Reads a question; what it says of itself beside the request does not count.
    pub(super) fn read(asked: CheckRequest) -> Result<Self, Denial> {
        let attributes = asked.attributes.ok_or(refused("no attributes"))?;
        let address = address(attributes.source.as_ref())?;
        let request = attributes.request.and_then(|request| request.http);
        let request = request.ok_or(refused("no HTTP request in the attributes"))?;
        let scheme = match request.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refused("the scheme is neither http nor https")),
        };
        let head = Head {
            method: Method::from_bytes(request.method.as_bytes())
                .map_err(|_| refused("the method is none"))?,
            // The query is in the path (Envoy leaves `query` empty), and so would a fragment be.
            target: edge::described_target(request.path.as_bytes())?,
            version: Version::HTTP_11,
            fields: fields(request)?,
        };
        let peer = Peer::new(address, scheme);
        Ok(Self { head, peer })
    }
}

/// `None` for a client on a Unix socket, and for nobody else: such clients may be trusted.
fn address(source: Option<&attribute_context::Peer>) -> Result<Option<SocketAddr>, Denial> {
    let unclear = || refused("the client's address cannot be read");
    let address = source.and_then(|source| source.address.as_ref()?.address.as_ref());
    let socket = match address {
        Some(Address::SocketAddress(socket)) => socket,
        Some(Address::Pipe(_)) => return Ok(None),
        _ => return Err(unclear()),
    };
    let ip: IpAddr = socket.address.parse().map_err(|_| unclear())?;
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).map_err(|_| unclear())?,
        _ => 0,
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

/// The header fields: line by line where Envoy sends them so (`encode_raw_headers`), else each
/// name once. Pseudo-headers are said elsewhere.
fn fields(request: HttpRequest) -> Result<Fields, Denial> {
    let mut fields = Fields::default();
    append(&mut fields, header::HOST.as_str(), request.host.as_bytes())?;
    if let Some(lines) = request.header_map {
        for line in lines.headers {
            let value = match line.raw_value.is_empty() {
                true => line.value.into_bytes(),
                false => line.raw_value,
            };
            append(&mut fields, &line.key, &value)?;
        }
    }
    for (name, value) in request.headers {
        append(&mut fields, &name, value.as_bytes())?;
    }
    Ok(fields)
}

fn append(fields: &mut Fields, name: &str, value: &[u8]) -> Result<(), Denial> {
    if name.starts_with(':') {
        return Ok(());
    }
    let name = HeaderName::from_bytes(name.as_bytes());
    let name = name.map_err(|_| refused("a header's name is none"))?;
    let value = HeaderValue::from_bytes(value);
    let value = value.map_err(|_| refused("a header's value is none"))?;
    fields.append(&name, &value);
    Ok(())
}

const fn refused(detail: &'static str) -> Denial {
    Denial::new(Reason::DescriptionRefused, detail)
}
