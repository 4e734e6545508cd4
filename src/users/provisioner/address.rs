//! From settings to something that can be connected to.

use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::io::tcp::{TcpSettings, socket2};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult,
    TlsCertificates, TlsMode,
};

use super::link::Connection;
use crate::secret::Secret;
use crate::users::StartError;
use crate::users::settings::{RedisAddress, StreamsSettings};

/// Finding the master, or the slots of a cluster, takes several connections.
const DISCOVERY: u32 = 4;

/// Where connections are made to.
pub(super) enum Address {
    Single(Client),
    Sentinel(Sentinel),
    Cluster(Vec<ConnectionInfo>, Option<TlsCertificates>),
}

/// The crate's client finds the master anew each time, but wants to be borrowed for it; so
/// each connection builds one.
pub(super) struct Sentinel {
    nodes: Vec<ConnectionInfo>,
    service: String,
    master: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

impl Address {
    pub(super) fn new(settings: &StreamsSettings) -> Result<Self, StartError> {
        let certificates = certificates(settings)?;
        match &settings.redis {
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
    pub(super) fn repeats_by_itself(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }

    /// A connection of its own; no answer on it takes longer than `response`.
    pub(super) async fn connect(
        &self,
        connect: Duration,
        response: Duration,
    ) -> RedisResult<Connection> {
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
    pub(super) fn patience(&self, connect: Duration) -> Duration {
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

fn infos(urls: &[Secret]) -> Result<Vec<ConnectionInfo>, StartError> {
    urls.iter().map(info).collect()
}

fn info(url: &Secret) -> Result<ConnectionInfo, StartError> {
    let info = std::str::from_utf8(url.expose())
        .map_err(|_| StartError("the provisioner's URL is not text".to_owned()))?
        .into_connection_info()
        .map_err(|error| bad(&error))?;
    if is_tls(&info) {
        // The crate takes the process's provider; where one is set already, that one stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    if let ConnectionAddr::TcpTls { insecure: true, .. } = info.addr() {
        return Err(StartError(
            "the provisioner's URL switches certificate checks off; give a ca_file instead"
                .to_owned(),
        ));
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

fn certificates(settings: &StreamsSettings) -> Result<Option<TlsCertificates>, StartError> {
    let Some(file) = &settings.ca_file else {
        return Ok(None);
    };
    let pem = std::fs::read(file)
        .map_err(|error| StartError(format!("ca_file {}: {error}", file.display())))?;
    Ok(Some(TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    }))
}

/// The kind of the problem alone: the text may repeat the URL, and with it the password.
fn bad(error: &redis::RedisError) -> StartError {
    StartError(format!("the provisioner's URL: {}", error.category()))
}
