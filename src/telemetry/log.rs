//! Where the lines of the process go: log4rs, behind a bounded queue and a writer thread.
//!
//! Whoever logs only encodes and hands over: a standard error that nobody reads, or a full disk
//! behind it, slows nobody's request. What finds the queue full is counted, and the loss is said.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use log::{LevelFilter, Record, SetLoggerError};
use log4rs::{
    append::Append,
    config::{Appender, Logger, Root},
    encode::{Encode, pattern::PatternEncoder, writer::simple::SimpleWriter},
};

use crate::settings::Logging;

/// Lines that wait to be written, at the most; one more is lost.
const QUEUE: usize = 8192;

/// How long the last lines may take.
const FLUSH: Duration = Duration::from_secs(1);

/// Time in UTC, level, target, message.
const PATTERN: &str = "{d(%Y-%m-%dT%H:%M:%S%.3fZ)(utc)} {l:<5} {t}: {m}{n}";

const APPENDER: &str = "stderr";

/// The process's log. There is one a process, so only `main` makes one.
#[derive(Clone)]
pub(crate) struct LogHandle {
    log: log4rs::Handle,
    queue: Queue,
}

impl LogHandle {
    /// Takes over the process's log facade, at level `info` until settings say otherwise.
    ///
    /// # Errors
    /// Where the process has a log already, or no thread to give.
    pub(crate) fn install() -> Result<Self, Box<dyn std::error::Error>> {
        let queue = Queue::start()?;
        let log = log4rs::init_config(config(&queue, LevelFilter::Info))
            .map_err(|error: SetLoggerError| error.to_string())?;
        Ok(Self { log, queue })
    }

    /// Cannot fail.
    pub(crate) fn apply(&self, logging: &Logging) {
        self.log.set_config(config(&self.queue, logging.level));
    }

    /// Writes a line that is no log line, in its turn. A standard error that nobody reads, or that
    /// fails, hinders nothing.
    pub(crate) fn say(&self, line: &str) {
        self.queue
            .push(Entry::Line(format!("{line}\n").into_bytes()));
    }

    /// Waits until what was logged so far is written, but not for ever.
    pub(crate) fn flush(&self) {
        let (written, is_written) = sync_channel(1);
        if self.queue.lines.try_send(Entry::Flush(written)).is_ok() {
            let _ = is_written.recv_timeout(FLUSH);
        }
    }
}

fn config(queue: &Queue, level: LevelFilter) -> log4rs::Config {
    let appender = ToQueue {
        encoder: PatternEncoder::new(PATTERN),
        queue: queue.clone(),
    };
    log4rs::Config::builder()
        .appender(Appender::builder().build(APPENDER, Box::new(appender)))
        // It logs each malformed request as an error of ours.
        .logger(Logger::builder().build("actix_http", LevelFilter::Off))
        .build(Root::builder().appender(APPENDER).build(level))
        .expect("one appender, named once and used by its name")
}

/// What the writer thread gets.
enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the writer thread.
#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn start() -> std::io::Result<Self> {
        let (lines, written) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let queue = Self {
            lines,
            lost: lost.clone(),
        };
        thread::Builder::new()
            .name("everup-log".into())
            .spawn(move || write_all(&written, &lost))?;
        Ok(queue)
    }
}

impl Queue {
    fn push(&self, entry: Entry) {
        if self.lines.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(entries: &Receiver<Entry>, lost: &AtomicU64) {
    // A standard error that fails is survived: there is nowhere else to say so.
    let write = |line: &[u8]| drop(std::io::stderr().write_all(line));
    for entry in entries {
        match entry {
            Entry::Line(line) => write(&line),
            Entry::Flush(written) => drop(written.try_send(())),
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                write(format!("{lost} log lines were lost: nobody read them in time\n").as_bytes())
            }
        }
    }
}

/// Encodes on the thread that logs, writes on another.
#[derive(Debug)]
struct ToQueue {
    encoder: PatternEncoder,
    queue: Queue,
}

impl Append for ToQueue {
    fn append(&self, record: &Record<'_>) -> anyhow::Result<()> {
        let mut line = SimpleWriter(Vec::with_capacity(256));
        self.encoder.encode(&mut line, record)?;
        self.queue.push(Entry::Line(line.0));
        Ok(())
    }

    fn flush(&self) {}
}
