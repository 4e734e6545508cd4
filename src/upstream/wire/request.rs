//! The head of a request as bytes.

use http::request::Parts;

/// Writes a head without framing: there is no body, and no length says so
/// (RFC 9110 §8.6: a length is sent only when the method gives a body a meaning).
///
/// Names and values come from `http`'s types, which hold no line ends, so nothing here can
/// end a line early.
pub(super) fn write(parts: &Parts, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
