//! A way to a server, on which things go wrong when they are told to.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the way is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// Each piece arrives so late.
    Slow(Duration),
    /// Nothing arrives, and nothing breaks.
    Stopped,
    /// Every connection is reset, as soon as it is there.
    Resetting,
    /// Nobody listens.
    Down,
    /// Whoever comes is told nonsense.
    Junk,
}

impl State {
    /// Whether connections go on.
    fn carries(self) -> bool {
        matches!(self, Self::Open | Self::Slow(_) | Self::Stopped)
    }
}

pub struct Way {
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

impl Way {
    /// A way to `server`, on a port that stays the same.
    pub async fn to(server: SocketAddr, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).await.unwrap();
        let (state, watched) = watch::channel(State::Open);
        tokio::spawn(accept(listener, address, server, watched));
        Self { address, state }
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(
    mut listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
) {
    loop {
        if *state.borrow_and_update() == State::Down {
            drop(listener);
            state.wait_for(|now| *now != State::Down).await.unwrap();
            listener = TcpListener::bind(address).await.unwrap();
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = listener.accept() => {
                tokio::spawn(meet(accepted.unwrap().0, server, state.clone()));
            }
        }
    }
}

async fn meet(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let now = *state.borrow_and_update();
    if now == State::Junk {
        let _ = client.write_all(b"\x00junk {\r\n\r\n").await;
        return;
    }
    let mut told = state.clone();
    tokio::select! {
        () = carry(&mut client, server, state) => {}
        _ = told.wait_for(|now| !now.carries()) => reset(&client),
    }
}

async fn carry(client: &mut TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return reset(client);
    };
    let _ = server.set_nodelay(true);
    let _ = client.set_nodelay(true);
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = copy(from_client, to_server, state.clone()) => {}
            () = copy(from_server, to_client, state) => {}
        }
    }
    // What was said has to arrive before the end does: no reset.
    let _ = client.shutdown().await;
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let now = *state.borrow();
        if let State::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        let moves = state.wait_for(|now| *now != State::Stopped).await.is_ok();
        if !moves || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

/// The end of the connection is a reset (RFC 9293, section 3.10.7).
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
