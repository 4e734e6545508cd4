//! Connections to identity providers, and where they may not lead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::surroundings;

/// No name leads to more addresses than are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to a URL's host. Every address is looked at that is really connected to, whatever the
/// name led to a moment ago: a name that changes its mind (DNS rebinding) gains nothing.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    allowed: Arc<[IpNet]>,
    timeout: Duration,
}

impl Dial {
    /// Leads to the machine's surroundings only within `allowed`.
    pub(super) fn new(allowed: &[IpNet], timeout: Duration) -> Self {
        Self {
            allowed: allowed.into(),
            timeout,
        }
    }

    async fn connect(self, url: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if url.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let port = url.port_u16().unwrap_or(usual);
        let found: Vec<_> = tokio::net::lookup_host((host, port))
            .await?
            .take(MAX_ADDRESSES)
            .collect();
        let mut last = io::Error::other("its name leads to no address");
        // Each address gets its share, so that one that is silent does not take all of the time.
        let share = self.timeout / u32::try_from(found.len().max(1)).unwrap_or(1);
        for address in found {
            match self.try_one(address, share).await {
                Ok(stream) => return Ok(TokioIo::new(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_one(&self, address: SocketAddr, share: Duration) -> io::Result<TcpStream> {
        self.check(address)?;
        let connected = tokio::time::timeout(share, TcpStream::connect(address)).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::Error::other("no answer in time")))
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn check(&self, address: SocketAddr) -> io::Result<()> {
        let ip = address.ip();
        let canonical = ip.to_canonical();
        let is_allowed = |net: &IpNet| net.contains(&ip) || net.contains(&canonical);
        if !surroundings::holds(ip) || self.allowed.iter().any(is_allowed) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{ip} is link-local or a cloud's metadata service, where usher does not connect; \
             if it is right, name it in `allow_addresses`"
        )))
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().connect(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn dial(url: &str, allowed: &[&str]) -> String {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        let dial = Dial::new(&allowed, Duration::from_millis(200));
        match dial.connect(url.parse().unwrap()).await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn an_address_is_looked_at_after_the_name_was() {
        // The system's resolver takes these numbers for 169.254.169.254.
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "0.0.0.0",
        ] {
            let said = dial(&format!("https://{host}:1/"), &[]).await;
            assert!(said.contains("allow_addresses"), "{host}: {said}");
        }
    }

    #[tokio::test]
    async fn what_is_allowed_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let here = format!("http://127.0.0.1:{port}/");
        assert_eq!(dial(&here, &[]).await, "connected");
        let named = dial(&format!("http://localhost:{port}/"), &[]).await;
        assert_eq!(named, "connected");
        // 0.0.0.0 leads to this machine, but only whoever names it gets there.
        let odd = format!("http://0.0.0.0:{port}/");
        assert_eq!(dial(&odd, &["0.0.0.0/32"]).await, "connected");
        assert!(dial(&odd, &["10.0.0.0/8"]).await.contains("link-local"));
    }
}
