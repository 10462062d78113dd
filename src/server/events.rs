//! What the log says of listeners, workers and stops.

use std::{fmt, time::Duration};

use log::Level;

use super::{drain::Step, snapshot::Snapshot, stopping::DrainReport, threads::Failure};
use crate::{
    http::{Requests, Victim},
    net::Listener,
    telemetry::Event,
};

/// Something about what is served.
pub(crate) enum ServerEvent<'a> {
    /// A start fails. What is wrong follows, as a person sees it.
    CannotStart,
    /// The first generation is served: says where.
    Serving(&'a Snapshot),
    StopAsked {
        by: &'a str,
        is_first: bool,
        step: Option<Step>,
    },
    /// What the service cannot do without has ended.
    Failed(Failure),
    /// A request was cut.
    Cut(&'a Victim),
    Stopped(&'a DrainReport),
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
    /// The process was suspended for this long.
    Suspended(Duration),
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
    /// A bug: what was received is not all accounted for.
    BooksDiffer(Requests),
}

impl Event for ServerEvent<'_> {
    fn level(&self) -> Level {
        match self {
            Self::Serving(_) | Self::Stopped(DrainReport { cut: 0, .. }) => Level::Info,
            Self::Stopped(_) => Level::Warn,
            Self::StopAsked { .. }
            | Self::Capped { .. }
            | Self::Listening(_)
            | Self::Closing(_)
            | Self::Workers { .. } => Level::Info,
            Self::Cut(_)
            | Self::SocketsUnused(_)
            | Self::FileGone(_)
            | Self::Suspended(_)
            | Self::Abandoned { .. }
            | Self::NotAccepted { .. } => Level::Warn,
            Self::CannotStart | Self::Failed(_) | Self::BooksDiffer(_) => Level::Error,
        }
    }

    fn target(&self) -> &'static str {
        "everup::server"
    }
}

impl fmt::Display for ServerEvent<'_> {
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
            Self::CannotStart => f.write_str("cannot start:"),
            Self::StopAsked { by, is_first, step } => {
                let what = match (is_first, step) {
                    (true, Some(Step::Delay)) => {
                        "stopping: still accepting connections for `shutdown.delay`"
                    }
                    (true, Some(Step::Cut)) | (false, Some(_)) => {
                        "stopping now: cutting the requests in flight"
                    }
                    (true, Some(Step::Drain)) => "stopping: draining",
                    (true, _) => "stopping",
                    (false, None) => "already stopping: no change",
                };
                write!(f, "{what}, asked by {by}")
            }
            Self::Failed(failure) => {
                match failure {
                    Failure::System => {
                        f.write_str("a handler stopped the actix System (`System::stop`)")?;
                    }
                    Failure::Arbiter => f.write_str(
                        "a handler stopped the arbiter of its worker (`Arbiter::stop`), which \
                         aborted the requests in flight on it",
                    )?,
                    Failure::Panic(part) => {
                        write!(f, "{part} panicked, please report this as a bug")?;
                    }
                    Failure::Unreported => {
                        return f.write_str(
                            "the ServerActor or the control thread panicked, please report this as a \
                             bug: the service ends at once and cuts the requests in flight",
                        );
                    }
                }
                f.write_str(": stopping as failed")
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
            Self::Capped {
                given,
                asked,
                limit,
            } => write!(
                f,
                "limited each worker to {given} connections instead of {asked} (`server.max_connections`): \
                 the process may open {limit} files; raise that limit (`LimitNOFILE=`, `ulimit -Hn`) \
                 to allow more"
            ),
            Self::SocketsUnused(names) => write!(
                f,
                "the service manager passed sockets that no listener uses: {}",
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
                "listener {}: the file of {} was removed or replaced by another program; creating it again",
                listener.name(),
                listener.address()
            ),
            Self::Closing(listener) => {
                write!(f, "closing: {} on {}", listener.name(), listener.address())
            }
            Self::Workers { from, to } => write!(f, "workers: changed from {from} to {to}"),
            Self::Suspended(time) => write!(
                f,
                "suspended for {:.3} s (SIGSTOP, a frozen container, a suspended machine, or no processor \
                 time); all deadlines move by that time",
                time.as_secs_f64()
            ),
            Self::Abandoned { worker, open } => write!(
                f,
                "worker {worker} was still blocked at the end: connections with unread data: {open}"
            ),
            Self::NotAccepted { listener, open } => write!(
                f,
                "listener {listener}: connections with data that were never accepted: {open}"
            ),
            Self::BooksDiffer(requests) => {
                write!(
                    f,
                    "the books do not balance: {requests:?}; please report this as a bug"
                )
            }
        }
    }
}
