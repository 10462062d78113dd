//! TLS on a socket: the handshake, and the bytes that rustls holds.
//!
//! `generation` has the certificates; the connection's clock limits the handshake.

use crate::generation::HTTP2;
use std::{
    io::{self, BufRead as _, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

use super::{socket::Socket, stream::Protocol};

/// One connection's TLS.
pub(crate) enum Tls {
    Handshake(Accept<TlsWire>),
    Open(TlsStream<TlsWire>),
    /// The handshake failed, and the socket is closed.
    Failed,
}

impl Tls {
    pub(crate) fn new(socket: Socket, config: Arc<ServerConfig>) -> Self {
        Self::Handshake(TlsAcceptor::from(config).accept(TlsWire::new(socket)))
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// Where it fails; the client has been told why, as far as it listens.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        if let Self::Handshake(accept) = self {
            match ready!(Pin::new(accept).poll(cx)) {
                Ok(stream) => *self = Self::Open(stream),
                Err(error) => {
                    *self = Self::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let stream = self.open()?;
        Poll::Ready(Ok(match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Protocol::Http2,
            _ => Protocol::Http1,
        }))
    }

    /// Whether the client has said anything at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.wire().is_some_and(|wire| wire.has_received)
    }

    /// Whether anything has arrived that has not been read, at the socket or decrypted.
    pub(crate) fn has_received(&mut self) -> bool {
        if let Self::Open(stream) = self {
            let decrypted = stream.get_mut().1.reader().fill_buf().map(<[u8]>::len);
            if decrypted.is_ok_and(|bytes| bytes > 0) {
                return true;
            }
        }
        self.wire().is_some_and(|wire| wire.socket.has_received())
    }

    /// Whether the other side has reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        self.wire().is_some_and(|wire| wire.socket.is_reset())
    }

    /// Whether a record has arrived in part.
    pub(crate) fn is_amid_record(&self) -> bool {
        self.wire().is_some_and(|wire| wire.records.is_amid_one())
    }

    /// Whether anything that was written is not with the socket yet.
    pub(crate) fn has_unsent(&self) -> bool {
        matches!(self, Self::Open(stream) if stream.get_ref().1.wants_write())
    }

    /// Bytes that the socket has taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.wire().map_or(0, |wire| wire.taken)
    }

    fn wire(&self) -> Option<&TlsWire> {
        match self {
            Self::Handshake(accept) => accept.get_ref(),
            Self::Open(stream) => Some(stream.get_ref().0),
            Self::Failed => None,
        }
    }

    fn open(&mut self) -> io::Result<&mut TlsStream<TlsWire>> {
        match self {
            Self::Open(stream) => Ok(stream),
            Self::Handshake(_) | Self::Failed => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(self.open()?).poll_read(cx, buf)) {
            // Many a client closes without close_notify. Requests say themselves where they end, so
            // that one cut short is not taken for whole.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.open()?).poll_write(cx, bytes)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.open()?).poll_flush(cx)
    }

    /// Says that nothing more will be sent: by close_notify, then by FIN.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.open()?).poll_shutdown(cx)
    }
}

/// The socket as rustls reads and writes it.
pub(crate) struct TlsWire {
    socket: Socket,
    has_received: bool,
    records: Records,
    taken: u64,
}

impl TlsWire {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            has_received: false,
            records: Records::default(),
            taken: 0,
        }
    }
}

impl AsyncRead for TlsWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let arrived = &buf.filled()[before..];
        self.has_received |= !arrived.is_empty();
        self.records.follow(arrived);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.taken += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Follows where records begin and end (RFC 8446 §5.1): of one that has arrived in part, rustls shows
/// nothing.
#[derive(Default)]
struct Records {
    /// Bytes of the header so far.
    header: u8,
    /// What the header says of the length, as far as it has come; then what is left of it.
    rest: u16,
}

impl Records {
    /// The kind, a version, and the length of what follows.
    const HEADER: u8 = 5;
    const LENGTH_AT: u8 = 3;

    fn follow(&mut self, mut bytes: &[u8]) {
        while let [first, behind @ ..] = bytes {
            if self.header < Self::HEADER {
                if self.header >= Self::LENGTH_AT {
                    self.rest = self.rest << 8 | u16::from(*first);
                }
                self.header += 1;
                bytes = behind;
            } else {
                let here = bytes.len().min(self.rest.into());
                bytes = &bytes[here..];
                self.rest -= u16::try_from(here).expect("no more than a u16 was left");
            }
            if self.header == Self::HEADER && self.rest == 0 {
                self.header = 0;
            }
        }
    }

    fn is_amid_one(&self) -> bool {
        self.header > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_wherever_they_are_split() {
        let bytes: Vec<u8> = [
            [23, 3, 3, 0, 2].as_slice(),
            &[9; 2],
            &[22, 3, 3, 0, 0],
            &[23, 3, 3, 1, 1],
            &[7; 257],
        ]
        .concat();
        let ends = [0, 7, 12, bytes.len()];
        for size in [1, 2, 3, 7, 100, bytes.len()] {
            let mut records = Records::default();
            let mut read = 0;
            for piece in bytes.chunks(size) {
                records.follow(piece);
                read += piece.len();
                assert_eq!(
                    records.is_amid_one(),
                    !ends.contains(&read),
                    "{size} {read}"
                );
            }
        }
    }
}
