//! The phase of a connection and its deadline. Pure decisions: no I/O, the clock is an argument.

use std::time::{Duration, Instant};

use super::Conn;
use crate::http::{
    hub::{Linger, Standing, Times},
    misconduct::Misconduct,
    pace::Wait,
};

/// Where a connection stands, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A TLS handshake is awaited or under way.
    Handshake(Instant),
    /// No byte of a request has arrived, and nothing is left to be sent.
    Idle(Instant),
    /// A request's head has begun to arrive and is not complete.
    Head(Instant),
    /// A request is being answered.
    Answer,
    /// More of a request's body is awaited, for so long.
    Body { since: Instant, limit: Duration },
    /// It speaks HTTP/2, whose driver keeps its own times and is to look at the connection then.
    Driven {
        at: Instant,
        /// Since when it has no stream.
        rests_since: Option<Instant>,
    },
    /// Our end is closed; what still arrives is read away until then.
    Closing(Instant),
}

impl Phase {
    /// The phase with its times moved by a suspension, but not beyond `now` where they began before.
    pub(super) fn moved(self, by: Duration, now: Instant) -> Self {
        let moved = |since: Instant| (since + by).min(now);
        match self {
            Self::Handshake(since) => Self::Handshake(moved(since)),
            Self::Idle(since) => Self::Idle(moved(since)),
            Self::Head(since) => Self::Head(moved(since)),
            Self::Body { since, limit } => Self::Body {
                since: moved(since),
                limit,
            },
            Self::Closing(until) => Self::Closing(until + by),
            Self::Answer | Self::Driven { .. } => self,
        }
    }

    /// When its time is over.
    fn until(self, times: &Times, linger: Option<Linger>) -> Option<Instant> {
        match self {
            Self::Handshake(since) => Some(lingers_until(since, times.handshake, linger)),
            Self::Idle(since) => Some(lingers_until(since, times.keep_alive, linger)),
            Self::Head(since) => Some(since + times.request),
            Self::Body { since, limit } => Some(since + limit),
            Self::Driven { at, .. } | Self::Closing(at) => Some(at),
            Self::Answer => None,
        }
    }
}

/// When to end a connection that has brought nothing since then: after `limit`, sooner in a drain.
fn lingers_until(since: Instant, limit: Duration, linger: Option<Linger>) -> Instant {
    let kept = since + limit;
    match linger {
        None => kept,
        Some(it) => kept.min(since.max(it.since) + it.linger),
    }
}

/// What a connection's clock waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Whoever serves it is to look: a phase's time is over.
    Look,
    /// The client sends no byte after our end was closed: the connection ends.
    Drop,
    /// The client does not take what is sent: the connection ends for that.
    Expel(Misconduct),
}

impl Conn {
    /// Whoever serves it has brought it to this phase.
    pub(crate) fn enter_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// It speaks HTTP/2: this is when its driver wants to look at it, and since when it has nothing to do.
    pub(crate) fn look_at(&self, at: Instant, rests_since: Option<Instant>) {
        // Once our end is closed, that is all that is waited for.
        if !matches!(self.phase.get(), Phase::Closing(_)) {
            self.phase.set(Phase::Driven { at, rests_since });
        }
    }

    /// A request's head is complete.
    pub(crate) fn takes_request(&self) {
        // It was not idle after all.
        self.leaving.set(false);
        self.phase.set(Phase::Answer);
    }

    /// Nothing is in flight: a request's head is awaited, or the rest of it.
    pub(crate) fn awaits_head(&self, has_begun: bool) {
        let now = self.now.get();
        if has_begun && !matches!(self.phase.get(), Phase::Head(_)) {
            self.leaving.set(false);
        }
        self.phase.set(match (self.phase.get(), has_begun) {
            (phase @ Phase::Idle(_), false) | (phase @ Phase::Head(_), true) => phase,
            (_, false) => Phase::Idle(now),
            (_, true) => Phase::Head(now),
        });
    }

    /// Something has arrived at the last moment: the time of its phase begins anew.
    pub(crate) fn begins_anew(&self) {
        let now = self.now.get();
        self.leaving.set(false);
        self.phase.set(match self.phase.get() {
            Phase::Idle(_) | Phase::Head(_) => Phase::Head(now),
            Phase::Handshake(_) => Phase::Handshake(now),
            Phase::Body { limit, .. } => Phase::Body { since: now, limit },
            other => other,
        });
    }

    /// Whether the time of the connection's phase is over, time of a suspension left out.
    pub(crate) fn is_out_of_time(&self) -> bool {
        let now = self.now.get();
        let is_over = || self.phase_until().is_some_and(|until| now >= until);
        is_over() && (!self.hub.note_suspension(now) || is_over())
    }

    fn phase_until(&self) -> Option<Instant> {
        let phase = self.phase.get();
        let linger = self.linger();
        let until = phase.until(&self.hub.times(), linger)?;
        match phase {
            // P5: a handshake under way has its time in a drain too; a client that has said nothing
            // is idle.
            Phase::Handshake(since) => {
                let whole = since + self.hub.times().handshake;
                let mut stream = self.stream();
                let is_under_way = until < whole && (stream.has_begun() || stream.has_received());
                Some(if is_under_way { whole } else { until })
            }
            Phase::Idle(_) | Phase::Head(_) if self.leaving.get() => Some(self.now.get()),
            _ => Some(until),
        }
    }

    /// When the clock is to act, and how.
    pub(super) fn due(&self) -> Option<(Instant, Due)> {
        let phase = self.phase_until().map(|until| match self.phase.get() {
            Phase::Closing(_) => (until, Due::Drop),
            _ => (until, Due::Look),
        });
        if let Some((_, Due::Drop)) = phase {
            return phase;
        }
        let write = self.write_blocked_since.get().map(|since| {
            let times = self.hub.times();
            let pace = self.pace.get();
            let wait = pace.map_or(Wait::Silent(times.write), |it| it.wait(&times, times.write));
            let why = match wait {
                Wait::Silent(_) => Misconduct::Stalled,
                Wait::Slow(_) => Misconduct::Slow,
            };
            (since + wait.time(), Due::Expel(why))
        });
        [write, phase].into_iter().flatten().min_by_key(|due| due.0)
    }

    /// The linger of this connection, if it is to close.
    pub(crate) fn linger(&self) -> Option<Linger> {
        match self.hub.standing() {
            Standing::Draining(linger) | Standing::Retiring(linger) => Some(linger),
            Standing::Serving | Standing::Delaying => {
                let since = self.origin.closes_since()?;
                let linger = self.hub.times().linger;
                Some(Linger { since, linger })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        keep_alive: Duration::from_secs(75),
        request: Duration::from_secs(5),
        body: Duration::from_secs(30),
        write: Duration::from_secs(20),
        handshake: Duration::from_secs(4),
        linger: Duration::from_secs(1),
        min_rate: 0,
        min_rate_grace: Duration::ZERO,
    };

    #[test]
    fn each_phase_has_its_own_time_and_an_idle_one_ends_sooner_in_a_drain() {
        let since = Instant::now();
        let until = |phase: Phase, linger| {
            let until = phase.until(&TIMES, linger);
            until.map(|until| (until - since).as_secs())
        };
        assert_eq!(until(Phase::Idle(since), None), Some(75));
        assert_eq!(until(Phase::Head(since), None), Some(5));
        let limit = Duration::from_secs(30);
        assert_eq!(until(Phase::Body { since, limit }, None), Some(30));
        assert_eq!(until(Phase::Handshake(since), None), Some(4));
        assert_eq!(until(Phase::Answer, None), None);
        let drain = Some(Linger {
            since: since + Duration::from_secs(2),
            linger: TIMES.linger,
        });
        assert_eq!(until(Phase::Idle(since), drain), Some(3));
        assert_eq!(until(Phase::Handshake(since), drain), Some(3));
        assert_eq!(until(Phase::Head(since), drain), Some(5));
    }

    #[test]
    fn a_suspension_moves_every_time_and_none_beyond_now() {
        let since = Instant::now();
        let (by, now) = (Duration::from_secs(60), since + Duration::from_secs(61));
        assert_eq!(Phase::Idle(since).moved(by, now), Phase::Idle(since + by));
        assert_eq!(Phase::Head(now).moved(by, now), Phase::Head(now));
        let closing = Phase::Closing(now).moved(by, now);
        assert_eq!(closing, Phase::Closing(now + by));
    }
}
