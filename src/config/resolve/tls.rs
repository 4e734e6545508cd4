//! TLS: files that are there, and belong together.

use std::path::PathBuf;

use super::{Context, key_source};
use crate::config::file::{self, List};
use crate::config::report::member;
use crate::config::{CertificateFiles, ClientCertificates, ClientTls, ServerTls, TlsVersion};

const REMEDY: &str = "Write both: `cert_file: /etc/usher/tls.crt`, `key_file: /etc/usher/tls.key`.";

/// TLS for callers.
pub(super) fn server(key: &str, file: &file::Tls, cx: &mut Context<'_>) -> ServerTls {
    let lone = file.cert_file.is_some() || file.key_file.is_some();
    let certificates = match &file.certificates {
        Some(_) if lone => {
            cx.error(
                &member(key, "certificates"),
                "stands beside `cert_file` and `key_file`",
                "Keep one of the two: put that certificate into the list.",
            );
            Vec::new()
        }
        Some(list) => listed(&member(key, "certificates"), list, cx),
        None => pair(key, file.cert_file.as_ref(), file.key_file.as_ref(), cx)
            .into_iter()
            .collect(),
    };
    ServerTls {
        certificates,
        clients: clients(key, file, cx),
        min_version: min_version(key, file.min_version.as_ref(), cx),
    }
}

fn min_version(key: &str, file: Option<&file::Scalar>, cx: &mut Context<'_>) -> TlsVersion {
    let text = file.map(file::Scalar::text);
    match text.as_deref() {
        None | Some("1.2") => TlsVersion::V1_2,
        Some("1.3") => TlsVersion::V1_3,
        Some(other) => {
            let message = format!("is no version that is spoken: {other:?}");
            cx.error(
                &member(key, "min_version"),
                message,
                "Write `1.2` or `1.3`.",
            );
            TlsVersion::default()
        }
    }
}

fn listed(
    key: &str,
    list: &List<file::Certificate>,
    cx: &mut Context<'_>,
) -> Vec<CertificateFiles> {
    let entries = list.keyed(key);
    if entries.is_empty() && !cx.report.is_spoilt(key) {
        cx.error(key, "is an empty list", REMEDY);
    }
    entries
        .into_iter()
        .filter_map(|(key, entry)| {
            pair(&key, entry.cert_file.as_ref(), entry.key_file.as_ref(), cx)
        })
        .collect()
}

/// A certificate and its key, both of which have to be there.
fn pair(
    key: &str,
    certificate: Option<&String>,
    private: Option<&String>,
    cx: &mut Context<'_>,
) -> Option<CertificateFiles> {
    let mut read = |name: &str, text: Option<&String>| {
        let key = member(key, name);
        match text {
            Some(text) => existing(&key, text, cx),
            None => {
                cx.report.missing(&key, REMEDY);
                None
            }
        }
    };
    let (certificate, private) = (read("cert_file", certificate), read("key_file", private));
    Some(CertificateFiles {
        certificate: certificate?,
        key: private?,
    })
}

fn clients(key: &str, file: &file::Tls, cx: &mut Context<'_>) -> Option<ClientCertificates> {
    let at = member(key, "client_ca_file");
    match (&file.client_ca_file, file.client_certificates) {
        (None, None) => None,
        (None, Some(_)) => {
            cx.report.missing(
                &at,
                "Write the authorities that sign certificates of clients, in PEM.",
            );
            None
        }
        (Some(text), wanted) => Some(ClientCertificates {
            ca_file: existing(&at, text, cx)?,
            required: wanted != Some(file::ClientCertificates::Request),
        }),
    }
}

/// What TLS to an app needs, if it is spoken.
pub(super) fn client(
    key: &str,
    file: Option<&file::Upstream>,
    spoken: bool,
    cx: &mut Context<'_>,
) -> Option<ClientTls> {
    let Some(file) = file else {
        return spoken.then(ClientTls::default);
    };
    let given = [
        ("ca_file", file.ca_file.is_some()),
        ("cert_file", file.cert_file.is_some()),
        ("key_file", file.key_file.is_some()),
        ("server_name", file.server_name.is_some()),
    ];
    if !spoken {
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            cx.error(
                &member(key, name),
                "is for TLS, which its `url` does not ask for",
                "Write `https://` or `h2://` there, or remove it.",
            );
        }
        return None;
    }
    let ca_file = file.ca_file.as_ref();
    let ca_file = ca_file.and_then(|text| existing(&member(key, "ca_file"), text, cx));
    let certificate = match (&file.cert_file, &file.key_file) {
        (None, None) => None,
        (certificate, own) => pair(key, certificate.as_ref(), own.as_ref(), cx),
    };
    Some(ClientTls {
        ca_file,
        certificate,
        server_name: file.server_name.clone(),
    })
}

/// A file that is there; what is in it shows when usher starts, or is asked to.
pub(super) fn existing(key: &str, text: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    let path = cx.path(text);
    key_source::read_file(key, &path, cx).map(|_| path)
}
