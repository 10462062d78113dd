//! Listening sockets: bound, then listening, shared by the workers, emptied and closed.
//!
//! One socket an address, cloned for each worker: `SO_REUSEPORT` would hide a port in use, and a
//! queue of each worker's own would be lost with it.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle,
};

use super::{
    activation::address_of,
    socket,
    socket_file::{FileIdentity, SocketFile},
};
use crate::settings::Address;

/// Connections that the kernel keeps for us to accept; `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 4096;

/// Unsent bytes that the kernel keeps for a connection. Its own bound is megabytes, and it asks for
/// more only when a third of them is gone: a client that reads slowly would seem to stand still.
const UNSENT: u32 = 128 * 1024;

/// A socket that listens or will. Dropping it undoes what binding did, unless the socket lives on
/// in another process.
pub(crate) struct Listener {
    name: Arc<str>,
    /// As it was asked for: port 0 stands.
    asked: Address,
    /// The real one: port 0 resolved.
    address: Address,
    socket: Socket,
    /// Where the address is a path: the socket's file.
    file: Option<SocketFile>,
    elsewhere: Elsewhere,
}

/// What is to be known of a listening socket that passes from one process to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bequest {
    name: Arc<str>,
    asked: Address,
    address: Address,
    file: Option<FileIdentity>,
    /// Whether the service manager holds it as well.
    is_managed: bool,
}

impl Bequest {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is what a listener of this name and address needs. Where the system has picked
    /// the port, the name tells which it is.
    pub(crate) fn is_of(&self, name: &str, address: &Address) -> bool {
        let is_asked = self.asked == *address;
        self.address == *address || (is_asked && (*self.name == *name || !address.is_any_port()))
    }

    /// Where its listener in this process is to know that it lives on in the process that left it.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        let elsewhere = Elsewhere::new(self.is_managed);
        elsewhere.set(true);
        elsewhere
    }
}

/// Whether a listening socket lives on in another process, whose queue and name it then has. Told to
/// a listener and all of its shares at once.
#[derive(Clone, Debug)]
pub(crate) struct Elsewhere {
    is_managed: bool,
    has_passed: Arc<AtomicBool>,
}

impl Elsewhere {
    fn new(is_managed: bool) -> Self {
        Self {
            is_managed,
            has_passed: Arc::default(),
        }
    }

    /// Whether another process of the program serves it now.
    pub(crate) fn set(&self, has_passed: bool) {
        self.has_passed.store(has_passed, Ordering::Release);
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Acquire)
    }

    /// Whether it outlives this process: passed, or held by the service manager.
    pub(crate) fn lives_on(&self) -> bool {
        self.is_managed || self.has_passed()
    }
}

/// The mode of a unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// Who may connect is decided by the directory, as a TCP port is open to every local user.
    Anyone,
    Owner,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Anyone => 0o666,
            Self::Owner => 0o600,
        }
    }
}

impl Listener {
    /// Binds `address`; [`listen`](Self::listen) makes it known.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] where the address only names a socket. Those of bind(2); for a path also [`ErrorKind::AddrInUse`] where another process answers at
    /// it, and [`ErrorKind::AlreadyExists`] where something is there that is not a socket.
    pub(crate) fn bind(name: &str, address: &Address, access: Access) -> io::Result<Self> {
        let asked = address.clone();
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
                let file = SocketFile::bind(&socket, path, access.mode())?;
                (socket, address.clone(), Some(file))
            }
            Address::Systemd(_) => return Err(ErrorKind::InvalidInput.into()),
        };
        socket.set_nonblocking(true)?;
        Ok(Self {
            name: name.into(),
            asked,
            address,
            socket,
            file,
            elsewhere: Elsewhere::new(false),
        })
    }

    /// A listener on a socket that the service manager holds: it listens already, with the queue that
    /// the manager chose, and its file is the manager's.
    ///
    /// # Errors
    /// Where it is no socket of a kind that we know.
    pub(super) fn activated(name: &str, asked: &Address, socket: Socket) -> io::Result<Self> {
        let address = address_of(&socket.local_addr()?).ok_or(ErrorKind::Unsupported)?;
        if address.tcp().is_some() {
            socket.set_tcp_notsent_lowat(UNSENT)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            name: name.into(),
            asked: asked.clone(),
            address,
            socket,
            file: None,
            elsewhere: Elsewhere::new(true),
        })
    }

    /// A listener whose socket another process has left: it listens already, and has its name.
    ///
    /// # Errors
    /// Where it is no socket.
    pub(crate) fn inherit(
        name: &str,
        asked: &Address,
        bequest: Bequest,
        socket: OwnedFd,
        elsewhere: Elsewhere,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        let file = match &bequest.address {
            Address::Unix(path) => bequest.file.map(|file| SocketFile::inherited(path, file)),
            Address::Tcp(_) | Address::Systemd(_) => None,
        };
        Ok(Self {
            name: name.into(),
            asked: asked.clone(),
            address: bequest.address,
            socket,
            file,
            elsewhere,
        })
    }

    /// What another process needs to [`inherit`](Self::inherit) it.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn bequeath(&self) -> io::Result<(Bequest, OwnedFd)> {
        let bequest = Bequest {
            name: self.name.clone(),
            asked: self.asked.clone(),
            address: self.address.clone(),
            file: self.file.as_ref().map(SocketFile::identity),
            is_managed: self.elsewhere.is_managed,
        };
        Ok((bequest, self.socket.try_clone()?.into()))
    }

    /// Where it is told that its socket lives on in another process.
    pub(crate) fn elsewhere(&self) -> &Elsewhere {
        &self.elsewhere
    }

    /// Begins to listen, and gives a path's socket its name.
    ///
    /// # Errors
    /// Those of listen(2): [`ErrorKind::AddrInUse`] where another listens at the address already.
    /// For a path those of [`bind`](Self::bind) too, where somebody has come first.
    pub(crate) fn listen(&mut self) -> io::Result<()> {
        if self.elsewhere.is_managed {
            return Ok(());
        }
        self.socket.listen(BACKLOG)?;
        self.file.as_mut().map_or(Ok(()), SocketFile::publish)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// As settings have it.
    pub(crate) fn asked(&self) -> &Address {
        &self.asked
    }

    /// The real one: never that of a name.
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
        let socket = match self.address.tcp() {
            Some(_) => ShareSocket::Tcp(TcpListener::from_std(socket.into())?),
            None => ShareSocket::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Share {
            name: self.name.clone(),
            socket,
            elsewhere: self.elsewhere.clone(),
        })
    }

    /// Lets no new connection begin, while handshakes under way are completed and the queue stays:
    /// closing a listening socket resets them all. A client whose SYN is dropped sends it again a
    /// second later, and is then refused or served by whoever listens; on a path it is refused.
    pub(crate) fn refuse_handshakes(&self) {
        if self.elsewhere.lives_on() {
            return;
        }
        if self.file.is_some() {
            // Refused only where the socket does not listen.
            let _ = self.socket.shutdown(std::net::Shutdown::Read);
        } else if let Err(error) = self.socket.attach_filter(&DROP_SYN) {
            // The listener is about to close anyway: without the filter it merely resets some.
            log::debug!(target: "everup::server", "no filter on listener {}: {error}", self.name);
        }
    }

    /// Ends listening for every share, also that of a worker that is blocked, and takes a path's
    /// name away. Of a socket that lives on elsewhere each worker closes its own share, no more.
    pub(crate) fn close(&self) {
        if self.elsewhere.lives_on() {
            return;
        }
        // Refused only where the socket does not listen.
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.elsewhere.lives_on()) {
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
    elsewhere: Elsewhere,
}

enum ShareSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection just accepted, and who is at its other end.
pub(crate) type Accepted = (socket::Socket, Option<SocketAddr>);

impl Share {
    pub(crate) fn listener(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether its queue is another process's to empty.
    pub(crate) fn lives_on_elsewhere(&self) -> bool {
        self.elsewhere.lives_on()
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match &self.socket {
            ShareSocket::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| {
                // Refused only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                (socket::Socket::Tcp(stream), Some(peer))
            }),
            ShareSocket::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (socket::Socket::Unix(stream), None)),
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
        match self.socket.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock || is_shut(&error) => Ok(None),
            accepted => {
                let (socket, peer) = accepted?;
                accepted_from(socket, &peer).map(Some)
            }
        }
    }
}

/// A connection that another process has accepted. Must be called within a runtime.
///
/// # Errors
/// Where it is gone, or the runtime does not take it.
pub(crate) fn accepted_elsewhere(socket: OwnedFd) -> io::Result<Accepted> {
    let socket = Socket::from(socket);
    let peer = socket.peer_addr()?;
    accepted_from(socket, &peer)
}

fn accepted_from(socket: Socket, peer: &SockAddr) -> io::Result<Accepted> {
    socket.set_nonblocking(true)?;
    let peer = peer.as_socket();
    let stream = if peer.is_some() {
        // Refused only on a connection that is gone already.
        let _ = socket.set_tcp_nodelay(true);
        socket::Socket::Tcp(tokio::net::TcpStream::from_std(socket.into())?)
    } else {
        socket::Socket::Unix(tokio::net::UnixStream::from_std(socket.into())?)
    };
    Ok((stream, peer))
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
