//! usher in front of an app that records, one issuer whose key is at hand, and a clock of the test's.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use usher::clock::{Clock, ManualClock};

use crate::common::{App, Issuer, Signer, Usher};

/// What the clock shows at first.
pub const NOW: i64 = 1_800_000_000;

/// What may be wrong with the shape of a token.
pub const SHAPE: &[&str] = &["token_malformed"];
/// What may be wrong with its signature.
pub const SIGNATURE: &[&str] = &["signature_refused"];

pub struct Stage {
    pub app: App,
    pub usher: Usher,
    pub clock: ManualClock,
    /// Signs what usher accepts.
    pub signer: Arc<Signer>,
    /// The name that good tokens have for the key, or nothing.
    kid: String,
    _folder: TempDir,
    asked: Cell<usize>,
}

/// The claims of a good token for alice, with `more` on top; `null` takes a claim away.
pub fn claims(more: &Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": Issuer::NAME, "aud": Issuer::AUDIENCE, "sub": "alice", "exp": NOW + 600,
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value.is_null() {
            true => all.remove(name),
            false => all.insert(name.clone(), value.clone()),
        };
    }
    all.clone()
}

/// The same as JSON text.
pub fn payload(more: &Value) -> String {
    Value::Object(claims(more)).to_string()
}

/// The text of good claims, with `value`, which may be no JSON, as the value of `name`.
pub fn payload_with(name: &str, value: &str) -> String {
    let mut rest = claims(&json!({}));
    rest.remove(name);
    let rest = Value::Object(rest).to_string();
    format!("{},\"{name}\":{value}}}", rest.strip_suffix('}').unwrap())
}

impl Stage {
    /// An issuer that signs ES256, and nothing else.
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// The same with `members` of the issuer's entry, each before a comma, and `more` lines of
    /// configuration.
    pub fn with(members: &str, more: &str) -> Self {
        Self::signed_by(Signer::new("ES256", b""), members, more)
    }

    /// The same with this public key, in a file.
    pub fn signed_by(signer: Signer, members: &str, more: &str) -> Self {
        let algorithm = signer.algorithm;
        let pem = signer.public_pem();
        let listed = match members.contains("algorithms:") {
            true => String::new(),
            false => format!("algorithms: [{algorithm}], "),
        };
        Self::start(
            signer,
            "key.pem",
            &pem,
            |file| format!("{members}{listed}public_key_file: '{}'", file.display()),
            more,
        )
    }

    /// The same with these entries of a key set, in a file.
    pub fn with_set(signer: Signer, entries: &Value, algorithms: &str) -> Self {
        Self::with_set_named(signer, entries, algorithms, "")
    }

    /// The same, where good tokens call their key by its name.
    pub fn with_set_named(signer: Signer, entries: &Value, algorithms: &str, kid: &str) -> Self {
        let stage = Self::set(signer, entries, algorithms);
        Self {
            kid: kid.to_owned(),
            ..stage
        }
    }

    fn set(signer: Signer, entries: &Value, algorithms: &str) -> Self {
        let set = json!({ "keys": entries }).to_string();
        Self::start(
            signer,
            "jwks.json",
            &set,
            |file| format!("algorithms: {algorithms}, jwks_file: '{}'", file.display()),
            "",
        )
    }

    fn start(
        signer: Signer,
        name: &str,
        content: &str,
        members: impl Fn(PathBuf) -> String,
        more: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        let members = members(file);
        let audience = match members.contains("audiences:") {
            true => "",
            false => "audiences: [app], ",
        };
        let app = App::start();
        let yaml = format!(
            "upstream: http://{}\nissuers: [{{ name: idp, issuer: '{}', {audience}{members} }}]\n{more}",
            app.address,
            Issuer::NAME
        );
        let clock = ManualClock::new(NOW);
        Self {
            usher: Usher::with_clock(&yaml, Clock::Manual(clock.clone())),
            app,
            clock,
            signer: Arc::new(signer),
            kid: String::new(),
            _folder: folder,
            asked: Cell::new(0),
        }
    }

    /// A signed token: good claims with `more` on top.
    pub fn token(&self, more: &Value) -> String {
        self.signer.token(payload(more))
    }

    /// A good token that is good for long.
    pub fn good(&self) -> String {
        let payload = payload(&json!({ "exp": i64::MAX }));
        let header = match self.kid.as_str() {
            "" => json!({ "alg": self.signer.algorithm }),
            kid => json!({ "alg": self.signer.algorithm, "kid": kid }),
        };
        self.signer.seal(header.to_string(), payload)
    }

    /// A path that was not asked for before.
    fn path(&self) -> String {
        let number = self.asked.get();
        self.asked.set(number + 1);
        format!("/{number}")
    }

    /// `GET` with these lines is refused with `status`, for one of `reasons`. Only the log says why,
    /// the app sees nothing, and a good request passes. Returns the access line.
    #[track_caller]
    pub fn refuses_lines(
        &self,
        what: &str,
        lines: impl AsRef<[u8]>,
        status: u16,
        reasons: &[&str],
    ) -> Value {
        let (path, before) = (self.path(), self.app.count());
        let mut bytes = format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n").into_bytes();
        bytes.extend_from_slice(lines.as_ref());
        bytes.extend_from_slice(b"\r\n");
        let reply = self.usher.raw(&bytes);
        let line = self.usher.line(&path);
        assert_eq!(reply.status, status, "{what}: {line}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reasons.contains(&reason), "{what}: {line}");
        assert!(!reply.body.contains(reason), "{what}: {}", reply.body);
        assert_eq!(line["user"], Value::Null, "{what}: {line}");
        assert_eq!(self.app.count(), before, "{what}: the app was asked");
        self.still_serves(what);
        line
    }

    /// The token is refused with 401.
    #[track_caller]
    pub fn refuses(&self, what: &str, token: &str, reasons: &[&str]) -> Value {
        let lines = format!("Authorization: Bearer {token}\r\n");
        self.refuses_lines(what, lines, 401, reasons)
    }

    /// Many tokens, each refused with 401, one after the other on one connection.
    #[track_caller]
    pub fn refuses_all(&self, tokens: impl IntoIterator<Item = String>) -> usize {
        let (before, mut tried) = (self.app.count(), 0);
        let mut client = self.usher.connect();
        for token in tokens {
            client.send(format!(
                "GET /many HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
            ));
            let reply = client
                .reply()
                .unwrap_or_else(|| panic!("no answer to {token}"));
            assert_eq!(reply.status, 401, "{token}");
            tried += 1;
        }
        assert_eq!(self.app.count(), before, "the app was asked");
        self.still_serves("many");
        tried
    }

    /// The token passes; returns who the app was told of.
    #[track_caller]
    pub fn passes(&self, what: &str, token: &str) -> String {
        let (path, before) = (self.path(), self.app.count());
        let reply = self.usher.get(&path, token);
        assert_eq!(reply.status, 200, "{what}: {}", self.usher.line(&path));
        assert_eq!(self.app.count(), before + 1, "{what}");
        let received = self.app.last();
        received.header("x-user-id").unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn still_serves(&self, what: &str) {
        let reply = self.usher.get("/good", &self.good());
        assert_eq!(reply.status, 200, "after {what}");
        assert_eq!(
            self.app.last().header("x-user-id"),
            Some("alice"),
            "after {what}"
        );
    }
}

/// What a start with this configuration complains of; it must not start.
#[track_caller]
pub fn does_not_start(yaml: &str) -> String {
    let text = format!("{yaml}\nlisten: 127.0.0.1:0\nadmin: off\n");
    match usher::config::parse(&text, "test.yaml", &|_| None) {
        Err(problems) => {
            let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
            all.join("\n")
        }
        Ok(loaded) => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let bound = runtime.block_on(usher::bind(loaded.config, usher::Options::default()));
            bound
                .err()
                .unwrap_or_else(|| panic!("it starts: {yaml}"))
                .to_string()
        }
    }
}

/// A configuration that is nearly the one refused starts: so that the others are refused for what is wrong
/// with them.
#[track_caller]
pub fn starts(yaml: &str) {
    let text = format!("{yaml}\nlisten: 127.0.0.1:0\nadmin: off\n");
    let loaded = usher::config::parse(&text, "test.yaml", &|_| None).unwrap_or_else(|problems| {
        panic!("{problems:?}\n{text}");
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bound = runtime.block_on(usher::bind(loaded.config, usher::Options::default()));
    drop(bound.unwrap_or_else(|error| panic!("{error}\n{text}")));
}

/// The same with this one issuer.
#[track_caller]
pub fn issuer_starts(members: &str) {
    starts(&format!(
        "upstream: http://127.0.0.1:1\nissuers: [{{ {members} }}]\n"
    ));
}

/// A start with this one issuer is refused; returns the complaint.
#[track_caller]
pub fn issuer_refused(members: &str) -> String {
    does_not_start(&format!(
        "upstream: http://127.0.0.1:1\nissuers: [{{ {members} }}]\n"
    ))
}
