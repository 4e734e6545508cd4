//! Puts something before an app: bytes are carried as they are, so that the app behind it sees
//! and records what came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

/// Carries what comes on a Unix socket to `app`.
pub fn unix(path: &Path, app: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let end = |client: &UnixStream| drop(client.shutdown(std::net::Shutdown::Write));
            carry(client.try_clone().unwrap(), client, end, app);
        }
    });
}

/// Carries what comes to `address` to `app`; the real address, where a port was free.
pub fn tcp(address: &str, app: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let end = |client: &TcpStream| drop(client.shutdown(std::net::Shutdown::Write));
            carry(client.try_clone().unwrap(), client, end, app);
        }
    });
    address
}

/// Copies both ways, each until its end.
fn carry<W: Write + Send + 'static>(
    mut from_client: impl Read + Send + 'static,
    mut to_client: W,
    end: impl Fn(&W) + Send + 'static,
    app: SocketAddr,
) {
    let app = TcpStream::connect(app).unwrap();
    let (mut from_app, mut to_app) = (app.try_clone().unwrap(), app);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_app);
        let _ = to_app.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_app, &mut to_client);
        end(&to_client);
    });
}

/// Ends TLS, and carries what comes in it to `app`. A connection whose handshake fails is closed.
pub fn tls(config: Arc<ServerConfig>, app: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut app = tokio::net::TcpStream::connect(app).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut app).await;
                });
            }
        });
    });
    address
}
