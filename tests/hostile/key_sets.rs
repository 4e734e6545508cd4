//! L: key sets and discovery.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use usher::clock::{Clock, ManualClock};

use super::forge_stage::{does_not_start, issuer_refused, starts};
use crate::common::app::{answer, bare};
use crate::common::authority::Authority;
use crate::common::forge::encode;
use crate::common::issuer::now;
use crate::common::{App, Issuer, KeyServer, Mood, Signer, Usher, eventually, tls};

/// usher in front of an app that records, with an issuer whose keys are fetched.
struct Fetched {
    app: App,
    issuer: Issuer,
    server: KeyServer,
    usher: Usher,
}

fn yaml(app: &App, members: &str, more: &str) -> String {
    format!(
        "upstream: http://{}\nissuers: [{{ name: idp, audiences: [app], algorithms: [ES256], {members} }}]\n{more}",
        app.address
    )
}

fn at(server: &KeyServer, fetch: &str) -> String {
    let (name, uri) = (Issuer::NAME, server.jwks_uri());
    format!("issuer: '{name}', jwks_uri: '{uri}', fetch: {{ cooldown: 1s, timeout: 300ms{fetch} }}")
}

impl Fetched {
    fn new() -> Self {
        Self::with("", "")
    }

    fn with(fetch: &str, more: &str) -> Self {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        let usher = Usher::configured(&yaml(&app, &at(&server, fetch), more));
        let stage = Self {
            app,
            issuer,
            server,
            usher,
        };
        stage.recovers();
        stage
    }

    fn status(&self, token: &str) -> u16 {
        self.usher.get("/", token).status
    }

    /// A good token passes, now or soon.
    fn recovers(&self) {
        eventually("a good token passes", || {
            (self.status(&self.issuer.token("alice")) == 200).then_some(())
        });
    }

    /// A good token that was not seen before passes now.
    #[track_caller]
    fn serves(&self, what: &str) {
        assert_eq!(self.status(&self.issuer.token(what)), 200, "{what}");
    }
}

/// A token that nobody signed, with this name for its key.
fn unsigned(kid: &str) -> String {
    let payload = json!({ "iss": Issuer::NAME, "aud": "app", "sub": "eve", "exp": now() + 600 });
    let header = json!({ "alg": "ES256", "kid": kid });
    format!(
        "{}.{}.{}",
        encode(header.to_string()),
        encode(payload.to_string()),
        encode([7; 64])
    )
}

/// `many` tokens of unknown keys on fifty connections; while they come, good ones pass, of which all but
/// two of a hundred within a quarter of a second.
fn storm(stage: &Fetched, many: usize) {
    const LANES: usize = 50;
    std::thread::scope(|scope| {
        for worker in 0..LANES {
            scope.spawn(move || {
                let mut client = stage.usher.connect();
                for number in 0..many / LANES {
                    let token = unsigned(&format!("k-{worker}-{number}"));
                    client.send(format!(
                        "GET /eve HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
                    ));
                    let status = client.reply().expect("an answer").status;
                    assert!([401, 503].contains(&status), "{status}");
                }
            });
        }
        let mut times: Vec<_> = (0..100)
            .map(|number| {
                let token = stage.issuer.token(&format!("user-{number}"));
                let asked = Instant::now();
                assert_eq!(stage.status(&token), 200, "{number}");
                asked.elapsed()
            })
            .collect();
        times.sort();
        assert!(times[97] < Duration::from_millis(250), "{:?}", times[97]);
    });
    let seen = stage.app.received();
    assert!(seen.iter().all(|one| one.target() != "/eve"));
}

#[test]
fn l01_storm_of_unknown_keys() {
    let stage = Fetched::with("", "tokens: { key_wait: 5ms }\n");
    let (before, begun) = (stage.server.fetches().len(), Instant::now());
    storm(&stage, 10_000);
    // One for each second, and the one under way.
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let fetches = stage.server.fetches().len() - before;
    assert!(fetches <= most, "{fetches} fetches, at most {most}");
    // The good key was never out of the set, and what it had signed before is still remembered.
    assert_eq!(stage.usher.metric("usher_keys{issuer=\"idp\"}"), 1.0);
    stage.serves("afterwards");
}

#[test]
fn l02_storm_while_fetching_fails() {
    let stage = Fetched::with("", "tokens: { key_wait: 50ms }\n");
    for body in [
        answer("500 Oops", "", ""),
        answer("200 OK", "", r#"{"keys":[]}"#),
    ] {
        stage.server.set_mood(Mood::Bytes(body));
        let (before, begun) = (stage.server.fetches().len(), Instant::now());
        storm(&stage, 800);
        let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
        let fetches = stage.server.fetches().len() - before;
        assert!(fetches <= most, "attempts count: {fetches}, at most {most}");
    }
    stage.serves("the last good keys");
}

#[test]
fn l03_rotation_during_a_storm() {
    let stage = Fetched::with("", "tokens: { key_wait: 50ms }\n");
    let next = Issuer::with_kid("next");
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&stage, 1200));
        stage
            .server
            .set_keys(json!({ "keys": [stage.issuer.jwks()["keys"][0], next.jwks()["keys"][0]] }));
        let begun = Instant::now();
        eventually("the new key", || {
            (stage.status(&next.token("bob")) == 200).then_some(())
        });
        // A cooldown, a fetch, and a machine that is busy with the storm.
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn l04_many_at_the_start() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    server.set_mood(Mood::Hang);
    let usher = Usher::configured(&yaml(&app, &at(&server, "").replace("300ms", "2s"), ""));
    eventually("the fetch", || (server.fetches().len() == 1).then_some(()));
    let mut clients: Vec<_> = (0..200).map(|_| usher.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let token = issuer.token(&format!("user-{number}"));
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
    }
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().status, 503);
    }
    assert_eq!(server.fetches().len(), 1);
    server.set_mood(Mood::Good);
    eventually("keys", || {
        (usher.get("/", &issuer.token("alice")).status == 200).then_some(())
    });
}

#[test]
fn l05_server_that_is_slow() {
    let stage = Fetched::new();
    for mood in [
        Mood::Hang,
        Mood::Drip,
        Mood::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n".to_vec()),
    ] {
        stage.server.set_mood(mood);
        let before = stage.server.fetches().len();
        assert_ne!(stage.status(&unsigned("slow")), 200);
        eventually("a fetch", || {
            (stage.server.fetches().len() > before).then_some(())
        });
        let asked = Instant::now();
        stage.serves("while it hangs");
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
    }
    stage.server.set_mood(Mood::Good);
    stage.recovers();
}

#[test]
fn l06_answer_without_an_end() {
    let stage = Fetched::new();
    let many = format!("{{\"keys\":[{}]}}", vec!["{}"; 100_000].join(","));
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(300 * 1024));
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
    // A hundred mebibytes in a hundred thousand bytes, which is a good set once it is unpacked; and a set
    // that is plain, and is said to be packed: nobody unpacks, and nobody guesses.
    let set = stage.issuer.jwks().to_string();
    let bomb = format!(
        "{}{}}}",
        set.strip_suffix('}').unwrap(),
        " ".repeat(100 << 20)
    );
    let bomb = packed(&bomb);
    assert!(bomb.len() < 256 * 1024, "{}", bomb.len());
    let says_packed = "content-encoding: gzip\r\n";
    let mut gzip = answer("200 OK", says_packed, "");
    let head = String::from_utf8(gzip)
        .unwrap()
        .replace("length: 0", &format!("length: {}", bomb.len()));
    gzip = [head.as_bytes(), &bomb].concat();
    let next = Issuer::with_kid("next");
    let plain = answer("200 OK", says_packed, &next.jwks().to_string());
    for body in [
        answer("200 OK", "", &many),
        answer("200 OK", "", &long),
        huge,
        gzip,
        plain,
    ] {
        stage.server.set_mood(Mood::Bytes(body));
        let failed = || {
            stage
                .usher
                .metric("usher_key_refreshes_total{issuer=\"idp\",outcome=\"failed\"}")
        };
        let before = failed();
        eventually("it is refused", || {
            stage.status(&unsigned("huge"));
            (failed() > before).then_some(())
        });
        stage.serves("the last good keys");
    }
    // One that never ends, sent as fast as it is taken: usher hangs up after 256 KiB or so.
    let (tell, told) = std::sync::mpsc::channel();
    let endless = bare(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let mut sent = 0_usize;
        while stream
            .write_all(format!("1000\r\n{}\r\n", " ".repeat(4096)).as_bytes())
            .is_ok()
        {
            sent += 4096;
        }
        let _ = tell.send(sent);
    });
    let members = format!(
        "issuer: '{}', jwks_uri: 'http://{endless}/keys'",
        Issuer::NAME
    );
    let app = App::start();
    let usher = Usher::configured(&yaml(&app, &members, ""));
    let sent = told.recv_timeout(Duration::from_secs(10)).unwrap();
    // What the kernel holds on both sides comes on top.
    assert!(sent < 16 << 20, "{sent}");
    assert_eq!(usher.get("/", &Issuer::new().token("alice")).status, 503);
    // More keys than a hundred are not read.
    let (app, issuer) = (App::start(), Issuer::new());
    let filler = |n: usize| {
        let mut key = issuer.jwks()["keys"][0].clone();
        key["kid"] = format!("filler-{n}").into();
        key
    };
    let mut keys: Vec<Value> = (0..120).map(filler).collect();
    keys.insert(0, issuer.jwks()["keys"][0].clone());
    let server = KeyServer::start(json!({ "keys": keys }));
    let usher = Usher::configured(&yaml(&app, &at(&server, ""), ""));
    eventually("keys", || {
        (usher.get("/", &issuer.token("alice")).status == 200).then_some(())
    });
    assert_eq!(usher.metric("usher_keys{issuer=\"idp\"}"), 100.0);
    usher.serves(&issuer.token("alice"));
}

/// As `gzip` packs it.
fn packed(text: &str) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .args(["--best", "--stdout"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(text.as_bytes()).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// Whatever the server answers, the last good keys stay, and another good set is taken.
fn outage(bodies: Vec<(&str, Vec<u8>)>) {
    let stage = Fetched::new();
    for (what, body) in bodies {
        stage.server.set_mood(Mood::Bytes(body));
        let failed = || {
            stage
                .usher
                .metric("usher_key_refreshes_total{issuer=\"idp\",outcome=\"failed\"}")
        };
        let before = failed();
        eventually(what, || {
            assert_ne!(stage.status(&unsigned(what)), 200);
            (failed() > before).then_some(())
        });
        stage.serves(what);
    }
    let next = Issuer::with_kid("next");
    stage.server.set_mood(Mood::Good);
    stage
        .server
        .set_keys(json!({ "keys": [stage.issuer.jwks()["keys"][0], next.jwks()["keys"][0]] }));
    eventually("the next key", || {
        (stage.status(&next.token("bob")) == 200).then_some(())
    });
    stage.serves("the first key");
}

#[test]
fn l07_malformed_set() {
    let body = |text: &str| answer("200 OK", "", text);
    outage(vec![
        ("HTML", body("<html>")),
        ("an array", body("[]")),
        ("nothing", body("")),
        ("keys twice", body(r#"{"keys":[],"keys":[]}"#)),
        ("cut off", body(r#"{"keys":[{"kty":"EC""#)),
        ("no keys", body(r#"{"keys":[]}"#)),
        ("keys that are none", body(r#"{"keys":[7,null,{},"x"]}"#)),
    ]);
    // One bad entry costs itself alone.
    let (app, issuer) = (App::start(), Issuer::new());
    let keys = json!({ "keys": [7, { "kty": "EC", "kid": 5 }, issuer.jwks()["keys"][0]] });
    let server = KeyServer::start(keys);
    let usher = Usher::configured(&yaml(&app, &at(&server, ""), ""));
    eventually("keys", || {
        (usher.get("/", &issuer.token("alice")).status == 200).then_some(())
    });
}

#[test]
fn l08_status_of_the_answer() {
    let (tell, told) = std::sync::mpsc::channel();
    let trap = bare(move |_| {
        let _ = tell.send(());
    });
    // Good keys come with each, which are not to be read.
    let set = Issuer::with_kid("theirs").jwks().to_string();
    let redirect = |status: &str, to: &str| answer(status, &format!("location: {to}\r\n"), &set);
    outage(vec![
        ("204", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        ("301 to itself", redirect("301 Moved", "/keys")),
        (
            "302 to another port",
            redirect("302 Found", &format!("http://{trap}/keys")),
        ),
        (
            "302 to the metadata",
            redirect("302 Found", "http://169.254.169.254/latest"),
        ),
        (
            "304 that nobody asked for",
            b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
        ),
        ("404", answer("404 Not Found", "", &set)),
        ("500", answer("500 Oops", "", &set)),
        ("203", answer("203 Non-Authoritative Information", "", &set)),
        ("no HTTP", b"SSH-2.0-x\r\n\r\n".to_vec()),
    ]);
    assert!(told.try_recv().is_err(), "a redirect was followed");
}

#[test]
fn l09_request_forged_for_the_server() {
    for (members, phrase) in [
        ("issuer: 'http://169.254.169.254/'", "metadata network"),
        ("issuer: 'http://a.example/'", "plain http"),
        ("issuer: 'https://169.254.169.254/'", "metadata network"),
        ("issuer: 'https://[fe80::1]/'", "metadata network"),
        (
            "issuer: 'https://metadata.google.internal/'",
            "metadata network",
        ),
        ("issuer: 'file:///etc/passwd'", "discover"),
        ("issuer: me, jwks_uri: 'file:///etc/passwd'", "jwks_uri"),
        ("issuer: me, jwks_uri: 'gopher://a.example/'", "jwks_uri"),
        ("issuer: me, jwks_uri: 'http://a.example/'", "plain http"),
        (
            "issuer: me, jwks_uri: 'https://169.254.169.254/'",
            "metadata network",
        ),
        (
            "issuer: me, jwks_uri: 'https://user:pw@a.example/'",
            "jwks_uri",
        ),
    ] {
        let told = issuer_refused(&format!("{members}, audiences: [app], name: idp"));
        assert!(told.contains(phrase), "{members}: {told}");
    }
    // What a discovery document names is held to the same.
    for link in [
        "file:///etc/passwd",
        "http://169.254.169.254/keys",
        "https://169.254.169.254/keys",
        "https://[fe80::1]/keys",
        "https://metadata.google.internal/keys",
        "http://localhost.evil.test/",
        "//evil.test/keys",
        "/keys",
    ] {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        server.set_discovery(&json!({ "issuer": server.issuer(), "jwks_uri": link }).to_string());
        let usher = Usher::configured(&yaml(&app, &format!("issuer: '{}'", server.issuer()), ""));
        eventually(link, || {
            (usher.admin("/readyz").body.contains("jwks_uri")).then_some(())
        });
        assert_eq!(server.fetches().len(), 0, "{link}");
        assert_eq!(
            usher
                .get(
                    "/",
                    &issuer.token_with("a", json!({ "iss": server.issuer() }))
                )
                .status,
            503
        );
    }
    // A number is a host too, and leads to 169.254.169.254. In the configuration `check` refuses it; in a
    // document it is a name like any, which TLS takes for none.
    for number in [
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "0251.0376.0251.0376",
    ] {
        let told = issuer_refused(&format!(
            "issuer: 'https://{number}/', audiences: [app], name: idp"
        ));
        assert!(told.contains("a number for a host"), "{number}: {told}");
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        let link = format!("https://{number}/keys");
        server.set_discovery(&json!({ "issuer": server.issuer(), "jwks_uri": link }).to_string());
        let usher = Usher::configured(&yaml(&app, &format!("issuer: '{}'", server.issuer()), ""));
        eventually("it is refused", || {
            let told = usher.admin("/readyz").body;
            let why = ["invalid dns name", "is link-local"];
            why.iter().any(|why| told.contains(why)).then_some(())
        });
    }
    // Nor does a document that was good at first, and leads elsewhere later.
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let members = format!(
        "issuer: '{}', fetch: {{ cooldown: 1s, timeout: 300ms }}",
        server.issuer()
    );
    let usher = Usher::configured(&yaml(&app, &members, ""));
    let good = || issuer.token_with("a", json!({ "iss": server.issuer() }));
    eventually("keys", || {
        (usher.get("/", &good()).status == 200).then_some(())
    });
    let metadata = json!({ "issuer": server.issuer(), "jwks_uri": "http://169.254.169.254/keys" });
    server.set_discovery(&metadata.to_string());
    server.set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    eventually("it asks where the keys are, and does not go there", || {
        assert_eq!(usher.get("/", &good()).status, 200, "the last good keys");
        let unknown = json!({ "alg": "ES256", "kid": "late" }).to_string();
        let payload =
            json!({ "iss": server.issuer(), "aud": "app", "sub": "eve", "exp": now() + 600 });
        let late = format!(
            "{}.{}.{}",
            encode(unknown),
            encode(payload.to_string()),
            encode([7; 64])
        );
        usher.get("/", &late);
        let told = usher.admin("/readyz").body;
        (told.contains("jwks_uri") && told.contains("169.254.169.254")).then_some(())
    });
    // A token's `iss` is compared, and never asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stage = Fetched::new();
    let token = stage.issuer.token_with("eve", json!({ "iss": url }));
    assert_eq!(stage.status(&token), 401);
    assert!(listener.accept().is_err(), "{url} was asked");
    stage.serves("afterwards");
}

#[test]
fn l10_discovery_of_somebody_else() {
    for issuer_says in [
        json!("https://evil.test/"),
        json!("ISSUER/"),
        json!(["ISSUER"]),
        json!(null),
        json!(7),
    ] {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        let says = issuer_says.to_string().replace("ISSUER", &server.issuer());
        server.set_discovery(&format!(
            r#"{{"issuer":{says},"jwks_uri":"{}"}}"#,
            server.jwks_uri()
        ));
        let usher = Usher::configured(&yaml(
            &app,
            &format!("issuer: '{}', fetch: {{ cooldown: 1s }}", server.issuer()),
            "",
        ));
        let token = issuer.token_with("alice", json!({ "iss": server.issuer() }));
        eventually(&says, || {
            (usher.admin("/readyz").body.contains("\"error\":")).then_some(())
        });
        assert_eq!(usher.get("/", &token).status, 503, "{says}");
        assert_eq!((server.fetches().len(), app.count()), (0, 0), "{says}");
        // Set right, it is taken.
        server.set_discovery(
            &json!({ "issuer": server.issuer(), "jwks_uri": server.jwks_uri() }).to_string(),
        );
        eventually("keys", || {
            (usher.get("/", &token).status == 200).then_some(())
        });
    }
}

#[test]
fn l11_set_with_keys_that_do_not_belong() {
    let stage = Fetched::new();
    let own = stage.issuer.jwks()["keys"][0].clone();
    let other = Issuer::with_kid("other");
    let with = |kid: &str, name: &str, value: Value| {
        let mut key = other.jwks()["keys"][0].clone();
        key["kid"] = kid.into();
        key[name] = value;
        key
    };
    let oct = json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": "a3EzWnI4VnRYdzFZYjZOZDBGbTVIczlMYzJQajdHYTQ" });
    let odd = [
        oct,
        with("enc", "use", json!("enc")),
        with("sign", "key_ops", json!(["sign"])),
        with("leak", "d", json!("AAAA")),
    ];
    let mut keys = odd.to_vec();
    keys.extend([own, with("bell", "use", json!("sig"))]);
    stage.server.set_keys(json!({ "keys": keys }));
    eventually("two good keys", || {
        stage.status(&unsigned("bell2"));
        (stage.usher.metric("usher_keys{issuer=\"idp\"}") == 2.0).then_some(())
    });
    // What does not belong there is counted: a private key in public is the issuer's to hear of.
    let skipped = stage.usher.metric("usher_keys_skipped{issuer=\"idp\"}");
    assert_eq!(skipped, odd.len() as f64);
    // Their own owner has signed with them, and nobody is let in by them.
    let claims = Value::Object(other.claims("eve", json!({}))).to_string();
    let owner = Signer::of(&other);
    for kid in ["enc", "sign", "leak"] {
        let token = owner.seal(json!({ "alg": "ES256", "kid": kid }).to_string(), &claims);
        assert_ne!(stage.status(&token), 200, "{kid}");
    }
    let secret = crate::common::forge::decode("a3EzWnI4VnRYdzFZYjZOZDBGbTVIczlMYzJQajdHYTQ");
    let shared = Signer::new("HS256", &secret);
    let token = shared.seal(r#"{"alg":"HS256","kid":"oct"}"#, &claims);
    assert_eq!(stage.status(&token), 401);
    let token = owner.seal(r#"{"alg":"ES256","kid":"bell"}"#, &claims);
    assert_eq!(stage.status(&token), 200, "the one that is for signatures");
    stage.serves("afterwards");
}

#[test]
fn l12_cache_control_of_the_set() {
    for header in [
        "cache-control: max-age=0\r\n",
        "cache-control: no-store\r\n",
        "cache-control: max-age=1000000000\r\n",
        "cache-control: max-age=-1\r\n",
    ] {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        server.set_headers(header);
        let usher = Usher::configured(&yaml(&app, &at(&server, ""), ""));
        let token = issuer.token("alice");
        eventually("keys", || {
            (usher.get("/", &token).status == 200).then_some(())
        });
        for _ in 0..100 {
            assert_eq!(usher.get("/", &token).status, 200);
        }
        // Half a minute is the least, whatever the answer says.
        assert_eq!(server.fetches().len(), 1, "{header}");
        // And a new key is fetched in spite of a thousand days.
        let next = Issuer::with_kid("next");
        server.set_keys(json!({ "keys": [issuer.jwks()["keys"][0], next.jwks()["keys"][0]] }));
        eventually("the next key", || {
            (usher.get("/", &next.token("bob")).status == 200).then_some(())
        });
        assert_eq!(server.fetches().len(), 2, "{header}");
    }
    // A day is the most: after that and `max_stale`, while nobody answers, the keys are too old.
    const DAY: i64 = 24 * 60 * 60;
    for (header, life) in [
        ("max-age=1000000000", DAY),
        ("max-age=0", 30),
        ("max-age=600", 600),
    ] {
        let (app, issuer) = (App::start(), Issuer::new());
        let server = KeyServer::start(issuer.jwks());
        server.set_headers(&format!("cache-control: {header}\r\n"));
        let clock = ManualClock::new(now());
        let text = yaml(&app, &at(&server, ", max_stale: 1h"), "");
        let usher = Usher::with_clock(&text, Clock::Manual(clock.clone()));
        let token = issuer.token_with("alice", json!({ "exp": now() + 10 * DAY }));
        eventually("keys", || {
            (usher.get("/", &token).status == 200).then_some(())
        });
        server.set_mood(Mood::Bytes(answer("500 Oops", "", "")));
        // A token of an unknown key has usher notice; from then on it tries by itself.
        let bell = Issuer::with_kid("bell").token("bob");
        assert_ne!(usher.get("/", &bell).status, 200);
        clock.advance(life + 3600);
        assert_eq!(
            usher.get("/", &token).status,
            200,
            "{header}: the last second"
        );
        clock.advance(1);
        assert_eq!(usher.get("/", &token).status, 503, "{header}: one more");
        server.set_mood(Mood::Good);
        eventually("they are fetched again", || {
            (usher.get("/", &token).status == 200).then_some(())
        });
    }
}

#[test]
fn l13_start_without_keys() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (app, issuer) = (App::start(), Issuer::new());
    let members = format!(
        "issuer: '{}', jwks_uri: 'http://{address}/keys', fetch: {{ cooldown: 1s }}",
        Issuer::NAME
    );
    let usher = Usher::configured(&yaml(&app, &members, ""));
    let token = issuer.token("alice");
    let reply = usher.get("/", &token);
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (503, None),
        "not 401: clients would log out"
    );
    assert_eq!(usher.admin("/readyz").status, 503);
    assert_eq!(app.count(), 0);
    let _server = KeyServer::on(TcpListener::bind(address).unwrap(), issuer.jwks());
    eventually("keys", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
    assert_eq!(usher.admin("/readyz").status, 200);
}

#[test]
fn l14_server_that_does_not_prove_who_it_is() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let issuer = Issuer::new();
    let pairs = [
        (
            "another authority",
            theirs.server("other", &["localhost"]),
            false,
        ),
        ("another host", ours.server("host", &["idp.test"]), false),
        ("expired", ours.expired("old", &["localhost"]), false),
        ("a good one", ours.server("good", &["localhost"]), true),
    ];
    for (what, pair, good) in pairs {
        let (config, set) = (tls::server(&pair, None), issuer.jwks().to_string());
        let (tell, told) = std::sync::mpsc::channel();
        let address = bare(move |stream| {
            let mut session =
                StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let mut head = [0; 4096];
            let asked = session.read(&mut head).is_ok_and(|count| count > 0);
            let _ = tell.send(asked);
            let _ = session.write_all(&answer("200 OK", "connection: close\r\n", &set));
            session.conn.send_close_notify();
            let _ = session.flush();
        });
        let app = App::start();
        let members = format!(
            "issuer: '{}', jwks_uri: 'https://localhost:{}/keys', fetch: {{ cooldown: 1s, ca_file: '{}' }}",
            Issuer::NAME,
            address.port(),
            ours.root.display()
        );
        let usher = Usher::configured(&yaml(&app, &members, ""));
        let token = issuer.token("alice");
        let asked = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(asked, good, "{what}: a request was sent");
        match good {
            true => eventually(what, || {
                (usher.get("/", &token).status == 200).then_some(())
            }),
            false => assert_eq!(usher.get("/", &token).status, 503, "{what}"),
        }
    }
    let told = does_not_start(
        "upstream: http://a:1\nissuers: [{ issuer: 'https://a.example', audiences: [x], fetch: { insecure: true } }]\n",
    );
    assert!(told.contains("insecure"), "there is no such switch: {told}");
    starts(
        "upstream: http://a:1\nissuers: [{ issuer: 'https://a.example', audiences: [x], fetch: { timeout: 2s } }]\n",
    );
}

#[test]
fn l15_keys_of_long_ago() {
    let (app, issuer) = (App::start(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let clock = ManualClock::new(now());
    let text = yaml(&app, &at(&server, ", refresh: 10m, max_stale: 1h"), "");
    let usher = Usher::with_clock(&text, Clock::Manual(clock.clone()));
    let token = issuer.token_with("alice", json!({ "exp": now() + 1_000_000 }));
    eventually("keys", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
    server.set_mood(Mood::Bytes(answer("500 Oops", "", "")));
    // A token of an unknown key has usher notice; from then on it tries by itself.
    let bell = Issuer::with_kid("bell").token("bob");
    assert_ne!(usher.get("/", &bell).status, 200);
    clock.advance(70 * 60 - 1);
    assert_eq!(usher.get("/", &token).status, 200);
    clock.advance(2);
    for path in ["/stale", "/still"] {
        assert_eq!(usher.get(path, &token).status, 503);
        assert_eq!(usher.line(path)["reason"], "keys_unavailable");
    }
    assert_eq!(usher.admin("/readyz").status, 503, "which is an alarm");
    server.set_mood(Mood::Good);
    eventually("they are back", || {
        (usher.get("/", &token).status == 200).then_some(())
    });
    assert_eq!(usher.admin("/readyz").status, 200);
}
