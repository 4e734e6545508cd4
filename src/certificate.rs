//! Who a client's certificate is for, as its authority has said: read once for each connection,
//! after TLS has verified it.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::der::{Reader, SEQUENCE, VERSION};
use crate::identity::Thumbprint;

/// `subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SET: u8 = 0x31;
const EXTENSIONS: u8 = 0xa3;

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
        if let Some((subject, extensions)) = parts(der) {
            certificate.subject = distinguished(subject).filter(|name| !name.is_empty());
            if let Some(names) = extensions.and_then(alternative_names) {
                certificate.take(names);
            }
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
    fn take(&mut self, mut names: Reader<'_>) {
        while let Some((tag, content, _)) = names.value() {
            let place = match tag {
                0x81 => &mut self.email,
                0x82 => &mut self.dns,
                0x86 => &mut self.uri,
                0x87 => &mut self.ip,
                _ => continue,
            };
            let name = match tag {
                0x87 => address(content).map(|ip| ip.to_string()),
                // A comma in a name would look like two of them.
                _ => str::from_utf8(content)
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

/// The subject's content, and the content of the extensions if there are any (RFC 5280 §4.1).
fn parts(der: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut signed = Reader(Reader(Reader(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let (tag, ..) = signed.value()?;
    // version (optional), serialNumber, signature, issuer, validity
    let before = if tag == VERSION { 4 } else { 3 };
    for _ in 0..before {
        signed.value()?;
    }
    let subject = signed.expect(SEQUENCE)?;
    signed.value()?;
    let mut extensions = None;
    while let Some((tag, content, _)) = signed.value() {
        if tag == EXTENSIONS {
            extensions = Reader(content).expect(SEQUENCE);
        }
    }
    Some((subject, extensions))
}

fn alternative_names(extensions: &[u8]) -> Option<Reader<'_>> {
    let mut extensions = Reader(extensions);
    loop {
        let mut extension = Reader(extensions.expect(SEQUENCE)?);
        if extension.expect(OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // Whether it is critical may come before its value.
        let mut value = extension.value()?;
        if value.0 != OCTET_STRING {
            value = extension.value()?;
        }
        return Reader(value.1).expect(SEQUENCE).map(Reader);
    }
}

/// A `Name` in one line, the most specific part first (RFC 4514 §2).
fn distinguished(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Reader(name);
    while let Some((tag, content, _)) = sets.value() {
        let mut values = Vec::new();
        let mut pairs = Reader((tag == SET).then_some(content)?);
        while let Some((SEQUENCE, pair, _)) = pairs.value() {
            values.push(attribute(pair)?);
        }
        parts.push(values.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// `CN=alice`; what has no short name, or is no text, in numbers and digits (§2.3, §2.4).
fn attribute(pair: &[u8]) -> Option<String> {
    let mut pair = Reader(pair);
    let kind = pair.expect(OID)?;
    let (tag, content, whole) = pair.value()?;
    let short = match kind {
        [0x55, 4, 3] => Some("CN"),
        [0x55, 4, 6] => Some("C"),
        [0x55, 4, 7] => Some("L"),
        [0x55, 4, 8] => Some("ST"),
        [0x55, 4, 9] => Some("STREET"),
        [0x55, 4, 10] => Some("O"),
        [0x55, 4, 11] => Some("OU"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => Some("DC"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => Some("UID"),
        _ => None,
    };
    match (short, text(tag, content)) {
        (Some(short), Some(text)) => Some(format!("{short}={}", escaped(&text))),
        (Some(short), None) => Some(format!("{short}=#{}", digits(whole))),
        (None, _) => Some(format!("{}=#{}", dotted(kind)?, digits(whole))),
    }
}

fn text(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, PrintableString, IA5String
        0x0c | 0x13 | 0x16 => String::from_utf8(content.to_vec()).ok(),
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// An object identifier in dots.
fn dotted(kind: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut number: u64 = 0;
    for byte in kind {
        number = number
            .checked_mul(128)?
            .checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 != 0 {
            continue;
        }
        let written = match text.is_empty() {
            true => write!(
                text,
                "{}.{}",
                (number / 40).min(2),
                number - 40 * (number / 40).min(2)
            ),
            false => write!(text, ".{number}"),
        };
        written.ok()?;
        number = 0;
    }
    Some(text)
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
        // 1.2.840.113549.1.9.1 (e-mail), IA5String "a@b".
        let pair = [
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01, 0x16, 3, b'a', b'@',
            b'b',
        ];
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
