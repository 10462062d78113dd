//! The byte stream of one connection, as actix-http reads and writes it.
//!
//! [`Io`] tells its [`Conn`] what passes, and does to the stream what the connection's clock has
//! decided. It owns the socket; when anything is due is not decided here.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
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

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

/// What is sent to a client whose request head does not get complete in time (RFC 9110 §15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// One connection's stream, watched by its [`Conn`].
pub(crate) struct Io {
    stream: Stream,
    conn: Rc<Conn>,
    /// What has arrived and may not pass yet.
    held: BytesMut,
    /// The client sends nothing more.
    has_hung_up: bool,
    /// The end of the stream is ours: nothing more is read.
    ended: bool,
}

/// Bytes held at the most, but for one read more.
const AHEAD: usize = 64 * 1024;

/// Bytes read at once while nothing may pass.
const CHUNK: usize = 4 * 1024;

impl Io {
    pub(crate) fn new(stream: Stream, conn: Rc<Conn>) -> Self {
        Self {
            stream,
            conn,
            held: BytesMut::new(),
            has_hung_up: false,
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
            // P5: a request, or the rest of its head, may have arrived since the runtime last looked.
            Some(_) if self.stream.has_received() => {
                self.conn.head_goes_on();
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

impl Io {
    /// Reads on while nothing may pass, to see a client that hangs up; not without bound.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [MaybeUninit::uninit(); CHUNK];
        while !self.has_hung_up && self.held.len() < AHEAD {
            let mut buf = ReadBuf::uninit(&mut scratch);
            ready!(self.stream.poll_read(cx, &mut buf))?;
            self.has_hung_up = buf.filled().is_empty();
            self.hold(buf.filled());
        }
        Poll::Pending
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.tell_of_more();
    }

    /// The end of the stream is something to be passed on too.
    fn tell_of_more(&self) {
        self.conn
            .has_more(self.has_hung_up || !self.held.is_empty());
    }

    /// Passes on what is held, as far as it may.
    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let offered = self.held.len().min(buf.remaining());
        let passes = self.conn.admit(&self.held[..offered]);
        buf.put_slice(&self.held.split_to(passes));
        self.tell_of_more();
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
        if self.conn.admits_nothing() {
            return self.poll_ahead(cx);
        }
        if !self.held.is_empty() {
            self.release(buf);
            return Poll::Ready(Ok(()));
        }
        if self.has_hung_up {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match self.stream.poll_read(cx, buf) {
            Poll::Pending => self.idle_read(cx),
            Poll::Ready(Ok(())) => {
                let arrived = &buf.filled()[before..];
                if arrived.is_empty() {
                    self.has_hung_up = true;
                    return Poll::Ready(Ok(()));
                }
                let passes = self.conn.admit(arrived);
                if passes < arrived.len() {
                    let this = &mut *self;
                    this.hold(&arrived[passes..]);
                    buf.set_filled(before + passes);
                }
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
            match self.stream.poll_read(cx, &mut buf) {
                Poll::Pending if !self.conn.has_discarded() => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && !self.conn.has_discarded() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
