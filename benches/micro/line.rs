//! The whole line in one thread: a client, a worker, and an app that answers with 100 bytes. The kernel's part is not counted, so loopback is no network.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher::drain::Drain;
use usher::sidecar::Worker;
use usher::upstream::Pool;

use crate::measured;
use crate::parts::{self, Made};

/// Turns of the line before counting begins.
const WARM: usize = 200;

/// The client, the worker and the app.
pub(crate) fn run(count: usize) {
    let client = "203.0.113.7:50000".parse().expect("an address");
    converse(client, (&parts::text(), b"0123456789"), count);
}

/// nginx, which asks, and the worker.
pub(crate) fn run_asked(count: usize) {
    let proxy = (parts::PROXY, 50_000).into();
    converse(proxy, (&parts::question(), b"\r\n\r\n"), count);
}

/// One request from `address`, and how its answer ends, again and again.
fn converse(address: SocketAddr, turn: (&str, &[u8]), count: usize) {
    let (runtime, port) = app();
    let made = Made::before(port, parts::SEEN, 1);
    let worker = Arc::new(Worker {
        sidecar: made.sidecar.clone(),
        pools: Box::new([Arc::new(Pool::new(
            made.settings.upstreams()[0],
            &made.settings,
            usher::upstream::Metrics::default(),
        ))]),
    });
    let (client, server) = pair(&runtime);
    runtime.spawn(async move {
        // Nobody drains; dropped, it would be an end.
        let drain = Drain::new();
        usher::listener::converse(worker, &made.settings, server, address, drain.guard()).await;
    });
    count_turns(&runtime, client, turn, count);
}

/// Two ends of a connection.
fn pair(runtime: &tokio::runtime::Runtime) -> (TcpStream, TcpStream) {
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("it listens"), server.expect("a connection").0)
    })
}

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

fn count_turns(
    runtime: &tokio::runtime::Runtime,
    mut client: TcpStream,
    turn: (&str, &[u8]),
    count: usize,
) {
    runtime.block_on(turns(&mut client, turn, WARM));
    measured(|| runtime.block_on(turns(&mut client, turn, count)));
}

async fn turns(client: &mut TcpStream, (request, end): (&str, &[u8]), count: usize) {
    let mut answer = vec![0; 16 * 1024];
    for _ in 0..count {
        client
            .write_all(request.as_bytes())
            .await
            .expect("it is read");
        let mut length = 0;
        while !answer[..length].ends_with(end) {
            let read = client.read(&mut answer[length..]).await;
            match read.expect("an answer") {
                0 => panic!("the connection ended"),
                count => length += count,
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "a good answer");
    }
}
