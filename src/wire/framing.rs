//! Where a body ends, and what of the bytes read belongs to it.

use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderName, header};

use crate::body::Frame;
use crate::fields::Fields;

use super::Malformed;

/// The longest line between chunks; extensions are read over and never passed on.
const MAX_LINE: usize = 4 * 1024;

/// The most bytes of trailers that are read.
const MAX_TRAILERS: usize = 16 * 1024;

/// Where the body ends, and how far we are.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// After the last chunk.
    Chunked(Chunk),
    /// With the connection.
    Close,
}

/// How far we are in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A size is next.
    Size,
    /// So many bytes of data are next.
    Data(u64),
    /// The line end after the data is next.
    End,
    /// Trailers are next, so many bytes of which were read.
    Trailers(Vec<u8>),
    /// The body is over.
    Over,
}

/// What could be taken from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Data of the body; never empty.
    Data(Bytes),
    /// The fields after the last chunk, as lines; the body is over after them.
    Trailers(Vec<u8>),
    /// Nothing without more input.
    More,
    /// The body is over.
    Over,
}

impl Framing {
    /// A chunked body that begins.
    pub const fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Whether nothing is left.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over))
    }

    /// Takes the next piece as whoever reads a body has it: a frame, `None` at the end, `Pending`
    /// without more input.
    ///
    /// # Errors
    /// `Malformed`; nothing after it can be read.
    pub fn poll_frame(&mut self, input: &mut BytesMut) -> Poll<Result<Option<Frame>, Malformed>> {
        Poll::Ready(Ok(match self.take(input)? {
            Piece::Data(data) => Some(Frame::Data(data)),
            Piece::Trailers(lines) => Some(Frame::Trailers(trailers(&lines)?)),
            Piece::Over => None,
            Piece::More => return Poll::Pending,
        }))
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `Malformed` when the chunks are not as RFC 9112 §7.1 has them.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            Self::Length(0) => Ok(Piece::Over),
            Self::Length(left) => Ok(take_data(input, left)),
            Self::Close if input.is_empty() => Ok(Piece::More),
            Self::Close => Ok(Piece::Data(input.split().freeze())),
            Self::Chunked(chunk) => chunk.take(input),
        }
    }
}

impl Chunk {
    fn take(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self {
                Self::Over => return Ok(Piece::Over),
                Self::Size => {
                    let Some(line) = take_line(input, MAX_LINE)? else {
                        return Ok(Piece::More);
                    };
                    *self = match size(&line)? {
                        0 => Self::Trailers(Vec::new()),
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    let piece = take_data(input, left);
                    if *left == 0 {
                        *self = Self::End;
                    }
                    return Ok(piece);
                }
                Self::End => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Malformed("a chunk is longer than its size")),
                    None => return Ok(Piece::More),
                },
                Self::Trailers(lines) => {
                    let Some(line) = take_line(input, MAX_LINE)? else {
                        return Ok(Piece::More);
                    };
                    if line.is_empty() {
                        let lines = std::mem::take(lines);
                        *self = Self::Over;
                        return Ok(match lines.is_empty() {
                            true => Piece::Over,
                            false => Piece::Trailers(lines),
                        });
                    }
                    lines.extend_from_slice(&line);
                    lines.extend_from_slice(b"\r\n");
                    if lines.len() > MAX_TRAILERS {
                        return Err(Malformed("its trailers are too large"));
                    }
                }
            }
        }
    }
}

fn take_data(input: &mut BytesMut, left: &mut u64) -> Piece {
    let count = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(input.len());
    if count == 0 {
        return Piece::More;
    }
    *left -= count as u64;
    Piece::Data(input.split_to(count).freeze())
}

/// Starts a chunk of so many bytes; the data and a CRLF follow.
pub fn write_size(size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
}

/// Ends a chunked body.
pub fn write_end(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write(out);
    }
    out.extend_from_slice(b"\r\n");
}

/// The trailers in the lines that [`Piece::Trailers`] holds, less those that would change what
/// the message is (RFC 9110 §6.5.1).
///
/// # Errors
/// `Malformed` when a line is no field.
pub fn trailers(lines: &[u8]) -> Result<Fields, Malformed> {
    const WRONG: Malformed = Malformed("a trailer is none");
    const NEVER: [HeaderName; 6] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::HOST,
        header::AUTHORIZATION,
        header::TRAILER,
        header::CONTENT_TYPE,
    ];
    let mut text = lines.to_vec();
    text.extend_from_slice(b"\r\n");
    let mut table = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&text, &mut table)
    else {
        return Err(WRONG);
    };
    let mut fields = Fields::read(&text, parsed);
    for name in &NEVER {
        fields.remove(name);
    }
    Ok(fields)
}

/// A line without its CRLF; a bare LF ends no line here.
fn take_line(input: &mut BytesMut, limit: usize) -> Result<Option<BytesMut>, Malformed> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return match input.len() > limit {
            true => Err(Malformed("a line between chunks is too long")),
            false => Ok(None),
        };
    };
    if end == 0 || input[end - 1] != b'\r' || end > limit {
        return Err(Malformed("a line between chunks has no clear end"));
    }
    let mut line = input.split_to(end + 1);
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size before an extension: 1 to 15 hexadecimal digits, so that it cannot overflow.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let good = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    good.then(|| std::str::from_utf8(digits).ok())
        .flatten()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Malformed("a chunk has no size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole body, with the input arriving in pieces of `step` bytes.
    fn body(text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let (mut framing, mut input) = (Framing::chunked(), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), Vec::new());
        for piece in text.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match framing.take(&mut input)? {
                    Piece::Data(bytes) => data.extend_from_slice(&bytes),
                    Piece::Trailers(lines) => trailers = lines,
                    Piece::More => break,
                    Piece::Over => return Ok((data, trailers)),
                }
            }
        }
        Err(Malformed("unfinished"))
    }

    #[test]
    fn chunks_are_read_wherever_the_input_breaks() {
        let text = b"5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nx-t: 1\r\n\r\n";
        for step in 1..text.len() + 1 {
            let (data, trailers) = body(text, step).unwrap();
            assert_eq!(data, b"hello world", "{step}");
            assert_eq!(trailers, b"x-t: 1\r\n", "{step}");
        }
    }

    #[test]
    fn odd_chunks_are_refused() {
        for text in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b"x\r\n\r\n",
            b"-1\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"FFFFFFFFFFFFFFFF\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"0\n\r\n",
        ] {
            assert!(body(text, 1000).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_length_is_neither_more_nor_less() {
        let (mut framing, mut input) = (Framing::Length(3), BytesMut::from("abcd"));
        assert_eq!(
            framing.take(&mut input).unwrap(),
            Piece::Data(Bytes::from("abc"))
        );
        assert_eq!(framing.take(&mut input).unwrap(), Piece::Over);
        assert_eq!(&input[..], b"d");
    }
}
