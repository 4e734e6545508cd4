//! An issuer's web server over bare sockets: discovery and a key set, good or odd.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::app::{answer, find};
use super::authority::Pair;
use super::tls;

/// What the server does with a request for the key set.
#[derive(Clone)]
pub enum Mood {
    /// Answers with the key set.
    Good,
    /// Answers with these bytes.
    Bytes(Vec<u8>),
    /// Takes the request and answers nothing.
    Hang,
    /// Begins an answer and sends a byte now and then.
    Drip,
}

struct State {
    keys: Value,
    mood: Mood,
    headers: String,
    /// The document at the discovery URL; the right one if there is none here.
    discovery: Option<String>,
    heads: Vec<String>,
}

/// A running key server; it ends with the test process.
#[derive(Clone)]
pub struct KeyServer {
    /// Where it listens.
    pub address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<Mutex<State>>,
}

impl KeyServer {
    /// Serves this key set.
    pub fn start(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, keys)
    }

    /// The same on a listener that is there already.
    pub fn on(listener: TcpListener, keys: Value) -> Self {
        Self::begin(listener, keys, None)
    }

    /// The same over TLS, as `localhost`.
    pub fn secure(keys: Value, pair: &Pair) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::begin(listener, keys, Some(tls::server(pair, None)))
    }

    fn begin(listener: TcpListener, keys: Value, tls: Option<Arc<ServerConfig>>) -> Self {
        let server = Self {
            address: listener.local_addr().unwrap(),
            tls,
            state: Arc::new(Mutex::new(State {
                keys,
                mood: Mood::Good,
                headers: String::new(),
                discovery: None,
                heads: Vec::new(),
            })),
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

    /// The value of `issuer` for which discovery leads here.
    pub fn issuer(&self) -> String {
        format!("{}/", self.origin())
    }

    /// The URL of the key set.
    pub fn jwks_uri(&self) -> String {
        format!("{}/keys", self.origin())
    }

    fn origin(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// From now on serves these keys.
    pub fn set_keys(&self, keys: Value) {
        self.state.lock().unwrap().keys = keys;
    }

    /// From now on behaves like this.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Header lines of good answers, each ending in CRLF.
    pub fn set_headers(&self, lines: &str) {
        lines.clone_into(&mut self.state.lock().unwrap().headers);
    }

    /// What is at the discovery URL.
    pub fn set_discovery(&self, text: &str) {
        self.state.lock().unwrap().discovery = Some(text.to_owned());
    }

    /// The heads of all requests for the key set.
    pub fn fetches(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let all = state.heads.iter();
        all.filter(|head| head.starts_with("GET /keys "))
            .cloned()
            .collect()
    }

    /// How many requests of any kind came.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().heads.len()
    }

    fn accept(&self, stream: TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        match &self.tls {
            None => self.serve(stream),
            Some(config) => {
                let session = ServerConnection::new(config.clone()).unwrap();
                self.serve(StreamOwned::new(session, stream));
            }
        }
    }

    fn serve(&self, mut stream: impl Read + Write) {
        let mut buffer = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end;
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.extend_from_slice(&piece[..count]),
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let (mood, answer) = self.answer(&head);
        match mood {
            Mood::Good => drop(stream.write_all(&answer)),
            Mood::Bytes(bytes) => drop(stream.write_all(&bytes)),
            // The client gives up first.
            Mood::Hang => drop(stream.read(&mut piece)),
            Mood::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
                while stream.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    fn answer(&self, head: &str) -> (Mood, Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        state.heads.push(head.to_owned());
        let path = head.split(' ').nth(1).unwrap_or_default();
        let json = "content-type: application/json\r\n";
        if path == "/keys" {
            let headers = format!("{json}{}", state.headers);
            let unchanged = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("if-none-match"))
                .is_some_and(|(_, tag)| state.headers.contains(tag));
            let bytes = match unchanged {
                true => answer("304 Not Modified", &state.headers, ""),
                false => answer("200 OK", &headers, &state.keys.to_string()),
            };
            return (state.mood.clone(), bytes);
        }
        if path == "/.well-known/openid-configuration" {
            let good = json!({ "issuer": self.issuer(), "jwks_uri": self.jwks_uri() });
            let text = state.discovery.clone().unwrap_or_else(|| good.to_string());
            return (Mood::Good, answer("200 OK", json, &text));
        }
        (Mood::Good, answer("404 Not Found", "", "no such thing"))
    }
}
