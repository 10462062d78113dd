//! A connection's one timer.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::Context,
    time::Instant,
};

use tokio::{task::unconstrained, time::Sleep};

/// Most deadlines only move on, request by request: the timer is left
/// where it is and looked at again when it fires.
pub(super) struct Clock<'a> {
    sleep: Pin<&'a mut Sleep>,
    /// `None`: not set, or fired.
    set_for: Option<Instant>,
}

impl<'a> Clock<'a> {
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self {
            sleep,
            set_for: None,
        }
    }

    /// Whether the task will be woken at `at`, or sooner, to look again.
    pub(super) fn is_pending_until(
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
