//! A proxy from `examples/`, an usher that it asks, and an app that records what arrives.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};
use usher::config::Algorithm;
use usher::identify::mint::SigningKey;
use usher::secret::Secret;

use crate::common::issuer::now;
use crate::common::process::Process;
use crate::common::{App, Client, Reply, Usher, eventually, free_port};

/// The proxies of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Nginx,
    Haproxy,
    Caddy,
    Traefik,
    EnvoyHttp,
    EnvoyGrpc,
}

const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";

/// All of it; the proxy ends with it.
pub(crate) struct Stage {
    pub(crate) door: Door,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    pub(crate) app: App,
    usher: Option<Usher>,
    key: SigningKey,
    proxy: Process,
    folder: tempfile::TempDir,
}

impl Door {
    fn folder(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::EnvoyHttp | Self::EnvoyGrpc => "envoy",
        }
    }

    /// How usher's log calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::EnvoyGrpc => "ext_authz",
            _ => "forward_auth",
        }
    }

    fn command(self, folder: &Path) -> Command {
        match self {
            Self::Nginx => {
                let mut command = Command::new(program("nginx"));
                let temporary = "daemon off; master_process off;";
                command.args(["-c", "nginx.conf", "-e", "stderr", "-g", temporary, "-p"]);
                command.arg(folder);
                command
            }
            Self::Haproxy => {
                let mut command = Command::new(program("haproxy"));
                command.args(["-db", "-f", "haproxy.cfg"]);
                command
            }
            Self::Caddy => {
                let mut command = Command::new(installed("bin/caddy"));
                command
                    .args(["run", "--config", "Caddyfile"])
                    .env("HOME", folder);
                command
            }
            Self::Traefik => {
                let mut command = Command::new(installed("bin/traefik"));
                command.arg("--configfile=traefik.yaml");
                command
            }
            Self::EnvoyHttp => envoy("envoy-http.yaml"),
            Self::EnvoyGrpc => envoy("envoy-grpc.yaml"),
        }
    }
}

fn envoy(file: &str) -> Command {
    let mut command = Command::new(installed("lib/python3*/site-packages/envoy/_bin/envoy"));
    command.args([
        "-c",
        file,
        "--concurrency",
        "1",
        "--log-level",
        "warn",
        "--disable-hot-restart",
    ]);
    command
}

/// A program that tests/run has put below `target`, from tests/gateways/requirements.txt.
pub(crate) fn installed(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut found = vec![target.join("gateways-venv")];
    for part in path.split('/') {
        let start = part.trim_end_matches('*');
        found = match part.ends_with('*') {
            false => found.into_iter().map(|folder| folder.join(part)).collect(),
            true => found
                .iter()
                .flat_map(|folder| beginning(folder, start))
                .collect(),
        };
    }
    let found = found.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{path} is missing: tests/run installs it"))
}

/// What in a folder has a name that begins so.
fn beginning(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(start)
        })
        .collect()
}

/// Debian keeps servers where only root's path leads.
pub(crate) fn program(name: &str) -> PathBuf {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut places = folders
        .split(':')
        .map(|folder| Path::new(folder).join(name));
    let found = places.find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: tests/run installs it"))
}

impl Stage {
    /// Starts the example of `door`.
    pub(crate) fn start(door: Door) -> Self {
        Self::changed(door, &[])
    }

    /// The same with something else in its files.
    pub(crate) fn changed(door: Door, changes: &[(&str, &str)]) -> Self {
        Self::before(App::start(), door, changes)
    }

    /// The same in front of an app.
    pub(crate) fn before(app: App, door: Door, changes: &[(&str, &str)]) -> Self {
        let folder = open_folder();
        let mut changes = Changes::new(changes);
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(door.folder());
        let yaml = std::fs::read_to_string(example.join("usher.yaml")).unwrap();
        let users = folder.path().join("users.db");
        let yaml = changes.make(&yaml);
        let yaml = replaced(&yaml, "127.0.0.1:8080", "127.0.0.1:0");
        let yaml = yaml.replace("127.0.0.1:9902", "127.0.0.1:0");
        let yaml = format!(
            "{yaml}\nadmin: 127.0.0.1:0\nworkers: 2\nshutdown: {{ pause: 0s, deadline: 1s }}\nlog: {{ denials_per_second: 1000000 }}\n\
             users: {{ directory: \"sqlite:{}\", provisioner: direct }}\n",
            users.display()
        );
        std::fs::write(folder.path().join("jwt-secret"), SECRET).unwrap();
        let file = folder.path().join("usher.yaml");
        std::fs::write(&file, yaml).unwrap();
        let usher = Usher::from_file(&file);

        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let ports = [
            ("8000", address.port()),
            ("8080", usher.address.port()),
            ("3000", app.address.port()),
            ("9902", usher.ext_authz.map_or(0, |door| door.port())),
        ];
        adapt(&example, folder.path(), &ports, &mut changes);
        changes.were_made();
        let proxy = Process::start(
            door.command(folder.path())
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(log(folder.path()))
                .stderr(log(folder.path())),
        );
        let stage = Self {
            door,
            address,
            app,
            usher: Some(usher),
            key: SigningKey::from_secret(&Secret::new(SECRET), Algorithm::HS256).unwrap(),
            proxy,
            folder,
        };
        stage.wait();
        stage
    }

    /// Until a question is answered: some proxies listen before they know their routes.
    fn wait(&self) {
        eventually(&format!("{:?} asks usher", self.door), || {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(!self.proxy.has_ended(), "{:?} ended: {}", self.door, log());
            TcpStream::connect(self.address).ok()?;
            let reply = self.ask("GET", "/before", "");
            reply.is_some_and(|reply| reply.status == 401).then_some(())
        });
    }

    pub(crate) fn usher(&self) -> &Usher {
        self.usher.as_ref().expect("usher runs")
    }

    /// Where the proxy asks.
    pub(crate) fn asked_at(&self) -> SocketAddr {
        match self.door {
            Door::EnvoyGrpc => self.usher().ext_authz.expect("a gRPC listener"),
            _ => self.usher().address,
        }
    }

    /// Ends usher; the proxy goes on.
    pub(crate) fn stop_usher(&mut self) {
        self.usher = None;
    }

    /// A token for a user, with `more` on top; `null` takes a claim away.
    pub(crate) fn token_with(&self, sub: &str, more: Value) -> String {
        let mut claims = Map::new();
        let own = json!({
            "sub": sub, "exp": now() + 600, "email": format!("{sub}@example.com"), "name": "Name",
        });
        for (name, value) in own
            .as_object()
            .unwrap()
            .iter()
            .chain(more.as_object().unwrap())
        {
            match value.is_null() {
                true => claims.remove(name),
                false => claims.insert(name.clone(), value.clone()),
            };
        }
        self.key.mint(&claims, None, Some("JWT")).unwrap()
    }

    /// A token for a user, as a header line.
    pub(crate) fn bearer(&self, sub: &str) -> String {
        format!(
            "Authorization: Bearer {}\r\n",
            self.token_with(sub, json!({}))
        )
    }

    /// Sends a request through the proxy, on a connection of its own.
    pub(crate) fn ask(&self, method: &str, target: &str, lines: &str) -> Option<Reply> {
        let mut client = Client::connect(self.address);
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
        ));
        client.reply()
    }

    /// The same with GET, which every proxy answers.
    #[track_caller]
    pub(crate) fn get(&self, target: &str, lines: &str) -> Reply {
        let reply = self.ask("GET", target, lines);
        reply.unwrap_or_else(|| panic!("{:?}: no answer to {target}", self.door))
    }
}

/// A folder that servers which run as somebody else can read.
pub(crate) fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    folder
}

fn log(folder: &Path) -> std::fs::File {
    let path = folder.join("log");
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// What a test wants to be different in an example's files, each of which has to be there.
struct Changes<'a>(Vec<(&'a str, &'a str, bool)>);

impl<'a> Changes<'a> {
    fn new(changes: &[(&'a str, &'a str)]) -> Self {
        Self(
            changes
                .iter()
                .map(|(from, to)| (*from, *to, false))
                .collect(),
        )
    }

    fn make(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to, made) in &mut self.0 {
            *made |= text.contains(*from);
            text = text.replace(*from, to);
        }
        text
    }

    #[track_caller]
    fn were_made(&self) {
        for (from, _, made) in &self.0 {
            assert!(made, "the example has no {from}");
        }
    }
}

/// Copies what the proxy reads, with other ports.
fn adapt(example: &Path, folder: &Path, ports: &[(&str, u16)], changes: &mut Changes<'_>) {
    let mut changed = 0;
    for entry in std::fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name == "usher.yaml" || path.extension().is_some_and(|ext| ext == "md") {
            continue;
        }
        let mut text = changes.make(&std::fs::read_to_string(&path).unwrap());
        for (port, real) in ports {
            changed += text.matches(port).count();
            text = text.replace(port, &real.to_string());
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
    assert!(changed >= 3, "{changed}: the example has other ports");
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replace(from, to)
}
