//! Upgrade: the service passes to a new process of the program that is on disk now.
//!
//! 1. *Spawn*: the old process starts the program ([`Program`]). Its standard input is one end of a socket
//!    pair that holds the [`InheritedState`]: numbers, history, listening sockets, and the original standard
//!    input.
//! 2. *Claim*: the new process finds the pair first of all ([`Inheritance`]) and restores standard input.
//!    Nothing is in its environment, so its own children inherit nothing. It starts as usual, but takes
//!    sockets instead of binding them.
//! 3. *Ready*: it serves and reports that.
//! 4. *Commit*: the old process gives up the sockets. Until the commit is received, the sockets belong to
//!    both: whichever ends first closes only its own handles.
//! 5. *Transfer*: the old process drains and passes on idle connections. Each stays its own until the new
//!    process has confirmed it.
//!
//! If one process dies, the other sees the end of the pair and serves on. Every wait ends at
//! `reload.timeout`. The actors decide when an upgrade happens and what is done to listeners and reloads.

mod channel;
mod inheritance;
mod message;
mod program;
mod records;
mod successor;

pub(crate) use inheritance::{Inheritance, PassedConnections, PassedOn};
pub(crate) use program::Program;
pub(crate) use successor::{InheritedState, Successor, start_successor};
