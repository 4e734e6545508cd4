//! Both ends of a WebSocket, by a library that is not ours.

use std::io::{Read, Write};

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocket};

use super::app::{Answer, Received};

/// Switches, and says again what is heard, until the other side closes.
pub fn echo(asked: &Received) -> Answer {
    let key = asked.header("sec-websocket-key").unwrap_or_default();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    Answer::Own(Box::new(move |mut stream| {
        // One that hears nothing for long is still one.
        stream.set_read_timeout(None).unwrap();
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    }))
}

/// Opens one on a connection.
pub fn open<S: Read + Write>(stream: S, token: &str) -> WebSocket<S> {
    let request = tungstenite::http::Request::builder()
        .uri("ws://app.test/socket")
        .header("host", "app.test")
        .header("authorization", format!("Bearer {token}"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let opened = tungstenite::client(request.body(()).unwrap(), stream);
    let (socket, _) = opened.unwrap_or_else(|error| panic!("{error}"));
    socket
}
