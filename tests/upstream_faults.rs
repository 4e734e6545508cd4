//! Apps that fail at every stage, asked over HTTP/1.1 and HTTP/2, in HTTP/1.1 and HTTP/2: each
//! fault is the documented status or an answer that is visibly cut, and the next request gets its
//! own answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::app::{Answer, answer, bare};
use crate::common::http2::{DATA, block, get};
use crate::common::http2::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, RST_STREAM, SETTINGS};
use crate::common::{App, Client, Issuer, Usher, eventually};

/// Times that are short enough for a test and long enough for a busy machine.
const TIMES: &str = "timeouts: { connect: 700ms, response: 700ms, idle: 700ms }\nworkers: 1\n";

/// What comes of a fault for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// This status, for this reason.
    Status(u16, &'static str),
    /// A head, and a body that has no end.
    Cut,
}

use Told::{Cut, Status};

const BROKEN: Told = Status(502, "upstream_broken");
const LATE: Told = Status(504, "upstream_timeout");

/// An usher, and clients of both kinds that keep their connections through all faults.
struct Line {
    usher: Usher,
    token: String,
    http1: Client,
    http2: Http2,
}

impl Line {
    fn new(upstream: &str) -> Self {
        let issuer = Issuer::new();
        let usher = Usher::configured(&format!(
            "upstream: {upstream}\nissuers: [{}]\n{TIMES}",
            issuer.yaml()
        ));
        Self {
            token: issuer.token("alice"),
            http1: usher.connect(),
            http2: Http2::connect(usher.address),
            usher,
        }
    }

    fn ask(&mut self, path: &str) -> Option<(u16, String)> {
        let token = &self.token;
        self.http1.send(format!(
            "GET {path} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let reply = self.http1.reply();
        if reply
            .as_ref()
            .is_none_or(|reply| reply.header("connection") == Some("close"))
        {
            self.http1 = self.usher.connect();
        }
        reply.map(|reply| (reply.status, reply.body))
    }

    fn ask_over_http2(&self, path: &str) -> Option<(u16, String)> {
        let answered = self.http2.ask(get(path, &self.token)).ok()?;
        let body = String::from_utf8(answered.body).unwrap();
        Some((answered.status, body))
    }

    /// A fault, which `set` turns on and off, met by both clients, and good requests after each, whose
    /// answers are their `own`.
    #[track_caller]
    fn suffers(
        &mut self,
        name: &str,
        wanted: Told,
        set: impl Fn(bool),
        mut own: impl FnMut(&str) -> String,
    ) {
        for http2 in [false, true] {
            let path = format!("/{name}-{http2}");
            set(true);
            let got = match http2 {
                true => self.ask_over_http2(&path),
                false => self.ask(&path),
            };
            let line = self.usher.line(&path);
            match wanted {
                Status(status, reason) => {
                    assert_eq!(got.map(|got| got.0), Some(status), "{path}");
                    assert_eq!(line["reason"], reason, "{path}");
                }
                Cut => {
                    assert_eq!(got, None, "{path}");
                    assert!(line["cut"].is_string(), "{path}: {line}");
                }
            }
            set(false);
            let good = |number: usize| format!("/good-{name}-{http2}-{number}");
            for number in 0..3 {
                let good = good(number);
                assert_eq!(self.ask(&good), Some((200, own(&good))), "after {path}");
                let got = self.ask_over_http2(&good);
                assert_eq!(got, Some((200, own(&good))), "after {path}");
            }
        }
    }
}

/// What an app of HTTP/1.1 sends before it closes; `None` instead of closing: it hangs.
fn faults() -> Vec<(&'static str, Vec<u8>, bool, Told)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let text = |text: &str| format!("{ok}{text}").into_bytes();
    let many = "x-field: y\r\n".repeat(20_000);
    let large = format!("x-large: {}\r\n", "y".repeat(300_000));
    vec![
        ("closes-at-once", Vec::new(), false, BROKEN),
        ("closes-in-the-status", b"HTTP/1.".to_vec(), false, BROKEN),
        ("closes-after-the-status", text(""), false, BROKEN),
        ("closes-in-a-field", text("content-le"), false, BROKEN),
        ("closes-before-the-body", text("content-length: 10\r\n\r\n"), false, Cut),
        ("closes-in-the-body", text("content-length: 10\r\n\r\nhello"), false, Cut),
        ("closes-in-a-size", text("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1"), false, Cut),
        ("closes-in-a-chunk", text("transfer-encoding: chunked\r\n\r\n5\r\nhel"), false, Cut),
        ("closes-after-a-chunk", text("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"), false, Cut),
        ("closes-in-trailers", text("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-a"), false, Cut),
        ("garbage-for-a-chunk", text("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"), false, Cut),
        ("garbage", b"\x16\x03\x01\x02\0\x01\0\0".to_vec(), false, BROKEN),
        ("garbage-with-lines", b"what?\r\n\r\n".to_vec(), false, BROKEN),
        ("http-2", b"\0\0\0\x04\0\0\0\0\0".to_vec(), false, BROKEN),
        ("too-many-fields", text(&format!("{many}content-length: 0\r\n\r\n")), false, BROKEN),
        ("a-field-too-large", text(&format!("{large}content-length: 0\r\n\r\n")), false, BROKEN),
        ("fields-without-end", text(&many), true, BROKEN),
        ("lengths-that-differ", text("content-length: 5\r\ncontent-length: 6\r\n\r\nhello"), false, BROKEN),
        ("lengths-in-a-list", text("content-length: 5, 6\r\n\r\nhello"), false, BROKEN),
        ("a-length-that-is-none", text("content-length: -5\r\n\r\nhello"), false, BROKEN),
        ("a-length-too-large", text("content-length: 99999999999999999999\r\n\r\n"), false, BROKEN),
        ("a-coding-unknown", text("transfer-encoding: gzip\r\n\r\nhello"), false, BROKEN),
        ("a-switch-unasked", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_vec(), false, BROKEN),
        ("hangs-at-once", Vec::new(), true, LATE),
        ("hangs-in-the-status", b"HTTP/1.".to_vec(), true, LATE),
        ("hangs-in-a-field", text("content-le"), true, LATE),
        ("hangs-before-the-body", text("content-length: 10\r\n\r\n"), true, Cut),
        ("hangs-in-the-body", text("content-length: 10\r\n\r\nhello"), true, Cut),
        ("hangs-in-a-chunk", text("transfer-encoding: chunked\r\n\r\n5\r\nhel"), true, Cut),
    ]
}

/// Holds a connection open until the other side leaves.
fn hang(mut stream: TcpStream) {
    stream.set_read_timeout(None).unwrap();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn http_1_apps_that_fail_at_every_stage() {
    let table: Vec<_> = faults();
    let app = App::with(move |asked| {
        let path = asked.target().trim_start_matches('/');
        let fault = table.iter().find(|(name, ..)| {
            path.strip_prefix(name)
                .is_some_and(|rest| matches!(rest, "-true" | "-false"))
        });
        match fault {
            None => Answer::Bytes(answer("200 OK", "", asked.target())),
            Some((_, bytes, false, _)) => Answer::Last(bytes.clone()),
            Some((_, bytes, true, _)) => {
                let bytes = bytes.clone();
                Answer::Own(Box::new(move |mut stream| {
                    let _ = stream.write_all(&bytes);
                    hang(stream);
                }))
            }
        }
    });
    let mut line = Line::new(&format!("http://{}", app.address));
    let faults = faults();
    assert_eq!(faults.len(), 29);
    for (name, _, _, wanted) in faults {
        line.suffers(name, wanted, |_| {}, str::to_owned);
    }
}

#[test]
fn what_an_app_says_unasked_is_nobodys_answer() {
    const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let kept: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let connections = kept.clone();
    let app = bare(move |mut stream| {
        let mut client = Vec::new();
        let mut piece = [0; 4096];
        connections
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            client.extend_from_slice(&piece[..count]);
            if client.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(std::mem::take(&mut client)).unwrap();
                let target = head.split(' ').nth(1).unwrap();
                let mut bytes = answer("200 OK", "", target);
                if target.starts_with("/with") {
                    bytes.extend_from_slice(EVIL);
                }
                let _ = stream.write_all(&bytes);
            }
        }
    });
    let mut line = Line::new(&format!("http://{app}"));
    for number in 0..5 {
        // Right behind an answer, and on connections that wait for the next request.
        let path = format!("/with-{number}");
        assert_eq!(line.ask(&path), Some((200, path)));
        let path = format!("/next-{number}");
        assert_eq!(line.ask(&path), Some((200, path.clone())));
        for stream in kept.lock().unwrap().iter_mut() {
            let _ = stream.write_all(EVIL);
        }
        let path = format!("/after-{number}");
        assert_eq!(line.ask_over_http2(&path), Some((200, path.clone())));
        assert_eq!(line.ask(&path), Some((200, path)));
        // Closed while they wait.
        for stream in kept.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let path = format!("/closed-{number}");
        assert_eq!(line.ask(&path), Some((200, path)));
    }
}

#[test]
fn an_app_that_takes_no_connection_is_late() {
    let issuer = Issuer::new();
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    // The kernel answers no further SYN.
    let short = std::time::Duration::from_millis(50);
    let _waiting: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&address, short))
        .collect();
    for scheme in ["http", "h2c"] {
        let usher = Usher::configured(&format!(
            "upstream: {scheme}://{address}\nissuers: [{}]\n{TIMES}",
            issuer.yaml()
        ));
        assert_eq!(usher.get("/x", &issuer.token("alice")).status, 502);
        assert_eq!(usher.line("/x")["reason"], "upstream_unreachable");
    }
}

/// What an app of HTTP/2 does with a request on this stream.
type Fault = fn(&mut TcpStream, [u8; 4]) -> Then;

/// What follows.
#[derive(PartialEq)]
enum Then {
    GoesOn,
    Closes,
    Hangs,
}

fn frame(to: &mut TcpStream, kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream].concat();
    let _ = to.write_all(&[&head, payload].concat());
}

fn good_head(to: &mut TcpStream, stream: [u8; 4], more: &[(&str, &str)]) {
    let block = block(&[&[(":status", "200")], more].concat());
    frame(to, HEADERS, END_HEADERS, stream, &block);
}

#[rustfmt::skip] // a table: one case a line, as far as it goes
const FAULTS: &[(&str, Told, Fault)] = &[
    ("closes-at-once", BROKEN, |_, _| Then::Closes),
    ("closes-in-a-frame", BROKEN, |to, _| { let _ = to.write_all(&[0, 0, 9, 1]); Then::Closes }),
    ("closes-in-the-fields", BROKEN, |to, s| { frame(to, HEADERS, 0, s, &block(&[(":status", "200")])); Then::Closes }),
    ("closes-before-the-body", Cut, |to, s| { good_head(to, s, &[]); Then::Closes }),
    ("closes-in-the-body", Cut, |to, s| { good_head(to, s, &[]); frame(to, DATA, 0, s, b"hello"); Then::Closes }),
    ("resets-at-once", BROKEN, |to, s| { frame(to, RST_STREAM, 0, s, &[0, 0, 0, 2]); Then::GoesOn }),
    ("resets-in-the-body", Cut, |to, s| { good_head(to, s, &[]); frame(to, DATA, 0, s, b"hello"); frame(to, RST_STREAM, 0, s, &[0, 0, 0, 2]); Then::GoesOn }),
    ("goes-away", BROKEN, |to, _| { frame(to, GOAWAY, 0, [0; 4], &[0, 0, 0, 0, 0, 0, 0, 2]); Then::Closes }),
    ("garbage", BROKEN, |to, _| { let _ = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"); Then::Hangs }),
    ("fields-that-cannot-be-read", BROKEN, |to, s| { frame(to, HEADERS, END_HEADERS | END_STREAM, s, &[0xff, 0xff, 0xff]); Then::Hangs }),
    ("no-status", BROKEN, |to, s| { frame(to, HEADERS, END_HEADERS | END_STREAM, s, &block(&[("x-a", "b")])); Then::GoesOn }),
    ("a-status-that-is-none", BROKEN, |to, s| { frame(to, HEADERS, END_HEADERS | END_STREAM, s, &block(&[(":status", "9999")])); Then::GoesOn }),
    ("too-many-fields", BROKEN, |to, s| {
        let field = block(&[("x-field", "y")]);
        frame(to, HEADERS, 0, s, &block(&[(":status", "200")]));
        for _ in 0..200 { frame(to, 9, 0, s, &field.repeat(1000)); }
        frame(to, 9, END_HEADERS, s, &[]);
        Then::Hangs
    }),
    ("data-before-fields", BROKEN, |to, s| { frame(to, DATA, END_STREAM, s, b"evil"); Then::GoesOn }),
    ("more-than-the-length", Cut, |to, s| { good_head(to, s, &[("content-length", "3")]); frame(to, DATA, END_STREAM, s, b"hello"); Then::GoesOn }),
    ("less-than-the-length", Cut, |to, s| { good_head(to, s, &[("content-length", "9")]); frame(to, DATA, END_STREAM, s, b"hello"); Then::GoesOn }),
    ("a-frame-too-large", Cut, |to, s| { good_head(to, s, &[]); frame(to, DATA, 0, s, &[0; 100_000]); Then::Hangs }),
    ("hangs-at-once", LATE, |_, _| Then::Hangs),
    ("hangs-in-the-fields", LATE, |to, s| { frame(to, HEADERS, 0, s, &block(&[(":status", "200")])); Then::Hangs }),
    ("hangs-in-the-body", Cut, |to, s| { good_head(to, s, &[]); frame(to, DATA, 0, s, b"hello"); Then::Hangs }),
];

/// An app that speaks HTTP/2 by hand: it fails as `fault` says, or counts its good answers if that
/// is more than there are.
fn by_hand(fault: Arc<AtomicUsize>) -> SocketAddr {
    let good = AtomicUsize::new(0);
    bare(move |mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        frame(&mut stream, SETTINGS, 0, [0; 4], &[]);
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            if stream.read_exact(&mut payload).is_err() {
                return;
            }
            let on = [head[5], head[6], head[7], head[8]];
            match head[3] {
                SETTINGS if head[4] & 1 == 0 => frame(&mut stream, SETTINGS, 1, [0; 4], &[]),
                HEADERS => {
                    let then = match FAULTS.get(fault.load(Ordering::SeqCst)) {
                        Some((_, _, fault)) => fault(&mut stream, on),
                        None => {
                            good_head(&mut stream, on, &[]);
                            let own = good.fetch_add(1, Ordering::SeqCst).to_string();
                            frame(&mut stream, DATA, END_STREAM, on, own.as_bytes());
                            Then::GoesOn
                        }
                    };
                    match then {
                        Then::GoesOn => {}
                        Then::Closes => return,
                        Then::Hangs => return hang(stream),
                    }
                }
                _ => {}
            }
        }
    })
}

#[test]
fn http_2_apps_that_fail_at_every_stage() {
    let fault = Arc::new(AtomicUsize::new(usize::MAX));
    let app = by_hand(fault.clone());
    let mut line = Line::new(&format!("h2c://{app}"));
    assert_eq!(FAULTS.len(), 20);
    let mut answers = 0;
    for (number, (name, wanted, _)) in FAULTS.iter().enumerate() {
        let set = |on: bool| {
            let number = if on { number } else { usize::MAX };
            fault.store(number, Ordering::SeqCst);
        };
        let own = |_: &str| {
            answers += 1;
            (answers - 1).to_string()
        };
        line.suffers(name, *wanted, set, own);
    }
    eventually("nothing under way", || {
        (line.usher.metric("usher_requests_in_flight") == 0.0).then_some(())
    });
}
