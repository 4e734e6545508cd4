//! What heads of requests and of answers have in common: the lines of fields.

use std::mem::MaybeUninit;

use crate::fields::Fields;

use super::Malformed;

/// Fields that a head may have before a larger table is taken.
pub(super) const FIELDS: usize = 64;

/// A table for httparse, on the stack.
pub(super) type Table<'a> = [MaybeUninit<httparse::Header<'a>>; FIELDS];

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
