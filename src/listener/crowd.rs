//! How many connections each client address has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::{Config, TrustedProxy};
use crate::edge::is_trusted;

/// Counts connections by client address, where `limits.connections_per_client` wants it.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    /// Proxies speak for many clients.
    exempt: Vec<TrustedProxy>,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection among those of its client; counted until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// `None` where nobody wants a limit.
    pub(super) fn new(settings: &Config) -> Option<Arc<Self>> {
        let limit = settings.limits.connections_per_client?;
        Some(Arc::new(Self {
            limit,
            exempt: settings.trusted_proxies.clone(),
            counts: Mutex::default(),
        }))
    }

    /// Counts one more connection; `Err` if the client has enough of them. Trusted proxies and
    /// clients without an address are not counted.
    pub(super) fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Option<Seat>, Full> {
        let Some(address) = client.filter(|_| !is_trusted(&self.exempt, client)) else {
            return Ok(None);
        };
        let client = group(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(client).or_default();
        if *count >= self.limit {
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
        let crowd = Arc::new(Crowd {
            limit: 2,
            exempt: vec![TrustedProxy::Net("10.0.0.0/8".parse().unwrap())],
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
