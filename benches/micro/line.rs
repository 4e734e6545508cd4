//! The whole line in one thread: a client, usher's worker behind hyper's server, and an app
//! that answers with 100 bytes. The kernel's part is not counted, so loopback is no network.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use usher::drain::Drain;
use usher::sidecar::Worker;
use usher::upstream::Pool;

use crate::measured;
use crate::parts::{self, Made};

/// Turns of the line before counting begins.
const WARM: usize = 200;

/// The client, the worker and the app.
pub(crate) fn usher(count: usize) {
    let (runtime, port) = app();
    let made = Made::before(port, parts::SEEN, 1);
    let worker = Worker {
        sidecar: made.sidecar.clone(),
        pool: Arc::new(Pool::new(
            &made.settings,
            usher::upstream::Metrics::default(),
        )),
    };
    let (client, server) = tokio::io::duplex(64 * 1024);
    runtime.spawn(async move {
        let (peer, guard) = (parts::peer(), Drain::new().guard());
        let service = service_fn(|request| {
            let (worker, peer, guard) = (&worker, &peer, &guard);
            async move { Ok::<_, Infallible>(worker.handle(peer, guard, request).await) }
        });
        serve(server, service).await;
    });
    count_turns(&runtime, client, count);
}

/// The client, hyper's server and client with a pool between them, and the app.
pub(crate) fn floor(count: usize) {
    let (runtime, port) = app();
    let (client, server) = tokio::io::duplex(64 * 1024);
    runtime.spawn(async move {
        let pool = Mutex::new(Vec::new());
        let service = service_fn(|request| forward(&pool, port, request));
        serve(server, service).await;
    });
    count_turns(&runtime, client, count);
}

async fn forward(
    pool: &Mutex<Vec<SendRequest<Incoming>>>,
    port: u16,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper::Error> {
    let pooled = pool.lock().pop();
    let mut connection = match pooled {
        Some(connection) => connection,
        None => connect(port).await?,
    };
    // One request at a time: whoever asks next has waited for this answer.
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    pool.lock().push(connection);
    Ok(answer)
}

async fn connect(port: u16) -> Result<SendRequest<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the app listens");
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn serve<B>(
    stream: DuplexStream,
    service: impl hyper::service::HttpService<Incoming, ResBody = B, Error: Into<Error>>,
) where
    B: Body<Error: Into<Error>> + 'static,
{
    let mut server = hyper::server::conn::http1::Builder::new();
    server.header_read_timeout(None);
    // The client leaves when it has counted enough.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A runtime of one thread, with an app that takes whatever it reads for a request.
fn app() -> (tokio::runtime::Runtime, u16) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind(("127.0.0.1", 0)))
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    (runtime, port)
}

async fn answer(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nserver: app\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         content-type: text/plain\r\ncontent-length: 100\r\n\r\n{}",
        "0123456789".repeat(10)
    );
    let mut request = vec![0; 16 * 1024];
    while matches!(stream.read(&mut request).await, Ok(1..)) {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn count_turns(runtime: &tokio::runtime::Runtime, mut client: DuplexStream, count: usize) {
    let request = parts::text();
    runtime.block_on(turns(&mut client, &request, WARM));
    measured(|| runtime.block_on(turns(&mut client, &request, count)));
}

async fn turns(client: &mut DuplexStream, request: &str, count: usize) {
    let mut answer = vec![0; 16 * 1024];
    for _ in 0..count {
        client
            .write_all(request.as_bytes())
            .await
            .expect("it is read");
        let mut length = 0;
        while !answer[..length].ends_with(b"0123456789") {
            let read = client.read(&mut answer[length..]).await;
            length += read.expect("an answer");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "a good answer");
    }
}
