//! The signals of the process: what each does ([`TABLE`]), and the actor that does it.
//!
//! Handlers are the process's, so only `main` installs them. What a signal asks for goes through
//! [`Control`](crate::Control), as every trigger does; nothing here knows how it is done.

mod actor;
pub(crate) mod disposition;
mod events;
mod table;
mod terminal;

pub(crate) use self::{
    actor::{SignalActor, Signals},
    table::TABLE,
};
