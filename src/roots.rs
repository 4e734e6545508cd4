//! Whom we trust to sign certificates: the system's authorities, or those of a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Larger files hold no certificates.
const MAX_FILE: u64 = 4 << 20;

/// The authorities of a file, or the system's.
///
/// # Errors
/// What is wrong with the file, by its name; or that the system has none, and what to do.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    match ca_file {
        Some(file) => of_pem(&read(file)?).map_err(|why| wrong(file, &why)),
        None => of_system(),
    }
}

/// The authorities in a PEM file, by what it holds.
///
/// # Errors
/// What is wrong with it.
pub fn of_pem(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let added = store.add(certificate);
        added.map_err(|error| format!("has a certificate that is no root: {error}"))?;
    }
    Ok(store)
}

/// The system's authorities.
///
/// # Errors
/// That there are none, and what to do.
pub fn of_system() -> Result<RootCertStore, String> {
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

/// The certificates in a PEM file, by what it holds; one at least.
///
/// # Errors
/// That there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("is no PEM: {error}"))?;
    match all.is_empty() {
        true => Err("holds no certificate in PEM".to_owned()),
        false => Ok(all),
    }
}

/// What a file of certificates or keys holds.
///
/// # Errors
/// That it cannot be read, by its name.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::metadata(file).and_then(|found| {
        // A pipe would wait for a writer for ever.
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)
    });
    read.map_err(|error| wrong(file, &format!("cannot be read: {error}")))?;
    Ok(bytes)
}

fn wrong(file: &Path, what: &str) -> String {
    format!("{} {what}", file.display())
}
