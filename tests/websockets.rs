//! WebSockets between two ends that others wrote: messages of all sizes, in pieces and whole, over
//! HTTP/1.1 in the clear and within TLS. (Over HTTP/2: `http2.rs` and `clients/chromium.rs`.)

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Message, handshake::derive_accept_key};

use crate::common::app::{Answer, Received};
use crate::common::authority::Authority;
use crate::common::{App, Issuer, Usher, tls, websocket};

struct Stage {
    usher: Usher,
    token: String,
    _issuer: Issuer,
}

impl Stage {
    fn new(app: &App, more: &str) -> Self {
        let issuer = Issuer::new();
        Self {
            usher: Usher::start(app, &issuer, more),
            token: issuer.token("alice"),
            _issuer: issuer,
        }
    }

    fn open(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.usher.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        websocket::open(stream, &self.token)
    }
}

/// The lengths at which a frame's head changes (RFC 6455 §5.2), and large ones.
const LENGTHS: [usize; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000, 12_000_000];

fn every_length<S: Read + Write>(socket: &mut WebSocket<S>) {
    for length in LENGTHS {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let message = Message::binary(bytes);
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "{length} bytes");
    }
    let text = Message::text("h\u{e4}ll\u{f6} \u{1f980}");
    socket.send(text.clone()).unwrap();
    assert_eq!(socket.read().unwrap(), text);
}

#[test]
fn messages_of_every_length_pass_whole() {
    let (app, authority) = (App::with(websocket::echo), Authority::new());
    let stage = Stage::new(&app, "");
    every_length(&mut stage.open());
    let pair = authority.server("site", &["app.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}",
        pair.yaml()
    );
    let stage = Stage::new(&app, &listen);
    let config = tls::client(&authority.root, None);
    let session = tls::connect(stage.usher.address, "app.test", &config).unwrap();
    every_length(&mut websocket::open(session, &stage.token));
}

fn piece(kind: Data, bytes: &'static [u8], last: bool) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(kind), last))
}

#[test]
fn messages_in_pieces_pass_with_what_stands_between_them() {
    let app = App::with(websocket::echo);
    let stage = Stage::new(&app, "");
    let mut socket = stage.open();
    for _ in 0..20 {
        socket.send(piece(Data::Text, b"one ", false)).unwrap();
        socket.send(Message::Ping("between".into())).unwrap();
        socket.send(piece(Data::Continue, b"", false)).unwrap();
        socket.send(piece(Data::Continue, b"two", true)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("between".into()));
        assert_eq!(socket.read().unwrap(), Message::text("one two"));
    }
}

/// Switches, and lets `talk` go on.
fn switch(asked: &Received, talk: fn(WebSocket<TcpStream>)) -> Answer {
    let key = asked.header("sec-websocket-key").unwrap();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    Answer::Own(Box::new(move |mut stream| {
        stream.write_all(head.as_bytes()).unwrap();
        talk(WebSocket::from_raw_socket(stream, Role::Server, None));
    }))
}

#[test]
fn pieces_of_the_app_arrive_as_pieces() {
    let app = App::with(|asked| {
        switch(asked, |mut socket| {
            // Each piece waits for a word, so that none may wait for the next one.
            for number in 0..10 {
                assert_eq!(socket.read().unwrap(), Message::text("more"));
                let kind = if number == 0 {
                    Data::Text
                } else {
                    Data::Continue
                };
                let sent = socket.send(piece(kind, b"0123456789", number == 9));
                sent.unwrap();
            }
        })
    });
    let stage = Stage::new(&app, "");
    let mut socket = stage.open();
    let mut raw = socket.get_ref().try_clone().unwrap();
    for number in 0..10u8 {
        socket.send(Message::text("more")).unwrap();
        let mut frame = [0; 12];
        raw.read_exact(&mut frame).unwrap();
        let (kind, last) = (u8::from(number == 0), u8::from(number == 9) << 7);
        assert_eq!(frame[..2], [last | kind, 10], "piece {number}");
    }
}

#[test]
fn goodbyes_pass_both_ways_with_their_code_and_reason() {
    let goodbye = || CloseFrame {
        code: CloseCode::Library(4001),
        reason: "see you".into(),
    };
    let app = App::with(|asked| {
        switch(asked, |mut socket| match socket.read().unwrap() {
            // The client's goodbye is what the app hears.
            Message::Close(Some(frame)) => {
                assert_eq!(
                    (u16::from(frame.code), frame.reason.as_str()),
                    (4001, "see you")
                );
                let _ = socket.flush();
            }
            _ => {
                let frame = CloseFrame {
                    code: CloseCode::Library(4002),
                    reason: "done".into(),
                };
                socket.close(Some(frame)).unwrap();
                while socket.read().is_ok() {}
            }
        })
    });
    let stage = Stage::new(&app, "");
    let mut socket = stage.open();
    socket.close(Some(goodbye())).unwrap();
    let heard = socket.read().unwrap();
    let Message::Close(Some(frame)) = heard else {
        panic!("{heard:?}");
    };
    assert_eq!(frame, goodbye());
    let mut socket = stage.open();
    socket.send(Message::text("enough")).unwrap();
    let Message::Close(Some(frame)) = socket.read().unwrap() else {
        panic!("no goodbye");
    };
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (4002, "done")
    );
}
