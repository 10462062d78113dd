//! Lets one request at a time through to actix-http: where a request's bytes end, and the next
//! one's begin. Deciding only: no I/O.
//!
//! actix-http decodes pipelined requests as they come, and then frames each response by what the
//! newest request said (a GET before a HEAD is answered without its body), wakes itself without end
//! when its buffer is full, and throws away what it has decoded when the connection is to close.
//! Behind the gate it sees no second request before the first is answered, but for clients that end
//! the lines of their heads with LF alone: where such a head ends is not seen here.

use std::sync::LazyLock;

use memchr::memmem;

/// What ends a request's head (RFC 9112 §2.1).
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// Bytes that may lie on either side of a border between two reads within [`HEAD_END`].
const BORDER: usize = HEAD_END.len() - 1;

/// Finds ends of heads; built once, for it holds nothing but the needle's tables.
static HEADS: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(HEAD_END));

/// What a request's head says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks (RFC 9112 §7.1): the body says where it ends.
    Chunked,
    /// Of another protocol.
    Open,
}

/// The gate of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// A head may pass, to its end.
    Head {
        /// The last bytes of it that have passed.
        tail: [u8; BORDER],
        /// More than line breaks before it has passed.
        is_begun: bool,
    },
    /// Nothing may pass: the request is whole, and not answered.
    Closed,
    /// So many bytes of its body may pass.
    Body(u64),
    /// Its chunks may pass, to the last.
    Chunked(Chunks),
    /// Everything may pass until it is answered.
    Open,
}

/// Where in a chunked body the bytes are that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// In the line before a chunk; whether its size, read so far, is complete.
    Size { size: u64, is_complete: bool },
    /// In a chunk or the line break behind it: so many bytes of both are to come.
    Data(u64),
    /// In the lines behind the last chunk; whether this one is empty so far.
    Trailer { is_empty: bool },
}

impl Chunks {
    const BEGIN: Self = Self::Size {
        size: 0,
        is_complete: false,
    };

    /// How many of these bytes are the body's, and where it stands behind them; `None` at its end.
    fn admit(mut self, bytes: &[u8]) -> (usize, Option<Self>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            self = match self {
                Self::Data(left) => {
                    let here = (bytes.len() - at) as u64;
                    at += usize::try_from(left.min(here)).unwrap_or(bytes.len());
                    match left.saturating_sub(here) {
                        0 => Self::BEGIN,
                        left => Self::Data(left),
                    }
                }
                Self::Size { size, is_complete } => {
                    at += 1;
                    match (byte, char::from(byte).to_digit(16)) {
                        (b'\n', _) if size == 0 => Self::Trailer { is_empty: true },
                        (b'\n', _) => Self::Data(size.saturating_add(2)),
                        (_, Some(digit)) if !is_complete => Self::Size {
                            size: size.saturating_mul(16).saturating_add(digit.into()),
                            is_complete,
                        },
                        _ => Self::Size {
                            size,
                            is_complete: true,
                        },
                    }
                }
                Self::Trailer { is_empty } => {
                    at += 1;
                    match byte {
                        b'\n' if is_empty => return (at, None),
                        b'\r' => Self::Trailer { is_empty },
                        other => Self::Trailer {
                            is_empty: other == b'\n',
                        },
                    }
                }
            };
        }
        (at, Some(self))
    }
}

impl Gate {
    pub(crate) const AT_HEAD: Self = Self::Head {
        tail: [0; BORDER],
        is_begun: false,
    };

    pub(crate) fn is_closed(self) -> bool {
        self == Self::Closed
    }

    pub(crate) fn is_at_head(self) -> bool {
        matches!(self, Self::Head { .. })
    }

    /// The request has been answered. What nobody read of its body still has to pass before the
    /// next head.
    pub(crate) fn reopen(self) -> Self {
        match self {
            Self::Body(_) | Self::Chunked(_) => self,
            Self::Head { .. } | Self::Closed | Self::Open => Self::AT_HEAD,
        }
    }

    /// A request's head was understood.
    pub(crate) fn receive(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Closed,
            Framing::Length(length) => Self::Body(length),
            Framing::Chunked => Self::Chunked(Chunks::BEGIN),
            Framing::Open => Self::Open,
        }
    }

    /// How many of these bytes may pass, and the gate behind them. Where the gate is not closed and
    /// there are bytes, some pass.
    pub(crate) fn admit(self, bytes: &[u8]) -> (usize, Self) {
        match self {
            Self::Closed => (0, self),
            Self::Open => (bytes.len(), self),
            Self::Body(left) => {
                let passes = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                (passes, Self::receive(Framing::Length(left - passes as u64)))
            }
            Self::Chunked(chunks) => {
                let (passes, chunks) = chunks.admit(bytes);
                (passes, chunks.map_or(Self::Closed, Self::Chunked))
            }
            Self::Head { tail, is_begun } => {
                // Line breaks before a request are to be ignored (RFC 9112 §2.2), and end no head.
                let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let skipped = match is_begun {
                    true => 0,
                    false => bytes.iter().take_while(|byte| is_break(byte)).count(),
                };
                match end_of_head(tail, &bytes[skipped..]) {
                    Some(end) => (skipped + end, Self::Closed),
                    None => {
                        let (tail, is_begun) = if skipped < bytes.len() {
                            (tail_of(tail, &bytes[skipped..]), true)
                        } else {
                            (tail, is_begun)
                        };
                        (bytes.len(), Self::Head { tail, is_begun })
                    }
                }
            }
        }
    }
}

/// Where in `bytes` the head ends whose last bytes are `tail`.
fn end_of_head(tail: [u8; BORDER], bytes: &[u8]) -> Option<usize> {
    let after = bytes.len().min(BORDER);
    let mut border = [0; 2 * BORDER];
    border[..BORDER].copy_from_slice(&tail);
    border[BORDER..BORDER + after].copy_from_slice(&bytes[..after]);
    let across = HEADS.find(&border[..BORDER + after]);
    let across = across.map(|at| at + HEAD_END.len() - BORDER);
    across.or_else(|| Some(HEADS.find(bytes)? + HEAD_END.len()))
}

/// The last bytes of `tail` and `bytes` together.
fn tail_of(mut tail: [u8; BORDER], bytes: &[u8]) -> [u8; BORDER] {
    let kept = bytes.len().min(BORDER);
    tail.rotate_left(kept);
    tail[BORDER - kept..].copy_from_slice(&bytes[bytes.len() - kept..]);
    tail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    #[test]
    fn a_second_request_stays_outside() {
        let two = [GET, b"HEAD / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(Gate::AT_HEAD.admit(&two), (GET.len(), Gate::Closed));
        assert_eq!(Gate::Closed.admit(&two[GET.len()..]).0, 0);
    }

    #[test]
    fn a_body_passes_to_its_last_byte() {
        let gate = Gate::receive(Framing::Length(5));
        let (passes, gate) = gate.admit(b"abc");
        assert_eq!((passes, gate), (3, Gate::Body(2)));
        assert_eq!(gate.admit(b"deGET"), (2, Gate::Closed));
        assert_eq!(Gate::receive(Framing::Length(0)), Gate::Closed);
    }

    #[test]
    fn chunks_pass_to_the_last_however_they_are_cut() {
        let body = b"9;x=1\r\na\r\n\r\nbcde\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\n";
        let sent = [&body[..], GET].concat();
        for step in 1..=sent.len() {
            let (mut gate, mut at) = (Gate::receive(Framing::Chunked), 0);
            while !gate.is_closed() {
                let (passes, next) = gate.admit(&sent[at..sent.len().min(at + step)]);
                at += passes;
                gate = next;
            }
            assert_eq!(at, body.len(), "{step} bytes at a time");
        }
    }

    #[test]
    fn line_breaks_before_a_request_end_no_head() {
        let (passes, gate) = Gate::AT_HEAD.admit(b"\r\n\r\n\r\n");
        assert_eq!((passes, gate), (6, Gate::AT_HEAD));
        let late = [b"\r\n\r\n", GET].concat();
        assert_eq!(gate.admit(&late), (late.len(), Gate::Closed));
    }

    proptest! {
        #[test]
        fn however_a_head_is_cut_it_ends_at_the_same_byte(cuts in prop::collection::vec(1..9_usize, 1..40)) {
            let sent = [GET, GET].concat();
            let (mut gate, mut at, mut cuts) = (Gate::AT_HEAD, 0, cuts.into_iter().cycle());
            while !gate.is_closed() {
                let end = sent.len().min(at + cuts.next().expect("it cycles"));
                let (passes, next) = gate.admit(&sent[at..end]);
                at += passes;
                gate = next;
            }
            prop_assert_eq!(at, GET.len());
        }
    }
}
