//! One usher: a process that is killed, and started again on the same ports.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use tempfile::TempDir;

use crate::common::free_port;
use crate::common::process::Process;

pub struct Sidecar {
    pub number: usize,
    /// Whether it writes down what is revoked, and begins with that.
    pub keeps: bool,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    folder: TempDir,
    life: Mutex<Life>,
}

struct Life {
    process: Process,
    number: u32,
    began: Instant,
}

impl Sidecar {
    /// Starts it; the first of them has a state directory.
    pub fn start(number: usize, yaml: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, admin) = (local(free_port()), local(free_port()));
        let keeps = number == 0;
        let state = match keeps {
            true => format!("state_dir: {}\n", folder.path().join("state").display()),
            false => String::new(),
        };
        let own =
            format!("listen: {address}\nadmin: {admin}\nworkers: 1\nlog: {{ access: false }}\n");
        std::fs::write(
            folder.path().join("usher.yaml"),
            format!("{yaml}{own}{state}"),
        )
        .unwrap();
        let life = Mutex::new(Life {
            process: spawn(&folder),
            number: 0,
            began: Instant::now(),
        });
        Self {
            number,
            keeps,
            address,
            admin,
            folder,
            life,
        }
    }

    /// Which process it is, counted from 0, and since when. A number is new before its process
    /// is there, and after the last one is gone.
    pub fn life(&self) -> (u32, Instant) {
        let life = self.life.lock().unwrap();
        (life.number, life.began)
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("usher.yaml")
    }

    pub fn signal(&self, name: &str) {
        self.life.lock().unwrap().process.signal(name);
    }

    pub fn kill(&self) {
        self.life.lock().unwrap().process.kill();
    }

    pub fn restart(&self) {
        let mut life = self.life.lock().unwrap();
        assert!(life.process.has_ended(), "it was killed");
        life.number += 1;
        life.began = Instant::now();
        life.process = spawn(&self.folder);
    }

    pub fn has_ended(&self) -> bool {
        self.life.lock().unwrap().process.has_ended()
    }

    /// What it complained of last, for whoever reads why the run failed.
    pub fn complaints(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| !line.contains("\"INFO\""))
            .collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn spawn(folder: &TempDir) -> Process {
    let path = folder.path().join("log");
    let errors: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command
        .args(["serve", "--config"])
        .arg(folder.path().join("usher.yaml"))
        .env_remove("USHER_CONFIG")
        .stdout(Stdio::null())
        .stderr(errors);
    Process::start(&mut command)
}
