//! An app that records, an usher before it, and a token that is good.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::strict::{Message, Messages};
use crate::common::app::{Received, answer, bare};
use crate::common::{App, Client, Issuer, Reply, Usher};

/// One public folder; everything else needs a token.
pub(crate) const ROUTES: &str = "
routes:
  - { path: /public/**, access: public }
  - { path: /feed/**, access: optional }
";

pub(crate) struct Stage {
    pub(crate) app: App,
    pub(crate) issuer: Issuer,
    pub(crate) usher: Usher,
    /// A good one, alice's.
    pub(crate) token: String,
}

impl Stage {
    /// In front of an app that answers everything with 200.
    pub(crate) fn new(more: &str) -> Self {
        Self::before(App::start(), more)
    }

    /// With [`ROUTES`].
    pub(crate) fn routed() -> Self {
        Self::new(ROUTES)
    }

    pub(crate) fn before(app: App, more: &str) -> Self {
        let issuer = Issuer::new();
        let usher = Usher::start(&app, &issuer, more);
        let token = issuer.token("alice");
        Self {
            app,
            issuer,
            usher,
            token,
        }
    }

    /// The good token as a header line.
    pub(crate) fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    /// `GET` with the good token and more lines.
    pub(crate) fn get(&self, target: &str, lines: &str) -> String {
        head("GET", target, &format!("{}{lines}", self.bearer()))
    }

    /// `POST` with the good token, more lines and these bytes after the head.
    pub(crate) fn post(&self, lines: &str, body: &str) -> String {
        head("POST", "/x", &format!("{}{lines}", self.bearer())) + body
    }

    /// `GET` with a token whose claims have `more` on top.
    pub(crate) fn get_as(&self, more: Value) -> String {
        let token = self.issuer.token_with("alice", more);
        head("GET", "/x", &format!("Authorization: Bearer {token}\r\n"))
    }

    /// It is let in, as one request and no more; then a good one passes.
    #[track_caller]
    pub(crate) fn passes(&self, bytes: impl AsRef<[u8]>) -> (Reply, Received) {
        let before = self.app.count();
        let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let reply = self.usher.raw(bytes);
        assert_eq!(reply.status, 200, "{shown:?}");
        let received = self.app.received()[before..].to_vec();
        let [received] = received.as_slice() else {
            panic!("{} requests of {shown:?}", received.len());
        };
        self.good();
        (reply, received.clone())
    }

    /// It is refused with one of these statuses and the app sees nothing; then a good one passes.
    #[track_caller]
    pub(crate) fn refuses(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Reply {
        self.usher.refuses(&self.app, &self.token, bytes, statuses)
    }

    /// The same, and whatever follows on that connection is nobody's.
    #[track_caller]
    pub(crate) fn closes(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) {
        let before = self.app.count();
        let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let mut client = self.usher.connect();
        client.send(&bytes);
        let reply = client.reply();
        let status = reply.map(|reply| reply.status);
        assert!(
            status.is_some_and(|status| statuses.contains(&status)),
            "{status:?} to {shown:?}"
        );
        client.send(self.get("/smuggled", ""));
        assert!(client.is_closed(), "still open after {shown:?}");
        assert_eq!(self.app.count(), before, "{shown:?}");
        self.good();
    }

    /// A good request passes.
    #[track_caller]
    pub(crate) fn good(&self) {
        self.usher.serves(&self.token);
    }
}

/// A head for app.test; `lines` end in CRLF.
pub(crate) fn head(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}

/// What is wrong with a configuration; empty if nothing is.
pub(crate) fn problems(more: &str) -> Vec<String> {
    let issuer = Issuer::new();
    let text = format!(
        "upstream: http://127.0.0.1:9\nissuers: [{}]\n{more}\n",
        issuer.yaml()
    );
    match usher::config::parse(&text, "test.yaml", &|_| None) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Whether a configuration is refused, with a message about `key`.
#[track_caller]
pub(crate) fn is_refused(more: &str, key: &str) {
    let problems = problems(more);
    let named = problems.iter().any(|problem| problem.contains(key));
    assert!(named, "{more}: {problems:?}");
}

/// A configuration that is nearly the one refused, and good: so that the others are refused for what
/// is wrong with them.
#[track_caller]
pub(crate) fn accepts(more: &str) {
    let problems = problems(more);
    assert!(problems.is_empty(), "{more}: {problems:?}");
}

/// Claims that take one away.
pub(crate) fn without(claim: &str) -> Value {
    json!({ claim: null })
}

/// An app that keeps every byte of each connection, and reads them by the letter of RFC 9112.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let connections: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let shared = connections.clone();
        let address = bare(move |mut stream| {
            let number = {
                let mut all = shared.lock().unwrap();
                all.push(Vec::new());
                all.len() - 1
            };
            let (mut answered, mut piece) = (0, [0; 16 * 1024]);
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                let whole = {
                    let mut all = shared.lock().unwrap();
                    all[number].extend_from_slice(&piece[..count]);
                    let read = Messages::read(&all[number][answered..]);
                    answered = all[number].len() - read.rest;
                    read.whole.len()
                };
                for _ in 0..whole {
                    if stream.write_all(&answer("200 OK", "", "hello")).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// The bytes of each connection.
    pub(crate) fn connections(&self) -> Vec<Vec<u8>> {
        self.connections.lock().unwrap().clone()
    }

    /// Everything that came whole, in the order of the connections.
    #[track_caller]
    pub(crate) fn whole(&self) -> Vec<Message> {
        let read = |bytes: &Vec<u8>| {
            let read = Messages::read(bytes);
            let shown = bytes.escape_ascii().to_string();
            assert!(read.wrong.is_none(), "{:?} in {shown}", read.wrong);
            read.whole
        };
        self.connections().iter().flat_map(read).collect()
    }
}

/// Every answer on a connection, until the other side closes it or is silent.
pub(crate) fn statuses(client: &mut Client) -> Vec<u16> {
    std::iter::from_fn(|| client.reply().map(|reply| reply.status)).collect()
}
