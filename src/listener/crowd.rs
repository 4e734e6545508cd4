//! How many connections each client address has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config::{Config, TrustedProxy};
use crate::edge::is_trusted;

/// Counts connections by client address, where `limits.connections_per_client` wants it.
#[derive(Debug)]
pub(super) struct Crowd {
    rules: ArcSwap<Rules>,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// Who is counted, and how far.
#[derive(Debug)]
struct Rules {
    /// `None` where nobody wants a limit.
    limit: Option<usize>,
    /// Proxies speak for many clients.
    exempt: Vec<TrustedProxy>,
}

impl Rules {
    fn new(settings: &Config) -> Self {
        Self {
            limit: settings.limits.connections_per_client,
            exempt: settings.trusted_proxies.clone(),
        }
    }
}

/// A connection among those of its client; counted until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// Nobody is there yet.
    pub(super) fn new(settings: &Config) -> Arc<Self> {
        Arc::new(Self {
            rules: ArcSwap::from_pointee(Rules::new(settings)),
            counts: Mutex::default(),
        })
    }

    /// Goes by other settings from now on. Connections that were not counted before are not.
    pub(super) fn change(&self, settings: &Config) {
        self.rules.store(Arc::new(Rules::new(settings)));
    }

    /// Counts one more connection; `Err` if the client has enough of them. Trusted proxies and
    /// clients without an address are not counted.
    pub(super) fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Option<Seat>, Full> {
        let rules = self.rules.load();
        let Some(limit) = rules.limit else {
            return Ok(None);
        };
        let Some(address) = client.filter(|_| !is_trusted(&rules.exempt, client)) else {
            return Ok(None);
        };
        let client = group(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(client).or_default();
        if *count >= limit {
            return Err(Full);
        }
        *count += 1;
        Ok(Some(Seat {
            crowd: self.clone(),
            client,
        }))
    }
}

/// The client has `limits.connections_per_client` connections already.
#[derive(Debug)]
pub(super) struct Full;

/// One customer of a provider has a whole /64 of IPv6 addresses to choose from.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts.lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_and_no_more() {
        let rules = Rules {
            limit: Some(2),
            exempt: vec![TrustedProxy::Net("10.0.0.0/8".parse().unwrap())],
        };
        let crowd = Arc::new(Crowd {
            rules: ArcSwap::from_pointee(rules),
            counts: Mutex::default(),
        });
        let enter = |text: &str| crowd.enter(Some(text.parse().unwrap()));
        let first = enter("2001:db8::1").unwrap();
        let second = enter("2001:db8::2").unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(enter("2001:db8::3").is_err(), "the same /64");
        assert!(enter("2001:db8:0:1::1").is_ok());
        drop(first);
        assert!(enter("2001:db8::3").is_ok());
        let proxies: Vec<_> = (0..5).map(|_| enter("::ffff:10.1.1.1").unwrap()).collect();
        assert!(proxies.iter().all(Option::is_none), "a trusted proxy");
        drop(second);
        assert!(
            crowd.counts.lock().is_empty(),
            "nobody is remembered for ever"
        );
    }
}
