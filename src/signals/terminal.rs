//! The controlling terminal: whether SIGHUP means what it was made for, a line that was hung up.
//!
//! A window that closes takes the terminal from every process of its session (`tty_nr` of proc(5)
//! becomes 0), then SIGHUP comes from the kernel, or from the session's leader, a shell that passes
//! on what it was sent. Whoever else sends one means a reload, also where the terminal is long gone
//! (`disown`).

use std::fs;

use signal_hook::{
    consts::SIGHUP,
    low_level::siginfo::{Cause, Origin},
};

use super::disposition;

/// What the process was given at start.
pub(super) struct Terminal {
    /// There was one, and SIGHUP was not ignored (nohup).
    ends_us: bool,
}

impl Terminal {
    /// To be asked before SIGHUP has a handler.
    pub(super) fn at_start() -> Self {
        Self {
            ends_us: is_there() && !disposition::ignores(SIGHUP),
        }
    }

    /// Whether this SIGHUP tells that the terminal has gone away.
    pub(super) fn has_gone(&self, hup: &Origin) -> bool {
        let is_from_leader = || {
            let leader = rustix::process::getsid(None).ok();
            let sender = hup.process.map(|sender| sender.pid);
            leader.is_some() && leader.map(rustix::process::Pid::as_raw_pid) == sender
        };
        self.ends_us && (hup.cause == Cause::Kernel || is_from_leader()) && !is_there()
    }
}

/// Whether the process has a controlling terminal.
fn is_there() -> bool {
    // pid (comm) state ppid pgrp session tty_nr …; a command may be named ") 1 2".
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let number = fields.and_then(|fields| fields.split(' ').nth(4));
    number.is_some_and(|number| number != "0")
}
