//! The events of a service's life, each with its line, its level and its target.

use std::fmt;

use log::Level;

use crate::{
    config::{Attempt, Outcome, Snapshot, Upgraded},
    server::{DrainReport, Requests, Step, Victim},
};

/// Something that the operator is to know.
pub(crate) enum Event<'a> {
    /// The first generation is served: says where.
    Serving(&'a Snapshot),
    Attempt(&'a Attempt),
    StopAsked {
        by: &'a str,
        is_first: bool,
        step: Option<Step>,
    },
    /// A request was cut.
    Cut(&'a Victim),
    Stopped(&'a DrainReport),
    /// A new process of the program is being started.
    UpgradeAsked(&'a str),
    Upgraded(&'a Upgraded),
    NotUpgraded {
        by: &'a str,
        reason: &'a str,
    },
    /// `server.max_connections` is more than the descriptors allow.
    Capped {
        given: usize,
        asked: u32,
    },
    /// A signal that does nothing here.
    Unhandled(&'a str),
    /// A bug: what was received is not all accounted for.
    BooksDiffer(Requests),
}

/// Says it in the log.
pub(crate) fn emit(event: &Event<'_>) {
    let (level, target) = (event.level(), event.target());
    if log::log_enabled!(target: target, level) {
        let line: String = event.to_string();
        // One event, one line: texts of an author's errors may hold line breaks.
        log::log!(target: target, level, "{}", line.replace('\n', "\\n"));
    }
}

impl Event<'_> {
    fn level(&self) -> Level {
        match self {
            Self::Serving(_) | Self::Stopped(DrainReport { cut: 0, .. }) => Level::Info,
            Self::Attempt(attempt) if attempt.outcome != Outcome::Rejected => Level::Info,
            Self::Attempt(attempt) if attempt.is_stopping => Level::Info,
            Self::StopAsked { .. } | Self::Capped { .. } => Level::Info,
            Self::UpgradeAsked(_) | Self::Upgraded(_) => Level::Info,
            Self::Cut(_) | Self::Stopped(_) | Self::Unhandled(_) => Level::Warn,
            Self::Attempt(_) | Self::NotUpgraded { .. } | Self::BooksDiffer(_) => Level::Error,
        }
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Attempt(_) => "everup::config",
            Self::Unhandled(_) => "everup::signals",
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
            Self::Cut(victim) => {
                let Victim {
                    method,
                    path,
                    peer,
                    age,
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
            Self::NotUpgraded { by, reason } => {
                write!(
                    f,
                    "not upgraded: {reason}; asked by {by}; pid {} serves on",
                    std::process::id()
                )
            }
            Self::Capped { given, asked } => write!(
                f,
                "server.max_connections: {given} a worker instead of {asked}, for want of \
                 descriptors (`ulimit -n`, `LimitNOFILE=`)"
            ),
            Self::Unhandled(by) => write!(f, "{by}: unhandled, nothing is done"),
            Self::BooksDiffer(requests) => {
                write!(
                    f,
                    "the books do not balance: {requests:?}; please report this as a bug"
                )
            }
        }
    }
}
