//! The phases of a stop and their order. Pure decisions: no I/O, the clock is an argument.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long after a stop began SIGINT or SIGQUIT means "now". Sooner, it is the same key pressed
/// twice, or the shell and its terminal both telling us.
pub const SECOND_THOUGHT: Duration = Duration::from_millis(500);

/// How long the workers have to close what was cut before the process goes without them.
pub const CUT_LIMIT: Duration = Duration::from_millis(250);

/// How somebody asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopUrgency {
    /// SIGTERM, `POST /stop`: finish what is in flight. Said again, it changes nothing.
    Graceful,
    /// SIGINT, SIGQUIT: the same, but said again later than [`SECOND_THOUGHT`] it means now.
    Interrupt,
    /// `POST /stop?now=true`: cut what is in flight.
    Now,
}

/// How long each phase may take (`[shutdown]` of the settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    pub delay: Duration,
    pub linger: Duration,
    pub timeout: Duration,
}

impl Limits {
    /// Of a service that serves nothing yet.
    pub const NONE: Self = Self {
        delay: Duration::ZERO,
        linger: Duration::ZERO,
        timeout: Duration::ZERO,
    };
}

/// Where the service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Serving,
    /// Readiness says no; everything is accepted and served.
    Delaying {
        until: Instant,
    },
    /// What is in flight is finished.
    Draining {
        since: Instant,
        deadline: Instant,
    },
    /// What was left is being closed.
    Cutting {
        limit: Instant,
    },
    Over,
}

/// What the owner of the drain has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Readiness off. The next response of each connection that is open now closes it.
    Delay,
    /// Empty the accept queue, close the listeners, finish what is in flight.
    Drain,
    /// Close what is left, by name.
    Cut,
    /// Report and go.
    End,
}

/// One service's way to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drain {
    phase: Phase,
    limits: Limits,
    began: Option<Instant>,
    /// Workers that still have connections.
    remaining: BTreeSet<usize>,
}

impl Drain {
    pub fn new() -> Self {
        Self {
            phase: Phase::Serving,
            limits: Limits::NONE,
            began: None,
            remaining: BTreeSet::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How long idle connections may still bring a request.
    pub fn linger(&self) -> Duration {
        self.limits.linger
    }

    /// When the stop began.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// When [`tick`](Self::tick) is due.
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving | Phase::Over => None,
            Phase::Delaying { until } => Some(until),
            Phase::Draining { deadline, .. } => Some(deadline),
            Phase::Cutting { limit } => Some(limit),
        }
    }

    /// Somebody asks for the end. `None`: heard already, nothing changes.
    pub fn ask(
        &mut self,
        urgency: StopUrgency,
        limits: Limits,
        workers: impl IntoIterator<Item = usize>,
        now: Instant,
    ) -> Option<Step> {
        match (self.phase, self.began) {
            (Phase::Serving, _) => {
                self.began = Some(now);
                self.limits = limits;
                self.remaining = workers.into_iter().collect();
                Some(match urgency {
                    StopUrgency::Now => self.cut(now),
                    StopUrgency::Graceful | StopUrgency::Interrupt if limits.delay.is_zero() => {
                        self.drain(now)
                    }
                    StopUrgency::Graceful | StopUrgency::Interrupt => {
                        self.phase = Phase::Delaying {
                            until: now + limits.delay,
                        };
                        Step::Delay
                    }
                })
            }
            (Phase::Delaying { .. } | Phase::Draining { .. }, Some(began)) => match urgency {
                StopUrgency::Now => Some(self.cut(now)),
                StopUrgency::Interrupt if now.duration_since(began) >= SECOND_THOUGHT => {
                    Some(self.cut(now))
                }
                StopUrgency::Interrupt | StopUrgency::Graceful => None,
            },
            (Phase::Delaying { .. } | Phase::Draining { .. }, None) => None,
            (Phase::Cutting { .. } | Phase::Over, _) => None,
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) -> Option<Step> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        match self.phase {
            Phase::Delaying { .. } => Some(self.drain(now)),
            Phase::Draining { .. } => Some(self.cut(now)),
            Phase::Cutting { .. } => {
                self.phase = Phase::Over;
                Some(Step::End)
            }
            Phase::Serving | Phase::Over => None,
        }
    }

    /// The process was suspended: what was to come comes so much later.
    pub fn extend_by(&mut self, by: Duration) {
        match &mut self.phase {
            Phase::Serving | Phase::Over => {}
            Phase::Delaying { until } => *until += by,
            Phase::Draining { since, deadline } => {
                *since += by;
                *deadline += by;
            }
            Phase::Cutting { limit } => *limit += by,
        }
    }

    /// A worker has no connection left.
    pub fn worker_is_empty(&mut self, worker: usize) -> Option<Step> {
        self.remaining.remove(&worker);
        let ends = matches!(self.phase, Phase::Draining { .. } | Phase::Cutting { .. });
        (ends && self.remaining.is_empty()).then(|| {
            self.phase = Phase::Over;
            Step::End
        })
    }

    fn drain(&mut self, now: Instant) -> Step {
        if self.remaining.is_empty() {
            self.phase = Phase::Over;
            return Step::End;
        }
        self.phase = Phase::Draining {
            since: now,
            deadline: now + self.limits.timeout,
        };
        Step::Drain
    }

    fn cut(&mut self, now: Instant) -> Step {
        if self.remaining.is_empty() {
            self.phase = Phase::Over;
            return Step::End;
        }
        self.phase = Phase::Cutting {
            limit: now + CUT_LIMIT,
        };
        Step::Cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        delay: Duration::from_secs(2),
        linger: Duration::from_secs(1),
        timeout: Duration::from_secs(25),
    };

    fn begun(urgency: StopUrgency) -> (Drain, Instant) {
        let (mut drain, now) = (Drain::new(), Instant::now());
        assert_eq!(drain.ask(urgency, LIMITS, [0, 1], now), Some(Step::Delay));
        (drain, now)
    }

    #[test]
    fn each_phase_follows_at_its_time() {
        let (mut drain, start) = begun(StopUrgency::Graceful);
        assert_eq!(drain.tick(start), None);
        let drained_at = start + LIMITS.delay;
        assert_eq!(drain.tick(drained_at), Some(Step::Drain));
        assert_eq!(drain.due(), Some(drained_at + LIMITS.timeout));
        let cut_at = drained_at + LIMITS.timeout;
        assert_eq!(drain.tick(cut_at), Some(Step::Cut));
        assert_eq!(drain.tick(cut_at + CUT_LIMIT), Some(Step::End));
        assert_eq!((drain.phase(), drain.due()), (Phase::Over, None));
    }

    #[test]
    fn a_deadline_moves_by_the_time_that_the_process_was_suspended() {
        let (mut drain, start) = begun(StopUrgency::Graceful);
        let suspended_for = Duration::from_secs(60);
        drain.extend_by(suspended_for);
        assert_eq!(drain.tick(start + LIMITS.delay), None);
        let drained_at = start + LIMITS.delay + suspended_for;
        assert_eq!(drain.tick(drained_at), Some(Step::Drain));
        drain.extend_by(suspended_for);
        let (since, deadline) = (
            drained_at + suspended_for,
            drained_at + LIMITS.timeout + suspended_for,
        );
        assert_eq!(drain.phase(), Phase::Draining { since, deadline });
        assert_eq!(drain.tick(deadline), Some(Step::Cut));
    }

    #[test]
    fn the_last_empty_worker_ends_it() {
        let (mut drain, start) = begun(StopUrgency::Graceful);
        drain.tick(start + LIMITS.delay);
        assert_eq!(drain.worker_is_empty(1), None);
        assert_eq!(drain.worker_is_empty(1), None);
        assert_eq!(drain.worker_is_empty(0), Some(Step::End));
    }

    #[test]
    fn an_interrupt_cuts_only_when_repeated_later() {
        let (mut drain, start) = begun(StopUrgency::Interrupt);
        let soon = start + SECOND_THOUGHT / 2;
        assert_eq!(
            drain.ask(StopUrgency::Interrupt, LIMITS, [0, 1], soon),
            None
        );
        let later = start + SECOND_THOUGHT;
        assert_eq!(
            drain.ask(StopUrgency::Graceful, LIMITS, [0, 1], later),
            None
        );
        assert_eq!(
            drain.ask(StopUrgency::Interrupt, LIMITS, [0, 1], later),
            Some(Step::Cut)
        );
        assert_eq!(
            drain.ask(StopUrgency::Interrupt, LIMITS, [0, 1], later),
            None
        );
    }

    #[test]
    fn a_service_that_has_not_begun_to_serve_ends_at_once() {
        let no_delay = Limits {
            delay: Duration::ZERO,
            ..LIMITS
        };
        let now = Instant::now();
        for urgency in [
            StopUrgency::Graceful,
            StopUrgency::Interrupt,
            StopUrgency::Now,
        ] {
            let mut drain = Drain::new();
            assert_eq!(drain.ask(urgency, no_delay, [], now), Some(Step::End));
        }
    }
}
