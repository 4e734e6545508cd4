//! Ways to Redis: one server, whom sentinels name, or a cluster.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::config::RedisAddress;
use crate::roots;
use crate::secret::Secret;

/// Finding the master, or the slots of a cluster, takes several connections.
const DISCOVERY: u32 = 4;

/// Where connections are made to.
pub enum Address {
    /// One server.
    Single(Client),
    /// The master that sentinels name.
    Sentinel(Sentinel),
    /// A cluster, by some of its nodes.
    Cluster(Vec<ConnectionInfo>, Option<TlsCertificates>),
}

/// A connection, whatever the servers' arrangement.
#[derive(Clone)]
pub enum Connection {
    /// With one server.
    One(MultiplexedConnection),
    /// With a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Asks.
    ///
    /// # Errors
    /// What Redis says, or that nothing came.
    pub async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// The crate's client finds the master anew each time, but wants to be borrowed for it; so
/// each connection builds one.
pub struct Sentinel {
    nodes: Vec<ConnectionInfo>,
    service: String,
    master: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

impl Address {
    /// Of what the configuration says.
    ///
    /// # Errors
    /// What is wrong with the address or the file; nothing of the address is repeated.
    pub fn new(redis: &RedisAddress, ca_file: Option<&Path>) -> Result<Self, String> {
        let certificates = certificates(ca_file)?;
        match redis {
            RedisAddress::Single(url) => {
                let info = info(url)?;
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates),
                    None => Client::open(info),
                };
                client.map(Self::Single).map_err(|error| bad(&error))
            }
            RedisAddress::Sentinel {
                nodes,
                service,
                master,
            } => Ok(Self::Sentinel(Sentinel {
                nodes: infos(nodes)?,
                service: service.clone(),
                master: info(master)?,
                certificates,
            })),
            RedisAddress::Cluster(nodes) => Ok(Self::Cluster(infos(nodes)?, certificates)),
        }
    }

    /// Whether one answer may stand for several tries that the crate made by itself.
    pub fn repeats_by_itself(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }

    /// A connection of its own; no answer on it takes longer than `response`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self, connect: Duration, response: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(response))
            .set_pipeline_buffer_size(1024);
        match self {
            Self::Single(client) => client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(Connection::One),
            Self::Sentinel(sentinel) => sentinel
                .client()?
                .get_async_connection_with_config(&config)
                .await
                .map(Connection::One),
            Self::Cluster(nodes, certificates) => {
                cluster(nodes, certificates.as_ref(), connect, response)?
                    .get_async_connection()
                    .await
                    .map(Connection::Cluster)
            }
        }
    }

    /// The longest time that [`connect`](Self::connect) gets.
    pub fn patience(&self, connect: Duration) -> Duration {
        match self {
            Self::Single(_) => connect,
            Self::Sentinel(_) | Self::Cluster(..) => connect * DISCOVERY,
        }
    }
}

impl Sentinel {
    fn client(&self) -> RedisResult<SentinelClient> {
        let addresses = self.nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(
            addresses,
            self.service.as_str(),
            SentinelServerType::Master,
        )?
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
        let redis = self.master.redis_settings();
        builder = builder.set_client_to_redis_db(redis.db());
        if let Some(name) = redis.username() {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if is_tls(&self.master) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = &self.certificates {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
            }
        }
        self.towards_sentinels(builder).build()
    }

    fn towards_sentinels(&self, mut builder: SentinelClientBuilder) -> SentinelClientBuilder {
        let Some(first) = self.nodes.first() else {
            return builder;
        };
        if let Some(name) = first.redis_settings().username() {
            builder = builder.set_client_to_sentinel_username(name);
        }
        if let Some(password) = first.redis_settings().password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if is_tls(first) {
            builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(certificates) = &self.certificates {
                builder = builder.set_client_to_sentinel_certificates(certificates.clone());
            }
        }
        builder
    }
}

fn cluster(
    nodes: &[ConnectionInfo],
    certificates: Option<&TlsCertificates>,
    connect: Duration,
    response: Duration,
) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
        .connection_timeout(connect)
        .response_timeout(response)
        .retries(3)
        .min_retry_wait(20)
        .max_retry_wait(200)
        .tcp_settings(tcp());
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates.clone());
    }
    builder.build()
}

fn infos(urls: &[Secret]) -> Result<Vec<ConnectionInfo>, String> {
    urls.iter().map(info).collect()
}

fn info(url: &Secret) -> Result<ConnectionInfo, String> {
    let info = std::str::from_utf8(url.expose())
        .map_err(|_| "the URL is not text".to_owned())?
        .into_connection_info()
        .map_err(|error| bad(&error))?;
    if is_tls(&info) {
        // The crate takes the process's provider; where one is set already, that one stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        return Err("the URL switches certificate checks off; give a ca_file instead".to_owned());
    }
    Ok(info.set_tcp_settings(tcp()))
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// The crate's defaults have no keep-alive, so a peer that vanished would never be noticed.
fn tcp() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(5))
}

fn certificates(ca_file: Option<&Path>) -> Result<Option<TlsCertificates>, String> {
    let Some(file) = ca_file else {
        return Ok(None);
    };
    let pem = roots::read(file)?;
    // The crate would take what holds no certificate, and trust nobody.
    roots::of_pem(&pem).map_err(|why| format!("{} {why}", file.display()))?;
    Ok(Some(TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    }))
}

/// The kind of the problem alone: the text may repeat the URL, and with it the password.
fn bad(error: &redis::RedisError) -> String {
    format!("the URL: {}", error.category())
}
