//! One connection: what is spoken on it, its requests and their answers, its times, and the books.
//!
//! Asked by a worker to serve what it accepted ([`Serve`]). Answers each request by the App of its
//! generation, and enters in the books what became of it.

mod apps;
mod blocking;
mod body;
pub(crate) mod books;
mod client;
mod clock;
pub(crate) mod connection;
mod extract;
mod http1;
mod http2;
mod hub;
mod io;
mod misconduct;
mod open_files;
mod pace;
mod probes;
mod readiness;
mod refused;
mod request;
mod serve;
mod suspension;
mod transfer;

pub(crate) use apps::NOWHERE;
pub(crate) use blocking::block;
pub use books::Requests;
pub(crate) use books::{Account, Books, Victim};
pub(crate) use client::{Client, client, command};
pub(crate) use connection::Conn;
pub(crate) use extract::pinned;
pub use extract::{Lifecycle, Live, Shared};
pub(crate) use http2::{Ahead, ahead, may_read_ahead};
pub(crate) use hub::{Crowd, Hub, Linger, Times};
pub(crate) use open_files::{Leave, OpenFiles};
pub(crate) use readiness::Readiness;
pub use refused::RefusedRequests;
pub(crate) use serve::{NewServe, Serve, new_serve};
pub(crate) use suspension::{Deadline, MachineSuspension, SuspensionClock, TICK};
pub(crate) use transfer::{OutgoingConnection, Transfer, TransferredConnection};
