//! The access log: a line per request. The worker formats it into a buffer of its own and hands the buffer
//! to the log's thread in chunks.
//!
//! Switched off, it costs one check of a flag. If the log facade belongs to another logger, each line is a
//! record of the target [`TARGET`].

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, Write as _},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use actix_http::{Method, StatusCode};
use jiff::Timestamp;
use log::Level;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    line,
    sink::{CHUNK, Sink},
};
use crate::settings::LogFormat;

/// The target of the lines, and their level.
const TARGET: &str = "everup::access";
const LEVEL: Level = Level::Info;

/// How long a line may lie in a buffer.
const DELAY: Duration = Duration::from_millis(100);

/// Where lines of requests go, as the newest settings have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Destination {
    #[default]
    Off,
    /// The process's own log.
    Ours(Sink, LogFormat),
    /// The log facade.
    Facade,
}

/// One request, at its end; or what was refused before it became one.
pub(crate) struct Access<'a> {
    /// `None` where it is no request.
    pub(crate) asked: Option<AccessRequest<'a>>,
    pub(crate) peer: Option<SocketAddr>,
    /// `None` where its response had not begun, or where it was cut.
    pub(crate) sent: Option<Sent>,
    pub(crate) end: AccessEnd,
}

/// What a request was.
pub(crate) struct AccessRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) generation: u64,
    pub(crate) took: Duration,
}

/// What the response was as far as it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) status: StatusCode,
    /// Of its body.
    pub(crate) bytes: u64,
}

/// How a request ended in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessEnd {
    /// For this reason, in one word.
    Refused(&'static str),
    Answered,
    Aborted,
    AbortedByServer,
    Cut,
}

/// Where a thread gets its [`AccessLog`] from; unlike that one it can be sent.
#[derive(Clone)]
pub(crate) struct AccessSource(watch::Receiver<Destination>);

impl AccessSource {
    pub(super) fn new(newest: watch::Receiver<Destination>) -> Self {
        Self(newest)
    }

    /// No access log at all.
    pub(crate) fn none() -> Self {
        Self(watch::Sender::default().subscribe())
    }

    /// The way in for this thread.
    pub(crate) fn log(mut self) -> AccessLog {
        let destination = self.0.borrow_and_update().clone();
        AccessLog(Rc::new(Inner {
            newest: RefCell::new(self.0),
            destination: RefCell::new(destination),
            buffer: RefCell::default(),
            is_due: Cell::default(),
        }))
    }
}

/// One thread's way into the access log. What its buffer holds goes out with the last clone.
#[derive(Clone)]
pub(crate) struct AccessLog(Rc<Inner>);

struct Inner {
    newest: RefCell<watch::Receiver<Destination>>,
    destination: RefCell<Destination>,
    /// Whole lines.
    buffer: RefCell<Vec<u8>>,
    /// A task is to flush the buffer.
    is_due: Cell<bool>,
}

impl AccessLog {
    /// Takes up the newest settings; what was meant for the log before still goes there.
    pub(crate) fn refresh(&self) {
        self.0.look();
    }

    /// Whether a request that ends now has a line.
    pub(crate) fn is_on(&self) -> bool {
        self.refresh();
        *self.0.destination.borrow() != Destination::Off
    }

    /// Must be called within a runtime.
    pub(crate) fn record(&self, access: &Access<'_>) {
        let inner = &self.0;
        let format = match &*inner.destination.borrow() {
            Destination::Off => return,
            Destination::Facade => {
                log::log!(target: TARGET, LEVEL, "{access}");
                return;
            }
            Destination::Ours(_, format) => *format,
        };
        let mut buffer = inner.buffer.borrow_mut();
        access.write_line(&mut buffer, format);
        if buffer.len() >= CHUNK {
            drop(buffer);
            inner.flush();
        } else if !inner.is_due.replace(true) {
            let later = self.0.clone();
            actix_rt::spawn(async move {
                tokio::time::sleep(DELAY).await;
                later.is_due.set(false);
                later.look();
                later.flush();
            });
        }
    }

    /// Hands over what lies in the buffer.
    pub(crate) fn flush(&self) {
        self.0.flush();
    }
}

impl Inner {
    fn look(&self) {
        if self.newest.borrow().has_changed().unwrap_or(false) {
            self.flush();
            let newest = self.newest.borrow_mut().borrow_and_update().clone();
            self.destination.replace(newest);
        }
    }

    fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if let Destination::Ours(sink, _) = &*self.destination.borrow()
            && !buffer.is_empty()
        {
            sink.push(&buffer);
        }
        buffer.clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<'a> Access<'a> {
    fn write_line(&self, lines: &mut Vec<u8>, format: LogFormat) {
        let (start, time) = (lines.len(), Timestamp::now());
        let written = match format {
            LogFormat::Text => write!(lines, "{time:.3} {LEVEL:<5} {TARGET}: {self}"),
            LogFormat::Json => {
                let object = Object {
                    time: format_args!("{time:.3}"),
                    level: LEVEL.as_str(),
                    target: TARGET,
                    message: format_args!("{self}"),
                    method: self.asked.as_ref().map(|asked| asked.method.as_str()),
                    path: self.asked.as_ref().map(|asked| asked.path),
                    status: self.sent.map(|sent| sent.status.as_u16()),
                    bytes: self.sent.map(|sent| sent.bytes),
                    duration_ms: self.asked.as_ref().map(|asked| millis(asked.took)),
                    peer: self.peer,
                    generation: self.asked.as_ref().map(|asked| asked.generation),
                    end: self.end.name(),
                    reason: match self.end {
                        AccessEnd::Refused(refusal) => Some(refusal),
                        _ => None,
                    },
                };
                serde_json::to_writer(&mut *lines, &object).map_err(io::Error::from)
            }
        };
        written.expect("memory takes all that is written, and texts and numbers are JSON");
        line::end(lines, start);
    }
}

fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

impl AccessEnd {
    fn name(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Answered => "answered",
            Self::Aborted => "aborted",
            Self::AbortedByServer => "aborted_by_server",
            Self::Cut => "cut",
        }
    }
}

/// `GET /hello/you 200 11 0.084ms 127.0.0.1:50124 generation 3`: status and bytes behind the path;
/// where it was not answered, that stands at the end. `- - 400 0 - 127.0.0.1:50124 refused bad_request`
/// is no request.
impl fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(AccessRequest { method, path, .. }) => write!(f, "{method} {path} ")?,
            None => f.write_str("- - ")?,
        }
        match self.sent {
            Some(Sent { status, bytes }) => write!(f, "{} {bytes}", status.as_u16())?,
            None => f.write_str("- -")?,
        }
        match &self.asked {
            // Whole numbers are written several times as fast as a fraction.
            Some(AccessRequest { took, .. }) => {
                let (millis, micros) = (took.as_millis(), took.subsec_micros() % 1000);
                write!(f, " {millis}.{micros:03}ms ")?;
            }
            None => f.write_str(" - ")?,
        }
        match self.peer {
            Some(peer) => write!(f, "{peer}")?,
            None => f.write_str("unix")?,
        }
        if let Some(AccessRequest { generation, .. }) = &self.asked {
            write!(f, " generation {generation}")?;
        }
        match self.end {
            AccessEnd::Refused(refusal) => write!(f, " refused {refusal}"),
            AccessEnd::Answered => Ok(()),
            AccessEnd::Aborted => f.write_str(" aborted"),
            AccessEnd::AbortedByServer => f.write_str(" aborted by the server"),
            AccessEnd::Cut => f.write_str(" cut"),
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    time: fmt::Arguments<'a>,
    level: &'static str,
    target: &'static str,
    message: fmt::Arguments<'a>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    status: Option<u16>,
    bytes: Option<u64>,
    duration_ms: Option<f64>,
    peer: Option<SocketAddr>,
    generation: Option<u64>,
    end: &'static str,
    /// Of what was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}
