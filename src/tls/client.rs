//! The side of TLS that the app sees.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::config::ClientTls;
use crate::roots::roots;

use super::live::Live;
use super::{material, provider};

/// TLS to an app.
#[derive(Clone, Debug)]
pub struct Client {
    /// As it is now.
    pub config: Arc<Live<ClientConfig>>,
    /// Whom the app has to prove to be.
    pub name: ServerName<'static>,
    /// Whether the app has to agree to HTTP/2 (ALPN).
    pub http2: bool,
}

/// TLS to an app at `host`, which speaks HTTP/2 or HTTP/1.1 in it.
///
/// # Errors
/// What is wrong with which file.
pub fn client(host: &str, settings: &ClientTls, http2: bool) -> Result<Client, String> {
    let expected = settings.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(expected.clone())
        .map_err(|_| format!("upstream: {expected:?} is no name that a certificate could have"))?;
    let settings = settings.clone();
    let pair = settings.certificate.iter();
    let pair = pair.flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
    let files: Vec<PathBuf> = pair.chain(settings.ca_file.clone()).collect();
    let config = Live::new("upstream".to_owned(), files, move || {
        build(&settings, http2)
    })?;
    Ok(Client {
        config: Arc::new(config),
        name,
        http2,
    })
}

fn build(settings: &ClientTls, http2: bool) -> Result<ClientConfig, String> {
    let provider = provider();
    let roots = roots(settings.ca_file.as_deref())?;
    let own = match &settings.certificate {
        Some(files) => Some(Arc::new(material::certified(files, &provider)?)),
        None => None,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots);
    let mut config = match own {
        Some(key) => builder.with_client_cert_resolver(only(key)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// The one certificate, whoever asks.
fn only(key: Arc<CertifiedKey>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(key))
}
