//! The floor: usher's line with every check taken out. The same reading and writing of HTTP/1.1,
//! the same worker thread with its own pool; no route, no gate, no header rules, no limits on
//! time, no bodies but those that are there at once, no record.
//!
//! `floor PORT UPSTREAM_PORT`; what authentication costs is what usher costs beyond this. With 0 for the app it
//! answers by itself, as usher does when another proxy asks.
#![allow(clippy::expect_used, reason = "a benchmark may end with a message")]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use usher::head::Head;
use usher::wire::answer::{self, AnswerHead, Ending, Form, Read};
use usher::wire::input::Input;
use usher::wire::output::Output;
use usher::wire::request::{self, Limits};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LIMITS: Limits = Limits {
    bytes: 64 * 1024,
    fields: 100,
};

/// A connection of either side.
struct Connection {
    stream: TcpStream,
    input: Input,
    output: Output,
}

type Pool = Rc<RefCell<Vec<Connection>>>;

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
    let pool = Pool::default();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime(), async move {
        while let Some(stream) = connections.recv().await {
            let stream = TcpStream::from_std(stream).expect("a socket can be taken over");
            tokio::task::spawn_local(serve(Connection::new(stream), pool.clone(), upstream));
        }
    });
}

/// One request after the other; a client that leaves is no news here.
async fn serve(mut client: Connection, pool: Pool, upstream: u16) -> Option<()> {
    loop {
        let head = client.request().await?;
        if upstream == 0 {
            client.say_yes().await?;
            continue;
        }
        let pooled = pool.borrow_mut().pop();
        let mut app = match pooled {
            Some(connection) => connection,
            None => Connection::connect(upstream).await?,
        };
        let (answer, body) = app.exchange(&head).await?;
        if answer.keep {
            pool.borrow_mut().push(app);
        }
        client.answer(&answer, body).await?;
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            input: Input::default(),
            output: Output::default(),
        }
    }

    async fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        Some(Self::new(stream.ok()?))
    }

    async fn request(&mut self) -> Option<Head> {
        let read = |bytes: &[u8]| request::read(bytes, LIMITS);
        let head = poll_fn(|cx| self.input.poll_head(cx, &mut self.stream, read));
        head.await.ok()
    }

    async fn exchange(&mut self, head: &Head) -> Option<(AnswerHead, Bytes)> {
        let build = |out: &mut Vec<u8>| {
            request::start(head, out);
            out.extend_from_slice(b"\r\n");
        };
        self.write(build, Bytes::new()).await?;
        let read = |bytes: &[u8]| answer::read(bytes, false, LIMITS.bytes);
        let answer = poll_fn(|cx| self.input.poll_head(cx, &mut self.stream, read));
        let Ok(Read::Final(answer)) = answer.await else {
            return None;
        };
        let body = std::mem::take(self.input.rest()).freeze();
        Some((answer, body))
    }

    async fn answer(&mut self, answer: &AnswerHead, body: Bytes) -> Option<()> {
        let form = Form {
            ending: Ending::Length(body.len() as u64),
            keep: true,
            old: false,
        };
        let build = |out: &mut Vec<u8>| answer::write(answer.status, &answer.fields, form, out);
        self.write(build, body).await
    }

    /// A yes of the size of usher's.
    async fn say_yes(&mut self) -> Option<()> {
        const YES: &[u8] = b"HTTP/1.1 200 OK\r\nx-user-id: user-few-000000\r\nx-user-email: user-000000@example.com\r\n\
            x-user-provisioned: \r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n";
        let build = |out: &mut Vec<u8>| out.extend_from_slice(YES);
        self.write(build, Bytes::new()).await
    }

    async fn write(&mut self, build: impl Fn(&mut Vec<u8>), data: Bytes) -> Option<()> {
        let mut data = Some(data);
        let (output, stream) = (&mut self.output, &mut self.stream);
        let written = poll_fn(|cx| match data.take() {
            Some(data) => output.poll_start(cx, stream, &build, data, b""),
            None => output.poll_flush(cx, stream),
        });
        written.await.ok()
    }
}
