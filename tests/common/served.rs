//! The real usher as a process of its own: `usher serve --config`.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

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

    /// One of these.
    pub fn start(yaml: &str) -> Self {
        Self::all(yaml, 1).remove(0)
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn admin(&self, path: &str) -> Reply {
        let mut client = Client::connect(self.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"));
        client.reply().expect("no answer from the admin listener")
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The bytes of memory that it has now.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    /// The processor time that it has taken, on all its threads.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("it runs");
        // After the name, which may hold blanks, stand eleven numbers and then those two, in ticks.
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let ticks = rest
            .split(' ')
            .skip(11)
            .take(2)
            .map(|number| number.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Tells it to end, as Kubernetes does.
    pub fn stop(&self) {
        self.process.signal("TERM");
    }

    /// Its exit code, once it has ended; `None` when a signal has ended it.
    pub fn ended(&self) -> Option<i32> {
        eventually("the end of usher", || self.process.status()).code()
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
    let mut text = yaml.to_owned();
    for (key, value) in [
        ("listen", "127.0.0.1:0"),
        ("admin", "127.0.0.1:0"),
        ("workers", "1"),
        ("log", "{ access: false }"),
    ] {
        if !yaml
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")))
        {
            text.push_str(&format!("\n{key}: {value}"));
        }
    }
    std::fs::write(&path, text).unwrap();
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
