//! A caller's connection to one usher, kept as long as it holds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sidecar::Sidecar;

/// Far beyond every time that usher may take: who is not answered by then never is.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Line<'a> {
    pub sidecar: &'a Sidecar,
    address: SocketAddr,
    stream: Option<(TcpStream, u32)>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    Answer {
        status: u16,
        /// Whether it says when to come again.
        later: bool,
        body: String,
    },
    Nothing(String),
}

impl Outcome {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Nothing(_) => None,
        }
    }
}

impl<'a> Line<'a> {
    pub fn to(sidecar: &'a Sidecar) -> Self {
        Self::at(sidecar, sidecar.address)
    }

    /// To the listener that tells how it is.
    pub fn to_admin(sidecar: &'a Sidecar) -> Self {
        Self::at(sidecar, sidecar.admin)
    }

    fn at(sidecar: &'a Sidecar, address: SocketAddr) -> Self {
        Self {
            sidecar,
            address,
            stream: None,
        }
    }

    /// Connects unless it is; which process is at the other end, and since when.
    pub async fn connect(&mut self) -> Result<(u32, Instant), String> {
        let (life, began) = self.sidecar.life();
        if self
            .stream
            .as_ref()
            .is_some_and(|(_, known)| *known == life)
        {
            return Ok((life, began));
        }
        self.stream = None;
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(self.address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no connection in time".to_owned()),
        };
        let _ = stream.set_nodelay(true);
        if self.sidecar.life().0 != life {
            return Err("started again in between".to_owned());
        }
        self.stream = Some((stream, life));
        Ok((life, began))
    }

    /// One request on the connection that `connect` has made.
    pub async fn ask(&mut self, path: &str, token: &str) -> Outcome {
        let Some((mut stream, life)) = self.stream.take() else {
            return Outcome::Nothing("not connected".to_owned());
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        match tokio::time::timeout(PATIENCE, exchange(&mut stream, &request)).await {
            Ok(Ok((outcome, stays))) => {
                self.stream = stays.then_some((stream, life));
                outcome
            }
            Ok(Err(error)) => Outcome::Nothing(error.to_string()),
            Err(_) => Outcome::Nothing("no answer in time".to_owned()),
        }
    }
}

async fn exchange(stream: &mut TcpStream, request: &str) -> std::io::Result<(Outcome, bool)> {
    stream.write_all(request.as_bytes()).await?;
    let mut came = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            let why = format!("closed after {:?}", String::from_utf8_lossy(&came));
            return Err(std::io::Error::other(why));
        }
        came.extend_from_slice(&piece[..count]);
        if let Some(answer) = read(&String::from_utf8_lossy(&came)) {
            return Ok(answer);
        }
    }
}

/// The answer and whether the connection stays, once all of it is there.
fn read(text: &str) -> Option<(Outcome, bool)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(given, _)| given.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    };
    let length: usize = field("content-length").map_or(0, |text| text.parse().unwrap());
    if body.len() < length {
        return None;
    }
    let outcome = Outcome::Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        later: field("retry-after").is_some(),
        body: body.to_owned(),
    };
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Some((outcome, !closes))
}
