//! The real usher, in this process, on free ports.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::oneshot;
use usher::clock::Clock;
use usher::telemetry::Sink;
use usher::{Ended, Options};

use super::{App, Client, Issuer, Reply, eventually};

/// A running usher; it ends when dropped.
pub struct Usher {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The other listeners, in the order of the configuration.
    pub others: Vec<SocketAddr>,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: SocketAddr,
    /// Where Envoy asks by gRPC, if it may.
    pub ext_authz: Option<SocketAddr>,
    lines: Arc<Mutex<Vec<u8>>>,
    stop: Option<oneshot::Sender<()>>,
    now: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Ended>>,
}

/// Collects access lines.
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Usher {
    /// In front of `app`, with the keys of `issuer` and `more` lines of configuration.
    pub fn start(app: &App, issuer: &Issuer, more: &str) -> Self {
        Self::before(app.address, issuer, more)
    }

    /// The same in front of whatever listens at `upstream`.
    pub fn before(upstream: SocketAddr, issuer: &Issuer, more: &str) -> Self {
        Self::configured(&format!(
            "upstream: http://{upstream}\nissuers: [{}]\n{more}",
            issuer.yaml()
        ))
    }

    /// With this configuration, save for the addresses, which are free ones.
    pub fn configured(yaml: &str) -> Self {
        Self::with_clock(yaml, Clock::System)
    }

    /// The same with a clock of the test's.
    pub fn with_clock(yaml: &str, clock: Clock) -> Self {
        let defaults = [
            ("listen", "listen: 127.0.0.1:0\n"),
            ("admin", "admin: 127.0.0.1:0\n"),
            ("workers", "workers: 2\n"),
            ("shutdown", "shutdown: { pause: 0s, deadline: 5s }\n"),
        ];
        let mut text = yaml.to_owned();
        for (key, line) in defaults {
            if !yaml
                .lines()
                .any(|given| given.starts_with(&format!("{key}:")))
            {
                text.push('\n');
                text.push_str(line);
            }
        }
        let loaded =
            usher::config::parse(&text, "test.yaml", &|_| None).unwrap_or_else(|problems| {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                panic!("{}\n{text}", problems.join("\n"))
            });
        Self::run(loaded.config, clock)
    }

    /// With a file, as `usher serve` reads it.
    pub fn from_file(file: &std::path::Path) -> Self {
        match usher::config::load(file) {
            Ok(loaded) => Self::run(loaded.config, Clock::System),
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                panic!("{}", problems.join("\n"))
            }
        }
    }

    fn run(config: usher::config::Config, clock: Clock) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let access = Sink::Writer(Box::new(Lines(lines.clone())));
        let (stop, stopped) = oneshot::channel();
        let (now, at_once) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let bound = usher::bind(config, Options { clock, access })
                    .await
                    .unwrap();
                // A Unix socket has no address; who asks for one then has nobody to connect to.
                let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                let address = bound.addresses().first().copied().unwrap_or(nowhere);
                let others = bound.addresses().into_iter().skip(1).collect();
                let addresses = (address, others, bound.admin_address().unwrap());
                tell.send((addresses, bound.ext_authz_address())).unwrap();
                let never = |signal: oneshot::Receiver<()>| async {
                    if signal.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                bound.run(never(stopped), never(at_once)).await.unwrap()
            })
        });
        let ((address, others, admin), ext_authz) = told.recv().expect("usher did not start");
        Self {
            address,
            others,
            admin,
            ext_authz,
            lines,
            stop: Some(stop),
            now: Some(now),
            thread: Some(thread),
        }
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends bytes on a new connection and reads one answer.
    #[track_caller]
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut client = self.connect();
        client.send(bytes);
        client.reply().expect("no answer")
    }

    /// `GET` with a token and more header lines, each ending in CRLF.
    #[track_caller]
    pub fn get_with(&self, target: &str, token: &str, lines: &str) -> Reply {
        self.raw(format!(
            "GET {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        ))
    }

    /// `GET` with a token.
    #[track_caller]
    pub fn get(&self, target: &str, token: &str) -> Reply {
        self.get_with(target, token, "")
    }

    /// `GET` without a token.
    #[track_caller]
    pub fn get_as_nobody(&self, target: &str) -> Reply {
        self.raw(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"))
    }

    /// Sends what must be refused with one of these statuses: the app sees nothing of it, and
    /// a good request passes afterwards.
    #[track_caller]
    pub fn refuses(
        &self,
        app: &App,
        token: &str,
        bytes: impl AsRef<[u8]>,
        statuses: &[u16],
    ) -> Reply {
        let before = app.count();
        let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let mut client = self.connect();
        client.send(bytes);
        let reply = client.reply();
        let reply = reply.unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert!(
            statuses.contains(&reply.status),
            "{} to {shown:?}",
            reply.status
        );
        self.serves(token);
        let seen: Vec<_> = app.received()[before..]
            .iter()
            .map(|r| r.line().to_owned())
            .collect();
        assert_eq!(seen, ["GET /good HTTP/1.1"], "after {shown:?}");
        reply
    }

    /// A good request passes.
    #[track_caller]
    pub fn serves(&self, token: &str) {
        assert_eq!(self.get("/good", token).status, 200);
    }

    /// `GET` on the admin listener.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Reply {
        let mut client = Client::connect(self.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n"));
        client.reply().expect("no answer from the admin listener")
    }

    /// The value of a metric, by its whole name with labels as exposed.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics").body;
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next())
            .map_or(0.0, |value| value.parse().unwrap())
    }

    /// The access log so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    /// The access lines so far.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The access line of the only request whose path is `path`, once it is there.
    #[track_caller]
    pub fn line(&self, path: &str) -> Value {
        eventually(&format!("an access line for {path}"), || {
            self.lines().into_iter().find(|line| line["path"] == path)
        })
    }

    /// Tells it to end, as SIGTERM would.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Tells it to end at once, as a second signal would.
    pub fn stop_now(&mut self) {
        if let Some(now) = self.now.take() {
            let _ = now.send(());
        }
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Usher {
    fn drop(&mut self) {
        self.stop();
        self.stop_now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
