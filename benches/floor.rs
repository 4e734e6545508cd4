//! The floor: usher's line with every check taken out. The same server and client, the same
//! worker thread with its own pool; no route, no gate, no header rules, no limits, no record.
//!
//! `floor PORT UPSTREAM_PORT`; what authentication costs is what usher costs beyond this.
#![allow(clippy::expect_used, reason = "a benchmark may end with a message")]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Pool {
    upstream: u16,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

/// The app's answer; gives its connection back at its end.
struct Answer {
    body: Option<Incoming>,
    back: Option<(Arc<Pool>, SendRequest<Incoming>)>,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u16>());
    let (Some(Ok(port)), Some(Ok(upstream))) = (arguments.next(), arguments.next()) else {
        // `cargo bench` runs every target; this one is a program.
        eprintln!("floor PORT UPSTREAM_PORT");
        return;
    };
    let (send, connections) = mpsc::unbounded_channel();
    std::thread::spawn(move || worker(upstream, connections));
    runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("the port is free");
        while let Ok((stream, _)) = listener.accept().await {
            let stream = stream.into_std().expect("a socket can be handed over");
            send.send(stream).expect("the worker is there");
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn worker(upstream: u16, mut connections: mpsc::UnboundedReceiver<std::net::TcpStream>) {
    let pool = Arc::new(Pool {
        upstream,
        idle: Mutex::new(Vec::new()),
    });
    runtime().block_on(async move {
        while let Some(stream) = connections.recv().await {
            let stream = TcpStream::from_std(stream).expect("a socket can be taken over");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            tokio::spawn(serve(stream, pool.clone()));
        }
    });
}

async fn serve(stream: TcpStream, pool: Arc<Pool>) {
    let service = service_fn(|request| {
        let pool = &pool;
        async move { Ok::<_, Infallible>(forward(pool, request).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.header_read_timeout(None);
    // A client that leaves is no news here.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(pool: &Arc<Pool>, request: Request<Incoming>) -> Response<Answer> {
    match exchange(pool, request).await {
        Ok((answer, connection)) => answer.map(|body| Answer::new(body, pool, connection)),
        Err(_) => {
            let mut answer = Response::new(Answer {
                body: None,
                back: None,
            });
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}

type Exchanged = (Response<Incoming>, SendRequest<Incoming>);

async fn exchange(
    pool: &Pool,
    request: Request<Incoming>,
) -> Result<Exchanged, Box<dyn std::error::Error>> {
    let mut connection = match pool.take() {
        Some(connection) => connection,
        None => pool.connect().await?,
    };
    let answer = connection.send_request(request).await?;
    Ok((answer, connection))
}

impl Pool {
    fn take(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.lock();
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(("127.0.0.1", self.upstream)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Answer {
    fn new(body: Incoming, pool: &Arc<Pool>, connection: SendRequest<Incoming>) -> Self {
        let mut answer = Self {
            body: Some(body),
            back: Some((pool.clone(), connection)),
        };
        answer.release_at_end();
        answer
    }

    fn release_at_end(&mut self) {
        if self.is_end_stream()
            && let Some((pool, connection)) = self.back.take()
        {
            pool.idle.lock().push(connection);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        self.release_at_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
