//! The byte stream of one connection, as `h2` reads and writes it. It reports all bytes to the
//! [`Session`].

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frames,
    session::{STREAMS, Session},
};

pub(super) struct H2Wire {
    session: Rc<Session>,
    /// What was read before it was known that the client speaks HTTP/2.
    sniffed: BytesMut,
    greeting: Greeting,
}

/// The SETTINGS that come first. They name the limit of streams that clients are to keep to, which is
/// lower than `h2`'s: what is above is refused by us, because `h2` forgets a stream that it has refused
/// and ends the connection at that stream's trailers.
enum Greeting {
    Awaited,
    /// What is not written of it.
    Begun(BytesMut),
    Over,
}

impl H2Wire {
    pub(super) fn new(session: Rc<Session>, sniffed: BytesMut) -> Self {
        Self {
            session,
            sniffed,
            greeting: Greeting::Awaited,
        }
    }

    fn poll_greet(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Greeting::Awaited = self.greeting {
            let limit = u32::try_from(STREAMS).expect("it is small");
            self.greeting = match frames::with_max_streams(bytes, limit) {
                Some(greeting) => Greeting::Begun(greeting),
                None => Greeting::Over,
            };
        }
        let Greeting::Begun(rest) = &mut self.greeting else {
            return self.session.conn().poll_write(cx, bytes);
        };
        let written = ready!(self.session.conn().poll_write(cx, rest))?;
        rest.advance(written);
        if rest.is_empty() {
            self.greeting = Greeting::Over;
        }
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for H2Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.session.is_over() {
            return Poll::Ready(Ok(()));
        }
        if self.session.is_spent() || self.session.hung_up_at().is_some() {
            // The driver ends the connection, now or when all is answered.
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
        if buf.filled().len() == before {
            self.session.hangs_up();
            return Poll::Pending;
        }
        self.session.received(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.greeting {
            Greeting::Over => self.session.conn().poll_write(cx, bytes),
            Greeting::Awaited | Greeting::Begun(_) => self.poll_greet(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = written {
            self.session.written(&bytes[..count]);
            if !self.session.conn().stream().has_unsent() {
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
