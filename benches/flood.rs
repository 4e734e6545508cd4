//! What floods cost good callers. A good load by the clock is measured while nobody else asks, and
//! then during each flood, which comes at ten times its rate; usher is a process of its own.
//!
//! `flood RATE SECONDS` prints for each flood the good callers' times before and during it, the
//! memory of usher, and what it wrote: `cargo bench --bench flood -- 300 3`.
//!
//! `flood RATE SECONDS ROUNDS` measures quiet and flood in turn, so often, and judges: it fails where the
//! median of the rounds' p99 is more than twice the quiet one, where memory grows beyond its bound, or
//! where the log grows with the flood. On a quiet machine: `cargo bench --bench flood -- 300 5 7`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may end with a message"
)]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};
use usher::clock::Clock;
use usher::identify::mint::{SigningKey, generate_es256};

/// Connections of the good load, and of a flood.
const GOOD: u32 = 8;
const BAD: u32 = 16;

/// How many times the good rate a flood has.
const TIMES: u32 = 10;

/// Connections that are held open by those who are slow: as many as fit the usual limit of open files.
const SLOW: usize = 300;

/// How many mebibytes all of them may take: what each side of each may have under way.
const SLOW_MEMORY: usize = 64;

/// The flood that is let in.
const GOOD_TOKENS: &str = "good tokens, each another";

/// How long they have until they are measured.
const SETTLE: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let (rate, seconds, rounds) = match arguments.as_slice() {
        [rate, seconds] => (*rate, *seconds, None),
        [rate, seconds, rounds] if *rounds >= 3 => (*rate, *seconds, Some(*rounds)),
        _ => {
            println!(
                "flood RATE SECONDS [ROUNDS], such as 300 3, or 300 5 7 to be judged by 7 rounds"
            );
            return;
        }
    };
    let faults = run(rate, Duration::from_secs(u64::from(seconds)), rounds);
    for fault in &faults {
        println!("FAULT: {fault}");
    }
    if rounds.is_some() {
        println!("{} faults", faults.len());
        std::process::exit(i32::from(!faults.is_empty()));
    }
}

/// What a flood may cost, where that is judged.
struct Bounds {
    /// p99 of good callers during it, to that while it is quiet: the median of the rounds.
    times: f64,
    /// How many mebibytes usher may have more after it than before.
    memory: usize,
    /// How many KiB a second it may write more than while it is quiet: some hundred lines of denials, and
    /// what is counted.
    log: f64,
}

impl Bounds {
    /// Of a flood that asks for the cache's whole weight: its 64 MiB, and a fifth on top.
    fn of(name: &str) -> Self {
        Self {
            times: 2.0,
            memory: if name == GOOD_TOKENS { 77 } else { 16 },
            // Who is let in has a line each time, a flood of them too.
            log: if name == GOOD_TOKENS { f64::MAX } else { 160.0 },
        }
    }
}

/// One round: the good callers' times without the flood and with it, and what came and was written.
struct Round {
    quiet: Vec<Duration>,
    during: Vec<Duration>,
    came: usize,
    /// KiB while it was quiet, and while it was not.
    written: [u64; 2],
}

impl Round {
    fn measure(
        stage: &Stage,
        good: &[Vec<u8>],
        attack: &Attack<'_>,
        rate: u32,
        time: Duration,
    ) -> Self {
        let before = stage.written();
        let quiet = callers(stage, good, rate, time);
        let between = stage.written();
        let (during, came) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood(attack, rate * TIMES, time));
            let times = callers(stage, good, rate, time);
            (times, flood.join().expect("a flood ends"))
        });
        Self {
            quiet,
            during,
            came,
            written: [between - before, stage.written() - between],
        }
    }

    fn ratio(&self) -> f64 {
        at(&self.during, 0.99) / at(&self.quiet, 0.99)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// usher with an app and an issuer, all on loopback.
struct Stage {
    usher: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
    key: SigningKey,
    fetches: Arc<AtomicUsize>,
}

impl Stage {
    fn start() -> Self {
        let pem = generate_es256().expect("a key");
        let key = SigningKey::from_pem(pem.expose()).expect("a key");
        let keys = json!({ "keys": [key.public_jwk("k1").expect("a key")] }).to_string();
        let fetches = Arc::new(AtomicUsize::new(0));
        let behind = serve(keys, fetches.clone());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("usher.yaml");
        let yaml = format!(
            "upstream: http://{behind}\nlisten: 127.0.0.1:0\nadmin: off\n\
             issuers: [{{ name: idp, issuer: 'https://idp.test/', audiences: [app], algorithms: [ES256], jwks_uri: 'http://{behind}/keys' }}]\n"
        );
        std::fs::write(&file, yaml).expect("a configuration");
        let open = |name: &str| File::create(folder.path().join(name)).expect("a file");
        let usher = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::from(open("access")))
            .stderr(Stdio::from(open("events")))
            .spawn()
            .expect("usher starts");
        let address = address(&folder.path().join("events"));
        Self {
            usher,
            address,
            folder,
            key,
            fetches,
        }
    }

    fn token(&self, user: &str) -> String {
        let now = Clock::System.now();
        let claims: Map<String, Value> = [
            ("iss", json!("https://idp.test/")),
            ("aud", json!("app")),
            ("sub", json!(user)),
            ("exp", json!(now + 3600)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
        self.key
            .mint(&claims, Some("k1"), Some("JWT"))
            .expect("a token")
    }

    /// MiB of usher's that are in memory.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.usher.id()));
        let status = status.expect("usher runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
        kib.expect("its memory") >> 10
    }

    /// KiB that usher has written so far, access lines and events.
    fn written(&self) -> u64 {
        let size = |name: &str| {
            let path = self.folder.path().join(name);
            std::fs::metadata(path).map_or(0, |file| file.len())
        };
        (size("access") + size("events")) >> 10
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.usher.kill();
        let _ = self.usher.wait();
    }
}

/// Where usher listens, as its first events tell.
fn address(events: &Path) -> SocketAddr {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let text = std::fs::read_to_string(events).unwrap_or_default();
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told = lines.find(|line| line["message"] == "listening");
        if let Some(address) = told.and_then(|line| line["address"].as_str()?.parse().ok()) {
            return address;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("usher did not start");
}

/// The app, and the issuer's keys at `/keys`.
fn serve(keys: String, fetches: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (keys, fetches) = (keys.clone(), fetches.clone());
            std::thread::spawn(move || answer_all(stream, &keys, &fetches));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, keys: &str, fetches: &AtomicUsize) {
    static LARGE: [u8; 4 << 20] = [b'x'; 4 << 20];
    let (mut seen, mut piece) = (Vec::new(), [0; 16 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..count]);
        while let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = seen.drain(..end + 4).collect();
            let body = match head {
                _ if head.starts_with(b"GET /keys ") => {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    keys.as_bytes()
                }
                _ if head.starts_with(b"GET /large ") => &LARGE,
                _ => b"hello",
            };
            let length = body.len();
            let mut text =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
            // One write, as long as it fits: the load is not to wait for acknowledgements.
            text.extend_from_slice(body);
            if stream.write_all(&text).is_err() {
                return;
            }
        }
    }
}

/// What a flood does once: on its connection, with its number.
type Attack<'a> = Box<dyn Fn(&mut Option<TcpStream>, usize) + Sync + 'a>;

/// Returns what is out of its bounds.
fn run(rate: u32, time: Duration, rounds: Option<u32>) -> Vec<String> {
    let mut faults = Vec::new();
    let stage = Stage::start();
    let good: Vec<_> = (0..64)
        .map(|user| get(&stage.token(&format!("user-{user}")), ""))
        .collect();
    // Keys are fetched, caches filled, connections opened.
    drop(callers(&stage, &good, rate, Duration::from_secs(1)));
    println!(
        "good callers: {rate} requests a second on {GOOD} connections; floods: {} a second",
        rate * TIMES
    );
    println!(
        "| flood | came, per second | p50, ms: quiet, during | p99, ms: quiet, during | p99, times | memory, MiB | written, KiB per second |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, attack) in attacks(&stage, rate, time) {
        let (memory, fetched) = (stage.memory(), stage.fetches.load(Ordering::Relaxed));
        let measured: Vec<_> = (0..rounds.unwrap_or(1))
            .map(|_| Round::measure(&stage, &good, &attack, rate, time))
            .collect();
        let of = |value: &dyn Fn(&Round) -> f64| median(measured.iter().map(value));
        let times = of(&Round::ratio);
        let per_second = |kib: u64| kib as f64 / time.as_secs_f64();
        println!(
            "| {name} | {:.0} | {:.2}, {:.2} | {:.2}, {:.2} | {times:.2} | {} | {:.0} |",
            of(&|round| round.came as f64 / time.as_secs_f64()),
            of(&|round| at(&round.quiet, 0.5)),
            of(&|round| at(&round.during, 0.5)),
            of(&|round| at(&round.quiet, 0.99)),
            of(&|round| at(&round.during, 0.99)),
            stage.memory(),
            of(&|round| per_second(round.written[1]))
        );
        let fetched = stage.fetches.load(Ordering::Relaxed) - fetched;
        let most = 2 * measured.len();
        assert!(fetched <= most, "{fetched} fetches of keys, at most {most}");
        let bounds = Bounds::of(name);
        let (grown, log) = (
            stage.memory().saturating_sub(memory),
            of(&|round| per_second(round.written[1]) - per_second(round.written[0])),
        );
        if times > bounds.times {
            faults.push(format!(
                "{name}: p99 is {times:.2} times the quiet one, at most {}",
                bounds.times
            ));
        }
        if grown > bounds.memory {
            faults.push(format!(
                "{name}: {grown} MiB more, at most {}",
                bounds.memory
            ));
        }
        if log > bounds.log {
            faults.push(format!(
                "{name}: {log:.0} KiB a second more in the log, at most {}",
                bounds.log
            ));
        }
    }
    let before = stage.memory();
    slow(&stage, &good, rate, time);
    let grown = stage.memory().saturating_sub(before);
    if grown > SLOW_MEMORY {
        faults.push(format!(
            "slow ones: {grown} MiB more, at most {SLOW_MEMORY}"
        ));
    }
    faults
}

/// Those who hold connections and do next to nothing on them.
fn slow(stage: &Stage, good: &[Vec<u8>], rate: u32, time: Duration) {
    let quiet = callers(stage, good, rate, time);
    let root = get(&stage.token("slow"), "");
    let large = [
        b"GET /large",
        root.strip_prefix(b"GET /").expect("a request"),
    ]
    .concat();
    let lines = "Content-Length: 100000\r\n";
    let body = String::from_utf8(get(&stage.token("slow"), lines)).expect("text");
    let body = (body.replacen("GET /", "POST /", 1) + "a beginning").into_bytes();
    let held: Vec<_> = (0..SLOW)
        .map(|number| {
            let mut stream = connect(stage.address);
            // Some never end their head, some never their body, and some never read their answer.
            let bytes: &[u8] = match number % 3 {
                0 => b"GET / HTTP/1.1\r\nX: ",
                1 => &body,
                _ => &large,
            };
            stream.write_all(bytes).expect("bytes are taken");
            stream
        })
        .collect();
    // What the kernel takes for them has passed by then; after it nothing moves.
    std::thread::sleep(SETTLE);
    let times = callers(stage, good, rate, time);
    println!(
        "| {} that are slow, readers and writers | held | {:.2}, {:.2} | {:.2}, {:.2} | {:.2} | {} | - |",
        held.len(),
        at(&quiet, 0.5),
        at(&times, 0.5),
        at(&quiet, 0.99),
        at(&times, 0.99),
        at(&times, 0.99) / at(&quiet, 0.99),
        stage.memory()
    );
}

fn attacks<'a>(stage: &'a Stage, rate: u32, time: Duration) -> Vec<(&'static str, Attack<'a>)> {
    let address = stage.address;
    let whole = stage.token("mallory");
    let parts: Vec<_> = whole.split('.').map(str::to_owned).collect();
    let signature = parts.last().expect("a signature").clone();
    let payload = parts[1].clone();
    let new = (0..rate * TIMES * u32::try_from(time.as_secs()).unwrap_or(1))
        .map(|number| get(&stage.token(&format!("new-{number}")), ""))
        .collect::<Vec<_>>();
    let header = parts[0].clone();
    let plain = move |bytes: Vec<u8>, stream: &mut Option<TcpStream>| ask(stream, address, &bytes);
    vec![
        (
            "bad signatures, each another",
            Box::new(move |stream, number| {
                let claims = format!(
                    r#"{{"iss":"https://idp.test/","aud":"app","sub":"{number}","exp":4102444800}}"#
                );
                let token = format!(
                    "{header}.{}.{signature}",
                    BASE64URL_NOPAD.encode(claims.as_bytes())
                );
                plain(get(&token, ""), stream);
            }),
        ),
        (
            "unknown keys, each another",
            Box::new(move |stream, number| {
                let header = format!(r#"{{"alg":"ES256","kid":"unknown-{number}"}}"#);
                let token = format!(
                    "{}.{payload}.{}",
                    BASE64URL_NOPAD.encode(header.as_bytes()),
                    "A".repeat(86)
                );
                plain(get(&token, ""), stream);
            }),
        ),
        (
            "tokens of 20 KiB",
            Box::new(move |stream, number| {
                plain(
                    get(&format!("{number}{}", "x".repeat(20 << 10)), ""),
                    stream,
                );
            }),
        ),
        (
            "heads of 200 fields",
            Box::new(move |stream, number| {
                plain(get("x", &format!("X-{number}: y\r\n").repeat(200)), stream);
            }),
        ),
        (
            GOOD_TOKENS,
            Box::new(move |stream, number| {
                plain(new[number % new.len()].clone(), stream);
            }),
        ),
        (
            "connections",
            Box::new(move |stream, _| {
                drop(stream.take());
                let mut next = connect(address);
                let _ = next.write_all(b"G");
                *stream = Some(next);
            }),
        ),
        (
            "streams of HTTP/2 that are taken back",
            Box::new(move |stream, number| take_back(stream, address, number)),
        ),
    ]
}

/// HEADERS of a request without a token, and RST_STREAM (RFC 9113 §6.2, §6.4).
fn take_back(stream: &mut Option<TcpStream>, address: SocketAddr, number: usize) {
    // `:method: GET`, `:scheme: http`, `:path: /` of the static table, and `:authority: a`.
    const BLOCK: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 0x01, b'a'];
    let turn = number / usize::try_from(BAD).unwrap_or(1) % 1_000;
    if turn == 0 || stream.is_none() {
        let mut next = connect(address);
        let _ = next.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        *stream = Some(next);
    }
    let id = u32::try_from(turn * 2 + 1).unwrap_or(1).to_be_bytes();
    let headers = [&[0, 0, 6, 1, 5], id.as_slice(), &BLOCK].concat();
    let reset = [&[0, 0, 4, 3, 0], id.as_slice(), &[0, 0, 0, 8]].concat();
    let sent = stream
        .as_mut()
        .map(|stream| stream.write_all(&[headers, reset].concat()));
    if !matches!(sent, Some(Ok(()))) {
        *stream = None;
    }
}

fn get(token: &str, lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
        .into_bytes()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    stream
}

/// Sends a request and reads its answer; a connection that ends is opened anew by the next one.
fn ask(stream: &mut Option<TcpStream>, address: SocketAddr, bytes: &[u8]) {
    let open = stream.get_or_insert_with(|| connect(address));
    if open.write_all(bytes).is_err() || !read_answer(open) {
        *stream = None;
    }
}

/// Every body ends as the app's or as a denial does.
fn read_answer(stream: &mut TcpStream) -> bool {
    let (mut answer, mut length) = ([0; 4096], 0);
    loop {
        match stream.read(&mut answer[length..]) {
            Ok(count @ 1..) => length += count,
            _ => return false,
        }
        if answer[..length].ends_with(b"hello") || answer[..length].ends_with(b"}") {
            return !answer.starts_with(b"HTTP/1.1 431");
        }
    }
}

/// The good callers' times, sorted. Each request is sent when it is due, and its time counts from
/// then if the connection was still waiting.
fn callers(stage: &Stage, requests: &[Vec<u8>], rate: u32, time: Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..GOOD)
            .map(|lane| {
                scope.spawn(move || {
                    let mut stream = connect(stage.address);
                    let mut times = Vec::new();
                    paced(lane, GOOD, rate, time, |number, due| {
                        let request = &requests[number % requests.len()];
                        stream.write_all(request).expect("a good request is taken");
                        assert!(read_answer(&mut stream), "a good request has an answer");
                        times.push(due.elapsed());
                    });
                    times
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("good callers are served"))
            .collect()
    });
    times.sort_unstable();
    times
}

/// Runs a flood; how many attacks there were.
fn flood(attack: &Attack<'_>, rate: u32, time: Duration) -> usize {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..BAD)
            .map(|lane| {
                scope.spawn(move || {
                    let (mut stream, mut count) = (None, 0);
                    paced(lane, BAD, rate, time, |number, _| {
                        attack(&mut stream, number);
                        count += 1;
                    });
                    count
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a flood ends"))
            .sum()
    })
}

/// Calls `act` when it is due, as one of `lanes` that share a rate, with a number of its own and the
/// time from which it counts.
fn paced(lane: u32, lanes: u32, rate: u32, time: Duration, mut act: impl FnMut(usize, Instant)) {
    let begin = Instant::now();
    let interval = Duration::from_secs(1) * lanes / rate;
    let first = begin + interval * lane / lanes;
    for turn in 0_u32.. {
        let due = first + interval * turn;
        if due > begin + time || begin.elapsed() > time * 2 {
            return;
        }
        let now = Instant::now();
        let from = match due.checked_duration_since(now) {
            Some(left) => {
                std::thread::sleep(left);
                Instant::now()
            }
            None => due,
        };
        let number = usize::try_from(turn * lanes + lane).unwrap_or(0);
        act(number, from);
    }
}

/// Milliseconds within which this share was answered.
fn at(times: &[Duration], share: f64) -> f64 {
    let place = (times.len() as f64 * share) as usize;
    times[place.min(times.len() - 1)].as_secs_f64() * 1000.0
}
