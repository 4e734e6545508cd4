//! What usher takes of memory: little for a connection that waits, and nothing for a body that
//! passes, however large. A process of its own is measured, built without optimisation.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tungstenite::{Message, WebSocket};

use crate::common::app::{Answer, answer, bare};
use crate::common::authority::Authority;
use crate::common::http2::{END_STREAM, Fate, Frames};
use crate::common::{App, Client, Issuer, Served, tls, websocket};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Lets this process, and those that it starts, have so many files open.
pub(crate) fn allow_files(count: u32) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let now = files.unwrap().split_whitespace().next().unwrap();
    if now.parse::<u32>().is_ok_and(|now| now >= count) {
        return;
    }
    let ran = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={count}:"))
        .status();
    assert!(
        ran.unwrap().success(),
        "{count} open files are not allowed here: raise the hard limit (ulimit -Hn)"
    );
}

fn start(upstream: SocketAddr, issuer: &Issuer, more: &str) -> Served {
    Served::start(&format!(
        "upstream: http://{upstream}\nissuers: [{}]\nlimits: {{ connections: 11000 }}\n{more}",
        issuer.yaml()
    ))
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// What each of many connections takes that were used once and wait.
#[track_caller]
fn each<T>(served: &Served, count: u64, connect: impl FnMut(u64) -> T) -> (u64, Vec<T>) {
    let before = served.memory();
    let open: Vec<_> = (0..count).map(connect).collect();
    let grown = served.memory().saturating_sub(before);
    (grown / count, open)
}

#[test]
fn ten_thousand_idle_connections() {
    allow_files(15_000);
    let (app, issuer) = (App::start(), Issuer::new());
    let served = start(app.address, &issuer, "");
    let asked = request(&issuer.token("alice"));
    let connect = |_| {
        let mut client = Client::connect(served.address);
        client.send(&asked);
        assert_eq!(client.reply().unwrap().status, 200);
        client
    };
    let (each, mut open) = each(&served, 10_000, connect);
    let all = served.memory();
    println!(
        "MEASURED idle: {} KiB each, {} MiB in all",
        each / KIB,
        all / MIB
    );
    assert!(each <= 12 * KIB, "{each} bytes each");
    assert!(all <= 120 * MIB, "{all} bytes in all");
    // They are as good as new.
    for client in open.iter_mut().step_by(1000) {
        client.send(&asked);
        assert_eq!(client.reply().unwrap().status, 200);
    }
}

#[test]
fn idle_connections_within_tls_and_of_http_2() {
    const COUNT: u64 = 400;
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("site", &["app.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}",
        pair.yaml()
    );
    let secure = start(app.address, &issuer, &listen);
    let clear = start(app.address, &issuer, "");
    let token = issuer.token("alice");
    let plain = tls::client(&authority.root, None);
    let mut http2 = (*plain).clone();
    http2.alpn_protocols = vec![b"h2".to_vec()];
    let http2 = Arc::new(http2);
    let connect = |_| {
        let session = tls::connect(secure.address, "app.test", &plain).unwrap();
        let mut client = Client::over_tls(session);
        client.send(request(&token));
        assert_eq!(client.reply().unwrap().status, 200);
        client
    };
    // What the first ones need is not theirs alone.
    let _first: Vec<_> = (0..10).map(connect).collect();
    let (tls_each, _open) = each(&secure, COUNT, connect);
    let ask = |mut frames: Frames| {
        let bearer = format!("Bearer {token}");
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "app.test"),
            ("authorization", &*bearer),
        ];
        frames.head(1, END_STREAM, &fields);
        assert_eq!(frames.fate(1), Fate::Answered(200));
        frames
    };
    let _first: Vec<_> = (0..10)
        .map(|_| ask(Frames::connect(clear.address)))
        .collect();
    let (h2c_each, _more) = each(&clear, COUNT, |_| ask(Frames::connect(clear.address)));
    let (h2_each, _most) = each(&secure, COUNT, |_| {
        ask(Frames::over(
            tls::connect(secure.address, "app.test", &http2).unwrap(),
        ))
    });
    println!("MEASURED tls {tls_each} h2c {h2c_each} h2 {h2_each} bytes each");
    // Either costs its own, and a connection with both has both to bear.
    assert!(tls_each <= 30 * KIB, "{tls_each} bytes each within TLS");
    assert!(h2c_each <= 30 * KIB, "{h2c_each} bytes each of HTTP/2");
    assert!(h2_each <= 40 * KIB, "{h2_each} bytes each with both");
}

/// An app that says again what it hears, and answers everything else.
fn talkative() -> App {
    App::with(|asked| match asked.header("upgrade") {
        Some(_) => websocket::echo(asked),
        None => Answer::Bytes(answer("200 OK", "", "hello")),
    })
}

fn open_websocket(address: SocketAddr, token: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    websocket::open(stream, token)
}

fn echo(socket: &mut WebSocket<TcpStream>, word: &str) {
    socket.send(Message::text(word)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(word));
}

#[test]
fn a_thousand_websockets_beside_load() {
    allow_files(15_000);
    let (app, issuer) = (talkative(), Issuer::new());
    let served = start(app.address, &issuer, "");
    let token = issuer.token("alice");
    let over = Arc::new(AtomicBool::new(false));
    let loaders: Vec<_> = (0..2)
        .map(|_| {
            let (over, address, asked) = (over.clone(), served.address, request(&token));
            std::thread::spawn(move || {
                let (mut client, mut count) = (Client::connect(address), 0);
                while !over.load(Ordering::Relaxed) {
                    client.send(&asked);
                    assert_eq!(client.reply().unwrap().status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let (each, mut open) = each(&served, 1000, |number| {
        let mut socket = open_websocket(served.address, &token);
        echo(&mut socket, &format!("hello {number}"));
        socket
    });
    for (number, socket) in open.iter_mut().enumerate() {
        echo(socket, &format!("still there {number}"));
    }
    let tunnels = served.admin("/metrics").body;
    assert!(tunnels.contains("usher_upstream_tunnels 1000\n"));
    over.store(true, Ordering::Relaxed);
    let count: u32 = loaders
        .into_iter()
        .map(|loader| loader.join().unwrap())
        .sum();
    println!("MEASURED websocket {each} bytes each, {count} requests beside");
    assert!(count > 100, "{count} requests beside them");
    assert!(each <= 40 * KIB, "{each} bytes each");
}

/// How much a body has in this test; `benches/bodies` moves more.
const BODY: u64 = 1024 * MIB;

/// An app that takes a body of any length and tells how long it was, or sends one.
fn large() -> SocketAddr {
    bare(|mut stream| {
        let Some(head) = read_head(&mut stream) else {
            return;
        };
        if head.starts_with("GET") {
            let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
            stream.write_all(told.as_bytes()).unwrap();
            pour(&mut stream);
        } else {
            let count = drink(&mut stream).to_string();
            let _ = stream.write_all(&answer("200 OK", "", &count));
        }
    })
}

/// A head, and nothing of what follows it.
fn read_head(from: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

fn pour(to: &mut TcpStream) {
    let piece = vec![7; 256 * 1024];
    for _ in 0..BODY / 256 / KIB {
        to.write_all(&piece).unwrap();
    }
}

fn drink(from: &mut TcpStream) -> u64 {
    let mut piece = vec![0; 256 * 1024];
    let mut count = 0;
    while count < BODY {
        match from.read(&mut piece).unwrap() {
            0 => break,
            length => count += length as u64,
        }
    }
    count
}

/// The most that a process has while something happens.
fn peak<T>(served: &Arc<Served>, what: impl FnOnce() -> T) -> (u64, T) {
    let (over, most) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let watcher = {
        let (over, most, served) = (over.clone(), most.clone(), served.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(served.memory(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let done = what();
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    (most.load(Ordering::Relaxed), done)
}

#[test]
fn large_bodies_leave_no_trace() {
    let issuer = Issuer::new();
    let served = Arc::new(start(large(), &issuer, ""));
    let token = issuer.token("alice");
    let head = |method: &str, lines: &str| {
        format!("{method} / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
    };
    let connect = || {
        let client = Client::connect(served.address);
        client.stream().try_clone().unwrap()
    };
    let before = served.memory();
    let began = std::time::Instant::now();
    let (up, told) = peak(&served, || {
        let mut stream = connect();
        let lines = format!("Content-Length: {BODY}\r\n");
        stream.write_all(head("POST", &lines).as_bytes()).unwrap();
        pour(&mut stream);
        let mut told = [0; 256];
        let length = stream.read(&mut told).unwrap();
        String::from_utf8_lossy(&told[..length]).into_owned()
    });
    assert!(told.ends_with(&BODY.to_string()), "{told}");
    let (down, count) = peak(&served, || {
        let mut stream = connect();
        stream.write_all(head("GET", "").as_bytes()).unwrap();
        read_head(&mut stream).expect("a head");
        drink(&mut stream)
    });
    assert_eq!(count, BODY);
    println!(
        "MEASURED bodies {:?} before {before} up {up} down {down}",
        began.elapsed()
    );
    for most in [up, down] {
        let grown = most.saturating_sub(before);
        assert!(grown < 5 * MIB, "{grown} bytes more for {BODY} bytes");
    }
}
