//! The signal table: what each signal of POSIX.1-1990 and POSIX.1-2001 does here, defined once.
//!
//! The actor acts on it and `signals` prints it. That both are true of the process is tested from
//! outside, against `/proc/PID/status`.

use serde::{Serialize, Serializer};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGIO, SIGKILL,
    SIGPIPE, SIGPROF, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS, SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

use crate::server::StopUrgency;
use By::{Cont, Core, Ign, Stop, Term};

/// One signal, and what it does here.
#[derive(Serialize)]
pub(crate) struct Signal {
    #[serde(rename = "signal")]
    pub(crate) name: &'static str,
    /// On this machine.
    pub(crate) number: i32,
    #[serde(rename = "default")]
    pub(crate) by_default: By,
    #[serde(serialize_with = "word")]
    pub(crate) action: Action,
    /// The same for people, in a sentence.
    pub(crate) does: &'static str,
}

/// What a signal does where a program says nothing about it, as signal(7) calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum By {
    Term,
    Core,
    Ign,
    Stop,
    Cont,
}

/// What a signal does here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Unless it tells that the terminal is gone: see [`terminal`](super::terminal).
    Reload,
    Stop(StopUrgency),
    /// A limit of the system was reached: stop gracefully, as a failure.
    StopFailed,
    ReopenLogs,
    Upgrade,
    /// Would end the process by default; here it is logged, nothing more.
    Unhandled,
    /// Would end the process by default; here it does nothing at all.
    Ignored,
    /// Not caught.
    Default,
    /// Tells of a crash: no handler, mask or action of ours. What Rust's runtime or the author has
    /// installed stays.
    NotOurs,
    /// Cannot be caught.
    Uncatchable,
}

/// Every signal of POSIX.1-1990 and POSIX.1-2001, and SIGWINCH, which job control sends too.
pub(crate) const TABLE: &[Signal] = &[
    signal("SIGHUP", SIGHUP, Term, Action::Reload, RELOADS),
    signal(
        "SIGINT",
        SIGINT,
        Term,
        Action::Stop(StopUrgency::Interrupt),
        INTERRUPTS,
    ),
    signal(
        "SIGQUIT",
        SIGQUIT,
        Core,
        Action::Stop(StopUrgency::Interrupt),
        INTERRUPTS,
    ),
    signal("SIGILL", SIGILL, Core, Action::NotOurs, CRASHES),
    signal("SIGTRAP", SIGTRAP, Core, Action::NotOurs, CRASHES),
    signal("SIGABRT", SIGABRT, Core, Action::NotOurs, CRASHES),
    signal("SIGBUS", SIGBUS, Core, Action::NotOurs, CRASHES),
    signal("SIGFPE", SIGFPE, Core, Action::NotOurs, CRASHES),
    signal("SIGKILL", SIGKILL, Term, Action::Uncatchable, KILLS),
    signal("SIGUSR1", SIGUSR1, Term, Action::ReopenLogs, REOPENS),
    signal("SIGSEGV", SIGSEGV, Core, Action::NotOurs, CRASHES),
    signal("SIGUSR2", SIGUSR2, Term, Action::Upgrade, UPGRADES),
    signal("SIGPIPE", SIGPIPE, Term, Action::Ignored, IGNORED),
    signal("SIGALRM", SIGALRM, Term, Action::Unhandled, UNHANDLED),
    signal(
        "SIGTERM",
        SIGTERM,
        Term,
        Action::Stop(StopUrgency::Graceful),
        STOPS,
    ),
    signal("SIGCHLD", SIGCHLD, Ign, Action::Default, NOTHING),
    signal("SIGCONT", SIGCONT, Cont, Action::Default, CONTINUES),
    signal("SIGSTOP", SIGSTOP, Stop, Action::Uncatchable, STANDS),
    signal("SIGTSTP", SIGTSTP, Stop, Action::Default, PAUSES),
    signal("SIGTTIN", SIGTTIN, Stop, Action::Default, PAUSES),
    signal("SIGTTOU", SIGTTOU, Stop, Action::Default, PAUSES),
    signal("SIGURG", SIGURG, Ign, Action::Default, NOTHING),
    signal("SIGXCPU", SIGXCPU, Core, Action::StopFailed, LIMITED),
    signal("SIGXFSZ", SIGXFSZ, Core, Action::Ignored, IGNORED),
    signal("SIGVTALRM", SIGVTALRM, Term, Action::Unhandled, UNHANDLED),
    signal("SIGPROF", SIGPROF, Term, Action::Unhandled, UNHANDLED),
    signal("SIGWINCH", SIGWINCH, Ign, Action::Default, NOTHING),
    signal("SIGPOLL", SIGIO, Term, Action::Unhandled, UNHANDLED),
    signal("SIGSYS", SIGSYS, Core, Action::NotOurs, CRASHES),
];

const RELOADS: &str = "reloads the settings; if the controlling terminal has just closed, stops \
    gracefully, unless SIGHUP was ignored at start (nohup)";
const STOPS: &str = "stops gracefully: finishes the requests in flight; sent again: only logged";
const INTERRUPTS: &str = "stops gracefully; 500 ms or more after any stop began: stops now and cuts \
    the requests in flight";
const LIMITED: &str = "stops gracefully (the limit of CPU time was reached), and exits with 1, \
    or with 3 if requests were cut";
const REOPENS: &str = "opens the log file again, after another program renamed it";
const UPGRADES: &str = "upgrades: starts the program on disk as a new process, which takes over";
const UNHANDLED: &str = "only logged as unhandled";
const IGNORED: &str = "ignored: the failed write reports its own error";
const NOTHING: &str = "the default: nothing";
const PAUSES: &str = "the default: suspends the process (job control)";
const CONTINUES: &str = "the default: resumes (job control); deadlines move by the time of the \
    suspension";
const CRASHES: &str = "left alone: handlers of Rust's runtime or of the service stay; a crash ends the \
    process with a core dump";
const KILLS: &str =
    "cannot be caught: ends the process; files left on disk do not block the next start";
const STANDS: &str = "cannot be caught: suspends the process until SIGCONT";

const fn signal(
    name: &'static str,
    number: i32,
    by_default: By,
    action: Action,
    does: &'static str,
) -> Signal {
    Signal {
        name,
        number,
        by_default,
        action,
        does,
    }
}

impl Signal {
    /// Whether a handler stands between the signal and its default.
    pub(crate) fn is_caught(&self) -> bool {
        match self.action {
            Action::Reload | Action::Stop(_) | Action::StopFailed => true,
            Action::ReopenLogs | Action::Upgrade | Action::Unhandled => true,
            // Rust's runtime has it ignored before `main`: a handler would run at each such write.
            Action::Ignored => self.number != SIGPIPE,
            Action::Default | Action::NotOurs | Action::Uncatchable => false,
        }
    }
}

/// The action in one word, for programs.
fn word<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match action {
        Action::Reload => "reload",
        Action::Stop(_) => "stop",
        Action::StopFailed => "stop_failed",
        Action::ReopenLogs => "reopen_logs",
        Action::Upgrade => "upgrade",
        Action::Unhandled => "unhandled",
        Action::Ignored => "ignored",
        Action::Default => "default",
        Action::NotOurs => "not_ours",
        Action::Uncatchable => "uncatchable",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_there_once() {
        let mut numbers: Vec<i32> = TABLE.iter().map(|signal| signal.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), TABLE.len());
        assert_eq!(
            TABLE.len(),
            19 + 9 + 1,
            "POSIX.1-1990, POSIX.1-2001, SIGWINCH"
        );
    }
}
