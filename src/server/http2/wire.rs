//! The byte stream of one connection, as `h2` reads and writes it. The [`Session`] is told of all
//! that passes.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;

pub(super) struct Wire {
    session: Rc<Session>,
    /// What was read before it was known that the client speaks HTTP/2.
    sniffed: BytesMut,
}

impl Wire {
    pub(super) fn new(session: Rc<Session>, sniffed: BytesMut) -> Self {
        Self { session, sniffed }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.session.is_spent() {
            // The driver is to end the connection instead.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.sniffed.is_empty() {
            ready!(self.session.conn().stream().poll_read(cx, buf))?;
        } else {
            let passes = self.sniffed.len().min(buf.remaining());
            buf.put_slice(&self.sniffed[..passes]);
            self.sniffed.advance(passes);
        }
        self.session.received(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let conn = self.session.conn();
        let written = conn.poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.session.written(&bytes[..count]);
            if !conn.stream().has_unsent() {
                self.session.sent();
            }
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.session.conn().poll_flush(cx))?;
        self.session.sent();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.conn().poll_shutdown(cx)
    }
}
