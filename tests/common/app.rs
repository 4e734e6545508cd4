//! The protected app: a server over bare sockets that records every byte it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as the app received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// The head, exactly, up to and without the empty line.
    pub head: String,
    /// The body, decoded from chunks if need be.
    pub body: Vec<u8>,
    /// The lines after the last chunk.
    pub trailers: String,
}

impl Received {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a header, compared exactly as an app that folds nothing would.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a header, or none.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// Every header name that an app which folds `_`, `.` and case would read as `name`.
    pub fn folded(&self, name: &str) -> Vec<String> {
        let fold = |text: &str| -> String {
            let dashed = text
                .to_ascii_lowercase()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            dashed
                .split('-')
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("-")
        };
        self.head
            .lines()
            .skip(1)
            .chain(self.trailers.lines())
            .filter(|line| fold(line.split(':').next().unwrap_or_default()) == fold(name))
            .map(str::to_owned)
            .collect()
    }
}

/// What the app does with a request.
pub enum Answer {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Last(Vec<u8>),
    /// Takes over the connection.
    Own(Box<dyn FnOnce(TcpStream) + Send>),
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

/// A running app; it ends with the test process.
#[derive(Clone)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

/// A whole answer: status line, length, body.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An app that reads and writes what it likes: `serve` takes over each connection.
pub fn bare(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

impl App {
    /// Answers everything with 200 and `hello`.
    pub fn start() -> Self {
        Self::with(|_| Answer::Bytes(answer("200 OK", "", "hello")))
    }

    /// Answers as `script` says.
    pub fn with(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let (shared, script): (_, Arc<Script>) = (app.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, script) = (shared.clone(), script.clone());
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || shared.serve(number, stream.unwrap(), &*script));
            }
        });
        app
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.received().pop().expect("the app received nothing")
    }

    fn serve(&self, connection: usize, mut stream: TcpStream, script: &Script) {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut buffer = Vec::new();
        while let Some(received) = read_request(connection, &mut stream, &mut buffer) {
            self.received.lock().unwrap().push(received.clone());
            match script(&received) {
                Answer::Bytes(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Answer::Last(bytes) => {
                    let _ = stream.write_all(&bytes);
                    return;
                }
                Answer::Own(take) => return take(stream),
            }
        }
    }
}

/// Reads one request; `None` when the connection ended, also in the middle.
fn read_request(
    connection: usize,
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Option<Received> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        more(stream, buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut received = Received {
        connection,
        head,
        body: Vec::new(),
        trailers: String::new(),
    };
    let length = received
        .all("content-length")
        .first()
        .map(|text| text.parse::<usize>().unwrap());
    if !received.all("transfer-encoding").is_empty() {
        read_chunks(stream, buffer, &mut received)?;
    } else if let Some(length) = length {
        while buffer.len() < length {
            more(stream, buffer)?;
        }
        received.body = buffer.drain(..length).collect();
    }
    Some(received)
}

fn read_chunks(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    received: &mut Received,
) -> Option<()> {
    loop {
        let line = read_line(stream, buffer)?;
        let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        while buffer.len() < size + 2 {
            more(stream, buffer)?;
        }
        received.body.extend(buffer.drain(..size));
        buffer.drain(..2);
    }
    loop {
        let line = read_line(stream, buffer)?;
        if line.is_empty() {
            return Some(());
        }
        received.trailers.push_str(&line);
        received.trailers.push('\n');
    }
}

fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(buffer, b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Some(line);
        }
        more(stream, buffer)?;
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&piece[..count]);
            Some(())
        }
    }
}

pub fn find(buffer: &[u8], wanted: &[u8]) -> Option<usize> {
    buffer
        .windows(wanted.len())
        .position(|window| window == wanted)
}
