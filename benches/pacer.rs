//! A load by the clock: each of 64 connections sends when it is due, however late the answers
//! are, so that a proxy that stalls cannot slow down its own examination.
//!
//! A request's time counts from when it was due if its connection was still waiting for the
//! answer before, and otherwise from when it was sent: the proxy is not blamed for a sleep
//! that took longer than asked.
//!
//! `pacer PORT REQUESTS_PER_SECOND SECONDS TOKENS`
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may end with a message"
)]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 64;

/// One connection's part of the load.
struct Share {
    port: u16,
    requests: Vec<Vec<u8>>,
    first: Instant,
    interval: Duration,
    count: u32,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [port, rate, seconds, tokens] = arguments.as_slice() else {
        // `cargo bench` runs every target; this one is a program.
        eprintln!("pacer PORT REQUESTS_PER_SECOND SECONDS TOKENS");
        return;
    };
    let port = port.parse().expect("a port");
    let rate: u32 = rate.parse().expect("a rate");
    let seconds: u32 = seconds.parse().expect("whole seconds");
    let tokens = std::fs::read_to_string(tokens).expect("a file of tokens");
    let tokens: Vec<_> = tokens.lines().collect();

    let interval = Duration::from_secs(1) * CONNECTIONS / rate;
    let begin = Instant::now() + Duration::from_millis(100);
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|index| Share {
            port,
            requests: tokens
                .iter()
                .skip(index as usize)
                .step_by(CONNECTIONS as usize)
                .map(|token| request(token))
                .collect(),
            first: begin + interval * index / CONNECTIONS,
            interval,
            count: rate * seconds / CONNECTIONS,
        })
        .map(|share| std::thread::spawn(move || send(&share)))
        .collect();
    let mut times: Vec<Duration> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("every answer is good"))
        .collect();
    let took = begin.elapsed();
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times[place.min(times.len() - 1)].as_secs_f64() * 1000.0
    };
    println!(
        "p50 {} p99 {} p999 {} rate {}",
        at(0.5),
        at(0.99),
        at(0.999),
        times.len() as f64 / took.as_secs_f64()
    );
}

fn request(token: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: side-by-side\r\nAccept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

fn send(share: &Share) -> Vec<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", share.port)).expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let mut times = Vec::with_capacity(share.count as usize);
    for (turn, request) in (0..share.count).zip(share.requests.iter().cycle()) {
        let due = share.first + share.interval * turn;
        let now = Instant::now();
        let from = match due.checked_duration_since(now) {
            Some(left) => {
                std::thread::sleep(left);
                Instant::now()
            }
            None => due,
        };
        stream.write_all(request).expect("the request is sent");
        read_answer(&mut stream);
        times.push(from.elapsed());
    }
    times
}

/// Reads the head and the 100 bytes of the upstream's answer.
fn read_answer(stream: &mut TcpStream) {
    let mut answer = [0; 4096];
    let mut length = 0;
    loop {
        let count = stream.read(&mut answer[length..]).expect("an answer");
        assert!(count > 0, "the connection was closed");
        length += count;
        let read = &answer[..length];
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n")
            && length >= head + 4 + 100
        {
            assert!(
                read.starts_with(b"HTTP/1.1 200"),
                "an answer other than 200"
            );
            return;
        }
    }
}
