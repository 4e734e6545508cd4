//! What holds behind every proxy.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::common::app::Received;
use crate::common::issuer::now;
use crate::common::{Client, Reply, eventually};

use super::crowd::many_users_at_once;
use super::headers::{nothing_forged_arrives, odd_spellings, one_host_and_method};
use super::stage::{Door, Stage};

/// All of it, in turn; the proxy was started once.
pub(super) fn holds(stage: &Stage) {
    nobody_without_a_good_token(stage);
    public_and_optional_routes(stage);
    rights_and_methods(stage);
    first_sight(stage);
    forged_identities(stage);
    nothing_forged_arrives(stage);
    one_host_and_method(stage);
    forged_descriptions(stage);
    hostile_paths(stage);
    bodies_pass(stage);
    many_users_on_one_connection(stage);
    many_users_at_once(stage);
}

/// What a request became.
pub(super) struct Outcome {
    pub(super) reply: Option<Reply>,
    pub(super) received: Vec<Received>,
}

impl Outcome {
    pub(super) fn status(&self) -> u16 {
        self.reply.as_ref().map_or(0, |reply| reply.status)
    }

    /// The one request that the app got.
    #[track_caller]
    pub(super) fn passed(&self) -> &Received {
        assert_eq!((self.status(), self.received.len()), (200, 1));
        &self.received[0]
    }

    #[track_caller]
    pub(super) fn refused(&self, status: u16) {
        assert_eq!((self.status(), self.received.len()), (status, 0));
        let head = self.reply.as_ref().unwrap().head.to_lowercase();
        assert!(!head.contains("x-user"), "{head}");
    }
}

pub(super) fn send(stage: &Stage, method: &str, target: &str, lines: &str) -> Outcome {
    let before = stage.app.count();
    let reply = stage.ask(method, target, lines);
    let received = stage.app.received()[before..].to_vec();
    Outcome { reply, received }
}

pub(super) fn get(stage: &Stage, target: &str, lines: &str) -> Outcome {
    send(stage, "GET", target, lines)
}

/// The only spelling of an identity header that the app got, and its value. Where there is nothing
/// to say, some proxies send the header empty, as usher does, and others leave it out.
#[track_caller]
pub(super) fn only(received: &Received, name: &str, value: Option<&str>) {
    let found = received.folded(name);
    match value {
        None if found.is_empty() => {}
        None => only(received, name, Some("")),
        Some(value) => {
            assert_eq!(found.len(), 1, "{}", received.head);
            assert_eq!(received.header(name), Some(value));
        }
    }
}

fn nobody_without_a_good_token(stage: &Stage) {
    let outcome = get(stage, "/x?y=1", "");
    outcome.refused(401);
    let reply = outcome.reply.unwrap();
    assert_eq!(
        reply.header("www-authenticate"),
        Some(r#"Bearer realm="app""#)
    );
    get(stage, "/x", "Authorization: Bearer no.good.token\r\n").refused(401);
    let foreign = stage.bearer("alice").replace("eyJ", "eyK");
    get(stage, "/x", &foreign).refused(401);
    let late = stage.token_with("alice", json!({ "exp": 1_000_000_000 }));
    get(stage, "/x", &format!("Authorization: Bearer {late}\r\n")).refused(401);
    // Two tokens are nobody's.
    let twice = format!("{}{}", stage.bearer("alice"), stage.bearer("bob"));
    let outcome = get(stage, "/x", &twice);
    assert!(outcome.status() >= 400 && outcome.received.is_empty());

    let outcome = get(stage, "/x?y=1&z=%2F", &stage.bearer("alice"));
    let received = outcome.passed();
    assert_eq!(received.target(), "/x?y=1&z=%2F");
    only(received, "x-user-id", Some("alice"));
    only(received, "x-user-email", Some("alice@example.com"));
    only(received, "x-user-name", Some("Name"));
    only(received, "x-user-provisioned", None);
    assert_eq!(
        received.header("authorization"),
        None,
        "the token is not the app's"
    );
    assert_eq!(received.header("host"), Some("app.test"));
    let head = outcome.reply.unwrap().head.to_lowercase();
    assert!(
        !head.contains("x-user"),
        "the client learns nothing: {head}"
    );
}

fn public_and_optional_routes(stage: &Stage) {
    let forged = "X-User-Id: mallory\r\nX-User-Email: ceo@corp\r\nX-User-Provisioned: yes\r\n";
    for lines in [
        forged.to_owned(),
        format!("{forged}{}", stage.bearer("alice")),
    ] {
        let outcome = get(stage, "/public/x", &lines);
        for name in [
            "x-user-id",
            "x-user-email",
            "x-user-name",
            "x-user-provisioned",
        ] {
            only(outcome.passed(), name, None);
        }
    }
    only(get(stage, "/feed/x", forged).passed(), "x-user-id", None);
    only(
        get(stage, "/feed/x", &stage.bearer("alice")).passed(),
        "x-user-id",
        Some("alice"),
    );
    get(stage, "/feed/x", "Authorization: Bearer bad\r\n").refused(401);
}

pub(crate) fn rights_and_methods(stage: &Stage) {
    get(stage, "/admin/x", &stage.bearer("alice")).refused(403);
    let root = stage.token_with("root", json!({ "roles": ["admin"] }));
    let root = format!("Authorization: Bearer {root}\r\n");
    only(
        get(stage, "/admin/x", &root).passed(),
        "x-user-id",
        Some("root"),
    );
    assert_eq!(
        get(stage, "/posts/1", "").passed().line(),
        "GET /posts/1 HTTP/1.1"
    );
    for (method, lines) in [
        ("POST", "Content-Length: 0\r\n"),
        ("DELETE", ""),
        (
            "PUT",
            "Content-Length: 0\r\nX-HTTP-Method-Override: GET\r\n",
        ),
        ("OPTIONS", ""),
    ] {
        send(stage, method, "/posts/1", lines).refused(401);
        let lines = format!("{lines}{}", stage.bearer("alice"));
        let outcome = send(stage, method, "/posts/1", &lines);
        let received = outcome.passed();
        assert!(received.line().starts_with(method));
        // usher decided on the method that was sent.
        assert_eq!(received.folded("x-http-method-override"), [""; 0]);
    }
}

/// The first request of a user waits until there is a row, and passes.
fn first_sight(stage: &Stage) {
    let missing = || {
        stage
            .usher()
            .metric("usher_user_lookups_total{outcome=\"missing\"}")
    };
    let before = missing();
    for _ in 0..2 {
        only(
            get(stage, "/x", &stage.bearer("newcomer")).passed(),
            "x-user-id",
            Some("newcomer"),
        );
    }
    assert_eq!(missing() - before, 1.0);
}

/// A client says who it is, in every spelling that an app may read.
pub(crate) fn forged_identities(stage: &Stage) {
    let alice = stage.bearer("alice");
    let mut spellings: Vec<String> = ["X-User-Id", "x-user-id", "X-USER-ID", "x-UsEr-iD"]
        .map(str::to_owned)
        .into();
    spellings.extend(odd_spellings());
    assert_eq!(spellings.len(), 4 + 15 * 3);
    for name in &spellings {
        for lines in [
            format!("{name}: mallory\r\n{alice}"),
            format!("{alice}{name}: mallory\r\n{name}: root\r\n"),
            format!("{name}: mallory, root\r\n{alice}"),
            format!("{name}:\r\n{alice}"),
        ] {
            let outcome = get(stage, "/x", &lines);
            // A proxy may refuse an odd name; what it passes on is usher's word alone.
            match outcome.received.as_slice() {
                [] => assert!(outcome.status() >= 400, "{name}"),
                _ => only(outcome.passed(), "x-user-id", Some("alice")),
            }
        }
        let outcome = get(stage, "/public/x", &format!("{name}: mallory\r\n"));
        match outcome.received.as_slice() {
            [] => assert!(outcome.status() >= 400, "{name}"),
            _ => only(outcome.passed(), "x-user-id", None),
        }
        get(stage, "/x", &format!("{name}: mallory\r\n")).refused_or_odd();
    }
    for connection in [
        "close, X-User-Id",
        "x-user-id",
        "X-User-Id, X-Original-URI, X-Forwarded-Uri, Authorization",
    ] {
        let lines = format!("Connection: {connection}\r\nX-User-Id: mallory\r\n{alice}");
        let outcome = get(stage, "/x", &lines);
        match outcome.received.as_slice() {
            [] => assert!(outcome.status() >= 400, "{connection}"),
            _ => only(outcome.passed(), "x-user-id", Some("alice")),
        }
    }
    // What the token has not is not there, whatever the client says.
    let bare = stage.token_with("alice", json!({ "email": null, "name": null }));
    let lines =
        format!("X-User-Email: ceo@corp\r\nX-USER-NAME: Boss\r\nAuthorization: Bearer {bare}\r\n");
    let outcome = get(stage, "/x", &lines);
    for name in ["x-user-email", "x-user-name"] {
        only(outcome.passed(), name, None);
    }
}

impl Outcome {
    #[track_caller]
    fn refused_or_odd(&self) {
        assert!(
            [400, 401, 403].contains(&self.status()),
            "{}",
            self.status()
        );
        assert_eq!(self.received.len(), 0);
    }
}

/// A client describes another request than it sends, in the words of every proxy.
pub(crate) fn forged_descriptions(stage: &Stage) {
    let words = [
        ("Uri", "/public/x"),
        ("URI", "/public/x"),
        ("URL", "https://app.test/public/x"),
        ("Method", "GET"),
        ("Host", "open.test"),
        ("Path", "/public/x"),
    ];
    let mut cases = 0;
    for family in [
        "X-Forwarded",
        "X-Original",
        "X_Forwarded",
        "X.Forwarded",
        "X-Envoy-Original",
    ] {
        for (word, value) in words {
            for times in [1, 2] {
                let lines = format!("{family}-{word}: {value}\r\n").repeat(times);
                let outcome = get(stage, "/admin/x", &lines);
                assert!(
                    outcome.status() >= 400 && outcome.received.is_empty(),
                    "{lines}"
                );
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 60);
    let lines = "X-Forwarded-Method: GET\r\nX-Original-Method: GET\r\nContent-Length: 0\r\n";
    let outcome = send(stage, "POST", "/posts/1", lines);
    assert!(outcome.status() >= 400 && outcome.received.is_empty());
    // The client's address is the one that the proxy sees.
    get(stage, "/who-asks", "X-Forwarded-For: 203.0.113.9\r\n");
    let line = stage.usher().line("/who-asks");
    match stage.door {
        // Envoy gives a client on loopback the address of the machine.
        Door::EnvoyHttp | Door::EnvoyGrpc => assert_ne!(line["client"], "203.0.113.9", "{line}"),
        _ => assert_eq!(line["client"], "127.0.0.1", "{line}"),
    }
    assert_eq!(line["door"], stage.door.kind());
}

/// Paths that two readers may read in two ways.
const HOSTILE: [&str; 31] = [
    "/public/../admin/x",
    "/public/./../admin/x",
    "/public/..",
    "/./admin/x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2e/admin/x",
    "/public/.%2e/admin/x",
    "/public/..%2fadmin/x",
    "/public%2f..%2fadmin/x",
    "/public/%252e%252e/admin/x",
    "/public\\..\\admin\\x",
    "/public/..%5cadmin/x",
    "/public/..;/admin/x",
    "/public;a/../admin/x",
    "/public/x;y=1",
    "//admin/x",
    "/public//../admin/x",
    "/public//admin/x",
    "/public#/../admin/x",
    "/admin/x#/public/x",
    "/public/%00",
    "/public/%0d%0aX-User-Id:%20root",
    "/public/%",
    "/public/%zz",
    "/public/%c0%af",
    "/%61dmin/x",
    "/pu%62lic/x",
    "/PUBLIC/x",
    "/publicity",
    "/admin/x?/public/x",
    "/admin%3f/public/x",
];

/// What the app gets is what usher decided on, byte by byte, and never somewhere else.
pub(crate) fn hostile_paths(stage: &Stage) {
    let alice = stage.bearer("alice");
    for target in HOSTILE.iter().copied().chain([
        "http://app.test/public/../admin/x",
        "http://app.test/public/x",
        "http://evil.test/public/x",
        "http://app.test",
        "public/x",
        "*",
    ]) {
        for lines in ["", alice.as_str()] {
            let known = stage.usher().lines().len();
            let outcome = get(stage, target, lines);
            let [received] = outcome.received.as_slice() else {
                assert!(outcome.received.is_empty(), "{target}");
                let status = outcome.status();
                assert!(
                    status == 0 || status >= 300,
                    "{:?} {target}: {status}",
                    stage.door
                );
                continue;
            };
            let path = received.target().split('?').next().unwrap();
            let line = eventually("the line about it", || {
                let mut lines = stage.usher().lines().into_iter().skip(known);
                lines.find(|line| line["path"] == path && line["outcome"] == "answered")
            });
            assert_eq!(line["host"], received.header("host").unwrap(), "{target}");
            if lines.is_empty() {
                assert_eq!(line["route"], "/public/**", "{target}");
                let read = resolved(path);
                assert!(
                    read.starts_with("/public/") || read == "/public",
                    "{target}: {path}"
                );
            } else {
                // Alice is no admin.
                let read = resolved(path);
                assert!(
                    !format!("{read}/").starts_with("/admin/"),
                    "{target}: {path}"
                );
            }
        }
    }
}

/// The path as the most lenient app reads it: decoded, with `\` as `/`, without what follows `;`
/// in a segment, without dot segments.
fn resolved(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8_lossy()
        .replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded
        .split('/')
        .map(|segment| segment.split(';').next().unwrap())
    {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Asking takes nothing of the body.
fn bodies_pass(stage: &Stage) {
    let body = "b".repeat(100_000);
    let lines = format!(
        "{}Content-Length: {}\r\n",
        stage.bearer("alice"),
        body.len()
    );
    let before = stage.app.count();
    let mut client = Client::connect(stage.address);
    client.send(format!(
        "POST /upload HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{body}"
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    let received = stage.app.received()[before..].to_vec();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body, body.as_bytes());
}

/// A kept connection is nobody's: each request is its own user's.
fn many_users_on_one_connection(stage: &Stage) {
    let mut client = Client::connect(stage.address);
    let before = stage.app.count();
    for turn in 0..60 {
        let user = format!("user-{}", turn % 7);
        let lines = match turn % 3 {
            0 => String::new(),
            _ => stage.bearer(&user),
        };
        client.send(format!(
            "GET /feed/{turn} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n"
        ));
        assert_eq!(client.reply().expect("an answer").status, 200);
        let received = stage.app.last();
        assert_eq!(received.target(), format!("/feed/{turn}"));
        only(
            &received,
            "x-user-id",
            (turn % 3 != 0).then_some(user.as_str()),
        );
    }
    assert_eq!(stage.app.count(), before + 60);
}

/// A yes is kept for its own request and token, and no longer than usher says; a no never.
pub(super) fn keeps_a_yes(stage: &Stage) {
    let asked = |target: &str| {
        let lines = stage.usher().lines();
        let path = target.split('?').next().unwrap();
        lines.iter().filter(|line| line["path"] == path).count()
    };
    // The line of a later request is written after those of the earlier ones.
    let settled = |mark: &str| {
        get(stage, mark, "");
        stage.usher().line(mark);
    };
    let alice = stage.bearer("alice");
    for _ in 0..5 {
        only(
            get(stage, "/kept", &alice).passed(),
            "x-user-id",
            Some("alice"),
        );
    }
    settled("/mark-1");
    assert_eq!(asked("/kept"), 1, "nginx answered the others");
    // Another token, method, host or target is another question.
    only(
        get(stage, "/kept", &stage.bearer("bob")).passed(),
        "x-user-id",
        Some("bob"),
    );
    get(stage, "/kept", "").refused(401);
    get(stage, "/kept", "Authorization: Bearer bad\r\n").refused(401);
    send(stage, "DELETE", "/kept", &alice).passed();
    get(stage, "/kept?x=y", &alice).passed();
    let mut client = Client::connect(stage.address);
    client.send(format!(
        "GET /kept HTTP/1.1\r\nHost: other.test\r\n{alice}\r\n"
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    settled("/mark-2");
    assert_eq!(asked("/kept"), 1 + 6);
    for _ in 0..3 {
        get(stage, "/refused", "").refused(401);
        get(stage, "/public/each", "").passed();
    }
    settled("/mark-3");
    assert_eq!((asked("/refused"), asked("/public/each")), (3, 3));
    // It ends by itself, and with the token.
    eventually("nginx asks again", || {
        get(stage, "/kept", &alice).passed();
        (asked("/kept") > 7).then_some(())
    });
    let end = now() + 2;
    let short = stage.token_with("alice", json!({ "exp": end }));
    let short = format!("Authorization: Bearer {short}\r\n");
    eventually("the token has ended", || {
        let before = now();
        let status = get(stage, "/short", &short).status();
        assert!(status == 401 || before < end, "{status}");
        (status == 401).then_some(())
    });
}

/// Without usher, or with one that takes the question and is silent, nobody passes.
pub(super) fn fails_closed(stage: &mut Stage) {
    let alice = stage.bearer("alice");
    let address = stage.asked_at();
    let before = stage.app.count();
    stage.stop_usher();
    for target in ["/x", "/public/x", "/feed/x"] {
        let status = stage.get(target, &alice).status;
        assert!(status >= 400, "{:?} {target}: {status}", stage.door);
    }
    let silent = TcpListener::bind(address).unwrap();
    let taken = std::thread::spawn(move || {
        let mut streams = Vec::new();
        // What it was asked is read, and never answered.
        while let Ok((mut stream, _)) = silent.accept() {
            let mut piece = [0; 4096];
            if stream.read(&mut piece).unwrap_or(0) > 0 && piece.starts_with(b"end") {
                break;
            }
            streams.push(stream);
        }
        streams.len()
    });
    let mut client = Client::connect(stage.address);
    let patience = Some(Duration::from_secs(40));
    client.stream().set_read_timeout(patience).unwrap();
    client.send(format!("GET /x HTTP/1.1\r\nHost: app.test\r\n{alice}\r\n"));
    let status = client.reply().map_or(0, |reply| reply.status);
    assert!(status >= 400, "{:?}: {status}", stage.door);
    Client::connect(address).send("end");
    assert!(taken.join().unwrap() > 0, "usher was asked");
    assert_eq!(stage.app.count(), before);
}
