//! An issuer's introspection endpoint (RFC 7662) over bare sockets: it knows some tokens, keeps
//! connections open, and is good or odd.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::Mood;
use super::app::{answer, find};
use super::authority::Pair;
use super::tls;

/// A question that was asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Request line and header fields.
    pub head: String,
    /// The form, decoded.
    pub form: HashMap<String, String>,
}

impl Question {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }
}

struct State {
    tokens: HashMap<String, Value>,
    mood: Mood,
    held: bool,
    questions: Vec<Question>,
    connections: usize,
}

/// A running endpoint; it ends with the test process.
#[derive(Clone)]
pub struct Introspector {
    /// Where it listens.
    pub address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Introspector {
    /// One that knows no token.
    pub fn start() -> Self {
        Self::begin(None)
    }

    /// The same over TLS, as `localhost`.
    pub fn secure(pair: &Pair) -> Self {
        Self::begin(Some(tls::server(pair, None)))
    }

    fn begin(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            tokens: HashMap::new(),
            mood: Mood::Good,
            held: false,
            questions: Vec::new(),
            connections: 0,
        };
        let server = Self {
            address: listener.local_addr().unwrap(),
            tls,
            state: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.accept(stream.unwrap()));
            }
        });
        server
    }

    /// The endpoint's URL.
    pub fn url(&self) -> String {
        match self.tls {
            None => format!("http://{}/introspect", self.address),
            Some(_) => format!("https://localhost:{}/introspect", self.address.port()),
        }
    }

    /// From now on answers this about a token.
    pub fn tell(&self, token: &str, answer: Value) {
        let mut state = self.state.0.lock().unwrap();
        state.tokens.insert(token.to_owned(), answer);
    }

    /// From now on the token is active, and `sub` is who it names.
    pub fn knows(&self, token: &str, sub: &str) {
        self.tell(token, json!({ "active": true, "sub": sub, "aud": "app" }));
    }

    /// From now on the token is not active.
    pub fn revoke(&self, token: &str) {
        self.state.0.lock().unwrap().tokens.remove(token);
    }

    /// From now on behaves like this.
    pub fn set_mood(&self, mood: Mood) {
        self.state.0.lock().unwrap().mood = mood;
    }

    /// From now on, or no longer, keeps its answers back.
    pub fn hold(&self, held: bool) {
        self.state.0.lock().unwrap().held = held;
        self.state.1.notify_all();
    }

    /// All questions so far.
    pub fn questions(&self) -> Vec<Question> {
        self.state.0.lock().unwrap().questions.clone()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.state.0.lock().unwrap().questions.len()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.0.lock().unwrap().connections
    }

    fn accept(&self, stream: TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        self.state.0.lock().unwrap().connections += 1;
        match &self.tls {
            None => self.serve(stream),
            Some(config) => {
                let session = ServerConnection::new(config.clone()).unwrap();
                self.serve(StreamOwned::new(session, stream));
            }
        }
    }

    /// One question after the other, until the client leaves.
    fn serve(&self, mut stream: impl Read + Write) {
        while let Some(question) = read(&mut stream) {
            let (mood, bytes) = self.answer(question);
            match mood {
                Mood::Good => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Mood::Bytes(bytes) => return drop(stream.write_all(&bytes)),
                // The client gives up first.
                Mood::Hang => return drop(stream.read(&mut [0])),
                Mood::Drip => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
                    while stream.write_all(b" ").is_ok() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    return;
                }
            }
        }
    }

    fn answer(&self, question: Question) -> (Mood, Vec<u8>) {
        let token = question.form.get("token").cloned().unwrap_or_default();
        let mut state = self.state.0.lock().unwrap();
        state.questions.push(question);
        let state = self.state.1.wait_while(state, |state| state.held).unwrap();
        let told = state.tokens.get(&token).cloned();
        let told = told.unwrap_or_else(|| json!({ "active": false }));
        let bytes = answer(
            "200 OK",
            "content-type: application/json\r\n",
            &told.to_string(),
        );
        (state.mood.clone(), bytes)
    }
}

fn read(stream: &mut impl Read) -> Option<Question> {
    let mut buffer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = find(&buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let question = Question {
                head,
                form: HashMap::new(),
            };
            let length: usize = question.header("content-length")?.parse().ok()?;
            if let Some(body) = buffer.get(end + 4..end + 4 + length) {
                let form = String::from_utf8(body.to_vec()).ok()?;
                let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
                let form = pairs.map(|(name, value)| (decode(name), decode(value)));
                return Some(Question {
                    form: form.collect(),
                    ..question
                });
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&piece[..count]),
        }
    }
}

fn decode(text: &str) -> String {
    let text = percent_encoding::percent_decode_str(text);
    text.decode_utf8_lossy().into_owned()
}
