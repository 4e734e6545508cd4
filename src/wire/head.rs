//! What heads of requests and of answers have in common: the lines of fields.

use std::mem::MaybeUninit;

use crate::fields::{Fields, Line, Span};

use super::Malformed;

/// Fields that a head may have before a larger table is taken.
pub(super) const FIELDS: usize = 64;

/// A table for httparse, on the stack.
pub(super) type Table<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS];

/// The fields of a parsed head; `head` are its bytes, which httparse's slices lie in.
pub(super) fn fields(head: &[u8], parsed: &[httparse::Header<'_>]) -> Fields {
    let start = head.as_ptr().addr();
    let span = |bytes: &[u8]| {
        // The slice of an empty value need not lie within the head.
        let from = match bytes.is_empty() {
            true => 0,
            false => bytes.as_ptr().addr() - start,
        };
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Span {
            from: place(from),
            to: place(from + bytes.len()),
        }
    };
    let line = |field: &httparse::Header<'_>| {
        Line::new(head, span(field.name.as_bytes()), span(field.value))
    };
    // Room for the few fields that usher adds to an answer.
    let mut lines = Vec::with_capacity(parsed.len() + 4);
    lines.extend(parsed.iter().map(line));
    Fields::from_lines(head.to_vec(), lines)
}

/// What a `Content-Length` says: digits and nothing else.
pub(super) fn length(digits: &[u8]) -> Result<u64, Malformed> {
    const WRONG: Malformed = Malformed("Content-Length is no number");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let text = str::from_utf8(digits).map_err(|_| WRONG)?;
    text.parse().map_err(|_| WRONG)
}

/// Whether there are chunks: `chunked` alone, once, is the only coding that is understood.
pub(super) fn is_chunked(fields: &Fields) -> Result<bool, Malformed> {
    match fields.single(&http::header::TRANSFER_ENCODING) {
        Ok(None) => Ok(false),
        Ok(Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Malformed("Transfer-Encoding is not `chunked`")),
    }
}
