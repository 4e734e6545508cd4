//! The head of a request as bytes.

use http::request::Parts;

use crate::headers::write_line;

/// Starts a head without framing: there is no body, and no length says so (RFC 9110 §8.6: a
/// length is sent where the method gives a body a meaning; one that came is passed on).
///
/// Names and values come from `http`'s types, which hold no line ends, so nothing here can
/// end a line early. The empty line is still missing.
pub(in crate::upstream) fn start(parts: &Parts, head: &mut Vec<u8>) {
    head.clear();
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        write_line(head, name, &[value.as_bytes()]);
    }
}
