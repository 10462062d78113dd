//! The events of a service's life, each with its line, its level and its target.

use std::{fmt, io, net::SocketAddr, path::Path, time::Duration};

use log::{Level, Record};

use super::line;
use crate::{
    config::{Attempt, NotUpgraded, Outcome, Snapshot, Upgraded},
    http::{Misconduct, Requests, Victim},
    net::Listener,
    server::{DrainReport, Failure, Step},
    settings::{Diagnostic, LogFormat},
};

/// Something that the operator is to know.
pub(crate) enum Event<'a> {
    /// The first generation is served: says where.
    Serving(&'a Snapshot),
    Attempt(&'a Attempt),
    /// A setting is valid and probably not what was meant.
    Warning(&'a Diagnostic),
    /// What is wrong follows, as a person sees it.
    CannotStart,
    /// The attempt of this number was rejected for reasons that may pass, and is to be tried again.
    TriedAgain(u64),
    StopAsked {
        by: &'a str,
        is_first: bool,
        step: Option<Step>,
    },
    /// An author's code has stopped what the service runs on.
    Failed(Failure),
    /// A request was cut.
    Cut(&'a Victim),
    Stopped(&'a DrainReport),
    /// A new process of the program is being started.
    UpgradeAsked(&'a str),
    Upgraded(&'a Upgraded),
    /// The new process does not carry on the rollback to this generation.
    RollbackEnds(u64),
    NotUpgraded {
        by: &'a str,
        why: &'a NotUpgraded,
    },
    /// `server.max_connections` is more than the descriptors allow.
    Capped {
        given: usize,
        asked: u32,
        /// Of descriptors.
        limit: u64,
    },
    /// Sockets that the service manager has passed, and no listener asks for.
    SocketsUnused(&'a [&'a str]),
    /// A reload opened a listener.
    Listening(&'a Listener),
    /// The file of a listener's socket was gone, so that nobody could connect.
    FileGone(&'a Listener),
    /// A reload closes a listener.
    Closing(&'a Listener),
    /// A reload changed how many workers there are.
    Workers {
        from: usize,
        to: usize,
    },
    /// A signal that does nothing here.
    Unhandled(&'a str),
    /// A SIGHUP that means the end of the controlling terminal.
    TerminalGone(&'a str),
    /// The process stood still for so long.
    StoodStill(Duration),
    /// A worker was blocked to the end of a stop.
    Abandoned {
        worker: usize,
        open: u64,
    },
    /// Connections that brought something still waited to be accepted at the end of a stop.
    NotAccepted {
        listener: &'a str,
        open: u64,
    },
    /// A connection, or a request of it, was ended for what its client did.
    Misconduct {
        peer: Option<SocketAddr>,
        listener: &'a str,
        why: Misconduct,
    },
    /// A bug: what was received is not all accounted for.
    BooksDiffer(Requests),
    /// Something that is to be watched is not, and why.
    NotWatched(&'a str),
    /// Lines found the queue full, or could not be written.
    LinesLost {
        lines: u64,
        /// Why the last of them could not be written.
        error: Option<&'a io::Error>,
    },
    /// Keys of `[logging]` that say nothing where the author has brought a logger.
    LogSettingsIgnored(&'a [String]),
    /// The last line of a log that goes on elsewhere.
    LogMoves {
        to: &'a Path,
    },
    LogReopened {
        path: &'a Path,
        by: &'a str,
    },
    LogNotReopened {
        path: &'a Path,
        error: &'a io::Error,
        by: &'a str,
    },
    /// It was to be opened anew, and is no file of ours.
    LogNotAFile {
        by: &'a str,
    },
    LogNotRolled {
        path: &'a Path,
        error: &'a io::Error,
    },
    LogNotWritten {
        path: &'a Path,
        error: &'a io::Error,
    },
}

/// The target of what the log says of itself.
const LOG: &str = "everup::log";

/// Says it in the log.
pub(crate) fn emit(event: &Event<'_>) {
    let (level, target) = (event.level(), event.target());
    if log::log_enabled!(target: target, level) {
        log::log!(target: target, level, "{event}");
    }
}

impl Event<'_> {
    /// The event as a whole line, for a sink that has to speak for itself.
    pub(super) fn line(&self, format: LogFormat) -> Vec<u8> {
        let mut record = Record::builder();
        record.level(self.level()).target(self.target());
        let encoder = line::encoder(format);
        line::encode(&*encoder, &record.args(format_args!("{self}")).build())
            .expect("a text can be encoded")
    }

    fn level(&self) -> Level {
        match self {
            Self::Serving(_) | Self::Stopped(DrainReport { cut: 0, .. }) => Level::Info,
            Self::Attempt(attempt) if attempt.is_repeated => Level::Debug,
            Self::Attempt(attempt) if attempt.outcome != Outcome::Rejected => Level::Info,
            Self::Attempt(attempt) if attempt.refused.is_some() => Level::Info,
            Self::StopAsked { .. } | Self::Capped { .. } | Self::TerminalGone(_) => Level::Info,
            Self::Listening(_) | Self::Closing(_) | Self::Workers { .. } => Level::Info,
            Self::UpgradeAsked(_) | Self::Upgraded(_) | Self::TriedAgain(_) => Level::Info,
            Self::RollbackEnds(_) => Level::Warn,
            Self::Cut(_) | Self::Stopped(_) | Self::Unhandled(_) | Self::StoodStill(_) => {
                Level::Warn
            }
            Self::LogMoves { .. } | Self::LogReopened { .. } => Level::Info,
            Self::LogNotAFile { .. } => Level::Info,
            Self::LinesLost { .. } | Self::SocketsUnused(_) | Self::Warning(_) => Level::Warn,
            Self::FileGone(_) => Level::Warn,
            Self::Abandoned { .. } | Self::NotAccepted { .. } => Level::Warn,
            Self::LogSettingsIgnored(_) | Self::Misconduct { .. } => Level::Warn,
            Self::Attempt(_) | Self::NotUpgraded { .. } | Self::BooksDiffer(_) => Level::Error,
            Self::NotWatched(_) | Self::Failed(_) | Self::CannotStart => Level::Error,
            Self::LogNotReopened { .. } | Self::LogNotRolled { .. } => Level::Error,
            Self::LogNotWritten { .. } => Level::Error,
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Attempt(_) | Self::TriedAgain(_) => "everup::config",
            Self::NotWatched(_) | Self::Warning(_) => "everup::config",
            Self::Unhandled(_) | Self::TerminalGone(_) => "everup::signals",
            Self::LinesLost { .. } | Self::LogMoves { .. } | Self::LogReopened { .. } => LOG,
            Self::LogNotAFile { .. } | Self::LogNotReopened { .. } => LOG,
            Self::LogSettingsIgnored(_) => LOG,
            Self::LogNotRolled { .. } | Self::LogNotWritten { .. } => LOG,
            _ => "everup::server",
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving(snapshot) => {
                f.write_str("serving:")?;
                for listener in &snapshot.listeners {
                    write!(
                        f,
                        " listener {} on {},",
                        listener.name(),
                        listener.address()
                    )?;
                }
                match &snapshot.admin {
                    Some(admin) => write!(f, " admin on {}", admin.listener.address())?,
                    None => f.write_str(" admin off")?,
                }
                write!(
                    f,
                    ", generation {}, {} workers, pid {}",
                    snapshot.generation.number,
                    snapshot.workers.len(),
                    std::process::id()
                )
            }
            Self::Attempt(attempt) => attempt.fmt(f),
            Self::Warning(warning) => warning.fmt(f),
            Self::CannotStart => f.write_str("cannot start:"),
            Self::TriedAgain(number) => write!(
                f,
                "reload {number} is tried again in 1 s, then at growing pauses of up to 60 s, until it \
                 is applied, the files change, or another generation is served"
            ),
            Self::StopAsked { by, is_first, step } => {
                let what = match (is_first, step) {
                    (true, Some(Step::Delay)) => "stopping: still accepting for `shutdown.delay`",
                    (true, Some(Step::Cut)) | (false, Some(_)) => {
                        "stopping now: what is in flight is cut"
                    }
                    (true, Some(Step::Drain)) => "stopping: draining",
                    (true, _) => "stopping",
                    (false, None) => "stopping already: nothing more to do",
                };
                write!(f, "{what}, asked by {by}")
            }
            Self::Failed(failure) => {
                let what = match failure {
                    Failure::System => "a handler stopped the actix System (`System::stop`)",
                    Failure::Arbiter => {
                        "a handler stopped the arbiter of its worker (`Arbiter::stop`), and what was \
                         in flight there is aborted"
                    }
                };
                write!(f, "{what}: the service stops, as failed")
            }
            Self::Cut(victim) => {
                let Victim {
                    method,
                    path,
                    peer,
                    age,
                    ..
                } = victim;
                write!(f, "cut: {method} {path} from ")?;
                match peer {
                    Some(peer) => write!(f, "{peer}")?,
                    None => f.write_str("a unix socket")?,
                }
                write!(f, " after {:.3} s", age.as_secs_f64())
            }
            Self::Stopped(report) => {
                let all = report.totals;
                write!(
                    f,
                    "stopped: drained in {:.3} s; drain: {} answered, {} aborted, {} cut; \
                     in all: {} received = {} answered + {} aborted + {} cut + {} in flight",
                    report.took.as_secs_f64(),
                    report.answered,
                    report.aborted,
                    report.cut,
                    all.received,
                    all.answered,
                    all.aborted,
                    all.cut,
                    all.in_flight
                )
            }
            Self::UpgradeAsked(by) => write!(f, "upgrade: a new process is started, asked by {by}"),
            Self::Upgraded(upgraded) => write!(
                f,
                "upgraded: pid {} serves generation {}, ready after {:.2} ms",
                upgraded.pid, upgraded.generation, upgraded.ready_ms
            ),
            Self::RollbackEnds(generation) => write!(
                f,
                "the upgrade undoes the rollback to generation {generation}: the new process has read \
                 the settings"
            ),
            Self::NotUpgraded { by, why } => {
                write!(f, "not upgraded: {why}; asked by {by}")
            }
            Self::Capped {
                given,
                asked,
                limit,
            } => write!(
                f,
                "each worker takes {given} connections at most, not {asked} (`server.max_connections`): \
                 the process may open {limit} files; for more, raise that limit (`LimitNOFILE=`, \
                 `ulimit -Hn`)"
            ),
            Self::SocketsUnused(names) => write!(
                f,
                "the service manager passed sockets that no listener asks for: {}",
                names.join(", ")
            ),
            Self::Listening(listener) => write!(
                f,
                "listening: {} on {}",
                listener.name(),
                listener.address()
            ),
            Self::FileGone(listener) => write!(
                f,
                "listener {}: the file of {} was removed or replaced by another program; it is made anew",
                listener.name(),
                listener.address()
            ),
            Self::Closing(listener) => {
                write!(f, "closing: {} on {}", listener.name(), listener.address())
            }
            Self::Workers { from, to } => write!(f, "workers: {to} instead of {from}"),
            Self::NotWatched(why) => write!(f, "cannot watch all of the settings: {why}"),
            Self::Unhandled(by) => write!(f, "{by}: unhandled, nothing is done"),
            Self::TerminalGone(by) => write!(f, "{by}: the controlling terminal has gone away"),
            Self::Misconduct {
                peer,
                listener,
                why,
            } => {
                f.write_str("a client")?;
                if let Some(peer) = peer {
                    write!(f, ", {peer},")?;
                }
                write!(f, " on listener {listener} was ended: {why}")
            }
            Self::StoodStill(time) => write!(
                f,
                "stood still for {:.3} s (stopped, frozen, suspended, or starved of the processor); \
                 deadlines move by as much",
                time.as_secs_f64()
            ),
            Self::Abandoned { worker, open } => write!(
                f,
                "worker {worker} was blocked to the end: connections of which something that had \
                 arrived was not read: {open}"
            ),
            Self::NotAccepted { listener, open } => write!(
                f,
                "listener {listener}: connections that still waited to be accepted, and of which \
                 something had arrived: {open}"
            ),
            Self::BooksDiffer(requests) => {
                write!(
                    f,
                    "the books do not balance: {requests:?}; please report this as a bug"
                )
            }
            Self::LinesLost { lines, error } => {
                write!(f, "{lines} lines were lost: ")?;
                match error {
                    Some(error) => write!(f, "they could not be written: {error}"),
                    None => f.write_str("they were not taken in time"),
                }
            }
            Self::LogSettingsIgnored(keys) => write!(
                f,
                "{}: no effect: the program has a logger of its own, which lines go to as records of \
                 the `log` facade",
                keys.join(", ")
            ),
            Self::LogMoves { to } => write!(f, "the log goes on in {}", to.display()),
            Self::LogReopened { path, by } => {
                write!(f, "reopened {}, asked by {by}", path.display())
            }
            Self::LogNotReopened { path, error, by } => write!(
                f,
                "cannot reopen {}: {error}; the log goes on in the file that is open; asked by {by}",
                path.display()
            ),
            Self::LogNotAFile { by } => {
                write!(f, "no log file to reopen (`logging.file`), asked by {by}")
            }
            Self::LogNotRolled { path, error } => write!(
                f,
                "cannot roll {}: {error}; it grows until it can be",
                path.display()
            ),
            Self::LogNotWritten { path, error } => write!(
                f,
                "cannot write to {}: {error}; lines are lost until it can be",
                path.display()
            ),
        }
    }
}
