//! Whether the service is ready, for probes: one cell that all of it reads, written twice in a
//! service's life. Who is asked often must not ask an actor.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// What `readyz` tells, wherever it is asked.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<AtomicU8>);

const SERVING: u8 = 1;
const ENDING: u8 = 2;

impl Readiness {
    /// The first generation is served.
    pub(crate) fn mark_serving(&self) {
        self.0.fetch_max(SERVING, Ordering::Release);
    }

    /// Somebody has asked for the end: from this moment on the answer is no, for good.
    pub(crate) fn mark_ending(&self) {
        self.0.fetch_max(ENDING, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == SERVING
    }
}
