//! TLS: which certificates, on which side.

use std::path::PathBuf;

/// TLS for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one; the first is for clients that name no host, or one that nobody has.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients prove who they are; `None`: they are not asked.
    pub clients: Option<ClientCertificates>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM: the authorities that sign them.
    pub ca_file: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// TLS to the app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: the authorities that sign the app's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// By what usher proves who it is.
    pub certificate: Option<CertificateFiles>,
    /// Whom the app's certificate has to name, if not the host of its address.
    pub server_name: Option<String>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}
