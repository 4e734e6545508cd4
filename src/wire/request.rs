//! The head of a request.

use std::mem::MaybeUninit;

use http::{Method, Version, header};

use crate::fields::Fields;
use crate::head::{Head, Target};

use super::Malformed;
use super::framing::Framing;
use super::head::{self, Table};

/// What a client's head may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is none.
    Malformed(&'static str),
    /// Its first line has not ended within the limit.
    LongTarget,
    /// Its fields are too many or too long.
    Large,
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

/// Reads a head from the front of the input: the head and its length; `None` while more is needed.
///
/// # Errors
/// [`Unreadable`].
pub fn read(input: &[u8], limits: Limits) -> Result<Option<(Head, usize)>, Unreadable> {
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; head::FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut table) {
        // More than most heads have; they may, if the configuration says so.
        Err(httparse::Error::TooManyHeaders) if limits.fields > head::FIELDS => {
            let mut table = vec![httparse::EMPTY_HEADER; limits.fields + 1];
            let mut request = httparse::Request::new(&mut table);
            let parsed = request.parse(input);
            finish(parsed, &request, input, limits)
        }
        parsed => finish(parsed, &request, input, limits),
    }
}

fn finish(
    parsed: httparse::Result<usize>,
    request: &httparse::Request<'_, '_>,
    input: &[u8],
    limits: Limits,
) -> Result<Option<(Head, usize)>, Unreadable> {
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() < limits.bytes => return Ok(None),
        Ok(httparse::Status::Partial) if !input.contains(&b'\n') => {
            return Err(Unreadable::LongTarget);
        }
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Unreadable::Large);
        }
        Err(httparse::Error::Version) => {
            return Err(Unreadable::Malformed("the version is not HTTP/1.1 or 1.0"));
        }
        Err(_) => return Err(Unreadable::Malformed("the head cannot be parsed")),
    };
    let fields = fields(&input[..length], request.headers)?;
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let head = Head {
        method: Method::from_bytes(method.as_bytes())
            .map_err(|_| Unreadable::Malformed("the method is none"))?,
        target: Target::parse(target).ok_or(Unreadable::Malformed("the target is none"))?,
        version: match request.version {
            Some(0) => Version::HTTP_10,
            _ => Version::HTTP_11,
        },
        fields,
    };
    Ok(Some((head, length)))
}

/// httparse lets a bare LF end a line, which others take for a part of a value (RFC 9112 §2.2 leaves
/// it to us).
fn fields(head: &[u8], found: &[httparse::Header<'_>]) -> Result<Fields, Unreadable> {
    let (doubtful, fields) = match Fields::copied(head, found) {
        // Those lines end as they should.
        Some(fields) => (&head[..fields.start()], fields),
        None => (head, Fields::rewritten(found)),
    };
    match has_bare_line_feed(doubtful) {
        true => Err(Unreadable::Malformed("a line does not end with CRLF")),
        false => Ok(fields),
    }
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|place| place == 0 || head.get(place - 1) != Some(&b'\r'))
}

/// Where the body of a request ends (RFC 9112 §6.3).
///
/// # Errors
/// For what two readers could frame differently: both a length and chunks, repeated lengths
/// (also those that agree: somebody has touched them), other codings than `chunked`, chunks
/// in HTTP/1.0.
pub fn framing(head: &Head) -> Result<Framing, Malformed> {
    let length = head.fields.single(&header::CONTENT_LENGTH);
    let length = length.map_err(|_| Malformed("Content-Length is repeated"))?;
    let length = length.map(head::length).transpose()?;
    if !head::is_chunked(&head.fields)? {
        return Ok(Framing::Length(length.unwrap_or(0)));
    }
    if length.is_some() {
        return Err(Malformed("both Content-Length and Transfer-Encoding"));
    }
    if head.version == Version::HTTP_10 {
        return Err(Malformed("chunks in HTTP/1.0"));
    }
    Ok(Framing::chunked())
}

/// Whether the client wants to send another request on this connection.
pub fn keeps(head: &Head) -> bool {
    match head.version {
        Version::HTTP_10 => head.fields.lists(&header::CONNECTION, "keep-alive"),
        _ => !head.fields.lists(&header::CONNECTION, "close"),
    }
}

/// Starts the head of a request that leaves. Method and target hold no line ends, nor do
/// [`crate::fields::Fields`]; the empty line is still missing.
pub fn start(head: &Head, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    // Origin form (RFC 9112 §3.2.1): we are the app's origin, not its proxy.
    out.extend_from_slice(head.target.path_and_query().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head.fields.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1024,
        fields: 100,
    };

    fn head(text: &str) -> Result<Option<Head>, Unreadable> {
        Ok(read(text.as_bytes(), LIMITS)?.map(|(head, _)| head))
    }

    fn framed(lines: &str) -> Result<Framing, Malformed> {
        let text = format!("POST / HTTP/1.1\r\n{lines}\r\n");
        framing(&head(&text).unwrap().unwrap())
    }

    #[test]
    fn a_head_is_read_wherever_it_breaks_and_what_follows_is_left() {
        let text = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            assert_eq!(
                read(&text.as_bytes()[..cut], LIMITS).unwrap().map(|_| ()),
                None,
                "{cut}"
            );
        }
        let (head, length) = read(text.as_bytes(), LIMITS).unwrap().unwrap();
        assert_eq!(length, text.len() - 4);
        assert_eq!(head.target.path_and_query(), "/a?b");
        assert_eq!(head.fields.get(&header::HOST), Some(&b"h"[..]));
        let mut out = Vec::new();
        start(&head, &mut out);
        assert_eq!(out, b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Empty: \r\n");
    }

    #[test]
    fn many_fields_need_a_setting() {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(90));
        assert_eq!(head(&text).unwrap().unwrap().fields.len(), 90);
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(102));
        assert_eq!(head(&text).unwrap_err(), Unreadable::Large);
    }

    #[test]
    fn what_has_no_end_is_too_large() {
        let text = format!("GET /{}", "a".repeat(2000));
        assert_eq!(head(&text).unwrap_err(), Unreadable::LongTarget);
        let text = format!("GET / HTTP/1.1\r\na: {}", "a".repeat(2000));
        assert_eq!(head(&text).unwrap_err(), Unreadable::Large);
    }

    #[test]
    fn odd_heads_are_refused() {
        for text in [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na: \0\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
            "G\x01T / HTTP/1.1\r\n\r\n",
        ] {
            let refused = matches!(head(text), Err(Unreadable::Malformed(_)));
            assert!(refused, "{}", text.escape_debug());
        }
    }

    #[test]
    fn the_framing_is_clear_or_refused() {
        assert_eq!(framed(""), Ok(Framing::Length(0)));
        assert_eq!(framed("content-length: 7\r\n"), Ok(Framing::Length(7)));
        assert_eq!(
            framed("transfer-encoding: Chunked\r\n"),
            Ok(Framing::chunked())
        );
        for lines in [
            "content-length: 1\r\ncontent-length: 1\r\n",
            "content-length: 1, 1\r\n",
            "content-length: +1\r\n",
            "content-length:\r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length: 1\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
        ] {
            assert!(framed(lines).is_err(), "{lines:?}");
        }
        let old = head("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(framing(&old.unwrap().unwrap()).is_err());
    }
}
