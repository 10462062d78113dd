//! When changes have settled: a quiet time after the last, and a bound from the first. Does no I/O and
//! reads no clock.

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
}
