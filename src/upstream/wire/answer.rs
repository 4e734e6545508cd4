//! The head of an answer: parsed by httparse, framed by our rules.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::WireError;
use super::framing::Framing;

/// Fields that an answer may have.
const FIELDS: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct Answer {
    /// The status; never 1xx.
    pub(in crate::upstream) status: StatusCode,
    /// The fields, as they came, less those that would contradict the framing.
    pub(in crate::upstream) headers: HeaderMap,
    /// Where the body ends.
    pub(in crate::upstream) framing: Framing,
    /// Whether the connection can be used again after the body.
    pub(in crate::upstream) keep: bool,
}

/// Takes a final head from the input; `None` while more is needed. `head` tells that the
/// request's method was HEAD.
///
/// # Errors
/// `Malformed` for whatever is not one clear answer (RFC 9112 §6.3).
pub(in crate::upstream) fn parse(
    input: &mut BytesMut,
    head: bool,
    limit: usize,
) -> Result<Option<Answer>, WireError> {
    loop {
        let Some(read) = read(input, limit)? else {
            return Ok(None);
        };
        match read.status.as_u16() {
            // Nobody asked to switch; a tunnel that only one side believes in is a hole.
            101 => {
                return Err(WireError::Malformed(
                    "it switches protocols without being asked",
                ));
            }
            // Informational answers precede the final one (RFC 9110 §15.2).
            100..200 => {}
            _ => return frame(read, head).map(Some),
        }
    }
}

struct Head {
    status: StatusCode,
    /// Whether it is HTTP/1.0.
    old: bool,
    close: bool,
    headers: HeaderMap,
}

fn read(input: &mut BytesMut, limit: usize) -> Result<Option<Head>, WireError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        input,
        &mut fields,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() >= limit => {
            return Err(WireError::Malformed("its head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(WireError::Malformed("its head cannot be parsed")),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(WireError::Malformed("its status is none"))?;
    let old = response.version == Some(0);
    // Positions, so that the values can share the bytes that were read.
    let start = input.as_ptr().addr();
    let mut places = Vec::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| WireError::Malformed("a field's name is none"))?;
        let from = field.value.as_ptr().addr() - start;
        places.push((name, from, from + field.value.len()));
    }
    let bytes = input.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(places.len() + 4);
    let mut close = old;
    for (name, from, to) in places {
        // What almost every `Connection` says need not be put into the map and taken out again.
        if name == header::CONNECTION {
            let plain = &bytes[from..to];
            let closes = plain.eq_ignore_ascii_case(b"close");
            close |= closes;
            if closes || plain.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
        }
        // An empty value's address need not lie within the head.
        let value = match from < to {
            true => HeaderValue::from_maybe_shared(bytes.slice(from..to)),
            false => Ok(HeaderValue::from_static("")),
        };
        let value = value.map_err(|_| WireError::Malformed("a field's value is none"))?;
        headers.append(name, value);
    }
    Ok(Some(Head {
        status,
        old,
        close,
        headers,
    }))
}

/// Decides where the body ends (RFC 9112 §6.3).
fn frame(head: Head, to_head: bool) -> Result<Answer, WireError> {
    let Head {
        status,
        old,
        close,
        mut headers,
    } = head;
    let close = close || crate::headers::lists(&headers, &header::CONNECTION, "close");
    let bodyless =
        to_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let length = length(&headers)?;
    let (framing, keep) = if bodyless {
        (Framing::Length(0), !close)
    } else if chunked {
        if old {
            return Err(WireError::Malformed("chunks in HTTP/1.0"));
        }
        check_coding(&headers)?;
        // With both, the length is a lie (RFC 9112 §6.3 rule 3), and the sender is not one
        // whose next answer can be trusted.
        let lie = headers.remove(header::CONTENT_LENGTH).is_some();
        (Framing::chunked(), !close && !lie)
    } else {
        match length {
            Some(length) => (Framing::Length(length), !close),
            None => (Framing::Close, false),
        }
    };
    Ok(Answer {
        status,
        headers,
        framing,
        keep,
    })
}

/// `chunked` alone, once, is the only coding that is understood.
fn check_coding(headers: &HeaderMap) -> Result<(), WireError> {
    match crate::headers::single(headers, &header::TRANSFER_ENCODING) {
        Ok(Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(WireError::Malformed("its transfer coding is not `chunked`")),
    }
}

/// The one length that all `Content-Length` lines agree on: digits and nothing else.
fn length(headers: &HeaderMap) -> Result<Option<u64>, WireError> {
    let mut agreed = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let length = digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| std::str::from_utf8(digits).ok()?.parse::<u64>().ok())
            .flatten()
            .ok_or(WireError::Malformed("its length is no number"))?;
        if agreed.is_some_and(|agreed| agreed != length) {
            return Err(WireError::Malformed("it has two lengths"));
        }
        agreed = Some(length);
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Answer>, WireError> {
        parse(&mut BytesMut::from(text), false, 1024)
    }

    fn framing(text: &str) -> Option<(Framing, bool)> {
        let answer = parsed(text).ok()??;
        Some((answer.framing, answer.keep))
    }

    #[test]
    fn the_framing_is_that_of_the_rfc() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(0),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::Close, false),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n",
                Framing::chunked(),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
                Framing::chunked(),
                false,
            ),
            (
                "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hint\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n",
                Framing::Length(1),
                true,
            ),
        ];
        for (text, wanted, keep) in cases {
            assert_eq!(framing(text), Some((wanted, keep)), "{text}");
        }
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switch\r\nupgrade: x\r\n\r\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2000));
        assert!(parsed(&endless).is_err());
    }

    #[test]
    fn fields_keep_their_values() {
        let text = "HTTP/1.1 200 OK\r\nx-a: 1\r\nX-B:\r\nx-a:  2 \r\ncontent-length: 0\r\n\r\nrest";
        let mut input = BytesMut::from(text);
        let answer = parse(&mut input, false, 1024).unwrap().unwrap();
        let values: Vec<_> = answer.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(answer.headers["x-b"], "");
        assert_eq!(&input[..], b"rest");
    }
}
