//! Reading where Redis is from one line of configuration.

use crate::secret::Secret;

/// Which Redis servers, and how they are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// One server: `redis://`, `rediss://` or `unix://`.
    Single(Secret),
    /// The master that the sentinels name.
    Sentinel {
        /// URLs of the sentinels.
        nodes: Vec<Secret>,
        /// The name of the master's group.
        service: String,
        /// A URL whose user, password, database and TLS hold for the master; its host is not used.
        master: Secret,
    },
    /// A cluster, by some of its nodes.
    Cluster(Vec<Secret>),
}

impl RedisAddress {
    /// Reads `redis://…`, `redis+sentinel://[user:password@]host:port,…/group[/database]` or
    /// `redis+cluster://[user:password@]host:port,…`; with `rediss` all of it over TLS.
    /// User and password hold for every server named. The error repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("the address has no scheme")?;
        let Some((plain, kind)) = scheme.split_once('+').filter(|(_, kind)| *kind != "unix") else {
            return Ok(Self::Single(Secret::new(text)));
        };
        if !matches!(plain, "redis" | "rediss") {
            return Err("the scheme is not redis or rediss");
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match hosts.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), hosts),
        };
        if hosts.split(',').any(str::is_empty) {
            return Err("a host is missing");
        }
        let url = |host: &str| Secret::new(format!("{plain}://{credentials}{host}"));
        let nodes: Vec<Secret> = hosts.split(',').map(url).collect();
        match kind {
            "cluster" if path.is_empty() => Ok(Self::Cluster(nodes)),
            "cluster" => Err("a cluster has no database or group"),
            "sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, "0"));
                if service.is_empty() {
                    return Err("the master's group is missing after the hosts");
                }
                Ok(Self::Sentinel {
                    nodes,
                    service: service.to_owned(),
                    master: url(&format!("master/{database}")),
                })
            }
            _ => Err("after the + stands neither sentinel nor cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(urls: &[&str]) -> Vec<Secret> {
        urls.iter().map(|url| Secret::new(*url)).collect()
    }

    #[test]
    fn one_server_is_taken_as_it_is() {
        for url in [
            "redis://h",
            "rediss://u:p@h:1/2",
            "unix:///run/redis",
            "redis+unix:///r",
        ] {
            let read = RedisAddress::parse(url);
            assert_eq!(read, Ok(RedisAddress::Single(Secret::new(url))));
        }
    }

    #[test]
    fn sentinels_and_clusters_share_their_credentials() {
        assert_eq!(
            RedisAddress::parse("redis+sentinel://u:p@a:1,b:2/engine/3"),
            Ok(RedisAddress::Sentinel {
                nodes: secrets(&["redis://u:p@a:1", "redis://u:p@b:2"]),
                service: "engine".to_owned(),
                master: Secret::new("redis://u:p@master/3"),
            })
        );
        assert_eq!(
            RedisAddress::parse("rediss+cluster://a,b:2"),
            Ok(RedisAddress::Cluster(secrets(&[
                "rediss://a",
                "rediss://b:2"
            ])))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "localhost:6379",
            "http+cluster://a",
            "redis+ring://a",
            "redis+cluster://a,,b",
            "redis+cluster://a/0",
            "redis+sentinel://a:1",
        ] {
            assert!(RedisAddress::parse(text).is_err(), "{text}");
        }
    }
}
