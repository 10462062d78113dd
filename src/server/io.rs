//! The byte stream of one connection, as actix-http reads and writes it; and which protocol its
//! first bytes speak.
//!
//! [`Io`] tells its [`Conn`] what passes, and does to the stream what the connection's clock has
//! decided. When anything is due is not decided here.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
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
    pub(crate) fn has_received(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8];
        let looked = either!(self, socket => rustix::net::recv(socket, &mut byte, flags));
        matches!(looked, Ok((_, received)) if received > 0)
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    /// Another handle on the socket.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        either!(self, socket => socket.as_fd().try_clone_to_owned())
    }

    /// Says that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is sent to a client whose request head does not get complete in time (RFC 9110 §15.5.9).
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// One connection's stream, watched by its [`Conn`].
pub(crate) struct Io {
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
    pub(crate) fn new(conn: Rc<Conn>) -> Self {
        Self {
            conn,
            held: BytesMut::new(),
            has_hung_up: false,
            ended: false,
        }
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Reads until the first bytes tell which protocol the client speaks. The bytes are kept.
    pub(crate) fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<Protocol> {
        let mut scratch = [0_u8; PREFACE.len()];
        while self.held.len() < PREFACE.len() && PREFACE.starts_with(&self.held) {
            let mut buf = ReadBuf::new(&mut scratch[..PREFACE.len() - self.held.len()]);
            let read = match self.conn.stream().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => Poll::Ready(()),
                // The next read, of either protocol, tells of it again.
                Poll::Ready(Err(_)) => return Poll::Ready(Protocol::Http1),
                Poll::Pending => Poll::Pending,
            };
            if read.is_pending() {
                // Failing is the stream's affair, not this one's.
                let _ = ready!(self.idle_read(cx));
                return Poll::Ready(Protocol::Http1);
            }
            if buf.filled().is_empty() {
                self.has_hung_up = true;
                return Poll::Ready(Protocol::Http1);
            }
            self.conn.head_begins();
            self.held.extend_from_slice(buf.filled());
        }
        Poll::Ready(match self.held == PREFACE[..] {
            true => Protocol::Http2,
            false => Protocol::Http1,
        })
    }

    /// What has been read and not passed on.
    pub(crate) fn into_held(self) -> BytesMut {
        self.held
    }

    /// Nothing has arrived: carries out what the connection's clock has decided, if anything.
    fn idle_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.conn.take_verdict() {
            None => return Poll::Pending,
            // P5: a request, or the rest of its head, may have arrived since the runtime last looked.
            Some(_) if self.conn.stream().has_received() => {
                self.conn.head_goes_on();
                return Poll::Pending;
            }
            Some(Verdict::CloseIdle) => {}
            Some(Verdict::HeadTimeout) => {
                // Nothing else is in the socket's way: no response is under way. A client that
                // takes no byte of it gets none.
                let _ = self.conn.stream().poll_write(cx, REQUEST_TIMEOUT);
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
            ready!(self.conn.stream().poll_read(cx, &mut buf))?;
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
        let read = self.conn.stream().poll_read(cx, buf);
        match read {
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.conn.stream().poll_write(cx, buf);
        self.conn.write_blocked(written.is_pending());
        written
    }

    /// actix-http flushes when, and only when, its write buffer is empty: every response encoded
    /// so far has been handed to the socket to its last byte.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_shutdown(cx)
    }
}
