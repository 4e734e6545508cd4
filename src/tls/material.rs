//! Certificates with their keys, from PEM files.

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

use crate::config::CertificateFiles;
use crate::roots::{certificates, read};

/// A certificate with what stands between it and its root, and its key, which fits.
pub(super) fn certified(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(&read(&files.certificate)?);
    let chain = chain.map_err(|why| wrong(&files.certificate, &why))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| wrong(&files.key, &format!("holds no private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(
            &files.key,
            &format!("is not the key of {}", files.certificate.display()),
        ),
        error => wrong(&files.key, &format!("cannot be used: {error}")),
    })
}

fn wrong(file: &Path, what: &str) -> String {
    format!("{} {what}", file.display())
}
