//! Who sent a request: an address, and the process behind it as far as the kernel reports it.

use std::{fs, net::SocketAddr};

use actix_web::{HttpMessage as _, HttpRequest};

use super::{connection::Conn, request::RequestInfo};
use crate::net::{Socket, sock_diag};

/// The client of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// `None` on a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) pid: Option<i32>,
    pub(crate) uid: Option<u32>,
}

/// The client of a request's connection: over a unix socket whoever connected it, over TCP whoever made
/// the other socket, where that is one of this machine. Asks the kernel.
pub(crate) fn client(request: &HttpRequest) -> Client {
    let extensions = request.extensions();
    let info = extensions.get::<RequestInfo>();
    let conn = info.and_then(|info| info.conn.upgrade());
    conn.map_or_else(Client::default, |conn| Client::of(&conn))
}

impl Client {
    fn of(conn: &Conn) -> Self {
        let mut client = Self {
            address: conn.peer(),
            ..Self::default()
        };
        match conn.stream().socket() {
            Some(Socket::Tcp(socket)) => {
                let ends = client.address.zip(socket.local_addr().ok());
                client.uid = ends.and_then(|(peer, local)| sock_diag::owner(peer, local));
            }
            Some(Socket::Unix(socket)) => {
                let credentials = socket.peer_cred().ok();
                client.uid = credentials.map(|it| it.uid());
                // 0 is told of a process in another namespace.
                let pid = credentials.and_then(|it| it.pid());
                client.pid = pid.filter(|pid| *pid != 0);
            }
            None => {}
        }
        client
    }
}

/// The name of a process's command, as far as the kernel tells (proc(5), `comm`): it may be gone.
pub(crate) fn command(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.escape_default().to_string())
}
