//! Bounds how often a warning that clients can cause is logged.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Lets one line through every ten seconds, and counts the others.
#[derive(Debug)]
pub(super) struct Throttle {
    made: Instant,
    /// In milliseconds since then.
    next: AtomicU64,
    suppressed: AtomicU64,
}

const PAUSE: u64 = 10_000;

impl Throttle {
    pub(super) fn new() -> Self {
        Self {
            made: Instant::now(),
            next: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether to log now; then how many lines were left out since the last one.
    pub(super) fn admit(&self) -> Option<u64> {
        let elapsed = self.made.elapsed().as_millis();
        self.admit_at(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let later = now.saturating_add(PAUSE);
        let is_due = now >= next;
        let is_ours = || {
            let exchanged =
                self.next
                    .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed);
            exchanged.is_ok()
        };
        if is_due && is_ours() {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_says_how_many_there_were() {
        let throttle = Throttle::new();
        let admitted = [0, 1, 9_999, 10_000, 10_001, 25_000].map(|now| throttle.admit_at(now));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
