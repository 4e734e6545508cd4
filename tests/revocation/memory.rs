//! A million revocations in memory.

use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::stage::Stage;
use crate::common::command::{Running, usher};
use crate::common::{Client, free_port};

const MILLION: u32 = 1_000_000;

/// The most that they may take, in bytes, also while the table grows.
const MOST: u64 = 100_000_000;

/// A usher of its own, as the operating system sees it.
struct Process {
    running: Running,
}

impl Process {
    fn start(stage: &Stage, entries: u32) -> Self {
        let file = stage.folder.path().join(format!("revoked-{entries}"));
        write(&file, entries);
        let admin = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let config = stage.folder.path().join(format!("usher-{entries}.yaml"));
        let yaml = stage.yaml(&format!(
            "listen: 127.0.0.1:0\nadmin: {admin}\nworkers: 1\nrevocation: {{ stream: \"file:{}\" }}\n",
            file.display()
        ));
        std::fs::write(&config, yaml).unwrap();
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        let mut running = Running::start(&mut usher(&arguments));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while !Self::is_ready(admin, entries) {
            assert!(
                running.runs() && std::time::Instant::now() < deadline,
                "{}",
                running.err()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { running }
    }

    fn is_ready(admin: std::net::SocketAddr, entries: u32) -> bool {
        let Ok(stream) = std::net::TcpStream::connect(admin) else {
            return false;
        };
        drop(stream);
        let mut client = Client::connect(admin);
        client.send("GET /readyz HTTP/1.1\r\nhost: admin\r\n\r\n");
        let told = format!("\"entries\":{entries},\"loaded\":true");
        client
            .reply()
            .is_some_and(|reply| reply.body.contains(&told))
    }

    /// The most memory that it ever had, in bytes.
    fn peak(&self) -> u64 {
        let pid = self.running.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().trim_end_matches("kB").trim();
        kilobytes.parse::<u64>().unwrap() * 1024
    }
}

/// Marks as scattered as hashes are.
fn write(path: &std::path::Path, entries: u32) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(options.open(path).unwrap());
    for number in 0..u128::from(entries) {
        let mark = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        writeln!(file, "v1 {mark:032x} 1700000000 4000000000").unwrap();
    }
    file.flush().unwrap();
}

#[test]
fn a_million_revocations_take_less_than_a_hundred_megabytes() {
    let stage = Stage::new();
    let few = Process::start(&stage, 1);
    let many = Process::start(&stage, MILLION);
    let took = many.peak().saturating_sub(few.peak());
    assert!(took < MOST, "{took} bytes");
    // What was measured was there.
    assert!(took > u64::from(MILLION) * 24, "{took} bytes");
}
