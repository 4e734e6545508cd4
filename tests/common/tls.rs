//! Both ends of TLS, as strict as the library is.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::authority::Pair;

/// A client's session over a socket.
pub type Session = StreamOwned<ClientConnection, TcpStream>;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(path).unwrap();
    all.map(Result::unwrap).collect()
}

fn key(path: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(path).unwrap()
}

fn roots(path: &Path) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for certificate in chain(path) {
        store.add(certificate).unwrap();
    }
    store
}

/// A client that trusts `root`, with a certificate of its own or without.
pub fn client(root: &Path, own: Option<&Pair>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(root));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = (chain(&pair.certificate), key(&pair.key));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A server with a certificate, which asks clients for one of `clients` or not at all.
pub fn server(pair: &Pair, clients: Option<&Path>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(root) => {
            let roots = Arc::new(roots(root));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (chain, key) = (chain(&pair.certificate), key(&pair.key));
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// Shakes hands with `host` at an address.
pub fn connect(
    address: SocketAddr,
    host: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<Session> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut session = ClientConnection::new(config.clone(), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}
