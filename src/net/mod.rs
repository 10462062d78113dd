//! Sockets: listeners and what they accept, socket files, what the service manager passes, TLS.
//!
//! Asked to open what an address names, and for the connections that wait there. Knows nothing of
//! requests.

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
