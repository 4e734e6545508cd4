//! Twenty usher processes on one Redis, under load: how long a revoked token goes on.
//!
//! `cargo bench --bench revocation -- 20 200` prints the histogram of an idle machine; here the bound is
//! one that a busy one keeps too.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::common::command::{Running, usher};
use crate::common::{eventually, free_port};

const USHERS: usize = 20;
const REVOCATIONS: usize = 10;

/// From the end of the command to the last 200, on a machine that runs other tests beside.
const BOUND: Duration = Duration::from_secs(2);

#[test]
fn twenty_processes_refuse_within_moments() {
    let stage = Stage::new();
    let addresses: Vec<SocketAddr> = (0..USHERS)
        .map(|_| format!("127.0.0.1:{}", free_port()).parse().unwrap())
        .collect();
    let _running: Vec<Running> = addresses
        .iter()
        .map(|address| {
            let config = stage.folder.path().join(format!("{}.yaml", address.port()));
            let more = format!(
                "listen: {address}\nadmin: off\nworkers: 1\nlog: {{ access: false }}\nroutes: []\n"
            );
            std::fs::write(&config, stage.yaml(&more)).unwrap();
            Running::start(&mut usher(&["serve", "--config", config.to_str().unwrap()]))
        })
        .collect();
    let good = stage.issuer.token("good");
    for address in &addresses {
        eventually("an usher that serves", || {
            let stream = TcpStream::connect(address).ok()?;
            (ask(&stream, &good)? == 200).then_some(())
        });
    }
    for round in 0..REVOCATIONS {
        let name = format!("dead{round}");
        let late = revoke_under_load(&stage, &addresses, &name);
        assert!(late < BOUND, "{name}: {late:?}");
    }
}

/// Everybody asks with the token, again and again; how long after the command somebody still got a
/// 200.
fn revoke_under_load(stage: &Stage, addresses: &[SocketAddr], name: &str) -> Duration {
    let token = stage.issuer.token(name);
    let begun = Instant::now();
    let (last, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let warm = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for address in addresses {
            let (stop, last, warm, token) = (&stop, &last, &warm, &token);
            scope.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                let mut first = true;
                while !stop.load(Ordering::Relaxed) {
                    match ask(&stream, token) {
                        Some(200) => {
                            let now = u64::try_from(begun.elapsed().as_micros()).unwrap();
                            last.fetch_max(now, Ordering::Relaxed);
                        }
                        Some(401) => return,
                        other => panic!("{other:?}"),
                    }
                    if std::mem::take(&mut first) {
                        warm.fetch_add(1, Ordering::Relaxed);
                    }
                    // 1000 requests a second, by all of them.
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        eventually("every usher knows the token", || {
            (warm.load(Ordering::Relaxed) == addresses.len() as u64).then_some(())
        });
        stage.revoke(&["--subject", name]);
        let done = begun.elapsed();
        // Whoever still gets a 200 goes on until the bound is far behind.
        let deadline = Instant::now() + BOUND * 5;
        while Instant::now() < deadline && !all_refuse(addresses, &token) {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        Duration::from_micros(last.load(Ordering::Relaxed)).saturating_sub(done)
    })
}

fn all_refuse(addresses: &[SocketAddr], token: &str) -> bool {
    addresses.iter().all(|address| {
        let stream = TcpStream::connect(address).unwrap();
        ask(&stream, token) == Some(401)
    })
}

/// One request on a connection that is kept; the status.
fn ask(mut stream: &TcpStream, token: &str) -> Option<u16> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .ok()?;
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        came.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&came).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if body.len() >= length {
            return head.get(9..12)?.parse().ok();
        }
    }
}
