//! HTTP as bytes, for both sides of usher: HTTP/1.1 (RFC 9112), and in `http2` what a library
//! leaves to do of HTTP/2. `rewound` gives a stream back what was read of it too early.
//!
//! Read in this order: `input` takes heads and bodies off a connection, `request` and `answer`
//! parse a head by httparse and by our rules, `framing` says where a body ends, `output` writes.
//! All of it is strict: what could be read in two ways is an error, and after an error the
//! connection is closed. `differential` holds it against hyper.

pub mod answer;
#[cfg(test)]
mod differential;
pub mod framing;
mod head;
pub mod http2;
pub mod input;
pub mod output;
pub mod request;
pub mod rewound;

/// What came cannot be read, or can be read in two ways; says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}
