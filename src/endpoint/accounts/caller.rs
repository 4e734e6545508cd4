//! Who may call: how often, from which pages, and with which kind of body.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{CONTENT_TYPE, HeaderName, ORIGIN};

use crate::body::RequestBody;
use crate::config::accounts::Settings;
use crate::denial::{Denial, Reason};
use crate::head::{self, RequestHead};
use crate::limit::Limit;

use super::super::Answer;
use super::words;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules about callers.
#[derive(Debug)]
pub(super) struct Callers {
    origins: Vec<String>,
    limit: Option<Limit<Option<IpAddr>>>,
}

impl Callers {
    pub(super) fn new(settings: &Settings) -> Self {
        let limit = |rate: &crate::config::accounts::RateLimit| {
            Limit::new(rate.calls, rate.per, rate.clients)
        };
        Self {
            origins: settings.origins.clone(),
            limit: settings.rate_limit.as_ref().map(limit),
        }
    }

    /// Counts a login; too many are answered with the seconds to wait.
    pub(super) fn count(&self, client: Option<IpAddr>) -> Result<(), u32> {
        match &self.limit {
            Some(limit) => limit.count(client.map(network)),
            None => Ok(()),
        }
    }

    /// A page of somebody else must not act for its visitor: it can neither send JSON without
    /// asking first (Fetch standard, CORS protocol), nor hide where it comes from.
    pub(super) fn check(
        &self,
        head: &RequestHead<'_>,
        body: &RequestBody,
    ) -> Result<(), Box<Answer>> {
        if !self.is_own_page(head) {
            let denial = Denial::new(
                Reason::CrossSite,
                "the page that asks is neither of this origin nor in `cors.origins`",
            );
            return Err(words::foreign_page(denial));
        }
        let bare = body.length() == Some(0) && !head.fields.contains(&ORIGIN);
        if is_json(head) || bare {
            return Ok(());
        }
        Err(words::no_json())
    }

    /// `Origin` decides; without it, `Sec-Fetch-Site`, which only browsers send.
    fn is_own_page(&self, head: &RequestHead<'_>) -> bool {
        let mut origins = head.fields.get_all(&ORIGIN);
        if let Some(origin) = origins.next() {
            let Ok(origin) = str::from_utf8(origin) else {
                return false;
            };
            let known = self.origins.iter().any(|known| known == origin);
            let same = || head::is_same_origin(origin, head.scheme.as_str(), head.authority);
            return origins.next().is_none() && (known || same());
        }
        let mut sites = head.fields.get_all(&SEC_FETCH_SITE);
        match sites.next() {
            None => true,
            Some(site) => sites.next().is_none() && matches!(site, b"none" | b"same-origin"),
        }
    }
}

/// Whoever has an IPv6 address has a whole network of them: the first half is who it is.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// `application/json`, in any case, with whatever parameters (RFC 9110 §8.3.1).
fn is_json(head: &RequestHead<'_>) -> bool {
    let Ok(Some(value)) = head.fields.single(&CONTENT_TYPE) else {
        return false;
    };
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_addresses_is_one_caller() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
