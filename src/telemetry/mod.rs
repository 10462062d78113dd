//! What the operator reads: one typed event is one log line.
//!
//! [`emit`] logs events of the service, [`AccessLog`] its requests. `log` is the log of the process, `line`
//! formats a line, `sink` queues and writes lines, `file` is the destination.

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
