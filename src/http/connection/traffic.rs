//! Measures a connection's stream: the handshake, the bytes sent, the end. The protocol code measures what
//! is read.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::ReadBuf;

use super::{Conn, phase::Phase};
use crate::{
    http::{pace::Pace, refused::Refusal},
    net::{Protocol, Stream},
};

/// How long a closed connection's late bytes are read away, at the most.
const DISCARD: Duration = Duration::from_millis(500);

impl Conn {
    /// Goes on with the handshake, in its time. What both sides agree on to speak.
    ///
    /// # Errors
    /// Where it fails, or is out of time.
    pub(crate) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        let has_begun = self.stream().has_begun();
        let agreed = self.stream().poll_handshake(cx);
        let ended = match agreed {
            Poll::Ready(agreed) => agreed,
            Poll::Pending if !self.is_out_of_time() => return Poll::Pending,
            // P5: more may have arrived since the runtime last looked.
            Poll::Pending if self.stream().has_received() => {
                self.begins_anew();
                return Poll::Pending;
            }
            Poll::Pending => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = &ended {
            // Who comes and goes without a word has not begun one.
            if has_begun || error.kind() == io::ErrorKind::InvalidData {
                self.refuse(Refusal::Tls, None);
            }
        }
        self.awaits_head(false);
        Poll::Ready(ended)
    }

    /// Writes, and keeps the time of a client that takes nothing.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.sending(|stream| stream.poll_write(cx, bytes));
        if let (Some(mut pace), Poll::Ready(Ok(count))) = (self.pace.get(), &written) {
            pace.goes_on(*count);
            self.pace.set(Some(pace));
        }
        written
    }

    /// An HTTP/1 response begins: how fast it is taken is measured from now on.
    pub(crate) fn begins_response(&self) {
        self.pace.set(Some(Pace::default()));
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
        let still = known.filter(|_| blocked && stream.taken() == before);
        if let (Some(since), None, Some(mut pace)) = (known, still, self.pace.get()) {
            pace.waited(self.now.get().saturating_duration_since(since));
            self.pace.set(Some(pace));
        }
        let since = still.unwrap_or(self.now.get());
        self.write_blocked_since.set(blocked.then_some(since));
        sent
    }

    /// Says that nothing more will be sent, then reads away what is still under way: closing a
    /// socket with unread bytes resets it, and the client may lose the end of its last response.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.phase.get() {
            Phase::Closing(until) => until,
            _ => {
                ready!(self.sending(|stream| stream.poll_shutdown(cx)))?;
                let until = self.now.get() + DISCARD;
                self.phase.set(Phase::Closing(until));
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
}
