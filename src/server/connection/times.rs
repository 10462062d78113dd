//! When a connection is to be looked at, and what is due then.

use std::time::{Duration, Instant};

use super::{Conn, Verdict};
use crate::server::hub::{Farewell, Standing};

/// What a connection's clock waits for.
pub(super) enum Due {
    Give(Verdict),
    /// The client takes no byte, or sends none after our end was closed.
    Drop,
    /// The connection's HTTP/2 driver is to look.
    Look,
}

impl Conn {
    /// When the clock is to act, and how.
    pub(super) fn due(&self) -> Option<(Instant, Due)> {
        if let Some(until) = self.discarding.get() {
            return Some((until, Due::Drop));
        }
        let times = self.hub.times();
        if let Some(since) = self.shaking_since.get() {
            let until = self.handshake_until(since, times.handshake);
            return Some((until, Due::Give(Verdict::CloseIdle)));
        }
        let write = self
            .write_blocked_since
            .get()
            .map(|since| (since + times.write, Due::Drop));
        if let Some(at) = self.look_at.get() {
            return Some(write.map_or((at, Due::Look), |write| match write.0 <= at {
                true => write,
                false => (at, Due::Look),
            }));
        }
        let read = self.awaits_head().then(|| {
            let (until, verdict) = match self.head_since.get() {
                Some(since) => (since + times.request, Verdict::HeadTimeout),
                None => (self.idle_until(times.keep_alive), Verdict::CloseIdle),
            };
            let at = if self.leaving.get() {
                self.now.get()
            } else {
                until
            };
            (at, Due::Give(verdict))
        });
        [write, read].into_iter().flatten().min_by_key(|due| due.0)
    }

    /// P5: what has arrived and waits its turn is not idle.
    pub(super) fn awaits_head(&self) -> bool {
        self.open.get() == 0 && !self.ended.get() && !self.has_more.get()
    }

    fn idle_until(&self, keep_alive: Duration) -> Instant {
        self.lingers_until(self.idle_since.get(), keep_alive)
    }

    /// When to end what nothing has come of since then: after `limit`, sooner in a drain.
    pub(super) fn lingers_until(&self, idle_since: Instant, limit: Duration) -> Instant {
        let kept = idle_since + limit;
        match self.farewell() {
            None => kept,
            Some(Farewell { since, linger }) => kept.min(idle_since.max(since) + linger),
        }
    }

    /// How it is seen off, where it is.
    pub(crate) fn farewell(&self) -> Option<Farewell> {
        match self.hub.standing() {
            Standing::Draining(farewell) | Standing::Retiring(farewell) => Some(farewell),
            Standing::Serving | Standing::Delaying => {
                let linger = self.hub.times().linger;
                let since = self.origin.closes_since()?;
                Some(Farewell { since, linger })
            }
        }
    }
}
