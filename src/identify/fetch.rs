//! Fetching a small document: bounded in time and bytes, from configured places only.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};

use super::dial::Dial;
use crate::cause::chain;
use crate::roots;
use crate::surroundings;

/// What is sent as `User-Agent`.
const AGENT: &str = concat!("usher/", env!("CARGO_PKG_VERSION"));

/// A connection that nothing was sent over for so long is most likely closed on the other side.
const IDLE: Duration = Duration::from_secs(15);

/// A client for small documents. It follows no redirect, decompresses nothing, connects to
/// nothing in the machine's surroundings, and sends no credentials but those it is given.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<Dial>, Full<Bytes>>,
    bounds: Bounds,
}

/// What a client may take.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Longest time for an exchange, from the look-up of the name to the last byte.
    pub(super) timeout: Duration,
    /// Largest answer read, in bytes.
    pub(super) max_bytes: usize,
    /// Connections that are kept for the next exchange.
    pub(super) max_idle: usize,
    /// Addresses that may be connected to all the same.
    pub(super) allowed: Vec<IpNet>,
}

/// What is sent.
pub(super) struct Form {
    /// As `application/x-www-form-urlencoded` has it.
    pub(super) text: String,
    /// What goes into `Authorization`.
    pub(super) credentials: Option<HeaderValue>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The document; `None` if it is still the one with the `ETag` that was sent.
    pub(super) body: Option<Bytes>,
    /// Its `ETag`.
    pub(super) etag: Option<HeaderValue>,
    /// How long it is fresh, if the answer says.
    pub(super) max_age: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    why: String,
    /// Whether the server is to blame for all it is asked: it cannot be reached, is late, has an
    /// error of its own, or is overloaded. Anything else is about the one question.
    pub(super) is_outage: bool,
}

impl Failure {
    fn outage(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_outage: true,
        }
    }

    /// About the one question.
    pub(super) fn answered(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_outage: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.why
    }
}

impl Fetcher {
    /// A client that trusts `roots`.
    pub(super) fn new(roots: RootCertStore, bounds: Bounds) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dial::new(&bounds.allowed, bounds.timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(bounds.max_idle)
            .build(connector);
        Ok(Self { client, bounds })
    }

    /// Fetches `url`, or learns that it is still what `etag` names. The time limit covers
    /// everything, so a server that drips bytes gains nothing.
    pub(super) async fn get(
        &self,
        url: &Uri,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        let make = || {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = url.clone();
            if let Some(etag) = etag {
                request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
            }
            Ok(request)
        };
        self.send(make).await
    }

    /// Sends a form; the document that is answered. It is made anew if it has to be sent again:
    /// what is in it may be good for one time.
    pub(super) async fn post(
        &self,
        url: &Uri,
        form: impl Fn() -> Result<Form, String>,
    ) -> Result<Bytes, Failure> {
        let make = || {
            let form = form().map_err(Failure::answered)?;
            let mut request = Request::new(Full::from(form.text));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = url.clone();
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            if let Some(credentials) = form.credentials {
                request.headers_mut().insert(AUTHORIZATION, credentials);
            }
            Ok(request)
        };
        let answer = self.send(make).await?;
        answer
            .body
            .ok_or_else(|| Failure::answered("answered without a body"))
    }

    async fn send(
        &self,
        make: impl Fn() -> Result<Request<Full<Bytes>>, Failure>,
    ) -> Result<Answer, Failure> {
        let make = || {
            let mut request = make()?;
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
            Ok(request)
        };
        let timeout = self.bounds.timeout;
        let answered = tokio::time::timeout(timeout, self.exchange(make)).await;
        answered.unwrap_or_else(|_| {
            let why = format!("no whole answer within {timeout:?}");
            Err(Failure::outage(why))
        })
    }

    async fn exchange(
        &self,
        make: impl Fn() -> Result<Request<Full<Bytes>>, Failure>,
    ) -> Result<Answer, Failure> {
        let request = make()?;
        let conditional = request.headers().contains_key(IF_NONE_MATCH);
        let response = match self.client.request(request).await {
            // A kept connection may be closed on the other side at the very moment it is used.
            Err(error) if self.bounds.max_idle > 0 && !error.is_connect() => {
                self.client.request(make()?).await
            }
            first => first,
        };
        let response = response.map_err(|error| Failure::outage(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = match head.status {
            StatusCode::NOT_MODIFIED if conditional => None,
            StatusCode::OK => Some(self.collect(&head.headers, body).await?),
            status if status.is_redirection() => {
                let why = format!("answered with {status}; redirects are not followed");
                return Err(Failure::answered(why));
            }
            status => return Err(refused(status)),
        };
        Ok(Answer {
            body,
            etag: head.headers.get(ETAG).cloned(),
            max_age: freshness(&head.headers),
        })
    }

    async fn collect(
        &self,
        headers: &HeaderMap,
        body: hyper::body::Incoming,
    ) -> Result<Bytes, Failure> {
        if headers.contains_key(CONTENT_ENCODING) {
            let why = "the answer is compressed, which was not asked for";
            return Err(Failure::answered(why));
        }
        let collected = Limited::new(body, self.bounds.max_bytes).collect().await;
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::answered(chain(&*error))),
            Err(error) => Err(Failure::outage(chain(&*error))),
        }
    }
}

/// What a status means that brings no document.
fn refused(status: StatusCode) -> Failure {
    let why = format!("answered with {status}");
    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        true => Failure::outage(why),
        false => Failure::answered(why),
    }
}

/// Whom to trust at these places: the authorities in a file, or the system's, which need not be
/// there where no TLS is spoken.
pub(super) fn roots(ca: Option<&[u8]>, places: &[Uri]) -> Result<RootCertStore, String> {
    match ca {
        Some(pem) => roots::of_pem(pem),
        None if places.iter().all(|url| url.scheme_str() == Some("http")) => {
            Ok(roots::of_system().unwrap_or_else(|_| RootCertStore::empty()))
        }
        None => roots::of_system(),
    }
}

/// Whether a key set may be fetched from `found`, which the document at `from` names.
///
/// Many providers keep their keys on another host, so any https host is fine; plain http only
/// on the host that the operator chose to ask by plain http. Addresses that only mean
/// something to this machine's surroundings are refused (Istio CVE-2026-41413), here and again
/// when the address is connected to.
pub(super) fn check_link(from: &Uri, found: &Uri, allowed: &[IpNet]) -> Result<(), String> {
    let host = found.host().unwrap_or_default();
    let plain_is_chosen = from.scheme_str() == Some("http") && from.host() == found.host();
    match found.scheme_str() {
        Some("https") => {}
        Some("http") if plain_is_chosen => {}
        _ => return Err(format!("its `jwks_uri` {found} is not https")),
    }
    if host.is_empty()
        || found
            .authority()
            .is_some_and(|text| text.as_str().contains('@'))
    {
        return Err("its `jwks_uri` is not a plain URL".to_owned());
    }
    if is_local_service(host, allowed) {
        return Err(format!(
            "its `jwks_uri` {found} points to a link-local address"
        ));
    }
    Ok(())
}

fn is_local_service(host: &str, allowed: &[IpNet]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => surroundings::holds(ip) && !allowed.iter().any(|net| net.contains(&ip)),
        Err(_) => surroundings::names(bare),
    }
}

/// How long an answer is still fresh: from its `max-age` is taken what it has spent in caches on the
/// way here (RFC 9111 §4.2.3).
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let age = headers.get(AGE).and_then(|age| age.to_str().ok());
    let age = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    Some(max_age(headers)?.saturating_sub(Duration::from_secs(age)))
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1); `no-store` and `no-cache` count as 0.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let directives = texts.flat_map(|text| text.split(',')).map(str::trim);
    let mut found = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            found = value
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_https_or_stay_where_they_are() {
        let table = [
            ("https://idp/", "https://keys.example/jwks", true),
            ("https://idp/", "http://idp/jwks", false),
            ("https://idp/", "file://idp/etc/passwd", false),
            ("https://idp/", "gopher://idp/", false),
            ("https://idp/", "idp:443", false),
            ("https://idp/", "https://user@idp/jwks", false),
            ("https://idp/", "https://169.254.169.254/latest", false),
            ("https://idp/", "https://[fe80::1]/", false),
            ("https://idp/", "https://[fd00:ec2::254]/", false),
            ("https://idp/", "https://[::ffff:169.254.169.254]/", false),
            ("https://idp/", "https://metadata.google.internal/", false),
            ("http://127.0.0.1:1/", "http://127.0.0.1:2/jwks", true),
            ("http://127.0.0.1:1/", "http://idp/jwks", false),
        ];
        for (from, found, good) in table {
            let checked = check_link(&from.parse().unwrap(), &found.parse().unwrap(), &[]);
            assert_eq!(checked.is_ok(), good, "{from} {found}");
        }
    }

    #[test]
    fn what_was_spent_in_caches_is_over() {
        let table = [
            (Some("600"), "0", Some(600)),
            (Some("600"), "599", Some(1)),
            (Some("600"), "700", Some(0)),
            (Some("600"), "soon", Some(600)),
            (Some("600"), "-1", Some(600)),
            (None, "599", None),
        ];
        for (most, age, left) in table {
            let mut headers = HeaderMap::new();
            headers.insert(AGE, HeaderValue::from_static(age));
            if let Some(most) = most {
                let most = format!("max-age={most}");
                headers.insert(CACHE_CONTROL, HeaderValue::try_from(most).unwrap());
            }
            assert_eq!(freshness(&headers), left.map(Duration::from_secs), "{age}");
        }
    }

    #[test]
    fn max_age_is_read_as_the_rfc_says() {
        let table = [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"60\", immutable", Some(60)),
            ("no-store, max-age=60", Some(0)),
            ("no-cache", Some(0)),
            ("max-age=x", None),
            ("max-age=-1", None),
            ("private", None),
            ("max-age=99999999999999999999999", None),
        ];
        for (text, seconds) in table {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(text));
            assert_eq!(
                max_age(&headers),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
