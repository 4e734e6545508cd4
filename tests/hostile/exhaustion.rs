//! G: whatever a client can make grow or keep waiting has a bound. What a flood costs others is
//! measured by benches/flood.rs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::forge_stage::Stage as Forged;
use super::stage::{Stage, head, is_refused};
use crate::common::app::{Answer, answer, bare};
use crate::common::authority::Authority;
use crate::common::command::Running;
use crate::common::forge::encode;
use crate::common::http2::{Http2, request};
use crate::common::{App, Issuer, Served, Signer, Usher, eventually, free_port};
use crate::ext_authz;

const QUICK: &str = "timeouts: { first_byte: 500ms, handshake: 500ms, header_read: 500ms, keep_alive: 1s, idle: 500ms, response: 5s }";

/// Whether a connection ends within a few seconds, without a byte more from us.
fn ends(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// How long good requests take, each on a connection of its own, in order.
fn answer_times(served: &Served, token: &str, many: usize) -> Vec<Duration> {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut times: Vec<_> = (0..many)
        .map(|_| {
            let begun = Instant::now();
            let mut client = served.connect();
            client.send(head("GET", "/good", &bearer));
            assert_eq!(client.reply().unwrap().status, 200);
            begun.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn g01_connections_that_say_nothing() {
    const EACH: usize = 1_000;
    crate::memory::allow_files(8_000);
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("a", &["a.test"]);
    let (token, tls_port) = (issuer.token("alice"), free_port());
    // Longer than it takes to open them all, so that all are open at one time.
    let yaml = format!(
        "listen: [ '127.0.0.1:0', {{ address: '127.0.0.1:{tls_port}', tls: {{ {} }} }} ]\n\
         upstream: http://{}\nissuers: [{}]\n\
         timeouts: {{ first_byte: 2s, handshake: 2s, header_read: 2s }}\n",
        pair.yaml(),
        app.address,
        issuer.yaml()
    );
    let served = Served::start(&yaml);
    let quiet = answer_times(&served, &token, 100);
    let mut silent = Vec::new();
    for number in 0..EACH {
        let mut clear = TcpStream::connect(served.address).unwrap();
        // Nothing, the beginning of a preface, or of a head.
        clear
            .write_all([&b""[..], b"P", b"GET / HT"][number % 3])
            .unwrap();
        let mut within = TcpStream::connect(("127.0.0.1", tls_port)).unwrap();
        // Nothing, or a part of a handshake.
        within
            .write_all([&b""[..], b"\x16\x03\x01\x02\x00\x01"][number % 2])
            .unwrap();
        silent.extend([clear, within]);
    }
    // Meanwhile others are served, as quickly as on a quiet day and a busy machine.
    let busy = answer_times(&served, &token, 100);
    let bound = quiet[98] * 4 + Duration::from_millis(100);
    assert!(
        busy[98] < bound,
        "p99 {:?}, and {:?} before",
        busy[98],
        quiet[98]
    );
    let open = |served: &Served| -> f64 {
        let text = served.admin("/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("usher_connections_open "));
        line.unwrap().parse().unwrap()
    };
    assert!(open(&served) > EACH as f64, "{} are open", open(&served));
    let begun = Instant::now();
    assert!(silent.iter_mut().all(ends));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    eventually("no connection is left", || {
        (open(&served) == 0.0).then_some(())
    });
    answer_times(&served, &token, 1);
}

#[test]
fn g02_head_that_drips() {
    let stage = Stage::new(QUICK);
    let mut client = stage.usher.connect();
    client
        .stream()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    client.send("GET /drip HTTP/1.1\r\nX: ");
    let begun = Instant::now();
    let closed = (0..100).any(|_| {
        client.send("x");
        client.is_closed()
    });
    assert!(
        closed && begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    stage.good();
    assert!(
        stage
            .app
            .received()
            .iter()
            .all(|one| one.target() == "/good")
    );
    stage.good();
}

#[test]
fn g03_slow_body_and_slow_reader() {
    let app = App::with(|received| match received.target() {
        "/large" => Answer::Bytes(answer("200 OK", "", &"x".repeat(30 << 20))),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let stage = Stage::before(app, QUICK);
    let mut writer = stage.usher.connect();
    writer.send(stage.post("Content-Length: 100\r\n", "hello"));
    assert_eq!(writer.reply().unwrap().status, 408);
    assert!(writer.is_closed());
    let mut reader = stage.usher.connect();
    reader.send(stage.get("/large", ""));
    let line = stage.usher.line("/large");
    assert!(line["bytes"].as_u64().unwrap() < 30 << 20, "{line}");
    eventually("nothing is under way", || {
        (stage.usher.metric("usher_requests_in_flight") == 0.0).then_some(())
    });
    stage.good();
    drop(reader);
    stage.good();
}

#[test]
fn g04_head_that_is_too_large() {
    let stage = Stage::new("");
    let fields = |count: usize| -> String {
        (0..count)
            .map(|number| format!("X-{number}: 1\r\n"))
            .collect()
    };
    for (bytes, statuses) in [
        (stage.get("/x", &fields(101)), &[431][..]),
        (stage.get("/x", &fields(5000)), &[431]),
        (
            stage.get("/x", &format!("X: {}\r\n", "x".repeat(1 << 20))),
            &[431],
        ),
        (
            stage.get(&format!("/{}", "x".repeat(64 << 10)), ""),
            &[414, 431],
        ),
        (
            stage.get(&format!("/x?{}", "x".repeat(9 << 10)), ""),
            &[414],
        ),
        (
            stage.get("/x", &format!("Cookie: {}\r\n", "a=b; ".repeat(8 << 10))),
            &[431],
        ),
    ] {
        stage.refuses(bytes, statuses);
    }
}

#[test]
fn g05_huge_token() {
    let stage = Stage::new("limits: { header_bytes: 1MiB }");
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let header = encode(r#"{"alg":"ES256"}"#);
    for token in [
        "x".repeat((8 << 10) + 1),
        "x".repeat(900 << 10),
        ".".repeat(900 << 10),
        format!("{header}.{}.x", encode(&nested)),
        format!("{}.{}.x", encode(nested.get(..2000).unwrap()), encode("{}")),
        format!("{header}.{}.x", encode(nested.get(..5000).unwrap())),
    ] {
        let begun = Instant::now();
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let mut client = stage.usher.connect();
        client.send(head("GET", "/x", &bearer));
        assert_eq!(client.reply().unwrap().status, 401);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?} for {} bytes",
            begun.elapsed(),
            token.len()
        );
        stage.good();
    }
    let refused = stage.usher.metric(
        "usher_requests_total{route=\"default\",outcome=\"denied\",reason=\"token_too_large\"}",
    );
    assert_eq!(refused, 4.0, "by their length alone");
    stage.good();
}

/// Requests with bad tokens, all different, on a few connections, until told to stop.
fn flood(
    usher: &Usher,
    tokens: &(dyn Fn(usize) -> String + Sync),
    stop: &AtomicBool,
    lane: usize,
) -> usize {
    let mut client = usher.connect();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let bearer = format!(
            "Authorization: Bearer {}\r\n",
            tokens(lane * 1_000_000 + sent)
        );
        client.send(head("GET", "/flood", &bearer));
        let status = client.reply().map(|reply| reply.status);
        assert!(matches!(status, Some(401 | 503)), "{status:?}");
        sent += 1;
    }
    sent
}

/// Good requests are answered while `tokens` come; how many of those came.
fn served_during(stage: &Stage, tokens: &(dyn Fn(usize) -> String + Sync)) -> usize {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..4)
            .map(|lane| {
                scope.spawn({
                    let (usher, stop) = (&stage.usher, &stop);
                    move || flood(usher, tokens, stop, lane)
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        let begun = Instant::now();
        let mut client = stage.usher.connect();
        while begun.elapsed() < Duration::from_millis(800) {
            let sent = Instant::now();
            client.send(stage.get("/good", ""));
            assert_eq!(client.reply().unwrap().status, 200);
            slowest = slowest.max(sent.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    })
}

#[test]
fn g06_work_for_nobody() {
    let stage = Stage::new("tokens: { cache: { weight: 64KiB, refused_count: 500 } }");
    let stranger = Signer::new("ES256", b"");
    let claims = Value::Object(stage.issuer.claims("mallory", json!({}))).to_string();
    // Bad signatures, each one new; unknown keys; tokens that are too long.
    let sent = served_during(&stage, &|number| {
        stranger.seal(
            r#"{"alg":"ES256","kid":"k1"}"#,
            format!("{claims} {number}"),
        )
    });
    assert!(sent > 100, "{sent}");
    let sent = served_during(&stage, &|number| {
        stranger.seal(format!(r#"{{"alg":"ES256","kid":"{number}"}}"#), &claims)
    });
    assert!(sent > 100, "{sent}");
    served_during(&stage, &|number| format!("{number}{}", "x".repeat(9 << 10)));
    // Valid ones, all different, push each other out and nothing else.
    let tokens: Vec<_> = (0..2_000)
        .map(|number| stage.issuer.token(&format!("user-{number}")))
        .collect();
    let mut client = stage.usher.connect();
    let mut ask = |token: &str| {
        client.send(head(
            "GET",
            "/x",
            &format!("Authorization: Bearer {token}\r\n"),
        ));
        assert_eq!(client.reply().unwrap().status, 200);
    };
    tokens.iter().for_each(|token| ask(token));
    // Most of them are forgotten, and verified anew.
    let misses = || stage.usher.metric("usher_token_cache_misses_total");
    let before = misses();
    tokens
        .iter()
        .skip(500)
        .take(300)
        .for_each(|token| ask(token));
    assert!(
        misses() - before > 250.0,
        "{} of 300: the cache has no end",
        misses() - before
    );
    stage.good();
}

#[test]
fn g07_more_connections_than_files() {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    let yaml = format!(
        "upstream: http://{}\nissuers: [{}]\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\nlog: {{ access: false }}\n",
        app.address,
        issuer.yaml()
    );
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new("prlimit");
    command
        .args([
            "--nofile=64:64",
            env!("CARGO_BIN_EXE_usher"),
            "serve",
            "--config",
        ])
        .arg(&file);
    let mut running = Running::start(&mut command);
    let address = running.address("listening");
    let crowd: Vec<_> = (0..200)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    assert_eq!(crowd.len(), 200, "the kernel keeps them waiting");
    eventually("usher says what is short", || {
        running
            .err()
            .contains("cannot accept connections")
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(600));
    let said = running.err().matches("cannot accept connections").count();
    assert_eq!(said, 1, "said once and counted then: {}", running.err());
    drop(crowd);
    let token = issuer.token("alice");
    eventually("it serves again", || {
        let mut client = crate::common::Client::connect(address);
        client.send(head(
            "GET",
            "/x",
            &format!("Authorization: Bearer {token}\r\n"),
        ));
        client.reply().filter(|reply| reply.status == 200)
    });
    assert!(running.runs());
    // With places counted, one too many is told so at once.
    let stage = Stage::new("limits: { connections: 3 }");
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut client = stage.usher.connect();
            client.send(stage.get("/held", ""));
            assert_eq!(client.reply().unwrap().status, 200);
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(stage.usher.connect().reply().unwrap().status, 503);
    }
    drop(held);
    eventually("a place", || {
        let mut client = stage.usher.connect();
        client.send(stage.get("/x", ""));
        client.reply().filter(|reply| reply.status == 200)
    });
}

#[test]
fn g08_log_that_grows_with_the_attack() {
    const MANY: usize = 20_000;
    let stage = Stage::new("log: { denials_per_second: 20 }");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let usher = &stage.usher;
            scope.spawn(move || {
                let mut client = usher.connect();
                for number in 0..MANY / 4 {
                    let secret =
                        format!("Authorization: Bearer secret{lane}x{number}.payload.x\r\n");
                    client.send(head("GET", "/flood", &secret));
                    assert_eq!(client.reply().unwrap().status, 401);
                }
            });
        }
    });
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    stage.good();
    // Every denial is told or counted, and nothing of the tokens is.
    let told = |lines: &[Value]| -> (usize, u64) {
        let of = |kind: &str| {
            lines
                .iter()
                .filter(|line| line["kind"] == kind && line["reason"] == "token_malformed")
                .collect::<Vec<_>>()
        };
        (
            of("access").len(),
            of("repeated")
                .iter()
                .map(|line| line["times"].as_u64().unwrap())
                .sum(),
        )
    };
    eventually("all of them are accounted for", || {
        let (lines, times) = told(&stage.usher.lines());
        (lines as u64 + times == MANY as u64).then_some(())
    });
    let (lines, times) = told(&stage.usher.lines());
    assert!(
        lines <= 20 * seconds && times > 0,
        "{lines} lines in {seconds} s"
    );
    let text = stage.usher.text();
    assert!(!text.contains("secret1x") && !text.contains("payload"));
    let most = 1_000 * (20 * seconds + seconds + 2);
    assert!(text.len() < most, "{} bytes, at most {most}", text.len());
    assert!(
        text.lines().count() <= lines + seconds + 2,
        "{} lines",
        text.lines().count()
    );
    // Who is let in is always told.
    assert_eq!(stage.usher.line("/good")["status"], 200);
    is_refused("log: { denials_per_second: 0 }", "log.denials_per_second");
    stage.good();
}

#[test]
fn g09_series_that_strangers_add() {
    let stage = Stage::routed();
    let series = || -> std::collections::BTreeSet<String> {
        let text = stage.usher.admin("/metrics").body;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let stranger = Issuer::with_kid("stranger");
    let round = |number: usize| {
        for bytes in [
            format!(
                "M{number} /{number}?{number} HTTP/1.1\r\nHost: h{number}.test\r\nX-{number}: 1\r\n\r\n"
            ),
            head("GET", &format!("/public/{number}"), ""),
            head("GET", &format!("/%2e/{number}"), ""),
            head(
                "GET",
                "/x",
                &format!(
                    "Authorization: Bearer {}\r\n",
                    stranger.token(&number.to_string())
                ),
            ),
            stage.get_as(json!({ "iss": format!("https://{number}.test/") })),
            stage.get_as(json!({ "sub": format!("user-{number}") })),
        ] {
            stage.usher.raw(bytes);
        }
    };
    round(0);
    let before = series();
    (1..30).for_each(round);
    assert_eq!(series(), before);
    stage.good();
}

/// A library that is built in the wrong way panics when it is first used (jsonwebtoken did without a
/// provider): each algorithm works from the start, and nonsense is answered and never cuts a connection.
#[test]
fn g10_algorithms_that_panic_when_they_are_used() {
    let app = App::start();
    for algorithm in [
        "HS256", "HS384", "HS512", "RS256", "PS384", "ES256", "ES384", "EdDSA",
    ] {
        let secret = [
            b"kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4".as_slice(),
            b"Ue8Ri1To6Qz3Wx0CkXw1Yb6Nd0Fm5Hs9",
        ]
        .concat();
        let signer = Signer::new(algorithm, &secret);
        let folder = tempfile::tempdir().unwrap();
        let key = match algorithm.starts_with("HS") {
            true => {
                let file = folder.path().join("secret");
                std::fs::write(&file, &secret).unwrap();
                format!("secret_file: {}", file.display())
            }
            false => {
                let file = folder.path().join("key.pem");
                std::fs::write(&file, signer.public_pem()).unwrap();
                format!("public_key_file: {}", file.display())
            }
        };
        let usher = Usher::configured(&format!(
            "upstream: http://{}\nissuers: [{{ name: a, audiences: any, algorithms: [{algorithm}], {key} }}]\n",
            app.address
        ));
        let good = signer
            .token(json!({ "sub": "alice", "exp": crate::common::issuer::now() + 60 }).to_string());
        usher.serves(&good);
        let mut client = usher.connect();
        for end in [0, 1, 5, good.len() / 2, good.len() - 1] {
            let cut = &good[..end];
            for token in [
                cut.to_owned(),
                format!("{cut}A"),
                format!("{cut}.."),
                format!("{cut}\u{7f}"),
                format!(".{cut}"),
            ] {
                if token == good {
                    continue;
                }
                client.send(head(
                    "GET",
                    "/x",
                    &format!("Authorization: Bearer {token}\r\n"),
                ));
                let status = client.reply().expect("an answer, not a cut").status;
                assert!(matches!(status, 400 | 401), "{status}");
                if status == 400 {
                    client = usher.connect();
                }
            }
        }
        usher.serves(&good);
    }
    is_refused(
        "issuers: [{ name: a, audiences: any, algorithms: [none], secret_env: X }]",
        "issuers",
    );
    Stage::new("").good();
}

/// No input is known that makes usher panic, so its clock breaks under it: within the line, where a bug
/// would be.
#[test]
fn g10_panic_within_a_request() {
    let stage = Forged::with("", "trusted_proxies: [127.0.0.1]\next_authz: 127.0.0.1:0\n");
    let denied = "usher_requests_total{route=\"default\",outcome=\"denied\",reason=\"internal\"}";
    // Started, and asked once: from now on only requests look at the clock.
    stage.passes("before", &stage.good());
    assert_eq!(stage.usher.metric(denied), 0.0);
    let before = stage.app.count();
    // One 500 that says nothing, on a connection that goes on, and an access line with the reason.
    let mut client = stage.usher.connect();
    let get = |path: &str| {
        let bearer = format!("Authorization: Bearer {}\r\n", stage.good());
        head("GET", path, &bearer)
    };
    for turn in 1..=3 {
        stage.clock.break_once();
        let path = format!("/panic/{turn}");
        client.send(get(&path));
        let reply = client.reply().expect("an answer, not a cut");
        assert_eq!(reply.status, 500);
        assert_eq!(reply.body, r#"{"error":"internal"}"#);
        assert_eq!(stage.usher.line(&path)["reason"], "internal");
        client.send(get("/next"));
        assert_eq!(client.reply().unwrap().status, 200, "the next one on it");
    }
    assert_eq!(stage.usher.metric(denied), 3.0, "and they are counted");
    // Over HTTP/2 it is one stream of many, and to Envoy it is no yes.
    let http2 = Http2::connect(stage.usher.address);
    let token = stage.good();
    let ask = |path: &str| http2.ask(request(http::Method::GET, path, &token).body(()).unwrap());
    stage.clock.break_once();
    assert_eq!(ask("/panic/http2").unwrap().status, 500);
    assert_eq!(ask("/next").unwrap().status, 200);
    let bearer = format!("Bearer {token}");
    let question = || ext_authz::question("/panic/grpc", &[("authorization", &bearer)]);
    stage.clock.break_once();
    let answer = ext_authz::ask(&stage.usher, question());
    assert_eq!(ext_authz::status(&answer), 500);
    assert_eq!(
        ext_authz::ask(&stage.usher, question())
            .status
            .unwrap()
            .code,
        0
    );
    // Whoever came at the same time was answered, and nothing is under way that never ends.
    assert_eq!(stage.usher.metric("usher_requests_in_flight"), 0.0);
    let reached: Vec<_> = stage.app.received()[before..]
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    assert_eq!(reached, ["/next"; 4]);
    let manifest =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("panic = \"abort\""),
        "a panic must end its request and no more"
    );
    stage.passes("afterwards", &stage.good());
}

#[test]
fn g11_pattern_that_takes_for_ever() {
    let stars = format!("/x/{}b", "*a".repeat(60));
    let stage = Stage::new(&format!(
        "routes: [{{ path: '{stars}', access: public }}, {{ path: '/*/*/*/*/*/*/*/**', access: public }}]"
    ));
    let long = "a".repeat(7_000);
    let begun = Instant::now();
    for _ in 0..50 {
        stage.refuses(head("GET", &format!("/x/{long}"), ""), &[401]);
    }
    stage.refuses(head("GET", &format!("/x/{long}c/d"), ""), &[401]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    stage.passes(head("GET", &format!("/x/{long}b"), ""));
}

#[test]
fn g12_end_while_the_app_hangs() {
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hanging = bare(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = held.lock().unwrap().recv();
    });
    let issuer = Issuer::new();
    let mut usher = Usher::before(hanging, &issuer, "shutdown: { pause: 0s, deadline: 500ms }");
    let token = issuer.token("alice");
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            let mut client = usher.connect();
            client.send(head(
                "GET",
                &format!("/{number}"),
                &format!("Authorization: Bearer {token}\r\n"),
            ));
            client
        })
        .collect();
    eventually("they are under way", || {
        (usher.metric("usher_requests_in_flight") == 20.0).then_some(())
    });
    let begun = Instant::now();
    usher.stop();
    assert_eq!(usher.ended(), usher::Ended::Cut);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(clients.iter_mut().all(crate::common::Client::is_closed));
    drop(hold);
}
