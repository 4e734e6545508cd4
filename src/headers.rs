//! Header names and the pure rules about them: which ones a client may not send, which ones
//! stop here, and which ones an app reads as the same.

use http::{HeaderName, HeaderValue, header};

use crate::config::IdentityHeader;
use crate::fields::{Fields, is_same, members};

/// Names that other proxies and earlier setups use to say who is calling.
///
/// An app behind usher may still read one of them, so a client must not be able to send it,
/// whether or not it is configured here.
const PRESET_NAMES: &[&str] = &[
    "x-user-id",
    "x-user-email",
    "x-user-name",
    "x-user-provisioned",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-access-token",
    "x-authentik-username",
    "x-authentik-email",
    "x-authentik-name",
    "x-authentik-groups",
    "x-authentik-uid",
    "x-pomerium-jwt-assertion",
    "x-pomerium-claim-email",
    "x-remote-user",
    "x-webauth-user",
    "remote-user",
    "remote-email",
    "remote-name",
    "remote-groups",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-ssl-client-cert",
    "x-ssl-client-dn",
    "x-ssl-client-s-dn",
    "x-ssl-client-verify",
    "ssl-client-cert",
    "client-cert",
    "client-cert-chain",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-id",
    "x-goog-authenticated-user-email",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-accesstoken",
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
];

/// Names that describe the request as an earlier proxy saw it. They count only from
/// `trusted_proxies`; from anyone else they are removed.
const FORWARDED_NAMES: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-by",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-original-for",
    "x-original-host",
    "x-original-proto",
    "x-original-uri",
    "x-original-url",
    "x-original-method",
    "x-rewrite-url",
    "x-url-scheme",
    "front-end-https",
    "x-envoy-original-path",
    "x-envoy-external-address",
    "x-envoy-internal",
];

/// Hop-by-hop fields (RFC 9110 §7.6.1) and fields that only confuse the next hop.
const HOP_NAMES: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    // CGI turns it into HTTP_PROXY (CVE-2016-5385).
    "proxy",
    // The route was chosen by the method that was sent; `header_exceptions` lets them through.
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Fields that a `Connection` header cannot take away: the message would change its meaning.
const NOT_NOMINABLE: &[HeaderName] = &[
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ORIGIN,
    header::VIA,
];

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// `X-Forwarded-Method`.
pub const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
/// `X-Forwarded-Uri`.
pub const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// `X-Original-Method`.
pub const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
/// `X-Original-URI`.
pub const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
/// `X-Original-URL`.
pub const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// `X-User-Provisioned`: `pending` while the user is being created; absent otherwise.
pub const X_USER_PROVISIONED: HeaderName = HeaderName::from_static("x-user-provisioned");

/// Every name that a client's request loses unless the configuration says otherwise.
pub fn guarded() -> impl Iterator<Item = &'static str> {
    let lists = [PRESET_NAMES, FORWARDED_NAMES, HOP_NAMES];
    lists.into_iter().flatten().copied()
}

/// What is done with a field that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It says who is calling: only usher may.
    Identity,
    /// It says how the request came here: only trusted proxies may.
    Forwarded,
    /// It belongs to this connection alone.
    Hop,
}

/// Tells what is done with a field, by its name as an app might read it.
///
/// Gateways and frameworks fold names: CGI turns `-` into `_`, PHP also `.`, so that
/// `X_User.Id` arrives as `X-User-Id`. Every character that is neither letter nor digit
/// counts as `-` here, and a run of them as one.
///
/// Names are in buckets by their first and last character, and most fields belong to an empty one.
#[derive(Debug)]
pub struct Classes {
    buckets: Vec<Vec<(Box<[u8]>, Class)>>,
    /// A bit for each bucket that holds something: it is asked for every field of every request, and
    /// this much stays in the processor's cache.
    filled: [u64; BUCKETS.div_ceil(64)],
}

/// A name that something is done about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What that is.
    pub class: Class,
    /// Whether it is spelt as it folds, but for its case, so that nobody takes it for another: a
    /// proxy that is trusted passes on what it does not know, and knows one spelling only.
    pub plain: bool,
}

/// Letters, digits, and all the rest as one.
const CHARACTERS: usize = 26 + 10 + 1;

const BUCKETS: usize = CHARACTERS * CHARACTERS;

impl Classes {
    /// The classes for a set of identity headers, less the names that are let through.
    pub fn new(identity: &[IdentityHeader], exceptions: &[HeaderName]) -> Self {
        let mut classes = Self {
            buckets: vec![Vec::new(); BUCKETS],
            filled: Default::default(),
        };
        classes.add(HOP_NAMES, Class::Hop);
        classes.add(FORWARDED_NAMES, Class::Forwarded);
        classes.add(PRESET_NAMES, Class::Identity);
        for name in exceptions {
            classes.remove(name.as_str());
        }
        for header in identity {
            classes.add(&[header.name.as_str()], Class::Identity);
        }
        for (place, bucket) in classes.buckets.iter().enumerate() {
            classes.filled[place / 64] |= u64::from(!bucket.is_empty()) << (place % 64);
        }
        classes
    }

    fn add(&mut self, names: &[&str], class: Class) {
        for name in names {
            self.remove(name);
            let name = name.as_bytes();
            self.buckets[bucket(name)].push((fold(name).collect(), class));
        }
    }

    fn remove(&mut self, name: &str) {
        let name = name.as_bytes();
        self.buckets[bucket(name)].retain(|(known, _)| !is_folded(name, known));
    }

    /// What is done with a field, or `None` for one that simply passes.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Known> {
        let place = bucket(name);
        match self.filled[place / 64] >> (place % 64) & 1 {
            0 => None,
            _ => self.find_in(&self.buckets[place], name),
        }
    }

    fn find_in(&self, bucket: &[(Box<[u8]>, Class)], name: &[u8]) -> Option<Known> {
        let class = |is_it: fn(&[u8], &[u8]) -> bool| {
            let mut known = bucket.iter();
            let found = known.find(|(known, _)| is_it(name, known));
            found.map(|(_, class)| *class)
        };
        if let Some(class) = class(is_same) {
            return Some(Known { class, plain: true });
        }
        let class = class(match has_run(name) {
            false => folds_in_place,
            true => is_folded,
        })?;
        Some(Known {
            class,
            plain: false,
        })
    }
}

fn is_folded(name: &[u8], known: &[u8]) -> bool {
    // Folding makes no name longer.
    known.len() <= name.len() && fold(name).eq(known.iter().copied())
}

/// The same for a name without runs, byte by byte.
fn folds_in_place(name: &[u8], known: &[u8]) -> bool {
    let same = |(byte, known): (&u8, &u8)| FOLDED[usize::from(*byte)] == *known;
    name.len() == known.len() && name.iter().zip(known).all(same)
}

/// Whether two characters that are neither letters nor digits follow one another.
fn has_run(name: &[u8]) -> bool {
    let mut separated = false;
    name.iter().any(|byte| {
        let repeated = separated;
        separated = FOLDED[usize::from(*byte)] == b'-';
        repeated & separated
    })
}

/// Each byte as it folds.
const FOLDED: [u8; 256] = {
    let mut table = [b'-'; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// The bucket of a name; folding changes neither its first nor its last character.
fn bucket(name: &[u8]) -> usize {
    let index = |byte: Option<&u8>| {
        let byte = byte.copied().unwrap_or_default();
        usize::from(INDEX[usize::from(byte)])
    };
    index(name.first()) * CHARACTERS + index(name.last())
}

/// Each byte's place among [`CHARACTERS`].
const INDEX: [u8; 256] = {
    let mut table = [CHARACTERS as u8 - 1; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = match byte.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            digit @ b'0'..=b'9' => 26 + (digit - b'0'),
            _ => CHARACTERS as u8 - 1,
        };
        byte += 1;
    }
    table
};

/// A name in lower case, with runs of anything else than letters and digits as one `-`.
fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut separated = false;
    name.iter().filter_map(move |byte| {
        let repeated = separated;
        let folded = FOLDED[usize::from(*byte)];
        separated = folded == b'-';
        (!(repeated && separated)).then_some(folded)
    })
}

/// The fields that `Connection` nominates to stop here (RFC 9110 §7.6.1).
///
/// Every line counts, byte by byte: a line that is not ASCII still nominates its other members.
pub fn nominated(fields: &Fields) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for line in fields.get_all(&header::CONNECTION) {
        if !is_option(line) {
            let members = members(line).filter(|member| !is_option(member));
            let members = members.filter_map(|member| HeaderName::from_bytes(member).ok());
            names.extend(members.filter(|name| !NOT_NOMINABLE.contains(name)));
        }
    }
    names
}

/// Options of the connection that almost every message has, and no fields that pass.
fn is_option(member: &[u8]) -> bool {
    is_same(member, b"keep-alive") || is_same(member, b"close")
}

/// Removes from an app's answer what belongs to the connection with the app.
/// `Trailer` stays: it is how the trailers that follow are announced.
pub fn strip_hops_from_answer(fields: &mut Fields) {
    for name in nominated(fields) {
        fields.remove(&name);
    }
    if fields.contains(&header::TRANSFER_ENCODING) {
        // Chunks overrule a length, which must not be passed on (RFC 9112 §6.3).
        fields.remove(&header::CONTENT_LENGTH);
    }
    fields.retain(|name, _| !is_hop_of_answer(name));
}

fn is_hop_of_answer(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        7 => &[b"upgrade"],
        10 => &[b"connection", b"keep-alive"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        _ => &[],
    };
    names.iter().any(|known| is_same(name, known))
}

/// Text as a field's value, with one reading only: whatever is not printable ASCII is
/// percent-encoded, `%` too, and spaces at either end.
pub fn encode(text: &str) -> HeaderValue {
    let start = text.len() - text.trim_start_matches(' ').len();
    let end = text.trim_end_matches(' ').len();
    let mut encoded = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let outer = place < start || place >= end;
        match byte {
            b' ' if !outer => encoded.push(' '),
            b'!'..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                encoded.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
            }
        }
    }
    // Nothing but printable ASCII is left, which every field can hold.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(encoded))
        .unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderSource;

    fn classes() -> Classes {
        let header = IdentityHeader {
            name: HeaderName::from_static("x-acme-user"),
            value: HeaderSource::Claim("id".into()),
        };
        Classes::new(&[header], &[HeaderName::from_static("remote-name")])
    }

    fn class(name: &str) -> Option<Class> {
        classes().find(name.as_bytes()).map(|known| known.class)
    }

    #[test]
    fn every_spelling_of_an_identity_header_is_one() {
        for separator in "!#$%&'*+-.^_`|~".chars() {
            let name = format!("X{separator}Acme{separator}USER");
            assert_eq!(class(&name), Some(Class::Identity), "{name}");
            let doubled = format!("x{separator}-acme-user");
            assert_eq!(class(&doubled), Some(Class::Identity), "{doubled}");
        }
    }

    #[test]
    fn presets_are_stripped_unless_excepted() {
        assert_eq!(class("Remote_User"), Some(Class::Identity));
        assert_eq!(class("Remote-Name"), None);
        assert_eq!(class("X.Forwarded.Uri"), Some(Class::Forwarded));
        assert_eq!(class("Keep-Alive"), Some(Class::Hop));
    }

    #[test]
    fn one_spelling_is_plain() {
        let plain = |name: &str| classes().find(name.as_bytes()).map(|known| known.plain);
        for name in ["x-forwarded-for", "X-Forwarded-For", "X-ACME-user"] {
            assert_eq!(plain(name), Some(true), "{name}");
        }
        for name in ["x_forwarded-for", "X--Forwarded-For", "x.acme.user"] {
            assert_eq!(plain(name), Some(false), "{name}");
        }
    }

    #[test]
    fn the_length_of_a_name_does_not_matter() {
        let long = format!("Z-{}", "very-long-".repeat(10));
        let header = IdentityHeader {
            name: long.parse().unwrap(),
            value: HeaderSource::Claim("id".into()),
        };
        let classes = Classes::new(&[header], &[]);
        let class = |name: &str| classes.find(name.as_bytes()).map(|known| known.class);
        assert_eq!(class(&long.replace('-', "_")), Some(Class::Identity));
        assert_eq!(class(&format!("{long}x")), None);
        assert_eq!(class(&format!("z{}", "-".repeat(90))), None);
    }

    #[test]
    fn unrelated_names_pass() {
        for name in ["x-custom_header", "accept", "x-user-ids", "xuserid", "x"] {
            assert_eq!(class(name), None, "{name}");
        }
        assert_eq!(class(&"x-user-id".repeat(20)), None);
    }

    #[test]
    fn text_has_one_spelling_as_a_value() {
        for (text, value) in [
            ("Ada", "Ada"),
            ("a b", "a b"),
            (" a ", "%20a%20"),
            ("   ", "%20%20%20"),
            ("é%\r\n", "%C3%A9%25%0D%0A"),
            ("", ""),
        ] {
            assert_eq!(encode(text), value, "{text:?}");
        }
    }

    #[test]
    fn every_connection_line_nominates() {
        let mut fields = Fields::default();
        fields.append(&header::CONNECTION, &HeaderValue::from_static("close"));
        fields.append(
            &header::CONNECTION,
            &HeaderValue::from_bytes(b" X-One ,\t,x-two,\xff, Host").unwrap(),
        );
        let names: Vec<_> = nominated(&fields).iter().map(|n| n.to_string()).collect();
        assert_eq!(names, ["x-one", "x-two"]);
    }
}
