//! A worker's handle on a listening socket: accepts one connection, or all that are queued.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::{SockAddr, Socket};
use tokio::net::{TcpListener, UnixListener};

use super::{origin::Origin, socket};

/// One worker's handle on a listening socket.
pub(crate) struct Share {
    origin: Arc<Origin>,
    socket: ShareSocket,
}

enum ShareSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection just accepted, and who is at its other end.
pub(crate) type Accepted = (socket::Socket, Option<SocketAddr>);

impl Share {
    /// A listening socket's clone, which the runtime that is entered gets to know.
    ///
    /// # Errors
    /// Where the runtime does not take it.
    pub(crate) fn new(origin: Arc<Origin>, socket: Socket, is_tcp: bool) -> io::Result<Self> {
        let socket = match is_tcp {
            true => ShareSocket::Tcp(TcpListener::from_std(socket.into())?),
            false => ShareSocket::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Self { origin, socket })
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
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
            origin: self.origin,
            socket: socket?,
        })
    }
}

/// What is left in a listening socket's queue.
pub(crate) struct Queue {
    origin: Arc<Origin>,
    socket: Socket,
}

impl Queue {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
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
