//! URLs that usher itself calls.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;

use crate::surroundings;

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: String,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Path and query; at least `/`.
    pub(super) path: String,
}

/// What is wrong, and what to do.
pub(super) type Wrong = (&'static str, &'static str);

impl Url {
    /// Takes a URL apart; user names and fragments are refused.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        const REMEDY: &str = "Write it in full, such as `https://idp.example.com/keys`.";
        if text.contains('#') {
            return Err(("has a fragment", "Remove `#` and what follows."));
        }
        let uri: Uri = text.parse().map_err(|_| ("is not a URL", REMEDY))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(("is not a URL", REMEDY));
        };
        if authority.as_str().contains('@') {
            return Err((
                "carries a user name",
                "Remove it: usher sends no credentials here.",
            ));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(("has no host", REMEDY));
        }
        // `host:99999` and `host:` have a colon but no port.
        let colon = authority.as_str().len() > authority.host().len();
        if colon && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(("has a wrong port", "Write a port from 1 to 65535."));
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            host: host.to_ascii_lowercase(),
            port: authority.port_u16(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    /// Refuses hosts in the machine's surroundings, save for addresses that are allowed, and hosts
    /// that some resolvers take for them. Where a name leads is looked at when it is connected to.
    pub(super) fn check_place(&self, allowed: &[IpNet]) -> Result<(), Wrong> {
        let is_metadata = match self.ip() {
            Some(ip) => surroundings::holds(ip) && !allowed.iter().any(|net| net.contains(&ip)),
            None => surroundings::names(&self.host),
        };
        if is_metadata {
            return Err((
                "points into the cloud's own metadata network",
                "Write the identity provider's address: keys never come from there.",
            ));
        }
        if is_odd_number(&self.host) {
            return Err((
                "has a number for a host",
                "Write a name, or an address such as `10.1.2.3`.",
            ));
        }
        Ok(())
    }

    /// Whether the host is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// The address, when the host is one; an IPv4 address in IPv6 clothes counts as IPv4.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }
}

/// Checks a URL that keys come from.
pub(super) fn check_key_url(text: &str, allowed: &[IpNet]) -> Result<(), Wrong> {
    let url = Url::parse(text)?;
    url.check_place(allowed)?;
    match url.scheme.as_str() {
        "https" => Ok(()),
        "http" if url.is_loopback() => Ok(()),
        "http" => Err((
            "is plain http, so anybody on the way can put in keys of their own",
            "Write `https://`; plain http is for localhost alone.",
        )),
        _ => Err(("is neither https nor http", "Write `https://`.")),
    }
}

/// `2852039166` and `0xa9fea9fe` are addresses to some resolvers.
fn is_odd_number(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return false;
    }
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or(host);
    let hex = last.strip_prefix("0x");
    last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for good in [
            "https://idp.example.com/keys",
            "http://localhost:8080/keys",
            "http://127.0.0.1/keys",
            "http://[::1]:9/keys?x=1",
        ] {
            assert_eq!(check_key_url(good, &[]), Ok(()), "{good}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for bad in [
            "http://idp.example.com/keys",
            "ftp://idp.example.com/",
            "idp.example.com",
            "/keys",
            "",
            "https://user:pass@idp.example.com/",
            "https://idp.example.com/#x",
            "https://idp.example.com:99999/",
            "https://idp.example.com:/",
            "http://localhost.example.com/",
            "https://169.254.169.254/latest",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://metadata.google.internal/",
            "https://2852039166/",
            "https://0xa9fea9fe/",
        ] {
            assert!(check_key_url(bad, &[]).is_err(), "{bad}");
        }
    }
}
