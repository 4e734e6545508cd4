//! The PROXY header: required from some peers, and nobody else gets in.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::process::Process;
use crate::common::{App, Client, Issuer, Usher, eventually, free_port};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn request(token: &str, lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n").into_bytes()
}

fn v2(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1], &[0x12, 0x67, 0, 80]].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
}

struct House {
    usher: Usher,
    app: App,
    token: String,
    _issuer: Issuer,
}

impl House {
    fn new(more: &str) -> Self {
        Self::from("127.0.0.0/8", more)
    }

    fn from(peers: &str, more: &str) -> Self {
        let (app, issuer) = (App::start(), Issuer::new());
        let listen = format!(
            "listen: {{ address: '127.0.0.1:0', proxy_protocol: {{ from: ['{peers}'] }} }}\n{more}"
        );
        Self {
            usher: Usher::start(&app, &issuer, &listen),
            app,
            token: issuer.token("alice"),
            _issuer: issuer,
        }
    }

    /// What the app sees as `X-Forwarded-For` after this header and a good request.
    fn seen_after(&self, header: &[u8], lines: &str) -> String {
        let mut client = self.usher.connect();
        client.send([header, request(&self.token, lines).as_bytes()].concat());
        assert_eq!(client.reply().expect("an answer").status, 200);
        let seen = self.app.last();
        seen.header("x-forwarded-for").unwrap().to_owned()
    }

    /// Whether these bytes end the connection without an answer, and nothing reaches the app.
    fn closes_on(&self, bytes: &[u8]) {
        let before = self.app.count();
        let mut client = self.usher.connect();
        client.send(bytes);
        assert_eq!(client.rest(), "", "{}", bytes.escape_ascii());
        assert_eq!(self.app.count(), before, "{}", bytes.escape_ascii());
        assert_eq!(self.seen_after(&v1("192.0.2.9"), ""), "192.0.2.9");
    }

    fn failures(&self, cause: &str) -> f64 {
        let name = format!("usher_connections_proxy_header_failures_total{{cause=\"{cause}\"}}");
        self.usher.metric(&name)
    }
}

#[test]
fn both_versions_tell_who_the_client_is() {
    let house = House::new("");
    assert_eq!(house.seen_after(&v1("192.0.2.1"), ""), "192.0.2.1");
    assert_eq!(house.seen_after(&v2([192, 0, 2, 2]), ""), "192.0.2.2");
    let v6 = b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n";
    assert_eq!(house.seen_after(v6, ""), "2001:db8::1");
    assert_eq!(house.usher.line("/x")["client"], "192.0.2.1");
    let mut client = house.usher.connect();
    client.send(v1("192.0.2.3"));
    for _ in 0..2 {
        client.send(request(&house.token, ""));
        assert_eq!(
            client.reply().unwrap().status,
            200,
            "and so does every later request"
        );
        assert_eq!(
            house.app.last().header("x-forwarded-for"),
            Some("192.0.2.3")
        );
    }
}

/// A proxy that checks usher's health speaks for itself.
#[test]
fn a_proxy_may_speak_for_itself() {
    let house = House::new("");
    assert_eq!(house.seen_after(b"PROXY UNKNOWN\r\n", ""), "127.0.0.1");
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    assert_eq!(house.seen_after(&local, ""), "127.0.0.1");
}

#[test]
fn headers_that_drip_are_read_as_those_that_come_at_once() {
    let house = House::new("");
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1])] {
        let mut client = house.usher.connect();
        for byte in [&header[..], request(&house.token, "").as_bytes()].concat() {
            client.send([byte]);
        }
        assert_eq!(client.reply().unwrap().status, 200);
        assert_eq!(
            house.app.last().header("x-forwarded-for"),
            Some("192.0.2.1")
        );
    }
}

#[test]
fn what_is_no_header_is_closed_and_nobody_guesses() {
    let house = House::new("");
    let good = request(&house.token, "");
    let with = |header: &[u8]| [header, good.as_bytes()].concat();
    for bytes in [
        good.clone().into_bytes(),
        with(b"proxy TCP4 192.0.2.1 127.0.0.1 1 2\r\n"),
        with(b"PROXY TCP4 192.0.2.1 127.0.0.1 1\r\n"),
        with(b"PROXY TCP4 localhost 127.0.0.1 1 2\r\n"),
        with(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\n"),
        with(&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat()),
        with(b"\r\nPROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"),
        with(&[SIGNATURE, &[0x11, 0x11, 0, 12], &[0; 12]].concat()),
        with(&[SIGNATURE, &[0x21, 0x12, 0, 12], &[0; 12]].concat()),
        with(&[SIGNATURE, &[0x21, 0x31, 0, 216], &[0; 216]].concat()),
        with(&[SIGNATURE, &[0x21, 0x11, 0, 4], &[0; 4]].concat()),
        with(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat()),
    ] {
        house.closes_on(&bytes);
    }
    assert_eq!(house.failures("malformed"), 10.0);
    assert_eq!(house.failures("unsupported"), 2.0);
    // A second header is a request, and none that can be read.
    let twice = [v1("192.0.2.1"), v1("10.0.0.1"), good.into_bytes()].concat();
    let mut client = house.usher.connect();
    client.send(twice);
    assert_eq!(client.reply().unwrap().status, 400);
}

#[test]
fn a_header_that_ends_early_is_counted() {
    let house = House::new("");
    for header in [&v1("192.0.2.1")[..20], &v2([192, 0, 2, 1])[..20], b"PRO"] {
        let mut client = house.usher.connect();
        client.send(header);
        client.finish();
        assert_eq!(client.rest(), "");
    }
    assert_eq!(house.failures("ended"), 3.0);
}

#[test]
fn a_header_has_a_time_and_bytes_now_and_then_do_not_extend_it() {
    let house = House::new("timeouts: { first_byte: 500ms }");
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1])] {
        let mut socket = TcpStream::connect(house.usher.address).unwrap();
        let started = Instant::now();
        let mut header = header.into_iter();
        // Slower than usher allows, and never silent for long.
        while started.elapsed() < Duration::from_secs(5) {
            let byte = [header.next().unwrap_or_default()];
            if socket.write_all(&byte).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
    }
    assert_eq!(house.usher.metric("usher_connections_timed_out_total"), 2.0);
    assert_eq!(house.app.count(), 0);
    let mut silent = house.usher.connect();
    assert!(silent.is_closed());
}

#[test]
fn a_peer_that_may_not_introduce_anybody_is_closed_at_once() {
    let house = House::from("192.0.2.0/24", "");
    let good = request(&house.token, "");
    for bytes in [v1("192.0.2.1"), Vec::new()] {
        let mut client = house.usher.connect();
        client.send([&bytes[..], good.as_bytes()].concat());
        assert_eq!(client.rest(), "");
    }
    let mut silent = house.usher.connect();
    assert!(silent.is_closed());
    assert_eq!(house.failures("peer"), 3.0);
    assert_eq!(house.app.count(), 0);
}

/// Elsewhere a PROXY header is no request.
#[test]
fn a_listener_without_the_setting_believes_no_header() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let spoofed = [v1("10.0.0.1"), request(&token, "").into_bytes()].concat();
    usher.refuses(&app, &token, spoofed, &[400]);
    let spoofed = [v2([10, 0, 0, 1]), request(&token, "").into_bytes()].concat();
    usher.refuses(&app, &token, spoofed, &[400]);
}

/// `proxy_protocol.from` and `trusted_proxies` are two lists, and the second is asked of the
/// address that the first one's members gave.
#[test]
fn who_introduces_is_not_who_forwards() {
    let forged = "X-Forwarded-For: 203.0.113.1\r\n";
    let house = House::new("trusted_proxies: [192.0.2.1, 127.0.0.1]");
    assert_eq!(
        house.seen_after(&v1("192.0.2.1"), forged),
        "203.0.113.1, 192.0.2.1"
    );
    assert_eq!(house.seen_after(&v1("192.0.2.2"), forged), "192.0.2.2");
}

#[test]
fn connections_are_counted_by_the_client_that_was_introduced() {
    let house = House::new("limits: { connections_per_client: 2 }");
    let open = |client: &str| {
        let mut connection = house.usher.connect();
        connection.send([&v1(client)[..], request(&house.token, "").as_bytes()].concat());
        let status = connection.reply().map(|reply| reply.status);
        (connection, status)
    };
    let (first, second) = (open("192.0.2.1"), open("192.0.2.1"));
    assert_eq!((first.1, second.1), (Some(200), Some(200)));
    assert_eq!(open("192.0.2.1").1, Some(503));
    assert_eq!(open("192.0.2.2").1, Some(200));
    assert_eq!(house.usher.metric("usher_connections_refused_total"), 1.0);
    drop(first);
    eventually("a free place", || {
        (open("192.0.2.1").1 == Some(200)).then_some(())
    });
}

#[test]
fn a_client_without_an_introduction_is_counted_by_its_address() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "limits: { connections_per_client: 2 }");
    let token = issuer.token("alice");
    let open = || {
        let mut connection = usher.connect();
        connection.send(request(&token, ""));
        let status = connection.reply().map(|reply| reply.status);
        (connection, status)
    };
    let (first, second) = (open(), open());
    assert_eq!((first.1, second.1), (Some(200), Some(200)));
    assert_eq!(open().1, Some(503));
    drop(first);
    eventually("a free place", || (open().1 == Some(200)).then_some(()));

    // Proxies speak for many.
    let trusted = "trusted_proxies: [127.0.0.1]\nlimits: { connections_per_client: 1 }";
    let usher = Usher::start(&app, &issuer, trusted);
    let all: Vec<_> = (0..4).map(|_| usher.connect()).collect();
    for mut client in all {
        client.send(request(&token, ""));
        assert_eq!(client.reply().unwrap().status, 200);
    }
}

/// Several listeners at once: one behind a proxy, one for everybody.
#[test]
fn each_listener_has_rules_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let (app, issuer) = (App::start(), Issuer::new());
    let listen = format!(
        "listen:\n  - 127.0.0.1:0\n  - {{ address: 'unix:{}', proxy_protocol: {{ from: [unix] }} }}",
        path.display()
    );
    let usher = Usher::start(&app, &issuer, &listen);
    let token = issuer.token("alice");
    assert_eq!(usher.get("/plain", &token).status, 200);
    let mut client = Client::over_unix(&path);
    client.send([&v2([192, 0, 2, 7])[..], request(&token, "").as_bytes()].concat());
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(app.last().header("x-forwarded-for"), Some("192.0.2.7"));
    let mut client = Client::over_unix(&path);
    client.send(request(&token, ""));
    assert_eq!(client.rest(), "");
}

#[test]
fn curl_and_haproxy_introduce_their_clients() {
    let house = House::new("");
    let bearer = format!("Authorization: Bearer {}", house.token);
    let curl = |arguments: &[&str], port: u16| {
        let url = format!("http://127.0.0.1:{port}/real");
        let answer = Command::new("curl")
            .args(["--silent", "--show-error", "--header", &bearer])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned()
    };
    assert_eq!(
        curl(&["--haproxy-protocol"], house.usher.address.port()),
        "hello"
    );
    assert_eq!(
        house.app.last().header("x-forwarded-for"),
        Some("127.0.0.1")
    );

    for version in ["send-proxy", "send-proxy-v2"] {
        let folder = tempfile::tempdir().unwrap();
        let (file, port) = (folder.path().join("haproxy.cfg"), free_port());
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen in\n  bind 127.0.0.1:{port}\n  server usher {} {version}\n",
            house.usher.address
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(&file).stderr(Stdio::null());
        let _haproxy = Process::start(&mut command);
        let through = || curl(&["--interface", "127.0.0.3"], port);
        let answer = eventually("HAProxy answers", || {
            Some(through()).filter(|text| !text.is_empty())
        });
        assert_eq!(answer, "hello", "{version}");
        assert_eq!(
            house.app.last().header("x-forwarded-for"),
            Some("127.0.0.3"),
            "{version}"
        );
    }
}
