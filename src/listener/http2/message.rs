//! Heads, between HTTP/2's form and ours.

use data_encoding::BASE64;
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response as Http2Response, Version, header};

use crate::denial::{Denial, Reason};
use crate::fields::Fields;
use crate::head::{Head, Target};
use crate::hints::Hint;
use crate::respond::Response;
use crate::wire::http2::header_map;

/// A request's head as the line reads it: `:authority` is `Host` (RFC 9113 §8.3.1), and what
/// browsers cut `Cookie` into is one field again (§8.2.3).
///
/// # Errors
/// A denial for what cannot be said in HTTP/1.1, or can be read in two ways; with the head as far
/// as it can be told.
pub(super) fn head(parts: Parts) -> Result<Box<Head>, (Box<Head>, Denial)> {
    let mut fields = Fields::from(&parts.headers);
    join_cookies(&parts.headers, &mut fields);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Some(authority) = authority {
        name_host(authority, &mut fields);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let target = Target::parse(path);
    let scheme = parts.uri.scheme_str();
    let refused = match (&target, scheme) {
        (None, _) => Some("the path is none"),
        (_, None | Some("http" | "https")) => None,
        (_, Some(_)) => Some("the scheme is not http"),
    };
    let head = Box::new(Head {
        method: parts.method,
        target: target.unwrap_or_default(),
        version: Version::HTTP_2,
        fields,
    });
    match refused {
        Some(detail) => Err((head, Denial::new(Reason::BadTarget, detail))),
        None => Ok(head),
    }
}

/// Whether a stream is to become a WebSocket: an extended CONNECT (RFC 8441 §4).
pub(super) fn begins_websocket(parts: &Parts) -> bool {
    let protocol = || parts.extensions.get::<Protocol>();
    parts.method == Method::CONNECT && protocol().is_some_and(|name| name.as_str() == "websocket")
}

/// The same request in HTTP/1.1's words (RFC 8441 §5), which the app understands.
///
/// # Errors
/// `Internal` when the operating system gives no random bytes.
pub(super) fn upgrade(head: &mut Head) -> Result<(), Denial> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|_| Denial::new(Reason::Internal, "no random bytes"))?;
    let key = HeaderValue::from_str(&BASE64.encode(&key));
    let key = key.map_err(|_| Denial::new(Reason::Internal, "base64 fits no header"))?;
    head.method = Method::GET;
    head.version = Version::HTTP_11;
    let fields = &mut head.fields;
    // What follows is no body, whatever is said of its length (RFC 9110 §9.3.6).
    fields.remove(&header::CONTENT_LENGTH);
    fields.insert(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
    fields.insert(&header::UPGRADE, &HeaderValue::from_static("websocket"));
    fields.insert(&header::SEC_WEBSOCKET_KEY, &key);
    Ok(())
}

/// The answer to it when the app has switched.
pub(super) fn accept(response: &Response) -> Http2Response<()> {
    let mut answer = Http2Response::new(());
    *answer.headers_mut() = header_map(&response.fields);
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
    ] {
        answer.headers_mut().remove(name);
    }
    answer
}

fn join_cookies(map: &HeaderMap, fields: &mut Fields) {
    let crumbs: Vec<_> = map.get_all(header::COOKIE).iter().collect();
    if crumbs.len() < 2 {
        return;
    }
    let crumbs: Vec<_> = crumbs.into_iter().map(HeaderValue::as_bytes).collect();
    // Pieces of good values, with what stands between them in a good value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(&header::COOKIE, &joined);
    }
}

/// A `Host` that says otherwise stays beside the name, and two of them are refused by the edge.
fn name_host(authority: &str, fields: &mut Fields) {
    let Ok(host) = HeaderValue::from_str(authority) else {
        return;
    };
    let same = |value: &[u8]| value.eq_ignore_ascii_case(authority.as_bytes());
    if fields.get_all(&header::HOST).all(same) {
        fields.remove(&header::HOST);
    }
    fields.append(&header::HOST, &host);
}

/// An informational answer.
pub(super) fn informational(hint: &Hint) -> Http2Response<()> {
    let mut answer = Http2Response::new(());
    *answer.status_mut() = hint.status;
    *answer.headers_mut() = header_map(&hint.fields);
    answer
}

/// An answer's head in HTTP/2's form. `bodyless`: there is no body, whatever the fields say.
pub(super) fn answer(response: &Response, bodyless: bool) -> Http2Response<()> {
    let mut answer = Http2Response::new(());
    *answer.status_mut() = response.status;
    *answer.headers_mut() = header_map(&response.fields);
    let fields = answer.headers_mut();
    fields.remove(header::CONNECTION);
    if let Some(length) = response.body.length()
        && (!bodyless || length > 0)
    {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    } else if !bodyless || response.status == http::StatusCode::NO_CONTENT {
        fields.remove(header::CONTENT_LENGTH);
    }
    if !fields.contains_key(header::DATE) {
        let date = crate::clock::with_http_date(HeaderValue::from_bytes);
        fields.extend(date.ok().map(|date| (header::DATE, date)));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: http::request::Builder) -> Result<Box<Head>, Reason> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        head(parts).map_err(|(_, denial)| denial.reason)
    }

    fn request(uri: &str) -> http::request::Builder {
        http::Request::builder().uri(uri)
    }

    #[test]
    fn the_authority_is_the_host() {
        let head = read(request("http://app.test:1/a?b").header("host", "APP.test:1")).unwrap();
        let hosts: Vec<_> = head.fields.get_all(&header::HOST).collect();
        assert_eq!(hosts, [b"app.test:1"]);
        assert_eq!(head.target.path_and_query(), "/a?b");
        let head = read(request("http://a.test/").header("host", "b.test")).unwrap();
        assert_eq!(head.fields.get_all(&header::HOST).count(), 2);
        assert_eq!(
            read(request("ftp://a.test/")).unwrap_err(),
            Reason::BadTarget
        );
    }

    #[test]
    fn crumbs_of_a_cookie_are_one_cookie() {
        let crumbs = request("http://a/")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let head = read(crumbs).unwrap();
        let cookies: Vec<_> = head.fields.get_all(&header::COOKIE).collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }
}
