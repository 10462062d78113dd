//! What the operator is told: one typed event, one log line.
//!
//! [`emit`] is the way in for everything that the service says of itself; `log` is where the lines
//! of the whole process go.

mod event;
mod log;

pub(crate) use self::{
    event::{Event, emit},
    log::LogHandle,
};
