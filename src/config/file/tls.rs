//! The mirror of TLS.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Scalar};

/// TLS for callers: one certificate, or several by the names that they are for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tls {
    /// A PEM file: the certificate, then those between it and its root.
    pub(in crate::config) cert_file: Option<String>,
    /// A PEM file: its key.
    pub(in crate::config) key_file: Option<String>,
    /// Several certificates; the first is for clients that name no host, or one that nobody has.
    pub(in crate::config) certificates: Option<List<Certificate>>,
    /// A PEM file: the authorities that sign certificates of clients. Default: clients are not asked.
    pub(in crate::config) client_ca_file: Option<String>,
    /// `require` (the default with `client_ca_file`), or `request`: a client may have none.
    pub(in crate::config) client_certificates: Option<ClientCertificates>,
    /// The oldest version that is spoken, `1.2` (the default) or `1.3`.
    pub(in crate::config) min_version: Option<Scalar>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// A PEM file: the certificate, then those between it and its root.
    pub(in crate::config) cert_file: Option<String>,
    /// A PEM file: its key.
    pub(in crate::config) key_file: Option<String>,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ClientCertificates {
    /// A client without one is refused.
    Require,
    /// A client without one is let in; one with a bad one is not.
    Request,
}
