//! Writes responses' heads and the frames of their bodies.

use std::fmt::Write as _;

use actix_http::{ResponseHead, ServiceConfig, StatusCode, header};
use bytes::{Buf as _, Bytes, BytesMut};

use super::decide::{LengthField, Next, Outgoing, Plan};

/// Asks a client for the body that it keeps back (RFC 9110 §15.2.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes a response's head, as `plan` has it.
pub(super) fn head(
    to: &mut BytesMut,
    head: &ResponseHead,
    plan: &Plan,
    is_old: bool,
    config: &ServiceConfig,
) {
    to.reserve(256);
    put_status(to, head.status, head.reason());
    let (mut has_date, mut has_upgrade) = (false, false);
    for (name, value) in &head.headers {
        match *name {
            header::CONNECTION | header::TRANSFER_ENCODING => continue,
            header::CONTENT_LENGTH if plan.length != LengthField::AsSaid => continue,
            header::DATE => has_date = true,
            header::UPGRADE => has_upgrade = true,
            _ => {}
        }
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
    match plan.length {
        LengthField::Omitted | LengthField::AsSaid => {}
        LengthField::Length(length) => put_length(to, length),
        LengthField::Chunked => to.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    // What a response says of `Upgrade` is of this connection only (RFC 9110 §7.8).
    let connection: &[u8] = match (plan.next, has_upgrade) {
        (Next::Upgrade, _) => b"connection: upgrade\r\n",
        (Next::Close | Next::Cut, false) => b"connection: close\r\n",
        (Next::Close | Next::Cut, true) => b"connection: close, upgrade\r\n",
        (Next::Request, false) if is_old => b"connection: keep-alive\r\n",
        (Next::Request, true) if is_old => b"connection: keep-alive, upgrade\r\n",
        (Next::Request, false) => b"",
        (Next::Request, true) => b"connection: upgrade\r\n",
    };
    to.extend_from_slice(connection);
    if !has_date {
        config.write_date_header(to, false);
    }
    to.extend_from_slice(b"\r\n");
}

/// Writes the whole answer to what is no request, and the last on its connection.
pub(super) fn refusal(to: &mut BytesMut, status: StatusCode, config: &ServiceConfig) {
    put_status(to, status, status.canonical_reason().unwrap_or_default());
    to.extend_from_slice(b"content-length: 0\r\nconnection: close\r\n");
    config.write_date_header(to, false);
    to.extend_from_slice(b"\r\n");
}

fn put_status(to: &mut BytesMut, status: StatusCode, reason: &str) {
    to.extend_from_slice(b"HTTP/1.1 ");
    to.extend_from_slice(status.as_str().as_bytes());
    to.extend_from_slice(b" ");
    to.extend_from_slice(reason.as_bytes());
    to.extend_from_slice(b"\r\n");
}

fn put_length(to: &mut BytesMut, length: u64) {
    to.extend_from_slice(b"content-length: ");
    to.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    to.extend_from_slice(b"\r\n");
}

/// What is left to be written of a response's body.
#[derive(Debug)]
pub(super) struct BodyFraming {
    outgoing: Outgoing,
    /// Of a body whose length is known.
    left: u64,
}

/// A response's body ended before its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooShort;

/// What a chunk has beside its bytes, at the most: its size, and two line breaks.
const CHUNK: usize = 16 + 4;

impl BodyFraming {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        let left = match outgoing {
            Outgoing::None => 0,
            Outgoing::Length(length) => length,
            Outgoing::Chunked | Outgoing::UntilClose => u64::MAX,
        };
        Self { outgoing, left }
    }

    /// Whether nothing more is to be asked of the body: it has been written, or has no place.
    pub(super) fn are_complete(&self) -> bool {
        self.left == 0
    }

    /// How many bytes of the body may be written without a frame around them.
    pub(super) fn bare(&self) -> u64 {
        match self.outgoing {
            Outgoing::Chunked => 0,
            _ => self.left,
        }
    }

    /// So many have been.
    pub(super) fn written(&mut self, bytes: usize) {
        if self.left != u64::MAX {
            self.left = self.left.saturating_sub(bytes as u64);
        }
    }

    /// Writes as much of a piece of the body as there is room for; how much. What a body has beyond
    /// its length is left out.
    pub(super) fn put(&mut self, to: &mut BytesMut, piece: &mut Bytes, room: usize) -> usize {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(room);
        let length = match self.outgoing {
            Outgoing::Chunked => piece.len().min(room.saturating_sub(CHUNK)),
            _ => piece.len().min(most),
        };
        if length > 0 {
            if self.outgoing == Outgoing::Chunked {
                write!(to, "{length:x}\r\n").expect("memory takes all that is written");
            }
            to.extend_from_slice(&piece[..length]);
            if self.outgoing == Outgoing::Chunked {
                to.extend_from_slice(b"\r\n");
            }
            piece.advance(length);
        }
        self.written(length);
        if self.are_complete() {
            piece.clear();
        }
        length
    }

    /// The body has ended.
    ///
    /// # Errors
    /// Where that is too soon.
    pub(super) fn finish(self, to: &mut BytesMut) -> Result<(), TooShort> {
        match self.outgoing {
            Outgoing::Length(_) if self.left > 0 => Err(TooShort),
            Outgoing::Chunked => {
                to.extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
            Outgoing::None | Outgoing::Length(_) | Outgoing::UntilClose => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_is_as_long_as_its_head_says_or_fails() {
        let mut to = BytesMut::new();
        let mut frames = BodyFraming::new(Outgoing::Length(5));
        let mut piece = Bytes::from_static(b"abc");
        assert_eq!(frames.put(&mut to, &mut piece, 100), 3);
        let mut longer = Bytes::from_static(b"defg");
        assert_eq!(frames.put(&mut to, &mut longer, 100), 2);
        assert!(longer.is_empty() && frames.are_complete());
        assert_eq!(frames.finish(&mut to), Ok(()));
        assert_eq!(to, b"abcde"[..]);
        assert_eq!(
            BodyFraming::new(Outgoing::Length(1)).finish(&mut to),
            Err(TooShort)
        );
    }

    proptest! {
        #[test]
        fn chunks_hold_the_body_whatever_room_there_is(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            room in 21..60_usize,
        ) {
            let (mut to, mut body) = (BytesMut::new(), Vec::<u8>::new());
            let mut frames = BodyFraming::new(Outgoing::Chunked);
            for piece in pieces {
                body.extend(&piece);
                let mut piece = Bytes::from(piece);
                while !piece.is_empty() {
                    let before = to.len();
                    prop_assert!(frames.put(&mut to, &mut piece, room) > 0);
                    prop_assert!(to.len() - before <= room);
                }
            }
            prop_assert_eq!(frames.finish(&mut to), Ok(()));
            let (mut read, mut rest) = (Vec::<u8>::new(), &to[..]);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\r') {
                let size = std::str::from_utf8(&rest[..end]).expect("ASCII");
                let size = usize::from_str_radix(size, 16).expect("a size");
                read.extend(&rest[end + 2..][..size]);
                rest = &rest[end + 2 + size + 2..];
            }
            prop_assert_eq!(read, body);
            prop_assert!(to.ends_with(b"0\r\n\r\n") && rest.is_empty());
        }
    }
}
