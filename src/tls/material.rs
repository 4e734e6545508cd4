//! Certificates and keys, from PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::CertificateFiles;

/// Larger files hold no certificates.
const MAX_FILE: u64 = 4 << 20;

/// A certificate with what stands between it and its root, and its key, which fits.
pub(super) fn certified(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(&files.certificate)?;
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

/// The authorities in a file.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file)? {
        store
            .add(certificate)
            .map_err(|error| wrong(file, &format!("has a certificate that is no root: {error}")))?;
    }
    Ok(store)
}

/// The system's roots.
pub(super) fn system() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        true => Err(
            "this system has no root certificates: install ca-certificates, or write `ca_file`"
                .to_owned(),
        ),
        false => Ok(store),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| wrong(file, &format!("is no PEM: {error}")))?;
    match all.is_empty() {
        true => Err(wrong(file, "holds no certificate in PEM")),
        false => Ok(all),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::metadata(file).and_then(|found| {
        // A pipe would wait for a writer for ever.
        if !found.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)
    });
    read.map_err(|error| wrong(file, &format!("cannot be read: {error}")))?;
    Ok(bytes)
}

fn wrong(file: &Path, what: &str) -> String {
    format!("{} {what}", file.display())
}
