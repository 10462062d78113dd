//! What the operator is told: one typed event, one log line.
//!
//! [`emit`] is the way in for everything that the service says of itself, [`AccessLog`] for its
//! requests. `log` is where the lines of the whole process go: `line` says how they look, `sink`
//! queues and writes them, `file` is what is written to.

mod access;
mod event;
mod file;
mod line;
mod log;
mod log_event;
mod sink;

pub(crate) use self::{
    access::{Access, AccessEnd, AccessLog, AccessRequest, AccessSource, Sent},
    event::{Event, emit},
    log::{LogHandle, OpenedLog},
};
