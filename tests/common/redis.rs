//! A real redis-server.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, cmd};
use tempfile::TempDir;

use super::authority::Authority;
use super::free_port;
use super::process::Process;

pub struct Redis {
    process: Process,
    port: u16,
    kind: Kind,
    folder: TempDir,
}

/// How a server is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What is in it is lost with it.
    Forgetful,
    /// What it has said that it has is on the disk.
    Durable,
    /// One of a cluster.
    Cluster,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_as(Kind::Forgetful).await
    }

    /// With `appendonly yes` and `appendfsync always`.
    pub async fn durable() -> Self {
        Self::start_as(Kind::Durable).await
    }

    async fn start_as(kind: Kind) -> Self {
        // The port may be taken by somebody else in between; then another one is tried.
        for _ in 0..10 {
            let folder = TempDir::new().expect("a folder");
            let port = free_port();
            let process = spawn(port, kind, &folder);
            if is_ready(port, &process).await {
                return Self {
                    process,
                    port,
                    kind,
                    folder,
                };
            }
        }
        panic!("redis-server cannot be started");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        connect(self.port).await.expect("redis answers")
    }

    /// Runs a command, given as words.
    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        let mut connection = self.connect().await;
        command.query_async(&mut connection).await.expect(words[0])
    }

    /// How often a command was called, by `INFO commandstats`.
    pub async fn calls(&self, command: &str) -> u64 {
        let stats: String = self.run(&["INFO", "commandstats"]).await;
        let line = format!("cmdstat_{command}:calls=");
        stats
            .lines()
            .find_map(|found| found.strip_prefix(&line))
            .and_then(|rest| rest.split(',').next())
            .map_or(0, |calls| calls.parse().expect("a number"))
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same port, with nothing in it unless it is durable.
    pub async fn restart(&mut self) {
        self.process.kill();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.process = spawn(self.port, self.kind, &self.folder);
            if is_ready(self.port, &self.process).await {
                return;
            }
            assert!(Instant::now() < deadline, "redis-server does not restart");
        }
    }
}

/// Three masters that share the slots.
pub struct RedisCluster {
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(Redis::start_as(Kind::Cluster).await);
        }
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .expect("redis-cli");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stdout)
        );
        let cluster = Self { nodes };
        super::eventually_async("the cluster is up", async || {
            cluster.is_up().await.then_some(())
        })
        .await;
        cluster
    }

    async fn is_up(&self) -> bool {
        for node in &self.nodes {
            let info: String = node.run(&["CLUSTER", "INFO"]).await;
            if !info.contains("cluster_state:ok") {
                return false;
            }
        }
        true
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}

/// A redis-server that speaks TLS on a second port.
pub struct TlsRedis {
    pub redis: Redis,
    tls_port: u16,
}

impl TlsRedis {
    pub async fn start(authority: &Authority) -> Self {
        let redis = Redis::start().await;
        let path = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
        let tls_port = free_port();
        let _: String = redis
            .run(&[
                "CONFIG",
                "SET",
                "tls-cert-file",
                &path(&authority.certificate),
                "tls-key-file",
                &path(&authority.key),
                "tls-ca-cert-file",
                &path(&authority.root),
                "tls-auth-clients",
                "no",
                "tls-port",
                &tls_port.to_string(),
            ])
            .await;
        Self { redis, tls_port }
    }

    pub fn url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port)
    }
}

/// A sentinel that watches one master under the name `engine`.
pub struct Sentinel {
    _process: Process,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    pub async fn start(master: &Redis) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("sentinel.conf");
        let watch = format!("sentinel monitor engine 127.0.0.1 {} 1\n", master.port);
        std::fs::write(&file, watch).expect("written");
        let port = free_port();
        let mut command = Command::new("redis-server");
        command
            .arg(&file)
            .args(["--sentinel", "--port", &port.to_string()])
            .args(["--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command);
        assert!(
            is_ready(port, &process).await,
            "the sentinel cannot be started"
        );
        Self {
            _process: process,
            port,
            _folder: folder,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn spawn(port: u16, kind: Kind, folder: &TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", ""])
        .args([
            "--appendonly",
            if kind == Kind::Durable { "yes" } else { "no" },
        ])
        .args(["--appendfsync", "always"])
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if kind == Kind::Cluster {
        // The bus port would be port + 10000, which may not exist.
        command
            .args(["--cluster-enabled", "yes"])
            .args(["--cluster-port", &free_port().to_string()]);
    }
    Process::start(&mut command)
}

async fn is_ready(port: u16, process: &Process) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && !process.has_ended() {
        if let Some(mut connection) = connect(port).await {
            // Another server may hold the port while ours is about to give up.
            let info: String = match cmd("INFO").arg("server").query_async(&mut connection).await {
                Ok(info) => info,
                Err(_) => continue,
            };
            return info.contains(&format!("process_id:{}\r", process.id()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn connect(port: u16) -> Option<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a URL");
    let config =
        redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .ok()
}
