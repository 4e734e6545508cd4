//! A lean HTTP/1.1 client for the requests that most requests are: those without a body.
//!
//! It drives the connection from the request's own task, so that an exchange costs one write
//! and one read and wakes nobody else. It is strict about framing: what is not clear is an
//! error, and after an error the connection is closed. Requests with bodies and upgrades take
//! hyper's client. `differential` holds the two against each other.

mod answer;
mod body;
#[cfg(test)]
mod differential;
mod framing;
mod request;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

pub(in crate::upstream) use answer::Answer;
pub(in crate::upstream) use body::WireBody;
pub(in crate::upstream) use request::start as start_head;

/// What a connection reads at once; most answers are smaller.
const READ: usize = 8 * 1024;

/// With less room than this, a read is not worth its system call.
const LITTLE: usize = 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum WireError {
    /// The connection ended before the first byte of an answer.
    Closed,
    /// The connection failed, or ended in the middle.
    Broken(io::Error),
    /// What came is no answer, or one that can be read in two ways.
    Malformed(&'static str),
    /// Nothing came in time.
    Late,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the app closed the connection before it answered"),
            Self::Broken(error) => write!(f, "the connection to the app failed: {error}"),
            Self::Malformed(what) => write!(f, "the app's answer is malformed: {what}"),
            Self::Late => f.write_str("the app did not answer in time"),
        }
    }
}

impl std::error::Error for WireError {}

/// A connection to the app.
#[derive(Debug)]
pub(in crate::upstream) struct Wire {
    stream: TcpStream,
    /// The head of the request, until it is written and while it may have to be sent again.
    out: Vec<u8>,
    /// What was read and not used yet.
    input: BytesMut,
    deadline: Deadline,
    head_limit: usize,
}

impl Wire {
    /// Takes over a connection; heads of answers may have `head_limit` bytes.
    pub(in crate::upstream) fn new(stream: TcpStream, head_limit: usize) -> Self {
        Self {
            stream,
            out: Vec::with_capacity(1024),
            input: BytesMut::new(),
            deadline: Deadline::default(),
            head_limit,
        }
    }

    /// Whether an idle connection can still be used: nothing came on it, not even its end.
    /// Costs no system call unless something came.
    pub(in crate::upstream) fn is_open(&self) -> bool {
        let mut byte = [0];
        let silent = matches!(
            self.stream.try_read(&mut byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        self.input.is_empty() && silent
    }

    /// The head of the request, to be written here before [`Self::exchange`]; it stays until
    /// the next one, in case it has to be sent again elsewhere.
    pub(in crate::upstream) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends the head and reads the head of the answer; `to_head`: the method is HEAD.
    ///
    /// # Errors
    /// [`WireError`]; the connection must not be used again then.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        to_head: bool,
        time: Duration,
    ) -> Result<Answer, WireError> {
        self.deadline.start(time);
        let mut written = 0;
        std::future::poll_fn(|cx| self.poll_exchange(cx, &mut written, to_head)).await
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        written: &mut usize,
        head: bool,
    ) -> Poll<Result<Answer, WireError>> {
        while let Some(rest) = self.out.get(*written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(WireError::Closed)),
                Poll::Ready(Ok(count)) => *written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(error))),
                Poll::Pending => {
                    ready!(self.deadline.poll(cx));
                    return Poll::Ready(Err(WireError::Late));
                }
            }
        }
        loop {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) if self.input.is_empty() => {
                    return Poll::Ready(Err(WireError::Closed));
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(WireError::Malformed("it ends in its head")));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(error))),
                Poll::Pending => {
                    ready!(self.deadline.poll(cx));
                    return Poll::Ready(Err(WireError::Late));
                }
            }
            if let Some(answer) = answer::parse(&mut self.input, head, self.head_limit).transpose()
            {
                return Poll::Ready(answer);
            }
        }
    }

    /// Reads what is there; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // One allocation serves many small answers, whose values share it.
        if self.input.capacity() - self.input.len() < LITTLE {
            self.input.reserve(READ);
        }
        std::pin::pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }
}

/// Sorts what a connection fails with: a reset before an answer is like an end.
fn failed(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => WireError::Closed,
        _ => WireError::Broken(error),
    }
}

/// A deadline that is moved with each exchange while its timer stays where it is: a timer
/// costs most when it is set and taken away, and almost no exchange needs it.
#[derive(Debug, Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn start(&mut self, time: Duration) {
        self.at = Some(Instant::now() + time);
    }

    /// Ready when the deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        // A timer that would ring after the deadline has to be moved; one that rings before is
        // moved when it does.
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}
