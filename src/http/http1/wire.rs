//! The bytes of one connection: read and not decoded, and waiting to be written with the requests that they
//! answer.
//!
//! An idle connection holds no buffer: all connections of a worker share one buffer to read and a few to
//! write.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::http::{
    books::{RequestEnd, Ticket},
    connection::Conn,
};

/// Bytes that one read takes at the most.
const READ: usize = 64 * 1024;

/// Bytes that are read before anybody has asked for them, to see a client that hangs up: no further
/// read begins where so many are held.
const AHEAD: usize = 64 * 1024;

/// Bytes that are held to be written, at the most; but for a head, which is encoded in one piece.
pub(super) const HELD: usize = 64 * 1024;

/// A part of a response's body that is at least so long is written as it is. Shorter ones are gathered: a copy
/// costs less than a system call.
const DIRECT: usize = 32 * 1024;

/// Buffers that a worker keeps for its connections' next responses.
const SPARE: usize = 8;

thread_local! {
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static OUTPUTS: RefCell<Vec<Output>> = const { RefCell::new(Vec::new()) };
}

/// What is to be written.
#[derive(Default)]
struct Output {
    bytes: BytesMut,
    /// Requests whose responses end in these bytes.
    encoded: Vec<Ticket>,
}

pub(super) struct H1Wire {
    conn: Rc<Conn>,
    /// What was read and not decoded.
    pub(super) input: BytesMut,
    /// The client sends nothing more.
    has_hung_up: bool,
    output: Output,
}

impl H1Wire {
    pub(super) fn new(conn: Rc<Conn>, input: BytesMut) -> Self {
        Self {
            conn,
            input,
            has_hung_up: false,
            output: Output::default(),
        }
    }

    pub(super) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.has_hung_up
    }

    /// Reads once. Ready with no more in `input` than before where the client sends nothing more.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_hung_up {
            return Poll::Ready(Ok(()));
        }
        INPUT.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(self.conn.stream().poll_read(cx, &mut buf))?;
            let arrived = buf.filled();
            self.has_hung_up = arrived.is_empty();
            if self.input.is_empty() {
                // Of this size, and not of that of an allocation that a request may still hold.
                self.input = BytesMut::from(arrived);
            } else {
                self.input.extend_from_slice(arrived);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Reads on while nobody asks for more, to see a client that hangs up.
    ///
    /// # Errors
    /// Where the connection has failed.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.has_hung_up && self.input.len() < AHEAD {
            match self.poll_fill(cx) {
                Poll::Ready(read) => read?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Where what is to be written goes.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        // Where TLS holds what was written, the responses of these tickets are not with the socket yet.
        if self.output.bytes.capacity() == 0
            && self.output.encoded.is_empty()
            && let Some(spare) = OUTPUTS.with_borrow_mut(Vec::pop)
        {
            self.output = spare;
        }
        &mut self.output.bytes
    }

    /// How many bytes more may be held to be written.
    pub(super) fn room(&self) -> usize {
        HELD.saturating_sub(self.output.bytes.len())
    }

    /// A response has been written to `output` to its last byte.
    pub(super) fn encoded(&mut self, ticket: Ticket) {
        self.output.encoded.push(ticket);
    }

    /// Hands all to the socket; then what was encoded is answered.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.bytes.is_empty() {
            let written = ready!(self.conn.poll_write(cx, &self.output.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.bytes.advance(written);
        }
        ready!(self.conn.poll_flush(cx))?;
        if !self.output.encoded.is_empty() {
            self.conn
                .close(self.output.encoded.drain(..), RequestEnd::Answered);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes of a large piece past the buffer. Whether it did: where nothing is held before it.
    pub(super) fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut Bytes,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        let length = usize::try_from(most).map_or(piece.len(), |most| most.min(piece.len()));
        if !self.output.bytes.is_empty() || length < DIRECT {
            return Poll::Ready(Ok(0));
        }
        let written = ready!(self.conn.poll_write(cx, &piece[..length]))?;
        piece.advance(written);
        match written {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            _ => Poll::Ready(Ok(written)),
        }
    }

    /// The connection is idle: it holds nothing of its own. To be called where all is flushed.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.input = BytesMut::new();
        }
        if self.output.bytes.capacity() == 0 {
            return;
        }
        let mut spare = std::mem::take(&mut self.output);
        OUTPUTS.with_borrow_mut(|outputs| {
            // What has grown beyond that was for one large head.
            if outputs.len() < SPARE && spare.bytes.capacity() <= 2 * HELD {
                spare.bytes.clear();
                outputs.push(spare);
            }
        });
    }
}

impl Drop for H1Wire {
    /// What was not handed to the socket to its last byte is lost with the connection.
    fn drop(&mut self) {
        self.conn
            .close(self.output.encoded.drain(..), RequestEnd::Aborted);
    }
}
