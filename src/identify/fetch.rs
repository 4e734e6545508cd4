//! Fetching a small document: bounded in time and bytes, from configured places only.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What is sent as `User-Agent`.
const AGENT: &str = concat!("usher/", env!("CARGO_PKG_VERSION"));

/// A client for small documents. It follows no redirect, decompresses nothing and sends
/// no credentials.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
    max_bytes: usize,
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

impl Fetcher {
    /// A client that trusts `roots`.
    pub(super) fn new(
        roots: RootCertStore,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        // Fetches are minutes apart: a kept connection would only be found closed.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self {
            client,
            timeout,
            max_bytes,
        })
    }

    /// Fetches `url`, or learns that it is still what `etag` names. The time limit covers
    /// everything, so a server that drips bytes gains nothing.
    pub(super) async fn get(
        &self,
        url: &Uri,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, String> {
        let fetched = tokio::time::timeout(self.timeout, self.exchange(url, etag)).await;
        fetched.unwrap_or_else(|_| Err(format!("no whole answer within {:?}", self.timeout)))
    }

    async fn exchange(&self, url: &Uri, etag: Option<&HeaderValue>) -> Result<Answer, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(etag) = etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let max_age = max_age(&head.headers);
        let body = match head.status {
            StatusCode::NOT_MODIFIED if etag.is_some() => None,
            StatusCode::OK => Some(self.collect(&head.headers, body).await?),
            status if status.is_redirection() => {
                return Err(format!(
                    "answered with {status}; redirects are not followed"
                ));
            }
            status => return Err(format!("answered with {status}")),
        };
        Ok(Answer {
            body,
            etag: head.headers.get(ETAG).cloned(),
            max_age,
        })
    }

    async fn collect(
        &self,
        headers: &HeaderMap,
        body: hyper::body::Incoming,
    ) -> Result<Bytes, String> {
        if headers.contains_key(CONTENT_ENCODING) {
            return Err("the answer is compressed, which was not asked for".to_owned());
        }
        let collected = Limited::new(body, self.max_bytes).collect().await;
        match collected {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(chain(&*error)),
        }
    }
}

/// The system's roots, or those in a file.
pub(super) fn roots(ca_file: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let Some(pem) = ca_file else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error:?}"))?;
        store
            .add(certificate)
            .map_err(|error| format!("a certificate is not usable: {error}"))?;
    }
    if store.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(store)
}

/// Whether a key set may be fetched from `found`, which the document at `from` names.
///
/// Many providers keep their keys on another host, so any https host is fine; plain http only
/// on the host that the operator chose to ask by plain http. Addresses that only mean
/// something to this machine's surroundings are refused (Istio CVE-2026-41413).
pub(super) fn check_link(from: &Uri, found: &Uri) -> Result<(), String> {
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
    if is_local_service(host) {
        return Err(format!(
            "its `jwks_uri` {found} points to a link-local address"
        ));
    }
    Ok(())
}

fn is_local_service(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_link_local() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => {
            let metadata = address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
            address.is_unicast_link_local() || address.is_unspecified() || metadata
        }
        Err(_) => bare
            .trim_end_matches('.')
            .eq_ignore_ascii_case("metadata.google.internal"),
    }
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

/// An error with everything that caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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
            let checked = check_link(&from.parse().unwrap(), &found.parse().unwrap());
            assert_eq!(checked.is_ok(), good, "{from} {found}");
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
