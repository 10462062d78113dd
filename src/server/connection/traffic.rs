//! What passes through a connection's stream, and the times that are kept of it: the handshake, what
//! is sent, the end. What is read is [`Io`](crate::server::io::Io)'s, or the HTTP/2 wire's.

use std::{
    io,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::ReadBuf;

use super::Conn;
use crate::server::io::{Protocol, Stream};

/// How long a closed connection's late bytes are read away, at the most.
const DISCARD: Duration = Duration::from_millis(500);

impl Conn {
    /// Goes on with the handshake, in its time. What both sides agree on to speak.
    ///
    /// # Errors
    /// Where it fails, or is out of time.
    pub(crate) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        let mut stream = self.stream();
        let ended = match stream.poll_handshake(cx) {
            Poll::Ready(agreed) => agreed,
            Poll::Pending if self.verdict.take().is_none() => return Poll::Pending,
            // P5: more may have arrived since the runtime last looked.
            Poll::Pending if stream.has_received() => {
                self.shaking_since.set(Some(self.now.get()));
                return Poll::Pending;
            }
            Poll::Pending => Err(io::ErrorKind::TimedOut.into()),
        };
        self.shaking_since.set(None);
        self.idle_since.set(self.now.get());
        Poll::Ready(ended)
    }

    /// Writes, and keeps the time of a client that takes nothing.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sending(|stream| stream.poll_write(cx, bytes))
    }

    /// Hands what was written to the socket, if anything waits for that.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending(|stream| stream.poll_flush(cx))
    }

    fn sending<T>(&self, send: impl FnOnce(&mut Stream) -> Poll<T>) -> Poll<T> {
        let mut stream = self.stream.borrow_mut();
        let before = stream.taken();
        let sent = send(&mut stream);
        // Where it waits although the client has taken something, its time begins anew.
        let blocked = sent.is_pending();
        let known = self.write_blocked_since.get();
        let since = known.filter(|_| stream.taken() == before);
        let since = since.unwrap_or(self.now.get());
        self.write_blocked_since.set(blocked.then_some(since));
        sent
    }

    /// Says that nothing more will be sent, then reads away what is still under way: closing a
    /// socket with unread bytes resets it, and the client may lose the end of its last response.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.discarding.get() {
            Some(until) => until,
            None => {
                ready!(self.sending(|stream| stream.poll_shutdown(cx)))?;
                let until = self.now.get() + DISCARD;
                self.discarding.set(Some(until));
                until
            }
        };
        let mut scratch = [0_u8; 4096];
        let mut stream = self.stream();
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let is_over = self.leaving.get() || self.now.get() >= until;
            match stream.poll_read(cx, &mut buf) {
                Poll::Pending if !is_over => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && !is_over => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    /// P5: one under way has its time in a drain too; a client that has said nothing is idle.
    pub(super) fn handshake_until(&self, since: Instant, limit: Duration) -> Instant {
        let until = self.lingers_until(since, limit);
        if until < since + limit {
            let mut stream = self.stream();
            if stream.has_begun() || stream.has_received() {
                return since + limit;
            }
        }
        until
    }
}
