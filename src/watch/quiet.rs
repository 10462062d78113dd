//! Decides when to reload: after a quiet time, at the latest some time after the first change; and when to
//! try a rejected change again. It does no I/O and reads no clock.

use std::time::{Duration, Instant};

/// So many quiet times after the first change, there is a reload whatever else changes.
const AT_MOST: u32 = 10;

/// Changes that no reload has read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    first: Instant,
    last: Instant,
}

impl Unsettled {
    /// What is unsettled after one more change.
    pub(super) fn and(before: Option<Self>, now: Instant) -> Self {
        let first = before.map_or(now, |before| before.first);
        Self { first, last: now }
    }

    /// When to reload.
    pub(super) fn due(self, debounce: Duration) -> Instant {
        (self.last + debounce).min(self.first + AT_MOST * debounce)
    }
}

/// The pause before the first try again, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A change that was rejected is to be tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pause: Duration,
    pub(super) due: Instant,
    /// What was served when it was rejected: once something else is, it is over.
    pub(super) generation: u64,
}

impl Retry {
    /// After one more rejection, at a growing pause.
    pub(super) fn after(before: Option<Self>, now: Instant, generation: u64) -> Self {
        let grown = before.map_or(FIRST_PAUSE, |before| before.pause * 2);
        let pause = grown.min(LONGEST_PAUSE);
        Self {
            pause,
            due: now + pause,
            generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_millis(100);

    #[test]
    fn a_change_waits_for_quiet() {
        let start = Instant::now();
        let one = Unsettled::and(None, start);
        assert_eq!(one.due(DEBOUNCE), start + DEBOUNCE);
        let later = start + DEBOUNCE / 2;
        let two = Unsettled::and(Some(one), later);
        assert_eq!(two.due(DEBOUNCE), later + DEBOUNCE);
    }

    #[test]
    fn a_storm_waits_ten_times_as_long_and_no_longer() {
        let start = Instant::now();
        let mut storm = Unsettled::and(None, start);
        for step in 1..1000 {
            storm = Unsettled::and(Some(storm), start + step * DEBOUNCE / 2);
            assert!(storm.due(DEBOUNCE) <= start + 10 * DEBOUNCE);
        }
        assert_eq!(storm.due(DEBOUNCE), start + 10 * DEBOUNCE);
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let now = Instant::now();
        let mut retry = None;
        let pauses: Vec<u64> = (0..9)
            .map(|_| {
                let next = Retry::after(retry, now, 1);
                retry = Some(next);
                (next.due - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
