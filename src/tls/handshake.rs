//! Why TLS handshakes fail.

use std::io;

use rustls::Error;

/// The names of causes, whichever side usher is on.
pub const CAUSES: [&str; 7] = [
    "ended",
    "certificate_missing",
    "certificate_refused",
    "protocol",
    "incompatible",
    "alert",
    "malformed",
];

/// The name of the cause in metrics. Times that are over are somebody else's business.
pub fn cause(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        None => "ended",
        Some(Error::NoCertificatesPresented) => "certificate_missing",
        Some(Error::InvalidCertificate(_)) => "certificate_refused",
        Some(Error::NoApplicationProtocol) => "protocol",
        Some(Error::PeerIncompatible(_)) => "incompatible",
        // The other side says what it does not like about us.
        Some(Error::AlertReceived(_)) => "alert",
        Some(_) => "malformed",
    }
}
