//! Asks the kernel about TCP sockets of this machine, through `sock_diag(7)`.
//!
//! It filters on its side: `/proc/net/tcp` takes 34 ms where 23,000 connections are in TIME_WAIT.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// A question: a `nlmsghdr` and an `inet_diag_req_v2` (linux/netlink.h, linux/inet_diag.h).
pub(crate) struct Question([u8; QUESTION]);

/// One socket, as the kernel describes it: a `nlmsghdr` and an `inet_diag_msg`.
pub(crate) struct Described<'a>(&'a [u8]);

/// Bytes of a `nlmsghdr`.
const HEADER: usize = 16;

const QUESTION: usize = HEADER + 56;

const SOCK_DIAG_BY_FAMILY: u16 = 20;

impl Question {
    fn new(family: AddressFamily, flags: u16) -> Self {
        const REQUEST: u16 = 0x01;
        const IPPROTO_TCP: u8 = 6;
        let mut question = Self([0; QUESTION]);
        question.put(0, &(QUESTION as u32).to_ne_bytes());
        question.put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        question.put(6, &(REQUEST | flags).to_ne_bytes());
        question.put(HEADER, &[family.as_raw() as u8, IPPROTO_TCP]);
        question
    }

    /// All sockets of the family in state `TCP_SYN_RECV`.
    pub(crate) fn handshakes(family: AddressFamily) -> Self {
        const DUMP: u16 = 0x300;
        const TCP_SYN_RECV: u32 = 3;
        let mut question = Self::new(family, DUMP);
        question.put(HEADER + 4, &(1_u32 << TCP_SYN_RECV).to_ne_bytes());
        question
    }

    /// The socket at `local` that is connected to `remote`.
    fn connection(local: SocketAddr, remote: SocketAddr) -> Self {
        let family = match local.is_ipv4() {
            true => AddressFamily::INET,
            false => AddressFamily::INET6,
        };
        let mut question = Self::new(family, 0);
        question.put(HEADER + 4, &u32::MAX.to_ne_bytes());
        for (at, port) in [(8, local.port()), (10, remote.port())] {
            question.put(HEADER + at, &port.to_be_bytes());
        }
        for (at, address) in [(12, local.ip()), (28, remote.ip())] {
            match address {
                IpAddr::V4(address) => question.put(HEADER + at, &address.octets()),
                IpAddr::V6(address) => question.put(HEADER + at, &address.octets()),
            }
        }
        // INET_DIAG_NOCOOKIE
        question.put(HEADER + 48, &[0xff; 8]);
        question
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Asks, and looks through the answer for what `find` finds first.
    ///
    /// # Errors
    /// Where the kernel does not answer, or not so.
    pub(crate) fn ask<T>(
        &self,
        find: impl Fn(Described<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let (flags, protocol) = (SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG));
        let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        send(&kernel, &self.0, SendFlags::empty())?;
        let mut answer = [0; 16 * 1024];
        loop {
            let (_, received) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT)?;
            let mut rest = &answer[..received];
            while let Some((message, next)) = split_message(rest) {
                if message[4..6] != SOCK_DIAG_BY_FAMILY.to_ne_bytes() {
                    // The end of the list, or an error.
                    return Ok(None);
                }
                if let Some(found) = find(Described(message)) {
                    return Ok(Some(found));
                }
                rest = next;
            }
            if received == 0 {
                return Ok(None);
            }
        }
    }
}

/// The first message, header included, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let message = bytes.get(..length).filter(|_| length >= HEADER)?;
    // Messages begin at multiples of 4.
    Some((
        message,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

impl Described<'_> {
    /// `idiag_sport`.
    pub(crate) fn local_port(&self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(4)?))
    }

    /// Who made it, where it is connected from one of these ports to the other, and not the listener
    /// that would take such a connection. A socket that no process has open any more is nobody's,
    /// although the kernel says root.
    fn owner(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let remote_port = u16::from_be_bytes(self.bytes(6)?);
        let [uid, inode] = [self.number(64)?, self.number(68)?];
        let is_it = self.local_port()? == local.port() && remote_port == remote.port();
        (is_it && inode != 0).then_some(uid)
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(at)?))
    }

    /// Of the `inet_diag_msg`.
    fn bytes<const COUNT: usize>(&self, at: usize) -> Option<[u8; COUNT]> {
        let from = HEADER + at;
        self.0.get(from..from + COUNT)?.try_into().ok()
    }
}

/// The uid of the process that made the socket at `local`, which is connected to `remote`. `None`
/// where the kernel does not tell: it is another machine's or another network namespace's, or its
/// process has closed it meanwhile.
pub(crate) fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    // A client that speaks IPv4 by an IPv6 socket is known by its IPv4 addresses.
    let [local, remote] =
        [local, remote].map(|it| SocketAddr::new(it.ip().to_canonical(), it.port()));
    let question = Question::connection(local, remote);
    let uid = question.ask(|socket| socket.owner(local, remote)).ok()??;
    (!stands_for_many(uid)).then_some(uid)
}

/// Whether this is the uid by which all are told that this user namespace does not know
/// (user_namespaces(7)).
fn stands_for_many(uid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let knows_all = || {
        read("/proc/self/uid_map")
            .split_whitespace()
            .eq(["0", "0", "4294967295"])
    };
    read("/proc/sys/kernel/overflowuid").trim() == uid.to_string() && !knows_all()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_client_s_socket_is_its_owner_s_until_it_is_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped: no {address}");
                continue;
            };
            let at = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(at).expect("it listens");
            let (served, peer) = listener.accept().expect("a client");
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(owner(peer, at), Some(own));
            // What nobody has open belongs to nobody, though the kernel says root.
            drop(client);
            assert_eq!(owner(peer, at), None);
            drop(served);
        }
    }

    #[test]
    fn a_listener_is_no_client() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("it is bound");
        assert_eq!(owner(at, "127.0.0.1:1".parse().expect("an address")), None);
    }
}
