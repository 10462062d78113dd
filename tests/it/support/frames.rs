//! HTTP/2 over a raw socket, frame by frame: what a well-behaved client library would never send.
use super::{Address, CEILING};
use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;

/// Codes of errors (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// What GOAWAY says while it is not known which stream will be the last.
pub const ANY_STREAM: u32 = u32::MAX >> 1;

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of header fields, each literal and not indexed (RFC 7541 §6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // A length in seven bits, or 127 and what is more in groups of seven.
            match u8::try_from(text.len()) {
                Ok(length) if length < 127 => block.push(length),
                _ => {
                    block.push(127);
                    let mut more = text.len() - 127;
                    while more >= 128 {
                        block.push(u8::try_from(more % 128).expect("seven bits") | 128);
                        more /= 128;
                    }
                    block.push(u8::try_from(more).expect("seven bits"));
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The fields of a request without a body.
pub fn get(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ])
}

/// The fields of a request with one.
pub fn post(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ])
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The last stream and the code of a GOAWAY.
    pub fn goes_away(&self) -> Option<(u32, u32)> {
        let payload: &[u8; 8] = self.payload.first_chunk()?;
        let [a, b, c, d, e, f, g, h] = *payload;
        let said = (
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        );
        (self.kind == GOAWAY).then_some(said)
    }

    /// The code of a RST_STREAM.
    pub fn resets(&self) -> Option<u32> {
        let code = *self.payload.first_chunk()?;
        (self.kind == RST_STREAM).then_some(u32::from_be_bytes(code))
    }

    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A connection on which every frame is the test's.
pub struct RawH2 {
    socket: TcpStream,
    /// Streams whose responses have ended, in whatever order.
    ended: BTreeSet<u32>,
}

impl RawH2 {
    /// A connection on which nothing has been said.
    pub fn dial(address: &Address) -> Self {
        let Address::Tcp(address) = address else {
            panic!("{address} is no TCP address");
        };
        let socket = TcpStream::connect(address).expect("it accepts");
        socket.set_nodelay(true).expect("a fresh socket");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&socket, Some(CEILING)).expect("a fresh socket");
        }
        Self {
            socket,
            ended: BTreeSet::new(),
        }
    }

    /// A connection with the preface and empty settings sent.
    pub fn open(address: &Address) -> Self {
        let mut conn = Self::dial(address);
        conn.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        conn
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("it reads");
    }

    /// Fails where the program has closed the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload));
    }

    /// Sends a whole `GET`.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path));
    }

    /// The next frame; `None` where the connection ends.
    ///
    /// # Panics
    /// Where neither comes for [`CEILING`].
    pub fn read(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.fill(&mut header)?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
        self.fill(&mut payload)?;
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        };
        if frame.ends_stream() {
            self.ended.insert(frame.stream);
        }
        Some(frame)
    }

    /// The next frame that `is` accepts; others are read over.
    pub fn until(&mut self, what: &str, is: impl Fn(&Frame) -> bool) -> Frame {
        let mut over = Vec::new();
        while let Some(frame) = self.read() {
            if is(&frame) {
                return frame;
            }
            over.push(frame);
        }
        panic!("the connection ended, and no {what} came: {over:?}")
    }

    /// Waits for the end of this stream's response, which may have come before that of another.
    pub fn answered(&mut self, stream: u32) {
        if !self.ended.contains(&stream) {
            self.until("end of the response", |frame| {
                frame.stream == stream && frame.ends_stream()
            });
        }
    }

    /// Waits for the frames of a goodbye: GOAWAY for any stream, then a PING; returns its payload.
    pub fn told_to_go(&mut self) -> Vec<u8> {
        let told = self.until("GOAWAY", |frame| frame.kind == GOAWAY);
        assert_eq!(told.goes_away(), Some((ANY_STREAM, NO_ERROR)), "{told:?}");
        let ping = self.until("PING", |frame| frame.kind == PING && frame.flags & ACK == 0);
        ping.payload
    }

    pub fn pong(&mut self, payload: &[u8]) {
        self.frame(PING, ACK, 0, payload);
    }

    /// Closes this end for sending; the other one may go on.
    pub fn hang_up(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("it is open");
    }

    /// All frames to the end of the connection; then this end is closed too.
    pub fn rest(&mut self) -> Vec<Frame> {
        let frames = std::iter::from_fn(|| self.read()).collect();
        // Gone already is as good.
        let _gone = self.socket.shutdown(Shutdown::Both);
        frames
    }

    fn fill(&mut self, buf: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(buf) {
            Ok(()) => Some(()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                None
            }
            Err(error) => panic!("{error}: neither a frame nor the connection's end came"),
        }
    }
}
