//! Upgrade: the service passes to a new process of the program that is on disk now.
//!
//! The life of one. *Spawn*: the old process starts the program ([`Program`]) with one end of a
//! socket pair in the place of standard input, where it has left the [`InheritedState`]: its numbers, its
//! history's records, its listening sockets, and the standard input that was. *Claim*: the new one, first of all, finds it
//! there ([`Inheritance`]) and puts standard input back; nothing is in its environment, so nothing
//! of it reaches its own children. It starts as ever, but takes sockets instead of binding them.
//! *Ready*: it serves, and says so. *Commit*: the old one writes that all is theirs. Until that has
//! been received the sockets belong to both: whichever ends first closes its own handles and no
//! more. Then the old one drains, and leaves open what the new one has. *Carry*: it passes idle
//! connections on; each stays its own until the new one has answered that it has taken it.
//!
//! Whoever dies, dies with its end of the pair: the other one serves on. Nothing is waited for
//! longer than `reload.timeout`.
//!
//! Owns the processes and the talk between them; when there is an upgrade, and what is done to
//! listeners and reloads, is decided by the actors.

mod channel;
mod inheritance;
mod message;
mod program;
mod records;
mod successor;

pub(crate) use inheritance::{Inheritance, PassedConnections, PassedOn};
pub(crate) use program::Program;
pub(crate) use successor::{InheritedState, Successor, start_successor};
