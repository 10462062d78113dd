//! A connection's one timer, and the time that a client has for one step.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    task::unconstrained,
    time::{Sleep, sleep_until},
};

use super::hub::Hub;

/// Most deadlines only move on, request by request: the timer is left where it is and looked at
/// again when it fires.
pub(crate) struct Clock<'a> {
    sleep: Pin<&'a mut Sleep>,
    /// `None`: not set, or fired.
    set_for: Option<Instant>,
}

impl<'a> Clock<'a> {
    pub(crate) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self {
            sleep,
            set_for: None,
        }
    }

    /// Whether the task will be woken at `at`, or sooner, to look again.
    pub(crate) fn is_pending_until(
        &mut self,
        at: Instant,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> bool {
        if self
            .set_for
            .is_some_and(|set_for| now < set_for && set_for <= at)
        {
            return true;
        }
        self.sleep.as_mut().reset(at.into());
        self.set_for = Some(at);
        // A timer polled where the task's budget is spent is not set: it asks to be polled again.
        pin!(unconstrained(self.sleep.as_mut()))
            .poll(cx)
            .is_pending()
    }
}

/// The time that a client has for one thing. It goes on while the process stands still, and so
/// moves by as much.
pub(crate) struct Allowance {
    sleep: Pin<Box<Sleep>>,
    hub: Rc<Hub>,
    begun: Instant,
    /// How long the process was suspended before.
    suspended_before: Duration,
    /// The same, as far as the timer knows.
    suspended_for: Duration,
}

impl Allowance {
    pub(crate) fn new(hub: &Rc<Hub>, time: Duration) -> Self {
        let begun = Instant::now();
        Self {
            sleep: Box::pin(sleep_until((begun + time).into())),
            hub: hub.clone(),
            begun,
            suspended_before: hub.suspended_for(),
            suspended_for: hub.suspended_for(),
        }
    }

    /// How much of it is used up.
    pub(crate) fn used(&self) -> Duration {
        let suspended_for = self.hub.suspended_for() - self.suspended_before;
        self.begun.elapsed().saturating_sub(suspended_for)
    }

    /// Ready when it is used up.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            self.hub.note_suspension(Instant::now());
            let moved = self.hub.suspended_for() - self.suspended_for;
            if moved.is_zero() {
                return Poll::Ready(());
            }
            self.suspended_for = self.hub.suspended_for();
            let deadline = self.sleep.deadline() + moved;
            self.sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::{
        task::coop::{consume_budget, has_budget_remaining},
        time::timeout,
    };

    const CEILING: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_clock_that_is_set_when_the_budget_is_spent_strikes_all_the_same() {
        let mut clock = Clock {
            sleep: pin!(sleep_until(Instant::now().into())),
            set_for: None,
        };
        let at = Instant::now() + Duration::from_millis(20);
        let strikes = poll_fn(|cx| {
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            let now = Instant::now();
            match now < at && clock.is_pending_until(at, now, cx) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        });
        // Only wakes the task where nothing else does.
        let _ = timeout(CEILING, strikes).await;
        assert!(at.elapsed() < CEILING / 2, "nothing woke the task");
    }
}
