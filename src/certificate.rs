//! Who a client's certificate is for, as its authority has said: read once for each connection,
//! after TLS has verified it.

use std::net::IpAddr;

use der::oid::db::rfc4519::{C, CN, DC, L, O, OU, ST, STREET, UID};
use der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use der::{Any, Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::name::Name;

use crate::identity::Thumbprint;

/// Longer ones are left out: an app has only so much room for a header.
const LONGEST: usize = 4096;

/// What is known of a client's certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Its name in tokens that are bound to it (RFC 8705).
    pub thumbprint: Thumbprint,
    subject: Option<String>,
    dns: Option<String>,
    uri: Option<String>,
    email: Option<String>,
    ip: Option<String>,
}

/// Something that a certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The subject, as RFC 4514 writes it: `CN=alice,O=Example`.
    Subject,
    /// The DNS names among the alternative names, joined by commas.
    Dns,
    /// The URIs.
    Uri,
    /// The e-mail addresses.
    Email,
    /// The IP addresses.
    Ip,
    /// SHA-256 of the whole, as `x5t#S256` spells it.
    Thumbprint,
}

impl Field {
    /// All, by the names that the configuration has for them.
    pub const ALL: [(&str, Self); 6] = [
        ("subject", Self::Subject),
        ("dns", Self::Dns),
        ("uri", Self::Uri),
        ("email", Self::Email),
        ("ip", Self::Ip),
        ("thumbprint", Self::Thumbprint),
    ];
}

impl Certificate {
    /// Of a certificate in DER. What cannot be read is as if it were not there.
    pub fn read(der: &[u8]) -> Self {
        let mut certificate = Self {
            thumbprint: Thumbprint::of(der),
            subject: None,
            dns: None,
            uri: None,
            email: None,
            ip: None,
        };
        // TLS has verified it, by rules of its own: none are added here.
        if let Ok(found) = CertificateInner::<Raw>::from_der(der) {
            let found = found.tbs_certificate;
            certificate.subject = distinguished(&found.subject).filter(|name| !name.is_empty());
            let mut extensions = found.extensions.iter().flatten();
            let names = extensions.find(|one| one.extn_id == ID_CE_SUBJECT_ALT_NAME);
            let names = names.map(|one| Vec::<Any>::from_der(one.extn_value.as_bytes()));
            certificate.take(names.and_then(Result::ok).unwrap_or_default());
        }
        certificate
    }

    /// What it says; `None` where it says nothing.
    pub fn field(&self, field: Field) -> Option<String> {
        let text = match field {
            Field::Subject => self.subject.clone(),
            Field::Dns => self.dns.clone(),
            Field::Uri => self.uri.clone(),
            Field::Email => self.email.clone(),
            Field::Ip => self.ip.clone(),
            Field::Thumbprint => Some(self.thumbprint.to_string()),
        };
        text.filter(|text| text.len() <= LONGEST)
    }

    /// Sorts `GeneralNames` (RFC 5280 §4.2.1.6).
    fn take(&mut self, names: Vec<Any>) {
        for name in names {
            let Tag::ContextSpecific { number, .. } = name.tag() else {
                continue;
            };
            let place = match number.value() {
                1 => &mut self.email,
                2 => &mut self.dns,
                6 => &mut self.uri,
                7 => &mut self.ip,
                _ => continue,
            };
            let name = match number.value() {
                7 => address(name.value()).map(|ip| ip.to_string()),
                // A comma in a name would look like two of them.
                _ => str::from_utf8(name.value())
                    .ok()
                    .filter(|name| name.is_ascii() && !name.contains(','))
                    .map(str::to_owned),
            };
            match (place.as_mut(), name) {
                (Some(list), Some(name)) => {
                    list.push(',');
                    list.push_str(&name);
                }
                (None, Some(name)) => *place = Some(name),
                (_, None) => {}
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A `Name` in one line, the most specific part first (RFC 4514 §2).
fn distinguished(name: &Name) -> Option<String> {
    let parts = name.0.iter().rev().map(|part| {
        let values: Option<Vec<_>> = part.0.iter().map(attribute).collect();
        values.map(|values| values.join("+"))
    });
    let parts: Option<Vec<_>> = parts.collect();
    parts.map(|parts| parts.join(","))
}

/// `CN=alice`; what has no short name, or is no text, in numbers and digits (§2.3, §2.4).
fn attribute(pair: &AttributeTypeAndValue) -> Option<String> {
    const SHORT: [(der::oid::ObjectIdentifier, &str); 9] = [
        (CN, "CN"),
        (C, "C"),
        (L, "L"),
        (ST, "ST"),
        (STREET, "STREET"),
        (O, "O"),
        (OU, "OU"),
        (DC, "DC"),
        (UID, "UID"),
    ];
    let short = SHORT.iter().find(|(kind, _)| *kind == pair.oid);
    let short = short.map(|(_, name)| *name);
    if let (Some(short), Some(text)) = (short, text(&pair.value)) {
        return Some(format!("{short}={}", escaped(text)));
    }
    let digits = data_encoding::HEXLOWER.encode(&pair.value.to_der().ok()?);
    match short {
        Some(short) => Some(format!("{short}=#{digits}")),
        None => Some(format!("{}=#{digits}", pair.oid)),
    }
}

fn text(value: &Any) -> Option<&str> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            str::from_utf8(value.value()).ok()
        }
        _ => None,
    }
}

/// What would be read as something else gets a backslash (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, c) in value.chars().enumerate() {
        match c {
            '\0' => {
                text.push_str("\\00");
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.push('\\'),
            '#' if place == 0 => text.push('\\'),
            ' ' if place == 0 || place == last => text.push('\\'),
            _ => {}
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Certificate {
        let mut params = rcgen::CertificateParams::default();
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        Certificate::read(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn the_subject_is_written_as_the_rfc_says() {
        use rcgen::DnType;
        let certificate = read(|params| {
            let mut name = rcgen::DistinguishedName::new();
            name.push(DnType::CountryName, "DE");
            name.push(DnType::OrganizationName, "Ex, \"ample\" + Söhne");
            name.push(DnType::CommonName, " #alice<admin>;\\ ");
            params.distinguished_name = name;
        });
        let wanted = "CN=\\ #alice\\<admin\\>\\;\\\\\\ ,O=Ex\\, \\\"ample\\\" \\+ Söhne,C=DE";
        assert_eq!(certificate.field(Field::Subject).as_deref(), Some(wanted));
        assert_eq!(certificate.field(Field::Dns), None);
        let thumbprint = certificate.field(Field::Thumbprint).unwrap();
        assert_eq!(Thumbprint::parse(&thumbprint), Some(certificate.thumbprint));
    }

    #[test]
    fn alternative_names_are_sorted() {
        use rcgen::SanType;
        let certificate = read(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName("a.test".try_into().unwrap()),
                SanType::URI("spiffe://test/ns/x".try_into().unwrap()),
                SanType::Rfc822Name("a@b.test".try_into().unwrap()),
                SanType::DnsName("*.b.test".try_into().unwrap()),
                SanType::IpAddress("10.1.2.3".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
                SanType::URI("https://a,b/".try_into().unwrap()),
            ];
        });
        for (field, wanted) in [
            (Field::Dns, "a.test,*.b.test"),
            (Field::Uri, "spiffe://test/ns/x"),
            (Field::Email, "a@b.test"),
            (Field::Ip, "10.1.2.3,2001:db8::1"),
        ] {
            assert_eq!(certificate.field(field).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn unusual_kinds_are_numbers_and_nothing_panics() {
        let pair = AttributeTypeAndValue {
            oid: "1.2.840.113549.1.9.1".parse().unwrap(),
            value: Any::new(Tag::Ia5String, *b"a@b").unwrap(),
        };
        let wanted = "1.2.840.113549.1.9.1=#1603614062";
        assert_eq!(attribute(&pair).as_deref(), Some(wanted));
        let whole = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let der = whole.cert.der().to_vec();
        for end in 0..der.len() {
            let _ = Certificate::read(&der[..end]);
            let mut odd = der.clone();
            odd[end] ^= 0xff;
            let _ = Certificate::read(&odd);
        }
    }
}
