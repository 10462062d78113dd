//! A log destination: a bounded queue, and the thread that writes it.
//!
//! Logging only puts lines into the queue, so a pipe that nobody reads or a full or stalled disk slows
//! nobody. Lines that find the queue full or cannot be written are counted, and the count is logged when
//! there is room. Each sink has its own thread, so a stuck one delays no other.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    event::emit,
    file::{Output, Rolling, Unwritten, count_lines},
    log_event::LogEvent,
};
use crate::settings::LogFormat;

/// Bytes that wait to be written, at the most; lines beyond them are lost.
const QUEUE: usize = 8 * 1024 * 1024;

/// Bytes written at once, but for a line that is longer.
pub(super) const CHUNK: usize = 16 * 1024;

/// How the lines of a sink are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Of the lines that the sink says of itself.
    pub(super) format: LogFormat,
    pub(super) rolling: Rolling,
}

/// Where to hand lines over. What was handed over is written out also after the last clone is gone;
/// then the thread ends.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Hold>);

#[derive(Debug)]
struct Hold(Arc<Queue>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.change(|state| state.is_closed = true);
    }
}

/// What a sink has still to write, also where nobody can hand it more.
#[derive(Debug)]
pub(super) struct Remainder(Weak<Queue>);

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    to_do: Condvar,
    /// Something was done.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    entries: VecDeque<QueueItem>,
    /// Of all lines in it.
    bytes: usize,
    /// Who asks that the file be opened anew.
    reopen: Option<String>,
    /// Lines that the thread is writing; `None` where it waits.
    writing: Option<u64>,
    is_closed: bool,
    /// Counts what was done.
    turns: u64,
    losses: Losses,
}

/// Lines lost of which the log does not tell yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    lines: u64,
    /// Why the last write failed, if it did.
    error: Option<Arc<io::Error>>,
}

impl Losses {
    /// `None` where no line is lost.
    pub(super) fn event(&self) -> Option<LogEvent<'_>> {
        (self.lines > 0).then_some(LogEvent::LinesLost {
            lines: self.lines,
            error: self.error.as_deref(),
        })
    }
}

#[derive(Debug)]
enum QueueItem {
    /// Whole lines.
    Lines(Vec<u8>),
    /// So many found the queue full, here. No two of these stand side by side.
    Refused(u64),
}

/// What the thread does next.
struct Turn {
    reopen: Option<String>,
    entry: Option<QueueItem>,
    manner: Manner,
}

impl Sink {
    /// Starts the thread of an output. Its errors also go to `complaints`.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub(super) fn start(
        output: Output,
        manner: Manner,
        complaints: Option<Sink>,
    ) -> io::Result<Self> {
        let state = State {
            manner,
            entries: VecDeque::new(),
            bytes: 0,
            reopen: None,
            writing: None,
            is_closed: false,
            turns: 0,
            losses: Losses::default(),
        };
        let queue = Arc::new(Queue {
            state: Mutex::new(state),
            to_do: Condvar::new(),
            done: Condvar::new(),
        });
        let writer = Writer {
            queue: queue.clone(),
            output,
            complaints,
        };
        thread::Builder::new()
            .name("everup-log".into())
            .spawn(move || writer.run())?;
        Ok(Self(Arc::new(Hold(queue))))
    }

    /// Hands over whole lines.
    pub(super) fn push(&self, lines: &[u8]) {
        self.0.0.change(|state| {
            if state.bytes + lines.len() > QUEUE {
                return state.refuse(count_lines(lines));
            }
            state.bytes += lines.len();
            match state.entries.back_mut() {
                Some(QueueItem::Lines(last)) if last.len() + lines.len() <= CHUNK => {
                    last.extend_from_slice(lines);
                }
                _ => {
                    let mut chunk = Vec::with_capacity(lines.len().max(CHUNK));
                    chunk.extend_from_slice(lines);
                    state.entries.push_back(QueueItem::Lines(chunk));
                }
            }
        });
    }

    pub(super) fn set_manner(&self, manner: Manner) {
        self.0.0.change(|state| state.manner = manner);
    }

    /// Opens the file anew, for all that is not written yet. The log tells what came of it.
    pub(super) fn reopen(&self, by: String) {
        self.0.0.change(|state| state.reopen = Some(by));
    }

    pub(super) fn remainder(&self) -> Remainder {
        Remainder(Arc::downgrade(&self.0.0))
    }
}

impl PartialEq for Sink {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Remainder {
    /// Whether all is written and nothing more can come.
    pub(super) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Waits until what was handed over is written: as long as something moves, each `patience`,
    /// but not beyond `deadline`.
    pub(super) fn wait(&self, patience: Duration, deadline: Instant) {
        let Some(queue) = self.0.upgrade() else {
            return;
        };
        let mut state = queue.state();
        while state.writing.is_some() || state.has_work() {
            let (turns, now) = (state.turns, Instant::now());
            let until = deadline.min(now + patience);
            let stands_still = |state: &mut State| state.turns == turns;
            state = queue
                .done
                .wait_timeout_while(state, until - now, stands_still)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.turns == turns {
                return;
            }
        }
    }

    /// Gives up what is not written yet, and tells what is lost; `None` where the thread has ended,
    /// which told itself.
    pub(super) fn give_up(&self) -> Option<Losses> {
        let queue = self.0.upgrade()?;
        let mut state = queue.state();
        let mut losses = state.losses.clone();
        losses.lines += state.writing.unwrap_or(0);
        losses.lines += state
            .entries
            .drain(..)
            .map(|entry| entry.lines())
            .sum::<u64>();
        state.bytes = 0;
        Some(losses)
    }
}

impl QueueItem {
    fn lines(&self) -> u64 {
        match self {
            Self::Lines(lines) => count_lines(lines),
            Self::Refused(lines) => *lines,
        }
    }
}

impl State {
    fn refuse(&mut self, lines: u64) {
        match self.entries.back_mut() {
            Some(QueueItem::Refused(refused)) => *refused += lines,
            _ => self.entries.push_back(QueueItem::Refused(lines)),
        }
    }

    fn has_work(&self) -> bool {
        !self.entries.is_empty() || self.reopen.is_some()
    }
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.to_do.notify_one();
    }

    /// Waits for something to do; `None` where nothing will come.
    fn next(&self) -> Option<Turn> {
        let mut state = self.state();
        state.writing = None;
        state.turns += 1;
        self.done.notify_all();
        while !state.has_work() {
            if state.is_closed {
                return None;
            }
            state = self
                .to_do
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let entry = state.entries.pop_front();
        state.writing = Some(entry.as_ref().map_or(0, QueueItem::lines));
        if let Some(QueueItem::Lines(lines)) = &entry {
            state.bytes -= lines.len();
        }
        Some(Turn {
            reopen: state.reopen.take(),
            entry,
            manner: state.manner,
        })
    }

    /// No call made under the lock panics, so a poisoned one still holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
struct Writer {
    queue: Arc<Queue>,
    output: Output,
    complaints: Option<Sink>,
}

impl Writer {
    fn run(mut self) {
        while let Some(turn) = self.queue.next() {
            if let Some(by) = turn.reopen {
                self.reopen(&by);
            }
            match turn.entry {
                Some(QueueItem::Lines(lines)) => self.write(&lines, turn.manner),
                Some(QueueItem::Refused(lines)) => self.tell_of_refused(lines, turn.manner),
                None => {}
            }
        }
        let losses = self.queue.state().losses.clone();
        if let Some(event) = losses.event() {
            self.complain(&event);
        }
    }

    fn write(&mut self, lines: &[u8], manner: Manner) {
        if self.output.is_full(lines.len(), manner.rolling)
            && let Err(error) = self.output.roll(manner.rolling)
        {
            let path = self.output.path().unwrap_or(Path::new(""));
            self.complain(&LogEvent::LogNotRolled {
                path,
                error: &error,
            });
        }
        match self.output.write(lines) {
            Ok(()) => self.report_losses(manner),
            Err(Unwritten { lines, error }) => {
                let error = Arc::new(error);
                if self.lose(lines, Some(error.clone())).error.is_none() {
                    let path = self.output.path().unwrap_or(Path::new("standard error"));
                    self.complain(&LogEvent::LogNotWritten {
                        path,
                        error: &error,
                    });
                }
            }
        }
    }

    /// Lines found the queue full: says so, unless nothing can be written anyway.
    fn tell_of_refused(&mut self, lines: u64, manner: Manner) {
        if self.lose(lines, None).error.is_none() {
            self.report_losses(manner);
        }
    }

    /// Counts lines as lost, and returns what was before.
    fn lose(&self, lines: u64, error: Option<Arc<io::Error>>) -> Losses {
        let mut state = self.queue.state();
        // Counted from here on among the losses.
        state.writing = Some(0);
        let before = state.losses.clone();
        state.losses.lines += lines;
        state.losses.error = error.or(state.losses.error.take());
        before
    }

    /// There is room again: says what was lost meanwhile.
    fn report_losses(&mut self, manner: Manner) {
        let losses = {
            let mut state = self.queue.state();
            // What was to be written is.
            state.writing = Some(0);
            state.losses.clone()
        };
        let told = match losses.event() {
            Some(event) => self.output.write(&event.line(manner.format)),
            None => Ok(()),
        };
        let left = match told {
            Ok(()) => Losses::default(),
            // Only its end is missing: it can be read.
            Err(Unwritten { lines: 0, error }) => Losses {
                lines: 0,
                error: Some(Arc::new(error)),
            },
            // It is said with the next line that can be written.
            Err(_) => return,
        };
        self.queue.state().losses = left;
    }

    fn reopen(&mut self, by: &str) {
        let reopened = self.output.reopen();
        let Some(path) = self.output.path() else {
            return emit(&LogEvent::LogNotAFile { by });
        };
        match reopened {
            Ok(()) => emit(&LogEvent::LogReopened { path, by }),
            Err(error) => {
                let event = LogEvent::LogNotReopened {
                    path,
                    error: &error,
                    by,
                };
                emit(&event);
                self.complain(&event);
            }
        }
    }

    /// Tells an operator who does not find it in this log.
    fn complain(&self, event: &LogEvent<'_>) {
        if let Some(complaints) = &self.complaints {
            complaints.push(&event.line(LogFormat::Text));
        }
    }
}
