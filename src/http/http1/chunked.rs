//! Parses chunked bodies (RFC 9112 §7.1) strictly: lines end with CR LF, and framing may not outweigh the
//! body's own bytes. Pure decisions: no I/O.

use bytes::{Bytes, BytesMut};

/// Reads one chunked body, in bytes that arrive one after the other.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Bytes beside the body's own that may still come.
    spare: u64,
}

/// Bytes of sizes, extensions, line breaks and trailers that a body may have whatever its length.
const SPARE: u64 = 16 * 1024;

/// And for each byte of the body: chunks of one byte have five.
const SPARE_A_BYTE: u64 = 8;

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size, of which so much is known.
    Size {
        size: u64,
        has_digits: bool,
    },
    /// In the blanks behind the size.
    Blank {
        size: u64,
    },
    /// In what extends the size.
    Extension {
        size: u64,
    },
    /// At the LF behind the size.
    SizeEnd {
        size: u64,
    },
    /// In a chunk, of which so many bytes are to come.
    Data(u64),
    /// At the CR, then at the LF behind a chunk.
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    Line,
    /// In the name of a trailer, then in its value.
    Name,
    Value,
    ValueEnd,
    /// At the last LF.
    LastLf,
    BodyEnd,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    BodyEnd,
    /// Nothing: more has to arrive.
    Nothing,
}

/// It is no chunked body, or has too much beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size {
                size: 0,
                has_digits: false,
            },
            spare: SPARE,
        }
    }

    pub(super) fn have_ended(&self) -> bool {
        self.state == State::BodyEnd
    }

    /// Takes the next piece from what has arrived.
    ///
    /// # Errors
    /// Where it is malformed; then nothing more can be read.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        let mut at = 0;
        loop {
            match self.state {
                State::BodyEnd => {
                    let _ = input.split_to(at);
                    return Ok(Piece::BodyEnd);
                }
                State::Data(left) if at < input.len() => {
                    let _ = input.split_to(at);
                    let here = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let data = input.split_to(here).freeze();
                    let (left, earned) = (left - here as u64, here as u64 * SPARE_A_BYTE);
                    self.spare = self.spare.saturating_add(earned);
                    self.state = match left {
                        0 => State::DataCr,
                        left => State::Data(left),
                    };
                    return Ok(Piece::Data(data));
                }
                state => {
                    let Some(&byte) = input.get(at) else {
                        input.clear();
                        return Ok(Piece::Nothing);
                    };
                    at += 1;
                    self.spare = self.spare.checked_sub(1).ok_or(Malformed)?;
                    self.state = state.after(byte).ok_or(Malformed)?;
                }
            }
        }
    }
}

impl State {
    /// Where the byte behind this one is; `None` where this one has no place.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { size, .. }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                let size = size.checked_mul(16)?.checked_add(digit.into())?;
                Some(Self::Size {
                    size,
                    has_digits: true,
                })
            }
            (
                Self::Size {
                    size,
                    has_digits: true,
                }
                | Self::Blank { size },
                _,
            ) => match byte {
                b'\r' => Some(Self::SizeEnd { size }),
                b';' => Some(Self::Extension { size }),
                b' ' | b'\t' => Some(Self::Blank { size }),
                _ => None,
            },
            (Self::Extension { size }, b'\r') => Some(Self::SizeEnd { size }),
            (Self::Extension { .. }, _) => is_text(byte).then_some(self),
            (Self::SizeEnd { size: 0 }, b'\n') => Some(Self::Line),
            (Self::SizeEnd { size }, b'\n') => Some(Self::Data(size)),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::Size {
                size: 0,
                has_digits: false,
            }),
            (Self::Line, b'\r') => Some(Self::LastLf),
            (Self::Name, b':') => Some(Self::Value),
            (Self::Line | Self::Name, _) => super::head::is_token(byte).then_some(Self::Name),
            (Self::Value, b'\r') => Some(Self::ValueEnd),
            (Self::Value, _) => is_text(byte).then_some(Self::Value),
            (Self::ValueEnd, b'\n') => Some(Self::Line),
            (Self::LastLf, b'\n') => Some(Self::BodyEnd),
            _ => None,
        }
    }
}

/// Of a value or an extension: anything but control characters, of which a tab is none here.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body, and how many of the bytes it takes; `None` where they end before it does.
    fn read(bytes: &[u8], steps: &[usize]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let (mut chunks, mut input, mut body) = (Chunks::new(), BytesMut::new(), Vec::new());
        let (mut at, mut steps) = (0, steps.iter().cycle());
        loop {
            match chunks.take(&mut input)? {
                Piece::Data(data) => body.extend(data),
                Piece::BodyEnd => return Ok(Some((body, at - input.len()))),
                Piece::Nothing if at == bytes.len() => return Ok(None),
                Piece::Nothing => {
                    let end = bytes.len().min(at + steps.next().expect("it cycles"));
                    input.extend_from_slice(&bytes[at..end]);
                    at = end;
                }
            }
        }
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read() {
        let sent =
            b"9;x=\"1\"\r\na\r\n\r\nbcde\r\n00A \t\r\n0123456789\r\n0\r\nt: 1\r\nu:\r\n\r\nGET";
        let whole = Ok(Some((b"a\r\n\r\nbcde0123456789".to_vec(), sent.len() - 3)));
        assert_eq!(read(sent, &[sent.len()]), whole);
        assert_eq!(read(b"0\r\n\r\n", &[9]), Ok(Some((Vec::new(), 5))));
    }

    #[test]
    fn what_is_no_chunk_is_malformed() {
        for malformed in [
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "+1\r\na\r\n",
            "-1\r\n",
            "0x1\r\na\r\n",
            " 1\r\na\r\n",
            "1 1\r\na\r\n",
            "1\na\r\n",
            "1\r\r\na",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "1;\n\r\na\r\n",
            "1;\0\r\na\r\n",
            "10000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nt: 1\n\r\n",
            "0\r\n\n",
            "0\r\nt: 1\r\n fold\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nt: \0\r\n\r\n",
            "0\r\n: 1\r\n\r\n",
            "0\r\n\rGET",
        ] {
            let bytes = malformed.as_bytes();
            assert_eq!(read(bytes, &[bytes.len()]), Err(Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn what_is_beside_the_body_may_not_outweigh_it() {
        let trailer = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(10_000), b"\r\n"].concat();
        assert_eq!(read(&trailer, &[1000]), Err(Malformed));
        let extension = [b"1;".as_slice(), &[b'x'; 20_000], b"\r\na\r\n0\r\n\r\n"].concat();
        assert_eq!(read(&extension, &[1000]), Err(Malformed));
        let small = [b"1\r\na\r\n".repeat(20_000), b"0\r\n\r\n".to_vec()].concat();
        let length = small.len();
        assert_eq!(
            read(&small, &[1000]),
            Ok(Some((vec![b'a'; 20_000], length)))
        );
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..30), 0..6),
            steps in prop::collection::vec(1..20_usize, 1..20),
        ) {
            let mut sent = Vec::new();
            for part in &parts {
                sent.extend(format!("{:x}\r\n", part.len()).bytes());
                sent.extend(part);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\n\r\n");
            let length = sent.len();
            sent.extend(b"GET / HTTP/1.1\r\n\r\n");
            prop_assert_eq!(read(&sent, &steps), Ok(Some((parts.concat(), length))));
        }

        #[test]
        fn any_bytes_are_a_body_or_malformed_and_cuts_change_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"01aF;= \t\r\n:x\0".to_vec()), 0..60),
            steps in prop::collection::vec(1..9_usize, 1..9),
        ) {
            prop_assert_eq!(read(&bytes, &steps), read(&bytes, &[bytes.len().max(1)]));
        }
    }
}
