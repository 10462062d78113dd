//! The byte stream of one connection: a socket, with or without TLS.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::ServerConfig;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{socket::Socket, tls::Tls};

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
