//! A real PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::authority::Authority;
use super::free_port;
use super::process::{Process, signal};

/// The table of the wire contract (§3.2).
pub const EXNESS: &str = r#"CREATE TABLE "User" (
    "id" serial PRIMARY KEY, "email" text NOT NULL UNIQUE, "userID" text NOT NULL UNIQUE,
    "balance" double precision NOT NULL DEFAULT 0)"#;

pub struct Postgres {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// A server with the contract's table in it.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, speaking TLS too.
    pub async fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority)).await
    }

    async fn start_with(authority: Option<&Authority>) -> Self {
        let folder = TempDir::new().expect("a folder");
        initialise(folder.path());
        if let Some(authority) = authority {
            speak_tls(folder.path(), authority);
        }
        for _ in 0..10 {
            let port = free_port();
            let process = spawn(folder.path(), port);
            if is_ready(port, &process).await {
                let postgres = Self {
                    process,
                    port,
                    folder,
                };
                postgres.run(EXNESS).await;
                return postgres;
            }
        }
        panic!("postgres cannot be started");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!(
            "postgres://app:app@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    /// A URL with a host name, which TLS is verified against.
    pub fn tls_url(&self, mode: &str) -> String {
        format!(
            "postgres://app:app@localhost:{}/postgres?sslmode={mode}",
            self.port
        )
    }

    pub async fn connect(&self) -> Client {
        connect(self.port).await.expect("postgres answers")
    }

    pub async fn run(&self, sql: &str) {
        let client = self.connect().await;
        client.batch_execute(sql).await.expect(sql);
    }

    /// Inserts a row of the contract's table.
    pub async fn insert(&self, id: &str, email: &str) {
        let sql = r#"INSERT INTO "User" ("userID", "email") VALUES ($1, $2)"#;
        let client = self.connect().await;
        client.execute(sql, &[&id, &email]).await.expect("inserted");
    }

    pub async fn count(&self) -> i64 {
        let client = self.connect().await;
        let row = client
            .query_one(r#"SELECT count(*) FROM "User""#, &[])
            .await;
        row.expect("counted").get(0)
    }

    /// Stops (`STOP`) or wakes (`CONT`) the server and every one of its processes.
    pub fn signal_all(&self, name: &str) {
        let parent = self.process.id().to_string();
        let children = Command::new("pgrep").args(["-P", &parent]).output();
        let children = children.expect("pgrep").stdout;
        self.process.signal(name);
        for id in String::from_utf8_lossy(&children).lines() {
            signal(id.parse().expect("a process id"), name);
        }
    }

    /// Ends at once, as after a power cut.
    pub fn kill(&mut self) {
        self.process.signal("QUIT");
        self.process.finish();
    }

    /// Starts again on the same port, with what was in it.
    pub async fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.process = spawn(self.folder.path(), self.port);
            if is_ready(self.port, &self.process).await {
                return;
            }
            assert!(Instant::now() < deadline, "postgres does not restart");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown takes its other processes along, stopped ones included.
        self.signal_all("CONT");
        self.process.signal("QUIT");
        self.process.finish();
    }
}

fn binary(name: &str) -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    found
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// PostgreSQL refuses to run as root; there it runs as `nobody`.
fn command(name: &str, folder: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"])
            .arg(binary(name));
        command
    } else {
        Command::new(binary(name))
    };
    command
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn initialise(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, open).expect("permissions");
    let status = command("initdb", folder)
        .args([
            "--username=app",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ])
        .arg("--pgdata")
        .arg(folder.join("data"))
        .status()
        .expect("initdb");
    assert!(status.success(), "initdb failed");
}

/// The key must belong to the server's own user, so `initdb`'s user copies it.
fn speak_tls(folder: &Path, authority: &Authority) {
    let data = folder.join("data");
    for (from, to) in [
        (&authority.certificate, "server.crt"),
        (&authority.key, "server.key"),
    ] {
        let mut copy = command("cp", folder);
        let status = copy.arg(from).arg(data.join(to)).status().expect("cp");
        assert!(status.success(), "cp failed");
        let mut close = command("chmod", folder);
        let status = close.arg("600").arg(data.join(to)).status().expect("chmod");
        assert!(status.success(), "chmod failed");
    }
    let mut write = command("sh", folder);
    let line = "echo 'ssl = on' >> data/postgresql.conf";
    assert!(write.args(["-c", line]).status().expect("sh").success());
}

fn spawn(folder: &Path, port: u16) -> Process {
    let mut command = command("postgres", folder);
    command
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"])
        .args(["-c", "max_connections=100", "-c", "shared_buffers=16MB"]);
    Process::start(&mut command)
}

async fn is_ready(port: u16, process: &Process) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && !process.has_ended() {
        if connect(port).await.is_some() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

async fn connect(port: u16) -> Option<Client> {
    let config = format!("host=127.0.0.1 port={port} user=app dbname=postgres connect_timeout=2");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}
