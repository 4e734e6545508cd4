//! Puts something before an app: bytes are carried as they are, so that the app behind it sees
//! and records what came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

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
