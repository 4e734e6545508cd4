//! A process of usher with a configuration file that tests change.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::command::{Running, usher};
use crate::common::{App, Client, Issuer, Reply, eventually};

pub struct Stage {
    pub folder: TempDir,
    pub app: App,
    pub issuer: Issuer,
    pub running: Running,
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
}

/// `GET` with a token, on a connection that is kept.
#[track_caller]
pub fn ask(client: &mut Client, target: &str, token: &str) -> Reply {
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    client.reply().expect("an answer")
}

impl Stage {
    /// With `more` lines of configuration.
    pub fn start(more: &str) -> Self {
        Self::before(App::start(), more)
    }

    pub fn before(app: App, more: &str) -> Self {
        let issuer = Issuer::new();
        let issuers = [issuer.yaml()];
        Self::with(app, issuer, &issuers, more)
    }

    /// With these entries under `issuers`.
    pub fn with(app: App, issuer: Issuer, issuers: &[String], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("usher.yaml");
        std::fs::write(&file, text(&app, issuers, more)).unwrap();
        Self::of(folder, file, app, issuer)
    }

    /// With a file that is there.
    pub fn of(folder: TempDir, file: PathBuf, app: App, issuer: Issuer) -> Self {
        let file = file.to_str().unwrap();
        let running = Running::start(&mut usher(&["serve", "--config", file]));
        Self {
            address: running.address("listening"),
            admin_address: running.address("admin: /livez /readyz /metrics"),
            folder,
            app,
            issuer,
            running,
        }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("usher.yaml")
    }

    pub fn text(&self, issuers: &[String], more: &str) -> String {
        text(&self.app, issuers, more)
    }

    /// Another configuration, with the same issuer.
    pub fn write(&self, more: &str) {
        self.write_with(&[self.issuer.yaml()], more);
    }

    /// Another configuration, whole at once, as editors and deployments write.
    pub fn write_with(&self, issuers: &[String], more: &str) {
        let beside = self.folder.path().join("usher.yaml.new");
        std::fs::write(&beside, self.text(issuers, more)).unwrap();
        std::fs::rename(beside, self.file()).unwrap();
    }

    /// Sends SIGHUP, and waits until the configuration was read and is used.
    #[track_caller]
    pub fn reload(&self) {
        self.hang_up("done");
    }

    /// The same with a configuration that cannot be used.
    #[track_caller]
    pub fn fail(&self) {
        self.hang_up("failed");
    }

    #[track_caller]
    fn hang_up(&self, result: &str) {
        let before = self.reloads();
        self.running.signal("HUP");
        let after = eventually("a reload", || {
            let now = self.reloads();
            (now.0 + now.1 > before.0 + before.1).then_some(now)
        });
        let ended = if after.0 > before.0 { "done" } else { "failed" };
        assert_eq!(ended, result, "{}", self.running.err());
    }

    /// How many reloads went well, and how many failed.
    pub fn reloads(&self) -> (f64, f64) {
        let count = |result| {
            self.metric(&format!(
                "usher_config_reloads_total{{result=\"{result}\"}}"
            ))
        };
        (count("done"), count("failed"))
    }

    /// Waits until so many reloads went well.
    #[track_caller]
    pub fn until_reloaded(&self, times: f64) {
        eventually("a reload", || (self.reloads().0 >= times).then_some(()));
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    #[track_caller]
    pub fn admin(&self, path: &str) -> Reply {
        let mut client = Client::connect(self.admin_address);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"));
        client.reply().expect("an answer of admin")
    }

    /// The value of a metric, by its whole name with labels; 0 where there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics").body;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    }

    /// The events with this message so far.
    pub fn events(&self, message: &str) -> Vec<Value> {
        let mut events = self.running.events();
        events.retain(|event| event["message"] == message);
        events
    }
}

fn text(app: &App, issuers: &[String], more: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 2\nupstream: http://{}\n\
         issuers: [{}]\nlog: {{ access: false }}\nshutdown: {{ pause: 0s, deadline: 5s }}\n{more}\n",
        app.address,
        issuers.join(", ")
    )
}
