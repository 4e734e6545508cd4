//! The PROXY header, versions 1 and 2: what a proxy says of the connection before its first byte
//! (haproxy.org/download/3.0/doc/proxy-protocol.txt).
//!
//! Read to its last byte and no further, so that whatever speaks next finds its first byte. The
//! `ppp` crate is not used: it takes a version 1 header that arrives in pieces for a wrong one
//! when the cut lies before a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header: `PROXY UNKNOWN` and its line end. One of version 2 is longer.
const SHORTEST: usize = 15;
/// Version 1 never needs more (section 2.1).
const LONGEST_LINE: usize = 107;
/// Version 2 with its extensions; a client's certificate may be among them, and more than this
/// nobody sends.
const LONGEST_BLOCK: usize = 4096;

/// Why there is no address.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is no header, or one that can be read in two ways.
    Malformed(&'static str),
    /// It speaks of something that has no address: a Unix socket, datagrams.
    Unsupported(&'static str),
    /// The connection ended in it.
    Ended(io::Error),
}

impl Unusable {
    /// The name of the cause in metrics.
    pub(super) const fn cause(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unsupported(_) => "unsupported",
            Self::Ended(_) => "ended",
        }
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(what) | Self::Unsupported(what) => f.write_str(what),
            Self::Ended(error) => write!(f, "the connection ended in it: {error}"),
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Ended(error)
    }
}

/// Reads a header: the client's address, or `None` when the proxy speaks for itself (`LOCAL`,
/// `UNKNOWN`). There is no limit on time here; the watchman has one.
pub(super) async fn read<S>(stream: &mut S) -> Result<Option<SocketAddr>, Unusable>
where
    S: AsyncRead + Unpin,
{
    let mut start = [0; SHORTEST];
    stream.read_exact(&mut start).await?;
    if start.starts_with(SIGNATURE) {
        return block(stream, [start[12], start[13], start[14]]).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Unusable::Malformed("it does not begin as one"));
    }
    let mut text = start.to_vec();
    // Byte by byte, since only its end tells where it ends.
    while !text.ends_with(b"\r\n") {
        if text.len() == LONGEST_LINE {
            return Err(Unusable::Malformed("the line has no end"));
        }
        text.push(stream.read_u8().await?);
    }
    line(&text[..text.len() - 2])
}

/// A header of version 1, without its line end.
fn line(text: &[u8]) -> Result<Option<SocketAddr>, Unusable> {
    const WRONG: Unusable = Unusable::Malformed("the line is none of version 1");
    let text = str::from_utf8(text).map_err(|_| WRONG)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next().ok_or(WRONG)?;
    if family == "UNKNOWN" {
        // What follows it is to be ignored.
        return Ok(None);
    }
    let rest: Vec<_> = words.collect();
    let [source, destination, from, to] = rest[..] else {
        return Err(WRONG);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let (client, from) = (address(source).ok_or(WRONG)?, port(from).ok_or(WRONG)?);
    address(destination).zip(port(to)).ok_or(WRONG)?;
    Ok(Some(SocketAddr::new(client, from)))
}

/// A port in decimal, without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

/// What follows the signature of version 2; three bytes of it are read already.
async fn block<S>(stream: &mut S, start: [u8; 3]) -> Result<Option<SocketAddr>, Unusable>
where
    S: AsyncRead + Unpin,
{
    let [command, family, high] = start;
    let length = usize::from(u16::from_be_bytes([high, stream.read_u8().await?]));
    if length > LONGEST_BLOCK {
        return Err(Unusable::Malformed("it is longer than any needs to be"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    match command {
        // LOCAL: whatever it says is to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(Unusable::Malformed("its version or command is unknown")),
    }
    const SHORT: Unusable = Unusable::Malformed("it is shorter than its addresses");
    let port = |place: usize| -> Option<u16> {
        let bytes = body.get(place..place + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let (client, port) = match family {
        0x11 => {
            let bytes: [u8; 4] = *body.first_chunk().ok_or(SHORT)?;
            (IpAddr::from(bytes), body.get(..12).and_then(|_| port(8)))
        }
        0x21 => {
            let bytes: [u8; 16] = *body.first_chunk().ok_or(SHORT)?;
            (IpAddr::from(bytes), body.get(..36).and_then(|_| port(32)))
        }
        // UNSPEC: the proxy does not know, and the connection's own address is to be used.
        0x00 => return Ok(None),
        0x31 => return Err(Unusable::Unsupported("it tells of a Unix socket")),
        _ => return Err(Unusable::Unsupported("it tells of no TCP connection")),
    };
    Ok(Some(SocketAddr::new(client, port.ok_or(SHORT)?)))
}

/// For `fuzz/`: the address in these bytes, and how many of them tell it.
#[cfg(feature = "fuzzing")]
pub async fn fuzz(bytes: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    let mut rest = bytes;
    let address = read(&mut rest).await.ok()?;
    Some((address, bytes.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header that comes in pieces of one byte, and tells what is left after it.
    fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, Unusable>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1);
            let bytes = bytes.to_vec();
            let writer = tokio::spawn(async move {
                let mut far = far;
                // The reader may stop at any byte.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await;
            });
            let read = read(&mut near).await;
            let mut rest = Vec::new();
            near.read_to_end(&mut rest).await.unwrap();
            writer.await.unwrap();
            (read, rest)
        })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, body].concat()
    }

    #[test]
    fn headers_are_read_to_their_last_byte_and_no_further() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 80];
        let v6 = [&[0x20, 1][..], &[0; 29], &[1], &[0, 7, 0, 80]].concat();
        let tlv = [&v4[..], &[4, 0, 1, 0]].concat();
        for (header, wanted) in [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 80\r\n".to_vec(),
                Some("192.0.2.1:4660"),
            ),
            (
                b"PROXY TCP6 2001:: ::1 7 80\r\n".to_vec(),
                Some("[2001::]:7"),
            ),
            (b"PROXY TCP6 :: :: 0 0\r\n".to_vec(), Some("[::]:0")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff a 65536 x\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("192.0.2.1:4660")),
            (v2(0x21, 0x21, &v6), Some("[2001::]:7")),
            (v2(0x21, 0x11, &tlv), Some("192.0.2.1:4660")),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x20, 0x00, &[]), None),
        ] {
            let (read, rest) = read_all(&[&header[..], b"GET /"].concat());
            let wanted: Option<SocketAddr> = wanted.map(|text| text.parse().unwrap());
            assert_eq!(read.unwrap(), wanted, "{}", header.escape_ascii());
            assert_eq!(rest, b"GET /", "{}", header.escape_ascii());
        }
    }

    #[test]
    fn the_longest_line_is_read_and_none_beyond() {
        let address = "ffff:".repeat(7) + "ffff";
        let line = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert_eq!(line.len(), LONGEST_LINE);
        assert!(read_all(line.as_bytes()).0.is_ok());
        let line = line.replace("UNKNOWN", "UNKNOWN ");
        assert!(read_all(line.as_bytes()).0.is_err());
    }

    #[test]
    fn anything_else_is_refused() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0, 7, 0, 80];
        let long = vec![0; LONGEST_BLOCK + 1];
        for header in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n\r\n\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n".to_vec(),
            b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::2 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.1.1.1 2.2.2.\xff 1 2\r\n".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x41, &v4),
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x21, &v4),
            v2(0x21, 0x11, &long),
            // Cut off.
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r".to_vec(),
            b"PROXY".to_vec(),
            Vec::new(),
            v2(0x21, 0x11, &v4)[..27].to_vec(),
            SIGNATURE.to_vec(),
        ] {
            assert!(read_all(&header).0.is_err(), "{}", header.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(0_u8.., 0..300), v2: bool) {
            let bytes = if v2 { [&SIGNATURE[..], &bytes].concat() } else { [b"PROXY TCP4 ", &bytes[..]].concat() };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // Whatever comes of it, it comes.
            let _ = runtime.block_on(read(&mut &bytes[..]));
        }
    }
}
