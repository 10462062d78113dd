//! Listening sockets: bound, then listening, shared by the workers, emptied and closed.
//!
//! One socket an address, cloned for each worker: `SO_REUSEPORT` would hide a port in use, and a
//! queue of each worker's own would be lost with it.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::{
        linux::fs::MetadataExt as _,
        unix::fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle,
};

use super::io::Stream;

/// Connections that the kernel keeps for us to accept; `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 4096;

/// Unsent bytes that the kernel keeps for a connection. Its own bound is megabytes, and it asks for
/// more only when a third of them is gone: a client that reads slowly would seem to stand still.
const UNSENT: u32 = 128 * 1024;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket. Dropping it undoes what binding did.
pub(crate) struct Listener {
    name: Arc<str>,
    /// The real one: port 0 resolved.
    address: Address,
    socket: Socket,
    /// Where the address is a path: the socket's file, while it is ours.
    file: Option<SocketFile>,
}

impl Listener {
    /// Binds `address`; [`listen`](Self::listen) makes it known.
    ///
    /// # Errors
    /// Those of bind(2); for a path also [`ErrorKind::AddrInUse`] where another process answers at
    /// it, and [`ErrorKind::AlreadyExists`] where something is there that is not a socket.
    pub(crate) fn bind(name: &str, address: &Address) -> io::Result<Self> {
        let (socket, address, file) = match address {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                // Its connections inherit it.
                socket.set_tcp_notsent_lowat(UNSENT)?;
                socket.bind(&SockAddr::from(*address))?;
                let real = socket.local_addr()?.as_socket();
                (socket, Address::Tcp(real.unwrap_or(*address)), None)
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                let file = SocketFile::bind(&socket, path)?;
                (socket, address.clone(), Some(file))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self {
            name: name.into(),
            address,
            socket,
            file,
        })
    }

    /// Begins to listen, and gives a path's socket its name.
    ///
    /// # Errors
    /// Those of listen(2): [`ErrorKind::AddrInUse`] where another listens at the address already.
    pub(crate) fn listen(&mut self) -> io::Result<()> {
        self.socket.listen(BACKLOG)?;
        self.file.as_mut().map_or(Ok(()), SocketFile::publish)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A worker's own handle on the socket, known to the worker's `runtime`.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn share(&self, runtime: &Handle) -> io::Result<Share> {
        let socket = self.socket.try_clone()?;
        let _entered = runtime.enter();
        let socket = match self.address {
            Address::Tcp(_) => ShareSocket::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => ShareSocket::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Share {
            name: self.name.clone(),
            socket,
        })
    }

    /// Lets no new handshake begin, while those under way are completed: closing a listening
    /// socket resets both them and what is in its queue. A client whose SYN is dropped sends it
    /// again a second later, and is then refused or served by whoever listens.
    pub(crate) fn refuse_handshakes(&self) {
        if matches!(self.address, Address::Tcp(_)) {
            // The listener is about to close anyway: without the filter it merely resets some.
            if let Err(error) = self.socket.attach_filter(&DROP_SYN) {
                log::debug!(target: "everup::server", "no filter on listener {}: {error}", self.name);
            }
        }
    }

    /// Ends listening for every share, also that of a worker that is blocked, and takes a path's
    /// name away.
    pub(crate) fn close(&self) {
        // Refused only where the socket does not listen.
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// Classic BPF on a TCP header: drops what has SYN without ACK, lets all else pass (socket(7)).
const DROP_SYN: [SockFilter; 5] = {
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// One worker's handle on a listening socket.
pub(crate) struct Share {
    name: Arc<str>,
    socket: ShareSocket,
}

enum ShareSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection just accepted, and who is at its other end.
pub(crate) type Accepted = (Stream, Option<SocketAddr>);

impl Share {
    pub(crate) fn listener(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match &self.socket {
            ShareSocket::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| {
                // Refused only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), Some(peer))
            }),
            ShareSocket::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }

    /// The same handle, to take what the queue holds without waiting for the runtime to notice it.
    ///
    /// # Errors
    /// Where the runtime does not let go of it.
    pub(crate) fn into_queue(self) -> io::Result<Queue> {
        let socket = match self.socket {
            ShareSocket::Tcp(socket) => socket.into_std().map(Socket::from),
            ShareSocket::Unix(socket) => socket.into_std().map(Socket::from),
        };
        Ok(Queue {
            name: self.name,
            socket: socket?,
        })
    }
}

/// What is left in a listening socket's queue.
pub(crate) struct Queue {
    name: Arc<str>,
    socket: Socket,
}

impl Queue {
    pub(crate) fn listener(&self) -> &Arc<str> {
        &self.name
    }

    /// The next connection; `None` where the queue is empty.
    ///
    /// # Errors
    /// Those of accept(2).
    pub(crate) fn next(&self) -> io::Result<Option<Accepted>> {
        let (socket, peer) = match self.socket.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock || is_shut(&error) => {
                return Ok(None);
            }
            accepted => accepted?,
        };
        socket.set_nonblocking(true)?;
        let peer = peer.as_socket();
        let stream = if peer.is_some() {
            let _ = socket.set_tcp_nodelay(true);
            Stream::Tcp(tokio::net::TcpStream::from_std(socket.into())?)
        } else {
            Stream::Unix(tokio::net::UnixStream::from_std(socket.into())?)
        };
        Ok(Some((stream, peer)))
    }
}

/// Whether accept(2) failed because the socket does not listen any more ([`Listener::close`]).
pub(crate) fn is_shut(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
}

/// Whether accept(2) failed for a client that is gone, not for want of something.
pub(crate) fn is_clients_fault(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    )
}

/// A unix socket's file. It has its mode before it has its name, replaces only a socket that nobody
/// answers, and is removed only while it is still ours.
struct SocketFile {
    path: PathBuf,
    /// Its name until it listens.
    draft: Option<PathBuf>,
    inode: (u64, u64),
}

impl SocketFile {
    fn bind(socket: &Socket, path: &Path) -> io::Result<Self> {
        Self::free(path)?;
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        // Left by a process of our number that was killed between bind and publish.
        let _ = fs::remove_file(&draft);
        socket.bind(&SockAddr::unix(&draft)?)?;
        let mut file = Self {
            path: path.to_owned(),
            draft: Some(draft.clone()),
            inode: (0, 0),
        };
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        file.inode = inode(&draft)?;
        Ok(file)
    }

    fn publish(&mut self) -> io::Result<()> {
        if let Some(draft) = &self.draft {
            fs::rename(draft, &self.path)?;
            self.draft = None;
        }
        Ok(())
    }

    fn remove(&self) {
        let path = self.draft.as_ref().unwrap_or(&self.path);
        if inode(path).is_ok_and(|found| found == self.inode) {
            // Nothing else can be done about it; the next start replaces it.
            let _ = fs::remove_file(path);
        }
    }

    /// Makes sure that `path` names nothing, or a socket that nobody answers.
    fn free(path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "not a socket"));
            }
            Ok(_) => {}
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(
                ErrorKind::AddrInUse,
                "another process answers",
            )),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.st_dev(), metadata.st_ino()))
}
