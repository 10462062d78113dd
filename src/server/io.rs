//! The byte stream of one connection, as actix-http reads and writes it.
//!
//! [`Io`] tells its [`Conn`] what passes, and does to the stream what the connection's clock has
//! decided. It owns the socket; when anything is due is not decided here.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use rustix::net::RecvFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::connection::{Conn, Verdict};

/// An accepted socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Both kinds of socket behave alike.
macro_rules! either {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            Stream::Unix($socket) => $call,
        }
    };
}

impl Stream {
    /// Whether anything lies in the receive buffer right now. Asks the kernel: what the runtime
    /// has not been told of yet counts.
    fn has_received(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8];
        let looked = either!(self, socket => rustix::net::recv(socket, &mut byte, flags));
        matches!(looked, Ok((_, received)) if received > 0)
    }
}

/// What is sent to a client whose request head does not get complete in time (RFC 9110 §15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// One connection's stream, watched by its [`Conn`].
pub(crate) struct Io {
    stream: Stream,
    conn: Rc<Conn>,
    /// The end of the stream is ours: nothing more is read.
    ended: bool,
}

impl Io {
    pub(crate) fn new(stream: Stream, conn: Rc<Conn>) -> Self {
        Self {
            stream,
            conn,
            ended: false,
        }
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Nothing has arrived: carries out what the connection's clock has decided, if anything.
    fn idle_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.conn.take_verdict() {
            None => return Poll::Pending,
            // P5: a request may have arrived since the runtime last looked.
            Some(Verdict::CloseIdle) if self.stream.has_received() => {
                self.conn.head_begins();
                return Poll::Pending;
            }
            Some(Verdict::CloseIdle) => {}
            Some(Verdict::HeadTimeout) => {
                // Nothing else is in the socket's way: no response is under way. A client that
                // takes no byte of it gets none.
                let _ = either!(&mut self.stream, socket =>
                    Pin::new(socket).poll_write(cx, REQUEST_TIMEOUT));
            }
        }
        self.ended = true;
        self.conn.ends();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match either!(&mut self.stream, socket => Pin::new(socket).poll_read(cx, buf)) {
            Poll::Pending => self.idle_read(cx),
            Poll::Ready(Ok(())) => {
                self.conn.read(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            failed => failed,
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, socket => Pin::new(socket).poll_write(cx, buf));
        self.conn.write_blocked(written.is_pending());
        written
    }

    /// actix-http flushes when, and only when, its write buffer is empty: every response encoded
    /// so far has been handed to the socket to its last byte.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.flushed();
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be sent, then reads away what is still under way: closing a
    /// socket with unread bytes resets it, and the client may lose the end of its last response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.conn.begins_discarding() {
            ready!(either!(&mut self.stream, socket => Pin::new(socket).poll_shutdown(cx)))?;
        }
        let mut scratch = [0_u8; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match either!(&mut self.stream, socket => Pin::new(socket).poll_read(cx, &mut buf)) {
                Poll::Pending if !self.conn.has_discarded() => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && !self.conn.has_discarded() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
