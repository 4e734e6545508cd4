//! A stream of HTTP/2 as bytes both ways (RFC 8441 §5): a WebSocket without a connection of its
//! own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::http2;

/// A client's stream, once it is a tunnel.
#[derive(Debug)]
pub(super) struct Duplex {
    receive: RecvStream,
    /// What came and was not read yet.
    came: Bytes,
    send: SendStream<Bytes>,
}

impl Duplex {
    pub(super) fn new(receive: RecvStream, send: SendStream<Bytes>) -> Self {
        Self {
            receive,
            came: Bytes::new(),
            send,
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.came.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(data) => self.came = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.came.len().min(buf.remaining());
        buf.put_slice(&self.came[..count]);
        self.came.advance(count);
        // A stream that has ended needs no room any more.
        let _ = self.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(http2::poll_room(&mut self.send, buf.len(), cx));
        let room = room.map_err(|_| io::ErrorKind::BrokenPipe)?.min(buf.len());
        let sent = self
            .send
            .send_data(Bytes::copy_from_slice(&buf[..room]), false);
        Poll::Ready(sent.map(|()| room).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(io::Error::other))
    }
}
