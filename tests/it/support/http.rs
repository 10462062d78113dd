//! HTTP/1.1 over a raw socket, small and exact: what was sent and what came back is known to the byte.
use super::{CEILING, tls};
use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    mem::MaybeUninit,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Where a listener is, as the program writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// Where TLS is spoken; only tests say so.
    Tls(SocketAddr),
}

impl Address {
    /// Where the listener of this name listens, as a status tells.
    pub fn of_listener(status: &Value, name: &str) -> Option<Self> {
        let listeners = status["listeners"].as_array().expect("a list");
        let found = listeners.iter().find(|listener| listener["name"] == name)?;
        Self::parse(found["address"].as_str().expect("a text"))
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => Some(Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }

    /// The same, to be spoken to in TLS.
    pub fn tls(&self) -> Self {
        match self {
            Self::Tcp(address) => Self::Tls(*address),
            other => panic!("{other}: no TCP address"),
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) | Self::Tls(address) => address.port(),
            Self::Unix(path) => panic!("unix:{} has no port", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Tls(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One request's bytes; `Host: localhost` and the body's length are added where the headers lack them.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let has = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !has("host") {
        text.push_str("Host: localhost\r\n");
    }
    if !has("content-length") && (!body.is_empty() || method == "POST") {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the server announced that it closes the connection.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("close"))
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// What a silent connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    Open,
    Closed,
    /// Bytes are waiting to be read.
    Bytes,
}

/// One connection and what has been read on it beyond the last answer.
pub struct Conn {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
    buffer: Vec<u8>,
}

impl Conn {
    pub fn dial(to: &Address) -> io::Result<Self> {
        Self::dial_with(to, |_| Ok(()))
    }

    /// As [`Conn::dial`], with options that a socket takes before it connects.
    pub fn dial_with(
        to: &Address,
        set: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Self> {
        let socket = match to {
            Address::Tcp(address) | Address::Tls(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                set(&socket)?;
                socket.set_tcp_nodelay(true)?;
                socket.connect_timeout(&SockAddr::from(*address), CEILING)?;
                // Dialling a free port can meet itself: nobody listens there.
                if socket.local_addr()? == socket.peer_addr()? {
                    return Err(ErrorKind::ConnectionRefused.into());
                }
                socket
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                set(&socket)?;
                socket.connect(&SockAddr::unix(path)?)?;
                socket
            }
        };
        let conn = Self::over(socket)?;
        match to {
            Address::Tls(_) => conn.secure(tls::http1()),
            Address::Tcp(_) | Address::Unix(_) => Ok(conn),
        }
    }

    /// A connection that this socket makes, or is about to.
    pub fn over(socket: Socket) -> io::Result<Self> {
        socket.set_read_timeout(Some(CEILING))?;
        socket.set_write_timeout(Some(CEILING))?;
        Ok(Self {
            socket,
            tls: None,
            buffer: Vec::new(),
        })
    }

    /// Begins to shake hands; reading and writing go on with it.
    pub fn greet(mut self, config: Arc<ClientConfig>) -> io::Result<Self> {
        let mut tls = tls::begin(config);
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// Shakes hands.
    pub fn secure(mut self, config: Arc<ClientConfig>) -> io::Result<Self> {
        let mut tls = tls::begin(config);
        while tls.is_handshaking() {
            tls.complete_io(&mut self.socket)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// What the handshake has come to.
    pub fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().expect("it was secured")
    }

    pub fn open(to: &Address) -> Self {
        Self::dial(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"))
    }

    /// Writes all of it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.socket).write_all(bytes),
            None => self.socket.write_all(bytes),
        }
    }

    /// Reads what has come.
    fn receive(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.socket).read(piece),
            None => self.socket.read(piece),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.write(bytes)
            .unwrap_or_else(|error| panic!("write {:?}: {error}", String::from_utf8_lossy(bytes)));
    }

    /// The next whole answer; an error says how far it came.
    pub fn read(&mut self) -> io::Result<Response> {
        let (status, headers) = self.read_head()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let chunked = response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if matches!(status, 100..=199 | 204 | 304) {
        } else if chunked {
            response.body = self.read_chunks()?;
        } else if let Some(length) = response.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| invalid(format!("content-length {length:?}")))?;
            response.body = self.take(length)?;
        } else {
            while self.fill("a body that ends with the connection").is_ok() {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Ok(response)
    }

    pub fn answer(&mut self) -> Response {
        self.read()
            .unwrap_or_else(|error| panic!("read an answer: {error}"))
    }

    /// The next answer to a HEAD request: it ends with its head.
    pub fn answer_to_head(&mut self) -> Response {
        let (status, headers) = self
            .read_head()
            .unwrap_or_else(|error| panic!("read a head: {error}"));
        Response {
            status,
            headers,
            body: Vec::new(),
        }
    }

    /// Sends `GET path` and reads the answer.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(&request("GET", path, &[], b""));
        self.answer()
    }

    /// Waits so long for the server to say or close something, which it need not.
    pub fn quiet(&mut self, wait: Duration) -> Quiet {
        if !self.buffer.is_empty() {
            return Quiet::Bytes;
        }
        let nonblocking = wait.is_zero();
        let set = |socket: &Socket, on| {
            let set = if nonblocking {
                socket.set_nonblocking(on)
            } else {
                socket.set_read_timeout(Some(if on { wait } else { CEILING }))
            };
            set.expect("a live socket takes options");
        };
        set(&self.socket, true);
        let seen = loop {
            match self.look() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                seen => break seen,
            }
        };
        set(&self.socket, false);
        match seen {
            Ok(0) => Quiet::Closed,
            Ok(_) => Quiet::Bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Quiet::Open
            }
            Err(_) => Quiet::Closed,
        }
    }

    /// How much has come. Within TLS only reading tells.
    fn look(&mut self) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.peek(&mut [MaybeUninit::uninit()]);
        }
        let mut piece = [0; 1024];
        let read = self.receive(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// Waits for the server to close; what it still says before is the answer.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill("") {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("the server left the connection open")
                }
                Err(_) => return std::mem::take(&mut self.buffer),
            }
        }
    }

    /// Waits for the server to close without another byte.
    pub fn closed(&mut self) {
        let rest = self.rest();
        assert!(
            rest.is_empty(),
            "closed, but only after {:?}",
            String::from_utf8_lossy(&rest)
        );
    }

    /// Waits for the end that TLS has, after which nothing can be missing.
    pub fn ends_with_close_notify(&mut self) {
        match self.receive(&mut [0; 1]) {
            Ok(0) => {}
            other => panic!("expected close_notify, found {other:?}"),
        }
    }

    /// Sends no more, of which TLS is not told.
    pub fn half_close(&self) {
        let closed = self.socket.shutdown(std::net::Shutdown::Write);
        closed.expect("it is open");
    }

    /// Writes to the socket itself, past TLS.
    pub fn send_beneath(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it takes them");
    }

    /// Reads `count` bytes, of whatever it is, and forgets them.
    pub fn skip(&mut self, count: usize) {
        self.bytes(count);
    }

    /// Reads `count` bytes, of whatever it is.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.take(count)
            .unwrap_or_else(|error| panic!("read {count} bytes: {error}"))
    }

    /// Closes with a reset, as a client that was killed does.
    pub fn hang_up(self) {
        self.socket
            .set_linger(Some(Duration::ZERO))
            .expect("a live socket takes options");
    }

    /// The client's own address: the peer, as the program's log names it.
    pub fn local(&self) -> String {
        let address = self
            .socket
            .local_addr()
            .expect("a connected socket has an address");
        address
            .as_socket()
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill("a head")?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head =
            String::from_utf8(head).map_err(|_| invalid("a head that is not UTF-8".into()))?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.strip_prefix(['0', '1']))
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid(format!("status line {first:?}")))?;
        let headers = lines
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| invalid(format!("header {line:?}")))?;
                Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok((status, headers))
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                    break at;
                }
                self.fill("a chunk's size")?;
            };
            let line = String::from_utf8_lossy(&self.take(end + 2)?)
                .trim_end()
                .to_owned();
            let size = usize::from_str_radix(&line, 16)
                .map_err(|_| invalid(format!("chunk size {line:?}")))?;
            let chunk = self.take(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill("a body")?;
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill(&mut self, of: &str) -> io::Result<()> {
        let mut piece = [0; 64 * 1024];
        let read = loop {
            match self.receive(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        if read == 0 {
            let text = format!("closed with {} bytes of {of} read", self.buffer.len());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(())
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}
