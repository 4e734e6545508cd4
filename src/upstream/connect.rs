//! A new connection to the app: the name is looked up anew, and its addresses are tried in turn.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::config::Address;
use crate::stream::Stream;
use crate::tls;

use super::pool::Metrics;

/// How long one address is tried before the next one is tried beside it (RFC 8305 §8).
const HEAD_START: Duration = Duration::from_millis(250);

/// A name with more addresses than these has enough that work.
const MOST_ADDRESSES: usize = 8;

/// Opens a connection; how long that may take is the caller's business.
pub(super) async fn open(
    address: &Address,
    tls: Option<&tls::Client>,
    metrics: &Metrics,
) -> io::Result<Stream> {
    let stream = plain(address).await?;
    let Some(tls) = tls else {
        return Ok(stream);
    };
    let connector = TlsConnector::from(tls.config.current());
    let secured = connector.connect(tls.name.clone(), stream).await;
    let secured = secured.map_err(|error| {
        metrics.no_handshake(tls::cause(&error));
        io::Error::new(error.kind(), format!("TLS: {error}"))
    })?;
    let stream = Stream::from(TlsStream::Client(secured));
    // Nobody may take HTTP/2 for granted within TLS (RFC 9113 §3.2).
    if tls.http2 && stream.protocol() != Some(b"h2") {
        metrics.no_handshake("protocol");
        let what = "the app does not agree to HTTP/2 (ALPN); write `https://` for HTTP/1.1";
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    Ok(stream)
}

async fn plain(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::from),
        Address::Tcp(host, port) => {
            let stream = Stream::from(reach(host, *port).await?);
            stream.set_nodelay()?;
            Ok(stream)
        }
    }
}

/// The error of a connection that was not there in time.
pub(super) fn late() -> io::Error {
    let what = "not within timeouts.connect";
    io::Error::new(io::ErrorKind::TimedOut, what)
}

async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return TcpStream::connect((ip, port)).await;
    }
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    race(alternate(addresses)).await
}

/// The families by turns, in the order of the resolver otherwise (RFC 8305 §4): a family that
/// leads nowhere then holds up no more than one attempt.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let longest = first.len().max(second.len());
    let turn = |place: usize| [first.get(place), second.get(place)];
    (0..longest)
        .flat_map(turn)
        .flatten()
        .take(MOST_ADDRESSES)
        .copied()
        .collect()
}

/// The first connection that stands. The next address is tried as soon as one has failed, or
/// has had its head start.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match left.next() {
            Some(address) => {
                attempts.spawn(attempt(address));
            }
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done.map_err(io::Error::other) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) | Err(error) => failure = error,
            },
            () = tokio::time::sleep(HEAD_START), if left.len() > 0 => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"];
        assert_eq!(alternate(found), addresses(&turns));
        let many: Vec<_> = (1..20)
            .map(|n| SocketAddr::from(([127, 0, 0, n], 1)))
            .collect();
        assert_eq!(alternate(many).len(), MOST_ADDRESSES);
    }

    #[tokio::test]
    async fn a_refused_address_makes_room_for_the_next_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let dead = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let refused = dead.local_addr().unwrap();
        drop(dead);
        let started = std::time::Instant::now();
        let stream = race(vec![refused, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(started.elapsed() < HEAD_START);
    }

    #[tokio::test]
    async fn a_silent_address_has_a_head_start_and_no_more() {
        // A full backlog: the kernel answers no further SYN.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _waiting: Vec<_> = (0..4)
            .map(|_| std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(50)))
            .collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let started = std::time::Instant::now();
        let stream = race(vec![silent, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(started.elapsed() >= HEAD_START);
    }

    #[tokio::test]
    async fn the_last_failure_is_told() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = dead.local_addr().unwrap();
        drop(dead);
        let error = race(vec![refused]).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&refused.to_string()),
            "{error}"
        );
        assert_eq!(
            race(Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
