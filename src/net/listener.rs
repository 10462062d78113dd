//! Listening sockets: binds them, shares them with the workers, opens them to clients, empties and closes
//! them.
//!
//! There is one socket an address, cloned for each worker. `SO_REUSEPORT` would hide a port in use, and
//! closing a worker's own socket would lose its queue.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::runtime::Handle;

use super::{
    activation::address_of,
    lent_port::{LentPort, take_back},
    origin::Origin,
    share::{Share, is_clients_fault},
    socket::has_received,
    socket_file::{FileIdentity, SocketFile},
};
use crate::settings::Address;

/// Connections that the kernel keeps for us to accept; `net.core.somaxconn` may allow fewer.
const BACKLOG: i32 = 4096;

/// How long another process may be about to take or to remove a path: that takes a few system calls.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is tried again.
const PUBLISH_TICK: Duration = Duration::from_millis(2);

/// Unsent bytes that the kernel keeps for a connection. Its own bound is megabytes, and it asks for
/// more only when a third of them is gone: a client that reads slowly would seem to stand still.
const UNSENT: u32 = 128 * 1024;

/// A socket that listens or will. Dropping it undoes what binding did, unless the socket lives on
/// in another process.
pub(crate) struct Listener {
    origin: Arc<Origin>,
    /// As it was asked for: port 0 stands.
    asked: Address,
    /// The real one: port 0 resolved.
    address: Address,
    socket: Socket,
    /// Where the address is a path: the socket's file.
    file: Option<SocketFile>,
    access: Access,
    /// Bound here, and clients cannot reach it yet.
    is_shut: bool,
    /// Until all are open that are to be: the ports of others that it may overlap.
    lent: Vec<LentPort>,
}

/// What is to be known of a listening socket that passes from one process to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InheritedSocket {
    name: Arc<str>,
    asked: Address,
    address: Address,
    file: Option<FileIdentity>,
    access: Access,
    /// Whether the service manager holds it as well.
    is_managed: bool,
}

impl InheritedSocket {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is what such a listener needs. Where the system has picked the port, the name tells
    /// which it is; a path's mode stays as it is, and a path must still lead to it.
    pub(crate) fn is_of(&self, name: &str, address: &Address, access: Access) -> bool {
        let is_asked = self.asked == *address;
        let is_it = self.address == *address
            || (is_asked && (*self.name == *name || !address.is_any_port()));
        is_it && (self.address.tcp().is_some() || self.access == access) && self.has_file()
    }

    /// Whether a path still leads to the socket.
    fn has_file(&self) -> bool {
        match (&self.address, &self.file) {
            (Address::Unix(path), Some(file)) => file.is_at(path),
            _ => true,
        }
    }

    /// As [`Listener::lend`], of the socket that it belongs to.
    pub(crate) fn lend(&self, socket: &OwnedFd, port: u16) -> io::Result<Option<LentPort>> {
        let is_there = self.address.tcp().is_some_and(|at| at.port() == port);
        if !is_there {
            return Ok(None);
        }
        LentPort::of(Socket::from(socket.try_clone()?), port).map(Some)
    }
}

/// The mode of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Binds `address`. Next it is to [`listen`](Self::listen), then to be [published](Self::publish),
    /// then [opened](Self::open).
    ///
    /// Addresses of sockets that `lend` their port may overlap with it, as `0.0.0.0:80` does with
    /// `127.0.0.1:80`.
    ///
    /// # Errors
    /// Those of bind(2); [`ErrorKind::InvalidInput`] for an address that only names a socket. For a
    /// path also [`ErrorKind::AddrInUse`] where another process answers at it, and
    /// [`ErrorKind::AlreadyExists`] where something is there that is not a socket.
    pub(crate) fn bind(
        name: &str,
        address: &Address,
        access: Access,
        lend: impl FnOnce(u16) -> io::Result<Vec<LentPort>>,
    ) -> io::Result<Self> {
        let asked = address.clone();
        let mut lent = Vec::new();
        let (socket, address, file) = match address {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                // Its connections inherit it.
                socket.set_tcp_notsent_lowat(UNSENT)?;
                if let Err(error) = socket.bind(&SockAddr::from(*address)) {
                    if error.kind() != ErrorKind::AddrInUse {
                        return Err(error);
                    }
                    lent = lend(address.port())?;
                    if lent.is_empty() {
                        return Err(error);
                    }
                    socket.set_reuse_port(true)?;
                    socket.bind(&SockAddr::from(*address))?;
                }
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
            origin: Origin::new(name, address.tcp(), false),
            asked,
            address,
            socket,
            file,
            access,
            is_shut: true,
            lent,
        })
    }

    /// A listener on a socket that the service manager holds: it listens already, with the queue that
    /// the manager chose, and its file is the manager's.
    ///
    /// # Errors
    /// Where it is no socket of a kind that we know.
    pub(crate) fn activated(name: &str, asked: &Address, socket: Socket) -> io::Result<Self> {
        let address = address_of(&socket.local_addr()?).ok_or(ErrorKind::Unsupported)?;
        if address.tcp().is_some() {
            socket.set_tcp_notsent_lowat(UNSENT)?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            origin: Origin::new(name, address.tcp(), true),
            asked: asked.clone(),
            address,
            socket,
            file: None,
            access: Access::Anyone,
            is_shut: false,
            lent: Vec::new(),
        })
    }

    /// A listener whose socket another has left, in this process or the one before: it listens
    /// already, and has its name. It lives on elsewhere until its origin is told otherwise.
    ///
    /// # Errors
    /// Where it is no socket.
    pub(crate) fn inherit(
        name: &str,
        asked: &Address,
        inherited: InheritedSocket,
        socket: OwnedFd,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        let file = match &inherited.address {
            Address::Unix(path) => inherited.file.map(|file| SocketFile::inherited(path, file)),
            Address::Tcp(_) | Address::Systemd(_) => None,
        };
        let origin = Origin::new(name, inherited.address.tcp(), inherited.is_managed);
        origin.set_passed(true);
        Ok(Self {
            origin,
            asked: asked.clone(),
            address: inherited.address,
            socket,
            file,
            access: inherited.access,
            is_shut: false,
            lent: Vec::new(),
        })
    }

    /// What another listener needs to [`inherit`](Self::inherit) it.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn clone_for_successor(&self) -> io::Result<(InheritedSocket, OwnedFd)> {
        Ok((self.as_inherited(), self.socket.try_clone()?.into()))
    }

    pub(crate) fn as_inherited(&self) -> InheritedSocket {
        InheritedSocket {
            name: self.origin.name().clone(),
            asked: self.asked.clone(),
            address: self.address.clone(),
            file: self.file.as_ref().map(SocketFile::identity),
            access: self.access,
            is_managed: self.origin.is_managed(),
        }
    }

    /// As its shares and connections know it.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Begins to listen, while no client can reach it yet: a path's socket has no name that anybody
    /// knows, and a TCP handshake waits until it is [opened](Self::open).
    ///
    /// # Errors
    /// Those of listen(2): [`ErrorKind::AddrInUse`] where another listens at the address already.
    pub(crate) fn listen(&self) -> io::Result<()> {
        if !self.is_shut {
            return Ok(());
        }
        if self.address.tcp().is_some() {
            // Without the filter some may be reset where the rest fails, and no more.
            let _ = self.socket.attach_filter(&DROP_SYN);
        }
        self.socket.listen(BACKLOG)?;
        if !self.lent.is_empty() {
            self.socket.set_reuse_port(false)?;
        }
        Ok(())
    }

    /// Gives a path's socket its name, which clients know. Waits for another process that is about to
    /// take or to remove that name; must be called within a runtime.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind), where somebody has come first; [`ErrorKind::TimedOut`] where
    /// the other process does not come to an end.
    pub(crate) async fn publish(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let publishing = async {
            loop {
                match file.publish() {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        tokio::time::sleep(PUBLISH_TICK).await;
                    }
                    published => return published,
                }
            }
        };
        let published = tokio::time::timeout(PUBLISH_PATIENCE, publishing).await;
        published.unwrap_or_else(|_| {
            let why = "another process is about to take or to remove it";
            Err(io::Error::new(ErrorKind::TimedOut, why))
        })
    }

    /// Lets clients in. Cannot fail.
    pub(crate) fn open(&mut self) {
        if std::mem::take(&mut self.is_shut) && self.address.tcp().is_some() {
            // Refused only where there is none.
            let _ = self.socket.detach_filter();
        }
    }

    /// Takes back what others have lent it: when all are open to whom the same is lent.
    pub(crate) fn return_ports(&mut self) {
        self.lent.clear();
    }

    /// Lets another bind what overlaps with this listener's address, where that is at this port, as
    /// long as what is returned lives.
    ///
    /// # Errors
    /// Where the descriptors are used up.
    pub(crate) fn lend(&self, port: u16) -> io::Result<Option<LentPort>> {
        let is_there = self.address.tcp().is_some_and(|at| at.port() == port);
        if !is_there {
            return Ok(None);
        }
        LentPort::of(self.socket.try_clone()?, port).map(Some)
    }

    /// Takes its port back from a process that it was passed to and that has ended before it could
    /// return it.
    pub(crate) fn reclaim_port(&self) {
        if let Some(address) = self.address.tcp()
            && !self.origin.is_managed()
            && self.socket.reuse_port().unwrap_or(false)
        {
            take_back(&self.socket, address.port());
        }
    }

    /// Whether a path still leads to it.
    pub(crate) fn has_file(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        self.origin.name()
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
        Share::new(self.origin.clone(), socket, self.address.tcp().is_some())
    }

    /// Lets no new connection begin, while handshakes under way are completed and the queue stays:
    /// closing a listening socket resets them all. A client whose SYN is dropped sends it again a
    /// second later, and is then refused or served by whoever listens; on a path it is refused.
    pub(crate) fn refuse_handshakes(&self) {
        if self.origin.lives_on() {
            return;
        }
        if self.file.is_some() {
            // Refused only where the socket does not listen.
            let _ = self.socket.shutdown(std::net::Shutdown::Read);
        } else if let Err(error) = self.socket.attach_filter(&DROP_SYN) {
            // The listener is about to close anyway: without the filter it merely resets some.
            log::debug!(target: "everup::server", "no filter on listener {}: {error}", self.name());
        }
    }

    /// Ends listening for every share, also that of a worker that is blocked, and takes a path's
    /// name away. Of a socket that lives on elsewhere each worker closes its own share, no more.
    pub(crate) fn close(&self) {
        if self.origin.lives_on() {
            return;
        }
        // Refused only where the socket does not listen.
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// As [`close`](Self::close), whatever waits in its queue. How many of those connections had brought
    /// something, which nobody reads now.
    pub(crate) fn give_up(&self) -> u64 {
        let mut unread = 0;
        if !self.origin.lives_on() {
            // Not without bound: more may come as fast as they are taken.
            for _ in 0..BACKLOG {
                match self.socket.accept() {
                    Ok((socket, _)) => unread += u64::from(has_received(&socket)),
                    Err(error) if is_clients_fault(&error) => {}
                    // There are none, or no descriptors to look at them.
                    Err(_) => break,
                }
            }
        }
        self.close();
        unread
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.origin.lives_on()) {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn dial(address: SocketAddr) -> Socket {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_nonblocking(true).expect("a live socket");
        // It is under way, or refused: either shows in what follows.
        let _ = client.connect(&SockAddr::from(address));
        client
    }

    #[test]
    fn no_client_is_connected_before_all_else_has_succeeded() {
        let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let bind = || Listener::bind("public", &any, Access::Anyone, |_| Ok(Vec::new()));
        let mut listener = bind().expect("a free port");
        listener.listen().expect("nobody else is there");
        let address = listener.address().tcp().expect("a port");
        let early = dial(address);
        assert!(early.peer_addr().is_err(), "it is connected already");
        assert!(
            early.take_error().expect("a live socket").is_none(),
            "it is refused"
        );
        listener.open();
        let later = dial(address);
        assert!(later.peer_addr().is_ok(), "it is open");
        // The kernel has sent the first one's SYN again.
        let begun = std::time::Instant::now();
        while early.peer_addr().is_err() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        assert!(early.peer_addr().is_ok());
    }

    #[test]
    fn a_port_that_was_lent_to_a_process_that_ended_is_taken_back() {
        let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind("public", &any, Access::Anyone, |_| Ok(Vec::new()));
        let listener = listener.expect("a free port");
        let port = listener.address().tcp().expect("a port").port();
        let lent = listener.lend(port).expect("a descriptor").expect("its own");
        assert!(listener.socket.reuse_port().expect("a live socket"));
        std::mem::forget(lent);
        listener.reclaim_port();
        assert!(!listener.socket.reuse_port().expect("a live socket"));
    }
}
