//! As much HTTP/1.1 as a client needs that knows its server: heads, `content-length`, keep-alive.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use memchr::memmem;

/// How long a client waits before it takes an answer for lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A whole answer.
pub struct Answer<'a> {
    pub status: u16,
    /// The server closes the connection behind it.
    pub is_last: bool,
    pub body: &'a [u8],
}

/// The answers that have come and were not taken yet.
pub struct Buffer {
    bytes: Vec<u8>,
    /// Where the first of them starts.
    start: usize,
    filled: usize,
}

impl Buffer {
    pub fn new() -> Self {
        Self {
            bytes: vec![0; 4096],
            start: 0,
            filled: 0,
        }
    }

    /// Where the next bytes go.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled == self.bytes.len() {
            self.bytes.resize(2 * self.filled, 0);
        }
        &mut self.bytes[self.filled..]
    }

    /// This many bytes have come, none where the server has closed. Whether the answer is whole.
    pub fn take(&mut self, count: usize) -> io::Result<bool> {
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        self.has_answer()
    }

    /// Whether an answer is whole.
    pub fn has_answer(&self) -> io::Result<bool> {
        Ok(self.parse()?.is_some())
    }

    /// Whether every byte that has come was taken with an answer.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The next answer, which must be whole.
    pub fn answer(&mut self) -> io::Result<Answer<'_>> {
        let parsed = self.parse()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (from, to) = (self.start + parsed.body, self.start + parsed.end);
        self.start = to;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
        }
        Ok(Answer {
            status: parsed.status,
            is_last: parsed.is_last,
            body: &self.bytes[from..to],
        })
    }

    /// The next answer's parts, once it is whole.
    fn parse(&self) -> io::Result<Option<Parsed>> {
        let bytes = &self.bytes[self.start..self.filled];
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
        let (mut length, mut is_last) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse::<usize>().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                is_last = value.eq_ignore_ascii_case("close");
            }
        }
        let (Some(status), Some(length)) = (status, length) else {
            return Err(invalid());
        };
        let body = end + 4;
        let parsed = Parsed {
            status,
            is_last,
            body,
            end: body + length,
        };
        Ok((parsed.end <= bytes.len()).then_some(parsed))
    }
}

/// Where the parts of an answer are, from its first byte.
struct Parsed {
    status: u16,
    is_last: bool,
    body: usize,
    end: usize,
}

/// A client that waits for each answer, on a connection that is kept alive.
pub struct Client {
    stream: TcpStream,
    buffer: Buffer,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Buffer::new(),
        })
    }

    /// Sends a request without a body, `method path`.
    pub fn send(&mut self, request: &str) -> io::Result<()> {
        self.write(&format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    fn write(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.write_all(bytes.as_bytes())
    }

    /// Waits for the answer to what was sent.
    pub fn receive(&mut self) -> io::Result<Answer<'_>> {
        loop {
            let count = self.stream.read(self.buffer.space())?;
            if self.buffer.take(count)? {
                return self.buffer.answer();
            }
        }
    }

    /// The body of the answer, which must be a 200.
    pub fn ask(&mut self, request: &str) -> anyhow::Result<&[u8]> {
        self.send(request).context("a request")?;
        self.receive_ok(request)
    }

    /// As [`ask`](Self::ask), of a whole request in its bytes.
    pub fn ask_with(&mut self, request: &str) -> anyhow::Result<&[u8]> {
        self.write(request).context("a request")?;
        self.receive_ok(request)
    }

    fn receive_ok(&mut self, request: &str) -> anyhow::Result<&[u8]> {
        let answer = self
            .receive()
            .with_context(|| format!("the answer to {request}"))?;
        let (status, body) = (answer.status, answer.body);
        ensure!(
            status == 200,
            "{request}: {status}: {}",
            String::from_utf8_lossy(body)
        );
        Ok(body)
    }
}
