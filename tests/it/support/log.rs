//! The program's log (its standard error), line by line as it comes; its end is the end of the process.
use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

/// Cloned freely: all clones see the same lines.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<State>, Condvar)>);

impl Log {
    /// Reads `from` to its end on a thread of its own.
    pub fn follow(from: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.change(|state| state.lines.push(text));
                line.clear();
            }
            writer.change(|state| state.ended = true);
        });
        log
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// How many lines there are so far: a mark for [`Log::wait`].
    pub fn mark(&self) -> usize {
        self.state().lines.len()
    }

    /// The first line from `mark` on that `is` accepts; `None` where the log ends or the ceiling comes first.
    pub fn wait(
        &self,
        mark: usize,
        ceiling: Duration,
        is: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let mut next = mark;
        self.until(ceiling, |state| {
            let found = state.lines.iter().skip(next).find(|line| is(line)).cloned();
            next = state.lines.len().max(mark);
            (found.is_some() || state.ended).then_some(found)
        })
        .flatten()
    }

    /// Whether the log ended, which it does with the process, before the ceiling.
    pub fn wait_end(&self, ceiling: Duration) -> bool {
        self.until(ceiling, |state| state.ended.then_some(()))
            .is_some()
    }

    fn until<T>(&self, ceiling: Duration, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let end = Instant::now() + ceiling;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self
                .0
                .1
                .wait_timeout(state, left)
                .expect("no panic while the log is held")
                .0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no panic while the log is held")
    }
}
