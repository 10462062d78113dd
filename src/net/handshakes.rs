//! Handshakes under way: clients between their SYN and their last ACK. Closing a listening socket
//! resets them.

use std::{io, net::SocketAddr};

use rustix::net::AddressFamily;

use super::sock_diag::Question;

/// Whether some client's handshake with a listener at one of `addresses` is under way. `false`
/// where the kernel does not tell.
pub(crate) fn are_under_way(addresses: &[SocketAddr]) -> bool {
    // One question a family: the kernel looks through all of its sockets for each.
    [AddressFamily::INET, AddressFamily::INET6]
        .into_iter()
        .any(|family| {
            let is_of =
                |address: &&SocketAddr| address.is_ipv4() == (family == AddressFamily::INET);
            let ports: Vec<u16> = addresses
                .iter()
                .filter(is_of)
                .map(SocketAddr::port)
                .collect();
            !ports.is_empty() && ask(family, &ports).unwrap_or(false)
        })
}

fn ask(family: AddressFamily, ports: &[u16]) -> io::Result<bool> {
    let is_ours = Question::handshakes(family).ask(|socket| {
        let port = socket.local_port()?;
        ports.contains(&port).then_some(())
    })?;
    Ok(is_ours.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_nobody_calls_has_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let asked = ask(AddressFamily::INET, &[address.port()]);
        assert!(matches!(asked, Ok(false)), "{asked:?}");
    }
    #[test]
    fn a_client_whose_last_ack_has_not_come_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        // Drops what has ACK set, so that no handshake is ever completed.
        let drop_acks = [
            socket2::SockFilter::new(0x30, 0, 0, 13),
            socket2::SockFilter::new(0x54, 0, 0, 0x10),
            socket2::SockFilter::new(0x15, 0, 1, 0x10),
            socket2::SockFilter::new(0x06, 0, 0, 0),
            socket2::SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        let socket = socket2::SockRef::from(&listener);
        socket.attach_filter(&drop_acks).expect("a filter");
        let _client = std::net::TcpStream::connect(address).expect("it takes its ACK for received");
        assert!(are_under_way(&[address]));
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(!are_under_way(&[elsewhere]));
    }
}
