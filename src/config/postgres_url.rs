//! Reading where PostgreSQL is, and whether TLS is spoken to it, from a URL.

use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Whether TLS is spoken. Wherever it is, the certificate and its name are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// If the server offers it, and nobody on the way has taken the offer away.
    Offered,
    /// Always, or there is no connection.
    Always,
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresUrl {
    config: Config,
    /// Its `sslmode`.
    tls: Option<Tls>,
}

impl PostgresUrl {
    /// Reads `postgres://…`.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is repeated but the names of parameters.
    pub fn read(url: &str) -> Result<Self, String> {
        let (url, mode) = without_mode(url);
        let tls = match mode.as_deref() {
            None => None,
            Some("disable") => Some(Tls::Off),
            Some("prefer") => Some(Tls::Offered),
            // With rustls `require` verifies the certificate and its name too.
            Some("require" | "verify-full") => Some(Tls::Always),
            Some(_) => {
                let why = "its `sslmode` is none of disable, prefer, require and verify-full";
                return Err(why.to_owned());
            }
        };
        let config = Config::from_str(&url).map_err(|error| {
            let why = std::error::Error::source(&error);
            why.map_or_else(|| error.to_string(), |why| why.to_string())
        })?;
        match config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            true => Err("it names no host".to_owned()),
            false => Ok(Self { config, tls }),
        }
    }

    /// What is spoken: as it says, or always where an eavesdropper may be or somebody has named
    /// authorities.
    pub fn tls(&self, authorities: bool) -> Tls {
        self.tls.unwrap_or(match authorities || !self.is_local() {
            true => Tls::Always,
            false => Tls::Offered,
        })
    }

    /// Whether every server is on this machine: on loopback, or behind a Unix socket.
    pub fn is_local(&self) -> bool {
        // They are connected to whatever the hosts are called.
        let addresses = self.config.get_hostaddrs();
        if !addresses.is_empty() {
            return addresses.iter().all(IpAddr::is_loopback);
        }
        self.config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) if name.eq_ignore_ascii_case("localhost") => true,
            Host::Tcp(name) => name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        })
    }

    /// As the driver takes it.
    pub fn into_config(mut self, authorities: bool) -> Config {
        self.config.ssl_mode(match self.tls(authorities) {
            Tls::Off => SslMode::Disable,
            Tls::Offered => SslMode::Prefer,
            Tls::Always => SslMode::Require,
        });
        self.config
    }
}

/// The URL without its `sslmode`, of which the driver knows fewer words; the last one counts.
fn without_mode(url: &str) -> (String, Option<String>) {
    // The driver takes what stands before the first `@` for a name and a password.
    let credentials = url.find('@').map_or(0, |at| at + 1);
    let (before, rest) = url.split_at(credentials);
    let Some((place, query)) = rest.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut mode = None;
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.strip_prefix("sslmode=") {
            Some(word) => mode = Some(word.to_owned()),
            None => others.push(pair),
        }
    }
    let sign = if others.is_empty() { "" } else { "?" };
    (format!("{before}{place}{sign}{}", others.join("&")), mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> PostgresUrl {
        PostgresUrl::read(url).unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    #[test]
    fn tls_is_spoken_wherever_somebody_else_may_listen() {
        for (url, tls) in [
            ("postgres://db/app", Tls::Always),
            ("postgres://a:b@10.0.0.7:5432/app", Tls::Always),
            ("postgres://localhost,db/app", Tls::Always),
            ("postgres://localhost/app?hostaddr=10.0.0.7", Tls::Always),
            ("postgres://localhost.example/app", Tls::Always),
            ("postgres://db/app?sslmode=prefer", Tls::Offered),
            (
                "postgres://db/app?connect_timeout=3&sslmode=disable",
                Tls::Off,
            ),
            (
                "postgres://a:b?c@db/app?sslmode=disable&application_name=x",
                Tls::Off,
            ),
            ("postgres://localhost/app", Tls::Offered),
            ("postgres://a@127.0.0.1,[::1]/app", Tls::Offered),
            ("postgres://db/app?hostaddr=127.0.0.1", Tls::Offered),
            ("postgres:///app?host=/run/postgresql", Tls::Offered),
            ("postgres://%2Frun%2Fpostgresql/app", Tls::Offered),
            ("postgres://localhost/app?sslmode=require", Tls::Always),
            ("postgres://localhost/app?sslmode=verify-full", Tls::Always),
            (
                "postgres://localhost/app?sslmode=verify-full&sslmode=disable",
                Tls::Off,
            ),
        ] {
            assert_eq!(read(url).tls(false), tls, "{url}");
        }
        assert_eq!(read("postgres://localhost/app").tls(true), Tls::Always);
        let other = read("postgres://a:b?c@db/app?sslmode=disable&application_name=x");
        let config = other.into_config(false);
        assert_eq!(config.get_application_name(), Some("x"));
        assert_eq!(config.get_password(), Some(&b"b?c"[..]));
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn what_is_wrong_is_told_and_repeated_nowhere() {
        for (url, told) in [
            (
                "postgres://a:hunter2@db/app?sslmode=verify-ca",
                "verify-full",
            ),
            ("postgres://a:hunter2@db/app?sslmode=hunter2", "verify-full"),
            ("postgres://a:hunter2@db:port/app", "port"),
            ("postgres://a:hunter2@db/app?sslmod=x", "sslmod"),
            ("postgres:///app", "names no host"),
        ] {
            let why = PostgresUrl::read(url).unwrap_err();
            assert!(
                why.contains(told) && !why.contains("hunter2"),
                "{url}: {why}"
            );
        }
    }
}
