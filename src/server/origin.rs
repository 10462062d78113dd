//! Where connections come from: a listener as all know it who never touch its socket, and what is to
//! become of it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Told to a listener, its shares and its connections at once. Written when listeners change, never on
/// a request's way.
pub(crate) struct Origin {
    name: Arc<str>,
    /// The service manager holds the socket too.
    is_managed: bool,
    has_passed: AtomicBool,
    closes_since: OnceLock<Instant>,
}

impl Origin {
    pub(super) fn new(name: &str, is_managed: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            is_managed,
            has_passed: AtomicBool::new(false),
            closes_since: OnceLock::new(),
        })
    }

    /// The listener's.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn is_managed(&self) -> bool {
        self.is_managed
    }

    /// Whether another listener has the socket from now on, in this process or the next: its queue and
    /// its name are that one's.
    pub(crate) fn passes(&self, has_passed: bool) {
        self.has_passed.store(has_passed, Ordering::Release);
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::Acquire)
    }

    /// Whether the socket outlives the listener: passed, or held by the service manager.
    pub(crate) fn lives_on(&self) -> bool {
        self.is_managed || self.has_passed()
    }

    /// The listener is about to close: its connections are to end as soon as nothing is lost by it.
    pub(crate) fn closes(&self) {
        self.closes_since.get_or_init(Instant::now);
    }

    pub(crate) fn closes_since(&self) -> Option<Instant> {
        self.closes_since.get().copied()
    }
}
