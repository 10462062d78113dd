//! Where the lines of a service go: log4rs' levels and encoders in front, a [`Sink`] behind.
//!
//! The log facade is the process's. [`LogHandle::install`] takes it over, for `main` alone, unless the
//! author has installed a logger; [`LogHandle::of_another`] leaves it to the program around the service. What can fail
//! is done by [`LogHandle::open`], while a reload is prepared; [`LogHandle::apply`] only swaps.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use log::{LevelFilter, Record};
use log4rs::{
    append::Append,
    config::{Appender, Logger, Root},
    encode::Encode,
};
use tokio::sync::watch;

use super::{
    access::{AccessSource, Destination},
    event::emit,
    file::{Output, Rolling},
    line,
    log_event::LogEvent,
    sink::{Losses, Manner, Remainder, Sink},
};
use crate::settings::{LogFormat, Logging};

/// How long the last lines may take in all.
const FLUSH: Duration = Duration::from_secs(1);

/// How long the last lines may take where none of them gets on.
const STALL: Duration = Duration::from_millis(250);

const APPENDER: &str = "log";

/// They log as a fault of ours what a client may do as often as it likes, malformed requests and
/// PINGs that nobody sent among it: off, unless settings name them.
const NOISY: [&str; 2] = ["actix_http", "h2"];

/// A service's log.
#[derive(Clone)]
pub(crate) struct LogHandle {
    /// `None`: the facade is another's.
    process: Option<Arc<Process>>,
    access: watch::Sender<Destination>,
    /// The settings that have no effect, because the facade is another's, were logged.
    has_reported_ignored: Arc<AtomicBool>,
}

/// The log of a process that is ours.
struct Process {
    log: log4rs::Handle,
    stderr: Sink,
    state: Mutex<State>,
}

struct State {
    /// What was applied last.
    logging: Logging,
    sink: Sink,
    /// Every sink that may have something to write.
    remainders: Vec<Remainder>,
}

/// What settings ask of the log, opened. Undone when it is dropped before it is applied.
pub(crate) struct OpenedLog {
    logging: Logging,
    /// Of `logging.file`.
    path: PathBuf,
    /// `None` where the facade is another's.
    sink: Option<Sink>,
    /// A file that was not there before.
    new_file: Option<PathBuf>,
}

impl LogHandle {
    /// Takes over the process's log facade: to standard error, at level `info`, until settings say
    /// otherwise. A logger that is installed already stays.
    ///
    /// # Errors
    /// Where the process has no thread to give.
    pub(crate) fn install() -> io::Result<Self> {
        let logging = Logging::default();
        let stderr = Sink::start(Output::stderr()?, manner(&logging), None)?;
        let logger = log4rs::Logger::new(config(&stderr, &logging));
        let (log, level) = (logger.handle(), logger.max_log_level());
        if log::set_boxed_logger(Box::new(logger)).is_err() {
            return Ok(Self::of_another());
        }
        log::set_max_level(level);
        let state = Mutex::new(State {
            logging,
            sink: stderr.clone(),
            remainders: vec![stderr.remainder()],
        });
        Ok(Self {
            process: Some(Arc::new(Process { log, stderr, state })),
            access: watch::Sender::default(),
            has_reported_ignored: Arc::default(),
        })
    }

    /// Leaves the log facade to whom the process belongs: of the settings, only `access` counts.
    pub(crate) fn of_another() -> Self {
        Self {
            process: None,
            access: watch::Sender::default(),
            has_reported_ignored: Arc::default(),
        }
    }

    /// The access log, for a thread of the service.
    pub(crate) fn access(&self) -> AccessSource {
        AccessSource::new(self.access.subscribe())
    }

    /// What settings ask for, `logging.file` at `path`, where all of it is open already.
    pub(crate) fn take_over(&self, logging: &Logging, path: &Path) -> Option<OpenedLog> {
        let sink = match &self.process {
            None => None,
            Some(process) => {
                let state = process.state();
                if logging.file == state.logging.file {
                    Some(state.sink.clone())
                } else if logging.file.is_empty() {
                    Some(process.stderr.clone())
                } else {
                    return None;
                }
            }
        };
        Some(OpenedLog {
            logging: logging.clone(),
            path: path.to_owned(),
            sink,
            new_file: None,
        })
    }

    /// Opens what settings ask for, likewise. Blocks.
    ///
    /// # Errors
    /// Where the file cannot be opened to append, or there is no thread to write it.
    pub(crate) fn open(&self, logging: &Logging, path: PathBuf) -> io::Result<OpenedLog> {
        let mut opened = OpenedLog {
            logging: logging.clone(),
            path,
            sink: None,
            new_file: None,
        };
        if let Some(process) = &self.process {
            let (output, is_new) = Output::open(&opened.path)?;
            opened.new_file = is_new.then(|| opened.path.clone());
            let complaints = Some(process.stderr.clone());
            opened.sink = Some(Sink::start(output, manner(logging), complaints)?);
        }
        Ok(opened)
    }

    /// Logs as was asked for from here on. Cannot fail.
    pub(crate) fn apply(&self, mut opened: OpenedLog) {
        opened.new_file = None;
        let logging = &opened.logging;
        let destination = match (&self.process, &opened.sink) {
            (Some(process), Some(sink)) => {
                process.apply(logging, &opened.path, sink);
                Destination::Ours(sink.clone(), logging.format)
            }
            _ => {
                self.report_ignored(logging);
                Destination::Facade
            }
        };
        let destination = match logging.access {
            true => destination,
            false => Destination::Off,
        };
        self.access
            .send_if_modified(|now| std::mem::replace(now, destination.clone()) != destination);
    }

    /// Opens the log file anew; the log tells what came of it.
    pub(crate) fn reopen(&self, by: String) {
        match &self.process {
            Some(process) => process.state().sink.reopen(by),
            None => emit(&LogEvent::LogNotAFile { by: &by }),
        }
    }

    /// Logs once which settings have no effect, because the facade is another's.
    fn report_ignored(&self, logging: &Logging) {
        let keys = ignored(logging);
        if !keys.is_empty() && !self.has_reported_ignored.swap(true, Ordering::Relaxed) {
            emit(&LogEvent::LogSettingsIgnored(&keys));
        }
    }

    /// Says a line that is no log line to standard error, in its turn. A standard error that nobody
    /// reads, or that fails, hinders nothing.
    pub(crate) fn say(&self, line: &str) {
        match &self.process {
            Some(process) => process.stderr.push(format!("{line}\n").as_bytes()),
            // Where that fails too there is nowhere left to say it.
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    /// The process ends: waits until what was logged so far is written, but not for ever, and tells on
    /// standard error what is lost.
    pub(crate) fn finish(&self) {
        let Some(process) = &self.process else {
            return log::logger().flush();
        };
        let remainders = std::mem::take(&mut process.state().remainders);
        let deadline = Instant::now() + FLUSH;
        for remainder in &remainders {
            remainder.wait(STALL, deadline);
        }
        let lost: Vec<_> = remainders.iter().filter_map(Remainder::give_up).collect();
        for event in lost.iter().filter_map(Losses::event) {
            process.stderr.push(&event.line(LogFormat::Text));
        }
        process
            .stderr
            .remainder()
            .wait(STALL, Instant::now() + STALL);
    }
}

impl Process {
    fn apply(&self, logging: &Logging, path: &Path, sink: &Sink) {
        let (is_same, moves) = {
            let state = self.state();
            (state.logging == *logging, state.sink != *sink)
        };
        if is_same {
            return;
        }
        if moves {
            // The last line there, for whoever reads it.
            let to = match logging.file.as_str() {
                "" => Path::new("standard error"),
                _ => path,
            };
            emit(&LogEvent::LogMoves { to });
        }
        sink.set_manner(manner(logging));
        self.log.set_config(config(sink, logging));
        let mut state = self.state();
        state.logging = logging.clone();
        if moves {
            state.sink = sink.clone();
            state.remainders.retain(|remainder| !remainder.is_over());
            state.remainders.push(sink.remainder());
        }
    }

    /// No call made under the lock panics, so a poisoned one still holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenedLog {
    fn drop(&mut self) {
        // P3: what is not applied leaves nothing behind. Whoever has opened the file meanwhile has
        // found it empty; where it cannot be removed, it is an empty file.
        if let Some(path) = &self.new_file {
            let _ = fs::remove_file(path);
        }
    }
}

/// The keys of `[logging]`, but for `access`, whose values are not the defaults.
fn ignored(logging: &Logging) -> Vec<String> {
    let as_json = |logging: &Logging| match serde_json::to_value(logging) {
        Ok(serde_json::Value::Object(table)) => table,
        other => unreachable!("a struct is a table: {other:?}"),
    };
    let (set, default) = (as_json(logging), as_json(&Logging::default()));
    let set = set
        .into_iter()
        .filter(|(key, value)| key != "access" && default.get(key) != Some(value));
    set.map(|(key, _)| format!("logging.{key}")).collect()
}

fn manner(logging: &Logging) -> Manner {
    Manner {
        format: logging.format,
        rolling: Rolling {
            max_size: logging.max_size.0,
            keep: logging.keep,
        },
    }
}

fn config(sink: &Sink, logging: &Logging) -> log4rs::Config {
    let appender = ToSink {
        encoder: line::encoder(logging.format),
        sink: sink.clone(),
    };
    let mut targets = logging.targets.clone();
    for noisy in NOISY {
        targets.entry(noisy.into()).or_insert(LevelFilter::Off);
    }
    let targets = targets.into_iter();
    log4rs::Config::builder()
        .appender(Appender::builder().build(APPENDER, Box::new(appender)))
        .loggers(targets.map(|(target, level)| Logger::builder().build(target, level)))
        .build(Root::builder().appender(APPENDER).build(logging.level))
        .expect("one appender, used by its name, and targets that settings have checked")
}

/// Encodes on the thread that logs, writes on another.
#[derive(Debug)]
struct ToSink {
    encoder: Box<dyn Encode>,
    sink: Sink,
}

impl Append for ToSink {
    fn append(&self, record: &Record<'_>) -> anyhow::Result<()> {
        self.sink.push(&line::encode(&*self.encoder, record)?);
        Ok(())
    }

    fn flush(&self) {}
}
