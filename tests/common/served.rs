//! The real usher as a process of its own: `usher serve --config`.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{Client, Reply, eventually};

pub struct Served {
    pub address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    folder: TempDir,
}

impl Served {
    /// Several of the same, on free ports; waits until they are ready.
    pub fn all(yaml: &str, count: usize) -> Vec<Self> {
        let processes: Vec<_> = (0..count).map(|_| spawn(yaml)).collect();
        let served = processes.into_iter().map(|(process, folder)| {
            let address = |message: &str| {
                eventually(message, || {
                    assert!(!process.has_ended(), "{}", log(&folder));
                    address(&log(&folder), message)
                })
            };
            let served = Self {
                address: address("listening"),
                admin: address("admin: /livez /readyz /metrics"),
                process,
                folder,
            };
            assert_eq!(served.admin("/readyz").status, 200);
            served
        });
        served.collect()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn admin(&self, path: &str) -> Reply {
        let mut client = Client::connect(self.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"));
        client.reply().expect("no answer from the admin listener")
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        log(&self.folder)
    }

    /// Ends it as SIGKILL does.
    pub fn kill(&self) {
        self.process.kill();
    }
}

fn spawn(yaml: &str) -> (Process, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("usher.yaml");
    let more = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\nlog: { access: false }\n";
    std::fs::write(&path, format!("{yaml}\n{more}")).unwrap();
    let errors = File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command
        .args(["serve", "--config"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(errors);
    (Process::start(&mut command), folder)
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap()
}

/// The address in the line with this message.
fn address(log: &str, message: &str) -> Option<SocketAddr> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut told = lines.filter(|line: &Value| line["message"] == message);
    told.next()?["address"].as_str()?.parse().ok()
}
