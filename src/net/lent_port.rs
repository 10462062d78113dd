//! Lets two sockets share a port for a moment (`SO_REUSEPORT`), while an address moves to another that
//! overlaps with it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Another may bind what overlaps with this socket's address, as long as this lives.
pub(crate) struct LentPort {
    socket: Socket,
    port: u16,
    /// Its port was shared before, for another loan or by the service manager's wish.
    was_shared: bool,
}

impl LentPort {
    pub(crate) fn of(socket: Socket, port: u16) -> io::Result<Self> {
        let was_shared = socket.reuse_port()?;
        let lent = Self {
            socket,
            port,
            was_shared,
        };
        lent.socket.set_reuse_port(true)?;
        Ok(lent)
    }
}

impl Drop for LentPort {
    fn drop(&mut self) {
        if !self.was_shared {
            take_back(&self.socket, self.port);
        }
    }
}

/// The socket shares its port no longer.
pub(crate) fn take_back(socket: &Socket, port: u16) {
    // It was set before, so it can be set again.
    let _ = socket.set_reuse_port(false);
    forget_sharing(port);
}

/// Linux remembers of a port that its last socket would share it, and lets programs of the same user that
/// would too have that one's address, until a socket is bound there that would not: one at an address
/// that nobody listens at, for a moment. If a socket listens at `[::]`, there is no such address.
fn forget_sharing(port: u16) {
    let elsewhere: [IpAddr; 2] = [
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 255, 255, 254).into(),
    ];
    let _ = elsewhere.into_iter().find(|&ip| {
        let address = SocketAddr::new(ip, port);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        socket.is_ok_and(|socket| socket.bind(&SockAddr::from(address)).is_ok())
    });
}
