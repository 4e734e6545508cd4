//! The side of TLS that callers see.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use crate::config::{ClientCertificates, ServerTls, TlsVersion};
use crate::roots::roots;

use super::live::Live;
use super::{material, provider};

/// What is spoken behind TLS, the best first (ALPN, RFC 7301).
const PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Both versions, or the newer one.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// TLS for the callers of one listener, which `name` calls.
///
/// # Errors
/// What is wrong with which file.
pub fn server(name: String, settings: &ServerTls) -> Result<Live<ServerConfig>, String> {
    let settings = settings.clone();
    let files = files(&settings);
    Live::new(name, files, move || build(&settings))
}

fn files(settings: &ServerTls) -> Vec<PathBuf> {
    let pairs = settings.certificates.iter();
    let pairs = pairs.flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
    let authorities = settings
        .clients
        .iter()
        .map(|clients| clients.ca_file.clone());
    pairs.chain(authorities).collect()
}

fn build(settings: &ServerTls) -> Result<ServerConfig, String> {
    let provider = provider();
    let certificates = Certificates::load(settings, &provider)?;
    let versions = match settings.min_version {
        TlsVersion::V1_2 => &VERSIONS[..],
        TlsVersion::V1_3 => &VERSIONS[..1],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match &settings.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    if settings.clients.is_some() {
        // A resumed session is not asked for its certificate again, and outlives the authority
        // that has signed it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()
            .map_err(|error| format!("TLS has no randomness: {error}"))?;
    }
    Ok(config)
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let roots = Arc::new(roots(Some(&clients.ca_file))?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = match clients.required {
        true => builder,
        // Without one a client is nobody; a bad one is refused all the same.
        false => builder.allow_unauthenticated(),
    };
    let file = clients.ca_file.display();
    builder.build().map_err(|error| format!("{file}: {error}"))
}

/// The certificates, by the names that they are for.
#[derive(Debug)]
struct Certificates {
    /// By name in lower case; a wildcard begins with `*.`. One name may have keys of several kinds.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that name no host, or one that nobody has: the first.
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn load(settings: &ServerTls, provider: &CryptoProvider) -> Result<Self, String> {
        let mut certificates = Self {
            named: HashMap::new(),
            default: Vec::new(),
        };
        for files in &settings.certificates {
            let key = Arc::new(material::certified(files, provider)?);
            let names = names(&key)?;
            if names.is_empty() && !certificates.default.is_empty() {
                let file = files.certificate.display();
                return Err(format!(
                    "{file} names no host (subjectAltName), so no client would ever get it"
                ));
            }
            for name in names {
                certificates
                    .named
                    .entry(name)
                    .or_default()
                    .push(key.clone());
            }
            if certificates.default.is_empty() {
                certificates.default.push(key);
            }
        }
        Ok(certificates)
    }

    /// Those for a host: of its own name before those of a wildcard, which stands for one label
    /// (RFC 9525 §6.3).
    fn of(&self, host: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let host = host.to_ascii_lowercase();
        self.named.get(&host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.named.get(&format!("*.{parent}"))
        })
    }
}

fn names(key: &CertifiedKey) -> Result<Vec<String>, String> {
    let leaf = key.end_entity_cert().map_err(|error| error.to_string())?;
    let parsed = webpki::EndEntityCert::try_from(leaf)
        .map_err(|error| format!("a certificate cannot be read: {error}"))?;
    Ok(parsed
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|host| self.of(host));
        let all = named.unwrap_or(&self.default);
        let schemes = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        all.iter().find(fits).or(all.first()).cloned()
    }
}
