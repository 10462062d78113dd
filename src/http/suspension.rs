//! Detects time in which the process did not run: SIGSTOP, or a frozen container.
//!
//! A suspended process does not notice it. It finds out because nobody has looked at the clock for too
//! long. Deadlines are moments of a clock that went on, so they move by the time of the suspension. The
//! ServerActor looks every [`TICK`]. Others look only when a clock of theirs has run out, so requests pay
//! nothing.
//!
//! While the machine sleeps, the monotonic clock and all deadlines stop with it: [`MachineSuspension`] only
//! reports that time.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// How often somebody looks at least, while the process runs.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A shorter pause is not a suspension: the process was only slow.
const LIMIT: Duration = Duration::from_secs(1);

/// One service's pulse; clones are the same.
#[derive(Clone)]
pub(crate) struct SuspensionClock(Arc<Mutex<ClockState>>);

struct ClockState {
    last: Instant,
    suspended_for: Duration,
}

impl SuspensionClock {
    pub(crate) fn new(now: Instant) -> Self {
        let suspended_for = Duration::ZERO;
        Self(Arc::new(Mutex::new(ClockState {
            last: now,
            suspended_for,
        })))
    }

    /// Looks at the clock, and returns how long the process was suspended in all.
    pub(crate) fn look(&self, now: Instant) -> Duration {
        let mut beat = self.beat();
        let since = now.saturating_duration_since(beat.last);
        if since > LIMIT + TICK {
            beat.suspended_for += since;
        }
        beat.last = beat.last.max(now);
        beat.suspended_for
    }

    /// The end of a time that begins now.
    pub(crate) fn deadline(&self, timeout: Duration) -> Deadline {
        let begun = Instant::now();
        Deadline {
            suspension: Some(self.clone()),
            begun,
            suspended_for: self.look(begun),
            timeout,
        }
    }

    fn beat(&self) -> MutexGuard<'_, ClockState> {
        self.0.lock().expect("nobody panics while it is held")
    }
}

/// A moment that moves by the time of suspensions.
#[derive(Clone)]
pub(crate) struct Deadline {
    suspension: Option<SuspensionClock>,
    begun: Instant,
    /// How long the process was suspended before.
    suspended_for: Duration,
    timeout: Duration,
}

/// The deadline came first.
pub(crate) struct Elapsed;

impl Deadline {
    /// The end of a time that begins now, without regard to suspensions.
    pub(crate) fn fixed(timeout: Duration) -> Self {
        Self {
            suspension: None,
            begun: Instant::now(),
            suspended_for: Duration::ZERO,
            timeout,
        }
    }

    /// Of the same beginning, after another time.
    pub(crate) fn after(&self, timeout: Duration) -> Self {
        let same = self.clone();
        Self { timeout, ..same }
    }

    /// The moment, as far as it has moved by now.
    pub(crate) fn moment(&self) -> Instant {
        let look =
            |suspension: &SuspensionClock| suspension.look(Instant::now()) - self.suspended_for;
        self.begun + self.timeout + self.suspension.as_ref().map_or(Duration::ZERO, look)
    }

    /// Waits for `work` until this deadline.
    pub(crate) async fn bound<F: Future>(&self, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        loop {
            let moment = self.moment();
            match tokio::time::timeout_at(moment.into(), work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) if self.moment() > moment => {}
                Err(_) => return Err(Elapsed),
            }
        }
    }
}

/// How long the machine has been suspended.
pub(crate) struct MachineSuspension(Duration);

impl MachineSuspension {
    pub(crate) fn so_far() -> Self {
        // Only the clock of boot time goes on meanwhile. Read one after the other, they differ a
        // little more each time that this thread is interrupted in between.
        let [whole, running] = [ClockId::Boottime, ClockId::Monotonic].map(|clock| {
            let time = clock_gettime(clock);
            Duration::try_from(time).unwrap_or_default()
        });
        Self(whole.saturating_sub(running))
    }

    /// The suspension since the last call; zero if it was short.
    pub(crate) fn since(&mut self, now: Self) -> Duration {
        let since = now.0.saturating_sub(self.0);
        if since < LIMIT {
            return Duration::ZERO;
        }
        self.0 = now.0;
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_looks_add_up_and_slow_ones_do_not() {
        let start = Instant::now();
        let suspension = SuspensionClock::new(start);
        let second = Duration::from_secs(1);
        assert_eq!(suspension.look(start + second), Duration::ZERO);
        assert_eq!(suspension.look(start + 4 * second), 3 * second);
        assert_eq!(suspension.look(start + 4 * second + TICK), 3 * second);
        // A worker whose clock is a little behind.
        assert_eq!(suspension.look(start + 4 * second), 3 * second);
        assert_eq!(suspension.look(start + 10 * second), 9 * second - TICK);
    }

    #[test]
    fn a_deadline_moves_only_by_what_came_after_it_was_set() {
        let suspension = SuspensionClock::new(Instant::now());
        suspension.beat().suspended_for = Duration::from_secs(5);
        let deadline = suspension.deadline(Duration::from_secs(60));
        let moment = deadline.moment();
        suspension.beat().suspended_for += Duration::from_secs(2);
        assert_eq!(deadline.moment(), moment + Duration::from_secs(2));
        assert!(deadline.after(Duration::ZERO).moment() < moment);
    }

    #[test]
    fn a_suspension_is_told_once() {
        let mut seen = MachineSuspension(Duration::from_secs(10));
        let hour = Duration::from_secs(3600);
        assert_eq!(
            seen.since(MachineSuspension(Duration::from_millis(10_900))),
            Duration::ZERO
        );
        assert_eq!(
            seen.since(MachineSuspension(Duration::from_secs(10) + hour)),
            hour
        );
        assert_eq!(
            seen.since(MachineSuspension(Duration::from_secs(10) + hour)),
            Duration::ZERO
        );
    }
}
