//! The head of an answer.

use std::mem::MaybeUninit;

use http::{StatusCode, header};

use crate::fields::{Fields, write_line};
use crate::hints::Hint;

use super::Malformed;
use super::framing::Framing;
use super::head::{self, Table};

/// Fields that an answer may have.
const FIELDS: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status; 101, but no other below 200.
    pub status: StatusCode,
    /// The fields, as they came.
    pub fields: Fields,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the connection can be used again after the body.
    pub keep: bool,
}

/// A head at the front of the input.
#[derive(Debug)]
pub enum Read {
    /// One that precedes the answer (RFC 9110 §15.2), and the bytes that it took; 101 is none of
    /// these.
    Informational(StatusCode, Fields, usize),
    /// The answer's.
    Final(AnswerHead),
}

/// Reads a head from the front of the input: the head and its length; `None` while more is
/// needed. `to_head` tells that the request's method was HEAD.
///
/// # Errors
/// For whatever is not one clear answer (RFC 9112 §6.3).
pub fn read(input: &[u8], to_head: bool, limit: usize) -> Result<Option<(Read, usize)>, Malformed> {
    let Some((first, length)) = first(input, limit)? else {
        return Ok(None);
    };
    if length > limit {
        return Err(Malformed("its head is too large"));
    }
    let last = first.status == StatusCode::SWITCHING_PROTOCOLS || first.status.as_u16() >= 200;
    let read = match last {
        true => Read::Final(frame(first, to_head)?),
        false => Read::Informational(first.status, first.fields, length),
    };
    Ok(Some((read, length)))
}

/// What was read of the first head.
struct First {
    status: StatusCode,
    /// Whether it is HTTP/1.0.
    old: bool,
    fields: Fields,
}

fn first(input: &[u8], limit: usize) -> Result<Option<(First, usize)>, Malformed> {
    let mut table: Table<'_> = [const { MaybeUninit::uninit() }; head::FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, input, &mut table);
    if matches!(parsed, Err(httparse::Error::TooManyHeaders)) {
        let mut table = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut table);
        let parsed = response.parse(input);
        return finish(parsed, &response, input, limit);
    }
    finish(parsed, &response, input, limit)
}

fn finish(
    parsed: httparse::Result<usize>,
    response: &httparse::Response<'_, '_>,
    input: &[u8],
    limit: usize,
) -> Result<Option<(First, usize)>, Malformed> {
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() >= limit => {
            return Err(Malformed("its head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed("its head cannot be parsed")),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let first = First {
        status: status.ok_or(Malformed("its status is none"))?,
        old: response.version == Some(0),
        fields: Fields::read(&input[..length], response.headers),
    };
    Ok(Some((first, length)))
}

/// Decides where the body ends (RFC 9112 §6.3).
fn frame(first: First, to_head: bool) -> Result<AnswerHead, Malformed> {
    let First {
        status,
        old,
        fields,
    } = first;
    let close = old || fields.lists(&header::CONNECTION, "close");
    let chunked = fields.contains(&header::TRANSFER_ENCODING);
    let length = length(&fields)?;
    let (framing, keep) = if to_head || is_bodyless(status) {
        (Framing::Length(0), !close)
    } else if chunked {
        if old {
            return Err(Malformed("chunks in HTTP/1.0"));
        }
        head::is_chunked(&fields)?;
        // With both, the length is a lie (RFC 9112 §6.3 rule 3), and the sender is not one
        // whose next answer can be trusted.
        (Framing::chunked(), !close && length.is_none())
    } else {
        match length {
            Some(length) => (Framing::Length(length), !close),
            None => (Framing::Close, false),
        }
    };
    Ok(AnswerHead {
        status,
        fields,
        framing,
        keep,
    })
}

/// The one length that all `Content-Length` lines agree on.
fn length(fields: &Fields) -> Result<Option<u64>, Malformed> {
    let mut agreed = None;
    for digits in fields.get_all(&header::CONTENT_LENGTH) {
        let length = head::length(digits)?;
        if agreed.is_some_and(|agreed| agreed != length) {
            return Err(Malformed("it has two lengths"));
        }
        agreed = Some(length);
    }
    Ok(agreed)
}

/// Writes an informational answer, the empty line included.
pub fn write_informational(hint: &Hint, out: &mut Vec<u8>) {
    let reason = hint.status.canonical_reason().unwrap_or_default();
    for piece in ["HTTP/1.1 ", hint.status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    hint.fields.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Tells a client that waits to send its body (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Where the body of an answer that we write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is none, whatever the fields say: to HEAD, or with a status that has none. So many
    /// bytes it would have.
    None(u64),
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Where its body ends.
    pub ending: Ending,
    /// Whether another request may follow.
    pub keep: bool,
    /// Whether the client speaks HTTP/1.0, which has to be told that it may go on.
    pub old: bool,
}

/// Whether an answer with this status has no body (RFC 9110 §6.4.1).
pub fn is_bodyless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Writes the head of an answer, the empty line included.
pub fn write(status: StatusCode, fields: &Fields, form: Form, out: &mut Vec<u8>) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        let reason = status.canonical_reason().unwrap_or_default();
        for piece in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    // To HEAD, and with a 304, it is the app that knows the length (RFC 9110 §8.6).
    let length_passes =
        matches!(form.ending, Ending::None(_)) && !switches && status != StatusCode::NO_CONTENT;
    match (switches, length_passes) {
        (true, _) => fields.write_but([&header::CONTENT_LENGTH], out),
        (false, true) => fields.write_but([&header::CONNECTION], out),
        (false, false) => {
            fields.write_but([&header::CONNECTION, &header::CONTENT_LENGTH], out);
        }
    }
    let sized = length_passes && fields.contains(&header::CONTENT_LENGTH);
    match form.ending {
        Ending::None(0) | Ending::Close => {}
        Ending::None(length) | Ending::Length(length) if !sized => {
            let mut digits = itoa::Buffer::new();
            write_line(out, b"content-length", &[digits.format(length).as_bytes()]);
        }
        Ending::None(_) | Ending::Length(_) => {}
        Ending::Chunked => write_line(out, b"transfer-encoding", &[b"chunked"]),
    }
    if !fields.contains(&header::DATE) {
        // An origin with a clock says the time (RFC 9110 §6.6.1).
        crate::clock::with_http_date(|date| write_line(out, b"date", &[date]));
    }
    match (form.keep, form.old) {
        _ if switches => {}
        (false, _) => write_line(out, b"connection", &[b"close"]),
        (true, true) => write_line(out, b"connection", &[b"keep-alive"]),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The final head, past those before it.
    fn parsed(text: &str) -> Result<Option<AnswerHead>, Malformed> {
        let mut rest = text.as_bytes();
        loop {
            match read(rest, false, 1024)? {
                Some((Read::Final(answer), _)) => return Ok(Some(answer)),
                Some((Read::Informational(..), length)) => rest = &rest[length..],
                None => return Ok(None),
            }
        }
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
        let (answer, length) = read(text.as_bytes(), false, 1024).unwrap().unwrap();
        let Read::Final(answer) = answer else {
            panic!("it is the answer");
        };
        let [a, b] = ["x-a", "x-b"].map(http::HeaderName::from_static);
        let values: Vec<_> = answer.fields.get_all(&a).collect();
        assert_eq!(values, [b"1", b"2"]);
        assert_eq!(answer.fields.get(&b), Some(&b""[..]));
        assert_eq!(&text[length..], "rest");
    }
}
