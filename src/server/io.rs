//! The byte stream of one connection, as actix-http reads and writes it; and which protocol its
//! first bytes speak.
//!
//! [`Io`] tells its [`Conn`] what passes, and does to the stream what the connection's clock has
//! decided. When anything is due is not decided here.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection::{Conn, Verdict},
    socket::Socket,
    tls::Tls,
};

/// What is read and written: a socket, as it is or beneath TLS.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<Tls>),
}

impl Stream {
    /// Begins with a handshake.
    pub(crate) fn tls(socket: Socket, config: Arc<ServerConfig>) -> Self {
        Self::Tls(Box::new(Tls::new(socket, config)))
    }

    /// The socket; `None` beneath TLS, as which the admin API is not served.
    pub(crate) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Goes on with the handshake, where there is one.
    ///
    /// # Errors
    /// Where it fails.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(Protocol::Http1)),
            Self::Tls(tls) => tls.poll_handshake(cx),
        }
    }

    /// Whether a handshake has its first byte.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.has_begun())
    }

    /// Whether anything lies in the receive buffer right now, or was decrypted and not read.
    pub(crate) fn has_received(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket.has_received(),
            Self::Tls(tls) => tls.has_received(),
        }
    }

    /// Whether the other side has reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_reset(),
            Self::Tls(tls) => tls.is_reset(),
        }
    }

    /// Whether something has arrived of which nothing can be read yet.
    pub(crate) fn is_amid_record(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_amid_record())
    }

    /// Whether anything that was written is not with the socket yet.
    pub(crate) fn has_unsent(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.has_unsent())
    }

    /// Bytes that the socket has taken so far, where those written do not tell.
    pub(crate) fn taken(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.taken(),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => tls.poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, bytes),
        }
    }

    /// Ready when the socket has all that was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Another handle on the socket; `None` where that would not do: TLS is in this process.
    pub(crate) fn try_clone(&self) -> Option<OwnedFd> {
        match self {
            // Refused where the descriptors are used up.
            Self::Plain(socket) => socket.try_clone().ok(),
            Self::Tls(_) => None,
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
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
        if self.conn.stream().is_amid_record() {
            self.conn.record_begins();
        }
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
        if self.conn.has_ended() {
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
        self.conn.poll_write(cx, buf)
    }

    /// actix-http flushes when, and only when, its write buffer is empty: every response encoded
    /// so far has been handed to the socket to its last byte.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.conn.poll_flush(cx))?;
        self.conn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_shutdown(cx)
    }
}
