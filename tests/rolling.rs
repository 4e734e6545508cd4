//! Rolling restarts, as a Deployment of Kubernetes does them: processes that come and go behind a
//! Service, which sends nobody to one that is not ready.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use crate::common::app::{Answer, answer};
use crate::common::authority::Authority;
use crate::common::{App, Client, Issuer, Served, eventually, http2, tls};

/// How often everything is replaced.
const RESTARTS: usize = 10;

/// Who can be connected to now.
#[derive(Clone, Default)]
struct Service {
    ready: Arc<Mutex<Vec<SocketAddr>>>,
    turn: Arc<AtomicUsize>,
}

impl Service {
    fn add(&self, address: SocketAddr) {
        self.ready.lock().unwrap().push(address);
    }

    fn remove(&self, address: SocketAddr) {
        self.ready.lock().unwrap().retain(|one| *one != address);
    }

    /// One after the other.
    fn pick(&self) -> SocketAddr {
        let ready = self.ready.lock().unwrap();
        ready[self.turn.fetch_add(1, Ordering::Relaxed) % ready.len()]
    }
}

/// What clients have seen.
#[derive(Clone, Default)]
struct Tally {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    connected: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn count(&self, status: Result<u16, String>) {
        match status {
            Ok(200) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
            other => self.failed.lock().unwrap().push(format!("{other:?}")),
        }
    }
}

/// A client that keeps its connection until it is told to close it, and sends nothing twice.
fn keep_alive(service: &Service, tally: &Tally, asked: &str) {
    while tally.goes_on() {
        let mut client = Client::connect(service.pick());
        tally.connected.fetch_add(1, Ordering::Relaxed);
        while tally.goes_on() {
            client.send(asked);
            let reply = client.reply();
            let failed = || "closed without an answer".to_owned();
            tally.count(reply.as_ref().map(|reply| reply.status).ok_or_else(failed));
            let close = |reply: &crate::common::Reply| reply.header("connection") == Some("close");
            if reply.as_ref().is_none_or(close) {
                break;
            }
        }
    }
}

/// A client with several requests at once, which goes elsewhere when it hears GOAWAY.
async fn multiplex(service: Service, tally: Tally, token: String) {
    while tally.goes_on() {
        let stream = tokio::net::TcpStream::connect(service.pick())
            .await
            .unwrap();
        tally.connected.fetch_add(1, Ordering::Relaxed);
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let driven = tokio::spawn(connection);
        let many = (0..4).map(|_| ask_on(send.clone(), tally.clone(), token.clone()));
        let many: Vec<_> = many.map(tokio::spawn).collect();
        for one in many {
            one.await.unwrap();
        }
        driven.abort();
    }
}

/// One request after the other, until the connection takes no more.
async fn ask_on(mut send: SendRequest<Bytes>, tally: Tally, token: String) {
    while tally.goes_on() {
        // It has heard of the end before it has sent anything.
        let Ok(mut ready) = send.ready().await else {
            return;
        };
        let sent = ready.send_request(http2::get("/", &token), true);
        send = ready;
        let answered = match sent {
            Ok((answer, _)) => http2::read(answer).await,
            Err(error) if error.is_go_away() => return,
            Err(error) => Err(error),
        };
        tally.count(match answered {
            Ok(answered) => Ok(answered.status),
            Err(error) => Err(error.to_string()),
        });
    }
}

#[test]
fn ten_restarts_under_load_cost_no_request() {
    let app = App::with(|_| {
        // So that there is always something under way.
        std::thread::sleep(Duration::from_millis(3));
        Answer::Bytes(answer("200 OK", "", "hello"))
    });
    let issuer = Issuer::new();
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\nshutdown: {{ pause: 600ms, deadline: 10s }}\n",
        app.address,
        issuer.yaml()
    );
    let (service, tally) = (Service::default(), Tally::default());
    let mut running = Served::all(&yaml, 2);
    for one in &running {
        service.add(one.address);
    }
    let token = issuer.token("alice");
    let asked =
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut threads: Vec<_> = (0..4)
        .map(|_| {
            let (service, tally, asked) = (service.clone(), tally.clone(), asked.clone());
            std::thread::spawn(move || keep_alive(&service, &tally, &asked))
        })
        .collect();
    let multiplexed = multiplex(service.clone(), tally.clone(), token);
    threads.push(std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(multiplexed);
    }));
    for _ in 0..RESTARTS {
        // The new one first, as `maxUnavailable: 0` has it.
        let new = Served::start(&yaml);
        service.add(new.address);
        running.push(new);
        let old = running.remove(0);
        old.stop();
        // The endpoint goes once the readiness probe says so.
        eventually("unready", || {
            (old.admin("/readyz").status == 503).then_some(())
        });
        service.remove(old.address);
        assert_eq!(old.ended(), Some(0), "{}", old.log());
    }
    tally.over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let answered = tally.answered.load(Ordering::Relaxed);
    let connected = tally.connected.load(Ordering::Relaxed);
    assert_eq!(
        *tally.failed.lock().unwrap(),
        Vec::<String>::new(),
        "of {answered}"
    );
    assert!(answered > 1000, "{answered}");
    // Everybody had to move, again and again.
    assert!(connected >= 5 * RESTARTS / 2, "{connected}");
}

#[test]
fn a_connection_in_its_handshake_does_not_hold_up_the_end() {
    use std::io::Write;
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("site", &["app.test"]);
    let served = Served::start(&format!(
        "upstream: http://{}\nissuers: [{}]\nshutdown: {{ pause: 0s, deadline: 20s }}\n\
         timeouts: {{ handshake: 1s }}\nlisten: {{ address: '127.0.0.1:0', tls: {{ {} }} }}",
        app.address,
        issuer.yaml(),
        pair.yaml()
    ));
    // One says the beginning of a hello and no more, another one nothing, and one is done.
    let mut half = std::net::TcpStream::connect(served.address).unwrap();
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00])
        .unwrap();
    let mut silent = Client::connect(served.address);
    let config = tls::client(&authority.root, None);
    let session = tls::connect(served.address, "app.test", &config).unwrap();
    let mut idle = Client::over_tls(session);
    eventually("three connections", || {
        let metrics = served.admin("/metrics").body;
        metrics.contains("usher_connections_open 3\n").then_some(())
    });
    let began = std::time::Instant::now();
    served.stop();
    assert!(idle.is_closed() && silent.is_closed());
    assert_eq!(served.ended(), Some(0), "{}", served.log());
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}
