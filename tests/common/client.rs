//! A client over a bare socket: it sends the bytes it is told to and reads answers strictly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::app::find;
use super::tls::Session;

/// What bytes go through.
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Session>),
}

impl Wire {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tls(session) => session.write_all(bytes),
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(piece),
            Self::Unix(stream) => stream.read(piece),
            Self::Tls(session) => session.read(piece),
        }
    }
}

/// One connection.
pub struct Client {
    stream: Wire,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a header, or none.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times", all.len());
        all.first().copied()
    }
}

impl Client {
    /// Connects; reading gives up after ten seconds.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Wire::Tcp(stream),
            buffer: Vec::new(),
        }
    }

    /// The same over a Unix socket.
    pub fn over_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            stream: Wire::Unix(stream),
            buffer: Vec::new(),
        }
    }

    /// The same within a TLS session.
    pub fn over_tls(session: Session) -> Self {
        Self {
            stream: Wire::Tls(Box::new(session)),
            buffer: Vec::new(),
        }
    }

    /// Sends bytes as they are; a connection closed by the other side is no error here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The bare socket.
    pub fn stream(&self) -> &TcpStream {
        match &self.stream {
            Wire::Tcp(stream) => stream,
            Wire::Tls(session) => &session.sock,
            Wire::Unix(_) => panic!("no TCP here"),
        }
    }

    /// Ends our direction of the connection.
    pub fn finish(&self) {
        let _ = self.stream().shutdown(std::net::Shutdown::Write);
    }

    /// Reads one answer; `None` when the connection ended before it.
    pub fn reply(&mut self) -> Option<Reply> {
        self.reply_to("GET")
    }

    /// Reads the answer to a request with this method: one to HEAD has no body.
    pub fn reply_to(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: String::new(),
        };
        if method != "HEAD" && !(100..200).contains(&status) && status != 204 && status != 304 {
            reply.body = self.body(&reply)?;
        }
        Some(reply)
    }

    fn body(&mut self, reply: &Reply) -> Option<String> {
        if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                self.more()?;
            }
            let body: Vec<u8> = self.buffer.drain(..length).collect();
            return Some(String::from_utf8_lossy(&body).into_owned());
        }
        if reply.header("transfer-encoding").is_some() {
            return self.chunks();
        }
        while self.more().is_some() {}
        Some(String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned())
    }

    fn chunks(&mut self) -> Option<String> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.more()?;
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
        while !self.line()?.is_empty() {}
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            self.more()?;
        }
    }

    /// Everything up to and with `wanted`, as soon as it is there.
    #[track_caller]
    pub fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(place) = find(&self.buffer, wanted.as_bytes()) {
                let bytes: Vec<u8> = self.buffer.drain(..place + wanted.len()).collect();
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            self.more()
                .unwrap_or_else(|| panic!("no {wanted:?} after {seen:?}"));
        }
    }

    /// Everything until the other side closes the connection.
    pub fn rest(&mut self) -> String {
        while self.more().is_some() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Whether the other side closes the connection within the read timeout.
    pub fn is_closed(&mut self) -> bool {
        let mut piece = [0; 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Some(())
            }
        }
    }
}
