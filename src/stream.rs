//! A stream of bytes between us and somebody else, whatever carries it.
//!
//! An enum and not a trait: plain TCP pays for the others with one comparison a call.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connection, to a client or to the app.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over one of these; boxed, since it is much larger than they are.
    Tls(Box<TlsStream<Self>>),
}

/// A connection on its way to the runtime of another thread.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Hands the connection to the runtime of the calling thread.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<TlsStream<Self>> for Stream {
    fn from(stream: TlsStream<Self>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

/// Does the same with whatever stream it is, pinned.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl Stream {
    /// Sends what is written at once, where that is a question.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.get_ref().0.set_nodelay(),
        }
    }

    /// The protocol that ALPN has chosen (RFC 7301), where TLS is spoken and both sides know it.
    pub fn protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The certificate by which the other side has proved who it is, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let chain = stream.get_ref().1.peer_certificates()?;
        chain.first().map(|leaf| &**leaf)
    }

    /// Whether its end has to be announced: without that, whoever reads cannot tell it from one
    /// that somebody on the way has made (RFC 8446 §6.1).
    pub fn announces_its_end(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Takes the connection away from the runtime of the calling thread.
    ///
    /// # Errors
    /// When the runtime does not let go of it.
    pub fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
            Self::Tls(_) => Err(io::Error::other("a TLS session stays where it began")),
        }
    }

    /// Whether nothing has come, not even the end. Costs no system call unless the runtime knows
    /// of something; it learns of what came when it next asks the kernel.
    pub fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Self::Tcp(stream) => is_blocked(&stream.try_read(&mut byte)),
            Self::Unix(stream) => is_blocked(&stream.try_read(&mut byte)),
            // What came may be about the session alone (a ticket); only reading tells. Nobody
            // waits for an idle stream, so nobody has to be woken.
            Self::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                let mut buffer = ReadBuf::new(&mut byte);
                let read = Pin::new(&mut **stream).poll_read(&mut cx, &mut buffer);
                read.is_pending()
            }
        }
    }

    /// The same, as the kernel knows it now.
    pub fn is_silent_to_the_kernel(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match self {
            Self::Tcp(stream) => is_blocked(&SockRef::from(stream).peek(&mut byte)),
            Self::Unix(stream) => is_blocked(&SockRef::from(stream).peek(&mut byte)),
            Self::Tls(stream) => stream.get_ref().0.is_silent_to_the_kernel(),
        }
    }

    /// Writes if that needs no waiting, once; for a last word to a client that nobody serves.
    pub fn try_write(&self, bytes: &[u8]) {
        // Best effort: a client that does not get it sees the connection close.
        let _ = match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            // It would have to wait for the handshake.
            Self::Tls(_) => Ok(0),
        };
    }
}

fn is_blocked<T>(read: &io::Result<T>) -> bool {
    matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
