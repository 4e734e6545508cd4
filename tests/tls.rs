//! TLS for callers: certificates by name, read again when they change, with real clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::app::{Answer, answer};
use crate::common::authority::{Authority, Pair};
use crate::common::command::run;
use crate::common::{App, Client, Issuer, Usher, eventually, tls};

fn request(token: &str, lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

fn listen(tls: &str) -> String {
    format!("listen: {{ address: '127.0.0.1:0', tls: {{ {tls} }} }}\n")
}

struct House {
    usher: Usher,
    app: App,
    authority: Authority,
    pair: Pair,
    token: String,
    _issuer: Issuer,
}

impl House {
    fn new() -> Self {
        Self::with(App::start(), "")
    }

    fn with(app: App, more: &str) -> Self {
        let (authority, issuer) = (Authority::new(), Issuer::new());
        let pair = authority.server("a", &["a.test"]);
        let usher = Usher::start(&app, &issuer, &(listen(&pair.yaml()) + more));
        Self {
            usher,
            app,
            authority,
            pair,
            token: issuer.token("alice"),
            _issuer: issuer,
        }
    }

    fn connect(&self) -> Client {
        let config = tls::client(&self.authority.root, None);
        Client::over_tls(tls::connect(self.usher.address, "a.test", &config).unwrap())
    }

    fn failures(&self, cause: &str) -> f64 {
        let name = format!("usher_connections_handshake_failures_total{{cause=\"{cause}\"}}");
        self.usher.metric(&name)
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let port = self.usher.address.port();
        Command::new("curl")
            .args(["--silent", "--show-error", "--cacert"])
            .arg(&self.authority.root)
            .args(["--resolve", &format!("a.test:{port}:127.0.0.1")])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(arguments)
            .arg(format!("https://a.test:{port}/curl"))
            .output()
            .unwrap()
    }

    /// What `openssl s_client` says of the connection.
    fn s_client(&self, arguments: &[&str]) -> String {
        let address = self.usher.address.to_string();
        let said = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-CAfile"])
            .arg(&self.authority.root)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
    }
}

#[test]
fn requests_within_tls_are_answered_and_the_app_learns_of_it() {
    let house = House::new();
    let mut client = house.connect();
    for _ in 0..3 {
        client.send(request(&house.token, ""));
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    }
    let seen = house.app.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert!(seen.header("forwarded").unwrap().contains("proto=https"));
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let (name, value) = version.split_once('=').unwrap_or((version, ""));
        let arguments: Vec<_> = [name, value]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let curl = house.curl(&arguments);
        assert_eq!(
            String::from_utf8_lossy(&curl.stdout),
            "hello",
            "{version}: {curl:?}"
        );
    }
    let mut nobody = house.connect();
    nobody.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(nobody.reply().unwrap().status, 401);
}

#[test]
fn old_versions_and_other_protocols_are_refused() {
    let house = House::new();
    let good = house.s_client(&["-servername", "a.test", "-alpn", "h2,http/1.1"]);
    assert!(good.contains("ALPN protocol: h2"), "{good}");
    assert!(good.contains("Verify return code: 0 (ok)"), "{good}");
    for version in ["-tls1", "-tls1_1"] {
        let said = house.s_client(&[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(
            said.contains("protocol version") || said.contains("alert"),
            "{version}: {said}"
        );
    }
    eventually("both are counted", || {
        (house.failures("incompatible") >= 2.0).then_some(())
    });
    let said = house.s_client(&["-alpn", "imap"]);
    assert!(said.contains("no application protocol"), "{said}");
    eventually("it is counted", || {
        (house.failures("protocol") >= 1.0).then_some(())
    });
}

#[test]
fn a_client_that_knows_http2_speaks_it() {
    let house = House::new();
    for (argument, version) in [("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1.0")] {
        let curl = house.curl(&[argument, "--write-out", " by %{http_version}"]);
        let said = String::from_utf8_lossy(&curl.stdout).into_owned();
        // usher answers HTTP/1.0 in the words of HTTP/1.1, as RFC 9110 §6.2 wants.
        let version = version.replace("1.0", "1.1");
        assert_eq!(said, format!("hello by {version}"), "{curl:?}");
        assert_eq!(house.app.last().header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn the_newer_version_alone_can_be_asked_for() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("a", &["a.test"]);
    let listen = listen(&format!("{}, min_version: 1.3", pair.yaml()));
    let usher = Usher::start(&app, &issuer, &listen);
    let house = House {
        usher,
        app,
        authority,
        pair,
        token: issuer.token("alice"),
        _issuer: issuer,
    };
    assert!(house.curl(&["--tlsv1.3"]).status.success());
    assert!(!house.curl(&["--tls-max", "1.2"]).status.success());
}

#[test]
fn each_name_gets_its_certificate() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let first = authority.server("a", &["a.test"]);
    let pairs = [
        &first,
        &authority.server("b", &["b.test", "*.b.test"]),
        &authority.server("c", &["deep.b.test"]),
    ];
    let list: Vec<_> = pairs
        .iter()
        .map(|pair| format!("{{ {} }}", pair.yaml()))
        .collect();
    let usher = Usher::start(
        &app,
        &issuer,
        &listen(&format!("certificates: [{}]", list.join(", "))),
    );
    let config = tls::client(&authority.root, None);
    let token = issuer.token("alice");
    for host in ["a.test", "b.test", "B.Test", "x.b.test", "deep.b.test"] {
        let mut client = Client::over_tls(tls::connect(usher.address, host, &config).unwrap());
        client.send(request(&token, ""));
        assert_eq!(client.reply().unwrap().status, 200, "{host}");
    }
    for host in ["x.y.b.test", "c.test", "test"] {
        let refused = tls::connect(usher.address, host, &config).expect_err(host);
        assert!(
            refused.to_string().contains("NotValidForName")
                || refused.to_string().contains("not valid for name"),
            "{host}: {refused}"
        );
    }
    let house = House {
        usher,
        app,
        authority,
        pair: first,
        token,
        _issuer: issuer,
    };
    // Who names nobody gets the first.
    let said = house.s_client(&["-noservername", "-verify_hostname", "a.test"]);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
}

#[test]
fn certificates_change_under_load_without_a_failed_request() {
    let house = House::with(App::start(), "workers: 2");
    let stop = AtomicBool::new(false);
    let (answered, serials) = (
        AtomicUsize::new(0),
        std::sync::Mutex::new(std::collections::HashSet::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let config = tls::client(&house.authority.root, None);
                let mut kept = house.connect();
                while !stop.load(Ordering::Relaxed) {
                    let session = tls::connect(house.usher.address, "a.test", &config).unwrap();
                    let leaf = session.conn.peer_certificates().unwrap()[0].to_vec();
                    serials.lock().unwrap().insert(leaf);
                    let mut fresh = Client::over_tls(session);
                    for client in [&mut kept, &mut fresh] {
                        client.send(request(&house.token, ""));
                        assert_eq!(client.reply().expect("an answer").status, 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        eventually("requests go", || {
            (answered.load(Ordering::Relaxed) > 20).then_some(())
        });
        for round in 1..=4 {
            let next = house.authority.server("next", &["a.test"]);
            house.pair.replace_with(&next);
            let done = || {
                house
                    .usher
                    .metric("usher_tls_reloads_total{outcome=\"done\"}")
            };
            eventually("the certificate is read again", || {
                (done() >= f64::from(round)).then_some(())
            });
            let before = answered.load(Ordering::Relaxed);
            eventually("requests go on", || {
                (answered.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        serials.lock().unwrap().len(),
        5,
        "every certificate was seen"
    );
    assert!(house.usher.lines().iter().all(|line| line["status"] == 200));
}

#[test]
fn a_certificate_without_its_key_changes_nothing_until_the_key_is_there() {
    let house = House::new();
    let next = house.authority.server("next", &["a.test"]);
    let metric = |outcome| {
        house
            .usher
            .metric(&format!("usher_tls_reloads_total{{outcome=\"{outcome}\"}}"))
    };
    std::fs::copy(&next.certificate, &house.pair.certificate).unwrap();
    eventually("it is noticed", || (metric("failed") == 1.0).then_some(()));
    let mut client = house.connect();
    client.send(request(&house.token, ""));
    assert_eq!(client.reply().unwrap().status, 200);
    std::fs::copy(&next.key, &house.pair.key).unwrap();
    eventually("both fit", || (metric("done") == 1.0).then_some(()));
    assert_eq!(metric("failed"), 1.0);
    client.send(request(&house.token, ""));
    assert_eq!(
        client.reply().unwrap().status,
        200,
        "the old connection lives on"
    );
}

#[test]
fn a_handshake_has_a_time_and_bytes_now_and_then_do_not_extend_it() {
    let house = House::with(App::start(), "timeouts: { handshake: 400ms }");
    let mut silent = TcpStream::connect(house.usher.address).unwrap();
    let mut dripping = TcpStream::connect(house.usher.address).unwrap();
    // The start of a ClientHello, of which more never comes.
    let drip = eventually("the dripping connection is closed", || {
        std::thread::sleep(Duration::from_millis(20));
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let place = NEXT.fetch_add(1, Ordering::Relaxed);
        let byte = hello.get(place).copied().unwrap_or_default();
        dripping.write_all(&[byte]).err()
    });
    assert!(drip.kind() != std::io::ErrorKind::WouldBlock);
    silent
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(house.failures("late"), 2.0);
    // Whoever has shaken hands has the time of requests.
    let mut client = house.connect();
    client.send(request(&house.token, ""));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    let house = House::new();
    let mut plain = house.usher.connect();
    plain.send(request(&house.token, ""));
    assert!(!plain.rest().contains("HTTP/"), "no HTTP in the clear");
    eventually("it is counted", || {
        (house.failures("malformed") == 1.0).then_some(())
    });
    let mut gone = house.usher.connect();
    gone.send([0x16, 3, 1]);
    gone.finish();
    assert!(gone.is_closed());
    eventually("it is counted", || {
        (house.failures("ended") == 1.0).then_some(())
    });
    // A client that does not trust us says so.
    let stranger = tls::client(&Authority::new().root, None);
    assert!(tls::connect(house.usher.address, "a.test", &stranger).is_err());
    eventually("it is counted", || {
        (house.failures("alert") >= 1.0).then_some(())
    });
    assert_eq!(house.app.count(), 0);
}

/// 4 MiB both ways at once, by a client that reads late.
#[test]
fn large_bodies_pass_whole() {
    let app = App::with(|received| {
        let body = String::from_utf8(received.body.clone()).unwrap();
        Answer::Bytes(answer("200 OK", "", &body))
    });
    let house = House::with(app, "");
    let body: String = (0..4 << 20)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let mut client = house.connect();
    for _ in 0..2 {
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            house.token,
            body.len()
        ));
        std::thread::sleep(Duration::from_millis(100));
        let reply = client.reply().unwrap();
        assert_eq!(reply.status, 200);
        assert!(reply.body == body, "{} bytes came back", reply.body.len());
    }
}

/// A body that ends with the connection is whole only if TLS says that it ended (RFC 9112 §9.8).
#[test]
fn the_end_is_announced() {
    let app = App::with(|_| {
        Answer::Last(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end".to_vec())
    });
    let house = House::with(app, "");
    let curl = house.curl(&["--http1.0"]);
    assert!(curl.status.success(), "{curl:?}");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "to the end");
    let mut client = house.connect();
    client.send(request(&house.token, "Connection: close\r\n"));
    assert_eq!(client.reply().unwrap().body, "to the end");
    assert_eq!(client.rest(), "", "an end, and no cut");
}

#[test]
fn upgrades_become_tunnels_within_tls() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let mut piece = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                stream.write_all(&piece[..count]).unwrap();
            }
        }))
    });
    let house = House::with(app, "");
    let mut client = house.connect();
    client.send(request(
        &house.token,
        "Connection: upgrade\r\nUpgrade: echo\r\n",
    ));
    assert_eq!(client.reply().unwrap().status, 101);
    for word in ["one", "two"] {
        client.send(word);
        assert_eq!(client.until(word), word);
    }
}

#[test]
fn a_proxy_introduces_clients_before_tls() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("a", &["a.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', proxy_protocol: {{ from: [127.0.0.1] }}, tls: {{ {} }} }}\n",
        pair.yaml()
    );
    let usher = Usher::start(&app, &issuer, &listen);
    let house = House {
        usher,
        app,
        authority,
        pair,
        token: issuer.token("alice"),
        _issuer: issuer,
    };
    let curl = house.curl(&["--haproxy-protocol"]);
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "hello", "{curl:?}");
    assert!(!house.curl(&[]).status.success());
}

#[test]
fn material_that_cannot_be_used_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (good, wrong) = (
        authority.server("a", &["a.test"]),
        other.server("a", &["a.test"]),
    );
    let nameless = authority.client("nobody");
    let text = authority.root.with_file_name("text.pem");
    std::fs::write(&text, "not a certificate").unwrap();
    let pair = |certificate: &std::path::Path, key: &std::path::Path| {
        format!(
            "cert_file: '{}', key_file: '{}'",
            certificate.display(),
            key.display()
        )
    };
    for (settings, phrase) in [
        (pair(&good.certificate, &wrong.key), "is not the key of"),
        (pair(&text, &good.key), "holds no certificate in PEM"),
        (
            pair(&good.certificate, &text),
            "holds no private key in PEM",
        ),
        (
            format!(
                "certificates: [{{ {} }}, {{ {} }}]",
                good.yaml(),
                nameless.yaml()
            ),
            "names no host",
        ),
        (
            format!("{}, client_ca_file: '{}'", good.yaml(), text.display()),
            "holds no certificate in PEM",
        ),
    ] {
        let issuer = Issuer::new();
        let config = format!(
            "{}upstream: http://127.0.0.1:9\nissuers: [{}]\nadmin: off\n",
            listen(&settings),
            issuer.yaml()
        );
        let loaded = usher::config::parse(&config, "test", &|_| None)
            .unwrap_or_else(|all| panic!("{all:?}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime.block_on(async {
            usher::bind(loaded.config, usher::Options::default())
                .await
                .err()
        });
        let error = error.expect("it cannot start").to_string();
        let file = authority.root.with_file_name("usher.yaml");
        std::fs::write(&file, &config).unwrap();
        let (code, _, said) = run(&["check", file.to_str().unwrap()]);
        assert!(code == 78 && said.contains(&error), "check says: {said}");
        assert!(
            error.starts_with("TLS: ") && error.contains(phrase),
            "{phrase}: {error}"
        );
    }
    drop(Arc::new(good));
}
