//! Public keys in the forms that they come in, in DER.

use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// A PKCS#1 `RSAPublicKey` (RFC 8017 A.1.1).
#[derive(Clone, Copy, Debug, Sequence)]
pub(super) struct RsaPublicKey<'a> {
    /// Big-endian, as read without leading zeros.
    pub(super) modulus: UintRef<'a>,
    pub(super) exponent: UintRef<'a>,
}

/// The RSA key in a `SubjectPublicKeyInfo` (RFC 5280 §4.1).
pub(super) fn rsa(spki: &[u8]) -> Option<RsaPublicKey<'_>> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    RsaPublicKey::from_der(info.subject_public_key.as_bytes()?).ok()
}

/// The RSA key of these numbers.
pub(super) fn rsa_of(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let key = RsaPublicKey {
        modulus: UintRef::new(modulus).ok()?,
        exponent: UintRef::new(exponent).ok()?,
    };
    key.to_der().ok()
}

/// The `SubjectPublicKeyInfo` inside a certificate, which is not checked in any other way: an
/// operator chose the file.
pub(super) fn of_certificate(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    let info = certificate.tbs_certificate.subject_public_key_info;
    info.to_der().ok()
}
