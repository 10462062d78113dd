//! Which protocol a connection's first bytes speak.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::io::ReadBuf;

use super::connection::Conn;
use crate::net::{PREFACE, Protocol};

/// A connection, and what has been read of it before it was known what it speaks.
pub(crate) struct Io {
    conn: Rc<Conn>,
    held: BytesMut,
}

impl Io {
    pub(crate) fn new(conn: Rc<Conn>) -> Self {
        Self {
            conn,
            held: BytesMut::new(),
        }
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// What has been read.
    pub(crate) fn into_held(self) -> BytesMut {
        self.held
    }

    /// Reads until the first bytes tell which protocol the client speaks. The bytes are kept. Where
    /// the connection fails, ends or is out of time, HTTP/1 finds the same when it reads on.
    pub(crate) fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<Protocol> {
        let mut scratch = [0_u8; PREFACE.len()];
        while self.held.len() < PREFACE.len() && PREFACE.starts_with(&self.held) {
            let mut buf = ReadBuf::new(&mut scratch[..PREFACE.len() - self.held.len()]);
            let read = self.conn.stream().poll_read(cx, &mut buf);
            match read {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.held.extend_from_slice(buf.filled());
                    self.conn.awaits_head(true);
                }
                Poll::Ready(_) => return Poll::Ready(Protocol::Http1),
                Poll::Pending => {
                    let has_begun = !self.held.is_empty() || self.conn.stream().is_amid_record();
                    self.conn.awaits_head(has_begun);
                    match self.conn.is_out_of_time() {
                        true => return Poll::Ready(Protocol::Http1),
                        false => return Poll::Pending,
                    }
                }
            }
        }
        Poll::Ready(match self.held == PREFACE[..] {
            true => Protocol::Http2,
            false => Protocol::Http1,
        })
    }
}
