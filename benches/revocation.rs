//! How long a revoked token goes on: usher processes on one Redis, under load.
//!
//! `revocation USHERS REVOCATIONS`, such as `cargo bench --bench revocation -- 20 200`, starts a Redis
//! (`appendonly yes`, `appendfsync always`), an app and so many ushers, and sends 1,000 requests a second
//! with one token, spread over all of them. Then it runs `usher revoke`, and looks when the last 200
//! came, by any of them, counted from the start of the command. It does that again and again, and prints a
//! histogram. Without arguments it says so and ends: `cargo bench` runs every target.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may end with a message"
)]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher::clock::Clock;
use usher::identify::mint::{SigningKey, generate_es256};

/// Requests a second, over all ushers.
const RATE: u32 = 1000;

/// Upper bounds in milliseconds.
const BUCKETS: [u64; 10] = [2, 5, 10, 15, 20, 30, 40, 50, 100, 1000];

/// Load before a revocation, so that every usher remembers the token.
const WARM: Duration = Duration::from_millis(150);

fn main() {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let [ushers, revocations] = arguments.as_slice() else {
        println!("revocation USHERS REVOCATIONS, such as 20 200");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stage = Stage::start(&runtime, *ushers);
    let mut from_start = Vec::new();
    let mut from_end = Vec::new();
    for number in 0..*revocations {
        let (start, end) = runtime.block_on(stage.revoke(number));
        from_start.push(start);
        from_end.push(end);
    }
    println!("{ushers} ushers, {RATE} requests/s of one token, {revocations} revocations");
    print(
        "from the start of `usher revoke` to the last 200",
        from_start,
    );
    print("from its end to the last 200", from_end);
}

/// A process that ends with its owner.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Stage {
    _redis: Process,
    _ushers: Vec<Process>,
    addresses: Vec<SocketAddr>,
    key: SigningKey,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn start(runtime: &tokio::runtime::Runtime, ushers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let redis = Process::start(
            Command::new("redis-server")
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                ])
                .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
                .arg(folder.path()),
        );
        let pem = generate_es256().expect("a key");
        let key = SigningKey::from_pem(pem.expose()).expect("a key");
        let keys = json!({ "keys": [key.public_jwk("k1").expect("a public half")] });
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, keys.to_string()).expect("written");
        let app = runtime.block_on(app());
        let yaml = |more: String| {
            format!(
                "upstream: http://{app}\nadmin: off\nworkers: 1\nlog: {{ access: false }}\n\
                 issuers: [{{ name: idp, issuer: 'https://idp.test/', audiences: [app], algorithms: [ES256], \
                 jwks_file: '{}', max_token_life: 1h }}]\nrevocation: {{ stream: 'redis://127.0.0.1:{port}' }}\n{more}",
                jwks.display()
            )
        };
        let config = folder.path().join("revoke.yaml");
        std::fs::write(&config, yaml(String::new())).expect("written");
        let addresses: Vec<_> = (0..ushers)
            .map(|_| SocketAddr::from(([127, 0, 0, 1], free_port())))
            .collect();
        let serve = |address: &SocketAddr| {
            let file = folder.path().join(format!("{}.yaml", address.port()));
            std::fs::write(&file, yaml(format!("listen: {address}\n"))).expect("written");
            Process::start(usher().args(["serve", "--config"]).arg(file))
        };
        let ushers = addresses.iter().map(serve).collect();
        let stage = Self {
            _redis: redis,
            _ushers: ushers,
            addresses,
            key,
            config,
            _folder: folder,
        };
        runtime.block_on(stage.ready());
        stage
    }

    async fn ready(&self) {
        let (token, deadline) = (
            self.token("ready"),
            Instant::now() + Duration::from_secs(60),
        );
        for address in &self.addresses {
            loop {
                assert!(Instant::now() < deadline, "an usher does not start");
                if let Ok(mut stream) = TcpStream::connect(address).await
                    && ask(&mut stream, &token).await == 200
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn token(&self, subject: &str) -> String {
        let now = Clock::System.now();
        let claims = json!({
            "iss": "https://idp.test/", "aud": "app", "sub": subject, "iat": now, "exp": now + 600,
        });
        let claims: Map<_, _> = claims.as_object().cloned().unwrap_or_default();
        self.key
            .mint(&claims, Some("k1"), Some("JWT"))
            .expect("a token")
    }

    /// Microseconds from the start of the command to the last 200, and from its end.
    async fn revoke(&self, number: usize) -> (u64, u64) {
        let subject = format!("u{number}");
        let token: Arc<str> = self.token(&subject).into();
        let zero = Instant::now();
        let load = Arc::new(Load::default());
        let many = u32::try_from(self.addresses.len()).expect("not so many");
        let pause = Duration::from_secs(1) * many / RATE;
        let mut tasks = Vec::new();
        for (place, address) in self.addresses.iter().enumerate() {
            let (load, token, address) = (load.clone(), token.clone(), *address);
            let late = pause * u32::try_from(place).expect("not so many") / many;
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(late).await;
                load.run(address, &token, pause, zero).await;
            }));
        }
        tokio::time::sleep(WARM).await;
        assert_eq!(
            load.failed.load(Ordering::Relaxed),
            0,
            "refused before it was revoked"
        );
        let config = self.config.clone();
        let start = micros(zero);
        let done = tokio::task::spawn_blocking(move || {
            let mut command = usher();
            command.args(["revoke", "--config"]).arg(config);
            let output = command.args(["--subject", &subject]).output();
            output.expect("usher revoke")
        });
        let done = done.await.expect("a thread");
        let end = micros(zero);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        for task in tasks {
            task.await.expect("load");
        }
        let last = load.last.load(Ordering::Relaxed);
        (last.saturating_sub(start), last.saturating_sub(end))
    }
}

/// What comes of the requests.
#[derive(Default)]
struct Load {
    /// When the last 200 came, in microseconds.
    last: AtomicU64,
    failed: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    /// Asks again and again, until the token is refused.
    async fn run(&self, address: SocketAddr, token: &str, pause: Duration, zero: Instant) {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let _ = stream.set_nodelay(true);
        let mut tick = tokio::time::interval(pause);
        while !self.stop.load(Ordering::Relaxed) {
            tick.tick().await;
            match ask(&mut stream, token).await {
                200 => self.last.fetch_max(micros(zero), Ordering::Relaxed),
                401 => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                other => panic!("{other}"),
            };
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn usher() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_usher")));
    command.env_remove("USHER_CONFIG");
    command
}

fn free_port() -> u16 {
    let listener = StdListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// One request; the status of its answer, whose body is read.
async fn ask(stream: &mut TcpStream, token: &str) -> u16 {
    let request =
        format!("GET / HTTP/1.1\r\nhost: app.test\r\nauthorization: Bearer {token}\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return 0;
    }
    let mut came = vec![0; 4096];
    let mut length = 0;
    loop {
        match stream.read(&mut came[length..]).await {
            Ok(count @ 1..) => length += count,
            _ => return 0,
        }
        let text = String::from_utf8_lossy(&came[..length]).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let told = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let told: usize = told.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if body.len() >= told {
            return head
                .get(9..12)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0);
        }
    }
}

/// An app that takes whatever it reads for a request.
async fn app() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 8192];
                while matches!(stream.read(&mut piece).await, Ok(1..)) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn print(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let at = |part: usize| {
        let place = (micros.len() * part).div_ceil(100).saturating_sub(1);
        micros.get(place).copied().unwrap_or(0)
    };
    let shown = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    println!("\n{what}");
    let mut before = 0;
    for bound in BUCKETS {
        let until = micros.partition_point(|one| *one < bound * 1000);
        println!(
            "  < {bound:>4} ms {:>5}  {}",
            until - before,
            "#".repeat(until - before)
        );
        before = until;
    }
    println!("  more      {:>5}", micros.len() - before);
    println!(
        "  p50 {}  p90 {}  p99 {}  longest {}",
        shown(at(50)),
        shown(at(90)),
        shown(at(99)),
        shown(at(100))
    );
}
