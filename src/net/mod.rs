//! Sockets: listeners and accepted connections, socket files, sockets of the service manager, TLS.
//!
//! It is asked to open the sockets of an address and to accept from them. It knows nothing of requests.

mod activation;
pub(crate) mod handshakes;
mod lent_port;
mod listener;
mod origin;
mod share;
pub(crate) mod sock_diag;
mod socket;
mod socket_file;
mod speaks;
mod stream;
mod tls;

pub(crate) use activation::Activation;
pub(crate) use lent_port::LentPort;
pub(crate) use listener::{Access, InheritedSocket, Listener};
pub(crate) use origin::Origin;
pub(crate) use share::{Accepted, Queue, Share, accepted_elsewhere, is_clients_fault, is_shut};
pub(crate) use socket::Socket;
pub(crate) use speaks::{Opening, Speaks};
pub(crate) use stream::{PREFACE, Protocol, Stream};
