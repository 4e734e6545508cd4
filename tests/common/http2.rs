//! Clients that speak HTTP/2 in the clear: a tidy one over a library, and one over bare frames
//! that sends what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::runtime::Runtime;

use super::tls::Session;

/// How long an answer may take, so that what holds one up fails a test and does not only delay it:
/// well under the times after which usher ends what stands still.
const LONGEST: Duration = Duration::from_secs(30);

/// A connection, driven by a runtime of its own.
pub struct Http2 {
    pub runtime: Runtime,
    pub send: SendRequest<Bytes>,
}

/// An answer that has ended well.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answered {
    /// The only value of a header, or none.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(all.len() <= 1, "{name}: {all:?}");
        all.first().map(|value| value.to_str().unwrap())
    }
}

/// `GET` with a token.
pub fn get(target: &str, token: &str) -> Request<()> {
    request(Method::GET, target, token).body(()).unwrap()
}

/// The beginning of a request with a token.
pub fn request(method: Method, target: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://app.test{target}"))
        .header("authorization", format!("Bearer {token}"))
}

impl Http2 {
    pub fn connect(address: SocketAddr) -> Self {
        Self::with(address, h2::client::Builder::new())
    }

    pub fn with(address: SocketAddr, builder: h2::client::Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
            tokio::spawn(async move {
                // Its end is seen by the requests on it.
                let _ = connection.await;
            });
            send
        });
        Self { runtime, send }
    }

    /// Waits for something on the connection.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Sends a request without a body and reads its answer to the end.
    pub fn ask(&self, request: Request<()>) -> Result<Answered, h2::Error> {
        let (answer, _) = self.start(request, true);
        self.within_time(read(answer))
    }

    /// Sends a request with a body, and reads its answer to the end.
    pub fn upload(
        &self,
        request: Request<()>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<Answered, h2::Error> {
        let (answer, mut stream) = self.start(request, false);
        self.within_time(async {
            let sending = async {
                write(&mut stream, body, trailers.is_none()).await?;
                trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
            };
            let (sent, read) = tokio::join!(sending, read(answer));
            // A server that answers early wants no more of the body.
            drop(sent);
            read
        })
    }

    /// What comes of waiting, which has an end.
    fn within_time<T>(&self, answer: impl Future<Output = T>) -> T {
        let within = async { tokio::time::timeout(LONGEST, answer).await };
        let answered = self.runtime.block_on(within);
        answered.unwrap_or_else(|_| panic!("no answer within {LONGEST:?}"))
    }

    /// Sends a head.
    pub fn start(
        &self,
        request: Request<()>,
        end: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let send = self.send.clone();
        let mut send = self.runtime.block_on(send.ready()).unwrap();
        self.runtime
            .block_on(async { send.send_request(request, end) })
            .unwrap()
    }
}

/// Sends all of a body, as far and as fast as there is room.
pub async fn write(
    stream: &mut SendStream<Bytes>,
    mut body: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or(Ok(0))?.min(body.len());
        stream.send_data(body.split_to(room), end && body.is_empty())?;
    }
    Ok(())
}

/// Reads an answer to its end.
pub async fn read(answer: h2::client::ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let body = read_body(&mut stream).await?;
    Ok(Answered {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        trailers: stream.trailers().await?,
    })
}

async fn read_body(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// A connection on which frames are put together by hand (RFC 9113 §4.1).
pub struct Frames {
    stream: Box<dyn Wire>,
}

/// What frames go through.
pub trait Wire: Read + Write + Send {
    /// Ends our direction.
    fn finish(&mut self);
}

impl Wire for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Wire for Session {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// Connects and sends the preface with empty settings.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self::over(stream)
    }

    /// The same on a connection that is there.
    pub fn over(mut stream: impl Wire + 'static) -> Self {
        stream.write_all(PREFACE).unwrap();
        let mut frames = Self {
            stream: Box::new(stream),
        };
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Sends a frame; a connection closed by the other side is no error here.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _ = self.stream.write_all(&frame);
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Ends our direction of the connection.
    pub fn finish(&mut self) {
        self.stream.finish();
    }

    /// Sends a head, its fields as literals that nothing indexes (RFC 7541 §6.2.2).
    pub fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, &block(fields));
    }

    /// The next frame; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
            payload,
        })
    }

    /// Whether the other side has closed the connection, and is not just silent.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// What becomes of a stream: its answer's status, or that it was refused.
    #[track_caller]
    pub fn fate(&mut self, stream: u32) -> Fate {
        while let Some(frame) = self.next() {
            match frame.kind {
                GOAWAY => return Fate::GoAway(code(&frame.payload[4..])),
                RST_STREAM if frame.stream == stream => {
                    return Fate::Reset(code(&frame.payload));
                }
                HEADERS if frame.stream == stream => {
                    return Fate::Answered(status(&frame.payload));
                }
                _ => {}
            }
        }
        Fate::Closed
    }
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}

/// The status at the front of a header block: one of the static table (RFC 7541 appendix A), or
/// a literal with a name of it.
pub fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => INDEXED[usize::from(index - 0x88)],
        [_, length, text @ ..] if length & 0x80 == 0 => {
            str::from_utf8(&text[..3]).unwrap().parse().unwrap()
        }
        [_, length, text @ ..] => digits(&text[..usize::from(length & 0x7f)]),
        _ => panic!("no status: {block:?}"),
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B): 0, 1 and 2 take five bits, the others
/// six.
fn digits(code: &[u8]) -> u16 {
    let bits = code
        .iter()
        .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = code.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = (bits >> (left - 5)) & 31;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            left -= 6;
            ((bits >> left) & 63) - 0b01_1001 + 3
        };
        number = number * 10 + u16::try_from(digit).unwrap();
    }
    number
}

/// A header block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(mut value: usize, block: &mut Vec<u8>) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// What clients may send an app that speaks HTTP/2 before it reads: so much that whatever holds
/// them up is not the app's connection.
const APP_WINDOW: u32 = 1 << 30;

/// An app that speaks HTTP/2 and nothing else.
#[derive(Clone)]
pub struct Http2App {
    /// Where it listens.
    pub address: SocketAddr,
    /// The heads that came.
    pub heads: Arc<Mutex<Vec<http::request::Parts>>>,
    /// How many connections came so far.
    pub connections: Arc<AtomicUsize>,
    /// How many bytes of bodies were sent back so far.
    pub sent: Arc<AtomicUsize>,
}

impl Http2App {
    /// Sends each piece of a request's body back as it comes, then its trailers and a status of
    /// gRPC; takes so many requests of a connection at once.
    pub fn echo(streams: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
            connections: Arc::default(),
            sent: Arc::default(),
        };
        let shared = app.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(shared.run(listener, streams));
        });
        app
    }

    async fn run(self, listener: std::net::TcpListener, streams: u32) {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            self.connections.fetch_add(1, Ordering::SeqCst);
            let app = self.clone();
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder
                    .max_concurrent_streams(streams)
                    .initial_connection_window_size(APP_WINDOW);
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (parts, body) = request.into_parts();
                    app.heads.lock().unwrap().push(parts.clone());
                    let sent = app.sent.clone();
                    tokio::spawn(async move {
                        // A client that leaves ends it.
                        let _ = echo(parts, body, respond, &sent).await;
                    });
                }
            });
        }
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// The last request's head.
    pub fn last(&self) -> http::request::Parts {
        self.heads.lock().unwrap().last().unwrap().clone()
    }
}

async fn echo(
    parts: http::request::Parts,
    mut body: RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    sent: &AtomicUsize,
) -> Result<(), h2::Error> {
    match parts.uri.path() {
        "/never" => return std::future::pending().await,
        "/reset" => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/plain" => {
            let head = http::Response::builder().header("content-length", "5");
            let mut stream = respond.send_response(head.body(()).unwrap(), false)?;
            return stream.send_data(Bytes::from("hello"), true);
        }
        "/cut" => {
            let mut stream = respond.send_response(http::Response::new(()), false)?;
            stream.send_data(Bytes::from("only this"), false)?;
            // A reset overtakes what was not read yet.
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
            return Ok(());
        }
        _ => {}
    }
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(head.body(()).unwrap(), false)?;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        let length = data.len();
        write(&mut stream, data, false).await?;
        sent.fetch_add(length, Ordering::SeqCst);
    }
    let mut trailers = body.trailers().await?.unwrap_or_default();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
